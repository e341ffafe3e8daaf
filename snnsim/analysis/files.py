"""Recordings in files: one safetensors file each, with spikes eight to a byte."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from snnsim import checkpoint
from snnsim.activity import SPIKES, Recording
from snnsim.errors import CheckpointError

TEXTS = ("kind", "name", "what", "dt")


def save_recording(rec: Recording, path: str | Path) -> None:
    """Write a recording to a file that :func:`load_recording` reads, whole or not at all.

    Args:
        rec: the recording; spikes of 0 and 1 take one bit each.
        path: the file.

    >>> import tempfile
    >>> rec = Recording(torch.eye(3).view(3, 1, 3), "spikes", "a", "output", torch.tensor([3]))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_recording(rec, f"{folder}/a.safetensors")
    ...     torch.equal(load_recording(f"{folder}/a.safetensors").values, rec.values)
    True
    """
    values = rec.values.detach().cpu()
    packed = rec.kind == SPIKES and bool(((values == 0) | (values == 1)).all())
    told = {name: getattr(rec, name) for name in TEXTS}
    told |= {"recording": 1, "shape": list(values.shape), "packed": packed}
    like = values.new_zeros(1)  # of the spikes' number type
    tensors = {
        "lengths": rec.lengths,
        "like": like,
        "values": _packed(values) if packed else values,
    }
    for name in ("target", "task"):
        if getattr(rec, name) is not None:
            tensors[name] = getattr(rec, name)
    checkpoint.save(Path(path), tensors, told)


def load_recording(path: str | Path) -> Recording:
    """Read a recording that :func:`save_recording` wrote.

    Raises:
        CheckpointError: if the file is absent, damaged, or no recording.
    """
    tensors, told = checkpoint.load(Path(path))
    if told.get("recording") != 1:
        raise CheckpointError(f"{path} is no recording; save one with save_recording")
    try:
        return _recording(tensors, told)
    except checkpoint.BAD_VALUES as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error


def _packed(values: Tensor) -> Tensor:
    return torch.from_numpy(np.packbits(values.numpy().astype(bool)))


def _recording(tensors: dict[str, Tensor], told: dict[str, Any]) -> Recording:
    shape, values, lengths = tuple(told["shape"]), tensors["values"], tensors["lengths"]
    if told["packed"]:
        size = int(np.prod(shape, dtype=np.int64))
        if len(values) != -(-size // 8):
            raise ValueError(f"{len(values)} bytes cannot be {size} spikes")
        bits = np.unpackbits(values.numpy(), count=size).reshape(shape)
        values = torch.from_numpy(bits).to(tensors["like"].dtype)
    if tuple(values.shape) != shape or len(shape) < 2 or tuple(lengths.shape) != shape[1:2]:
        raise ValueError(f"values of shape {tuple(values.shape)} do not fit {shape}")
    if len(lengths) and not 0 <= int(lengths.min()) <= int(lengths.max()) <= shape[0]:
        raise ValueError(f"lengths up to {int(lengths.max())} do not fit {shape[0]} time steps")
    kind, name, what, dt = (told[each] for each in TEXTS)
    target, task = tensors.get("target"), tensors.get("task")
    if task is not None and task.shape != lengths.shape:
        raise ValueError(f"tasks of {tuple(task.shape)} do not fit {len(lengths)} samples")
    return Recording(values, kind, name, what, lengths, target, dt, task)
