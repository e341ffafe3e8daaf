"""Checkpoints hold tensors and plain values only, so loading one cannot run code.

A checkpoint is one safetensors file: tensors under dotted names, and everything else as JSON in its
metadata. It is written under a temporary name and then renamed, so an interrupted write leaves the
previous checkpoint as it was.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from snnsim.errors import CheckpointError, NonFiniteError, SnnsimError, naming, short
from snnsim.finite import first_not_finite
from snnsim.folders import new_beside

Record = TypeVar("Record")
FORMAT = "snnsim-checkpoint-2"
BAD_VALUES = (KeyError, TypeError, ValueError, AttributeError, IndexError, RuntimeError)
WITHOUT_SUM = "snnsim-checkpoint-1"  # of earlier versions, which is read as well


def save(path: Path, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
    """Write a checkpoint atomically and durably.

    Args:
        path: the name of the file.
        tensors: the tensors by name, on any device.
        values: plain JSON values.

    Raises:
        NonFiniteError: if a tensor holds NaN or an infinity; nothing is written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _beside(path) as name:
        ready = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
        lost = first_not_finite(ready.items())
        if lost is not None:
            raise NonFiniteError(f"{lost} is not finite, so {path} is left as it was")
        text = json.dumps(values)
        metadata = {"format": FORMAT, "values": text, "sha256": digest(ready, text)}
        permissions = Path(name).stat().st_mode
        try:
            save_file(ready, name, metadata=metadata)  # which makes a new file, for the user alone
            Path(name).chmod(permissions)
        except SafetensorError as error:  # such as a full disk
            raise OSError(f"{path} cannot be written ({error})") from error
        with open(name, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(name, path)


def write_text(path: Path, text: str) -> None:
    """Write a text file under a temporary name, synchronise it and rename it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with _beside(path) as name:
        with open(name, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)


@contextmanager
def _beside(path: Path) -> Iterator[str]:
    """A new file in the same folder, under a name that nobody can foresee; gone afterwards."""
    with naming(path):
        name = new_beside(path)
        try:
            yield name
        finally:
            Path(name).unlink(missing_ok=True)


def digest(tensors: dict[str, Tensor], values: str) -> str:
    """Return the SHA-256 of the names, types, shapes and bytes of tensors and of a text."""
    found = hashlib.sha256(values.encode())
    for name, tensor in sorted(tensors.items()):
        found.update(f"\0{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        found.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a checkpoint and return ``(tensors, values)``.

    Raises:
        CheckpointError: if the file is absent, damaged, of another kind, or holds NaN or infinity.
    """
    if not path.is_file():
        raise CheckpointError(f"there is no checkpoint {path}")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, TypeError, RuntimeError, MemoryError) as error:
        raise CheckpointError(f"{path} is damaged or not a checkpoint ({error})") from error
    if metadata.get("format") not in (FORMAT, WITHOUT_SUM):
        raise CheckpointError(
            f"{path} is not a checkpoint of this program (its format is "
            f"{metadata.get('format')!r}, expected {FORMAT!r})"
        )
    kept = metadata.get("sha256")
    summed = kept is not None or metadata["format"] == FORMAT
    if summed and kept != digest(tensors, metadata.get("values", "")):
        raise CheckpointError(f"{path} is damaged: its content is not what was written")
    lost = first_not_finite(tensors.items())
    if lost is not None:
        raise CheckpointError(
            f"{path} holds NaN or infinity in {lost}: the training that wrote it had diverged; go "
            "back to another checkpoint"
        )
    try:
        values = json.loads(metadata["values"])
    except (KeyError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is damaged: its values cannot be read ({error})") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{path} is damaged: its values are no table")
    return tensors, values


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Within this context, an error in the content of a checkpoint is one that names the file."""
    try:
        yield
    except SnnsimError:
        raise
    except (*BAD_VALUES, OverflowError, MemoryError) as error:
        raise CheckpointError(
            f"{path} is damaged or of another version: {type(error).__name__} "
            f"({' '.join(str(error).split())[:200]})"
        ) from error


def record(cls: type[Record], values: dict[str, Any]) -> Record:
    """Return a dataclass of plain values as stored.

    Raises:
        ValueError: if a value is missing or of another type.
    """
    found = cls(**values)
    for field in fields(cls):  # type: ignore[arg-type]
        if field.name not in values:
            raise ValueError(f"it has no {field.name}")
        value, kind = getattr(found, field.name), type(field.default)
        if type(value) is not kind and not (kind is float and type(value) is int):
            raise ValueError(f"{field.name} is {short(value)}")
    return found


def prefixed(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the same tensors under ``prefix.name``."""
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def without_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors under ``prefix.``, without the prefix."""
    start = f"{prefix}."
    return {k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)}


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return an optimiser's state as named tensors (its learning rates follow from the epoch)."""
    state = optimizer.state_dict()["state"]
    named = {f"{i}.{key}": value for i, slot in state.items() for key, value in slot.items()}
    return {name: value for name, value in named.items() if isinstance(value, Tensor)}


def load_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Load an optimiser's state, as the inverse of :func:`optimizer_tensors`."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        i, key = name.split(".", 1)
        state.setdefault(int(i), {})[key] = tensor
    groups = optimizer.state_dict()["param_groups"]
    parameters = dict(enumerate(p for group in optimizer.param_groups for p in group["params"]))
    for place, slot in state.items():
        if place not in parameters:
            raise ValueError(f"there is no parameter {place}, of which it has a state")
        for name, tensor in slot.items():
            if tensor.dim() and tensor.shape != parameters[place].shape:
                raise ValueError(f"the optimiser's {name} of parameter {place} has another shape")
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def load_weights(net: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    """Load a network's parameters and buffers; the error says what does not fit."""
    for name, own in net.state_dict().items():
        kept = tensors.get(name, own)
        if kept.is_floating_point() != own.is_floating_point():  # which torch would convert
            raise CheckpointError(f"{path} does not fit: {name} is {kept.dtype}, not {own.dtype}")
    try:
        net.load_state_dict(tensors)
    except RuntimeError as error:
        raise CheckpointError(
            f"{path} does not fit this network: {' '.join(str(error).split())}"
        ) from error


def random_state(device: torch.device) -> dict[str, Tensor]:
    """Return the state of the random generators."""
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def set_random_state(state: dict[str, Tensor], device: torch.device) -> None:
    """Set the state of the random generators, as the inverse of :func:`random_state`."""
    torch.set_rng_state(state["cpu"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)
