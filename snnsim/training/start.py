"""Starting from the weights of another network."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from snnsim import checkpoint
from snnsim.errors import CheckpointError, short
from snnsim.sparsity import masked_in

PREFIXES = ("net.", "learner.", "")  # of a run, of a stream, of a saved network


def start_from(net: nn.Module, place: str | Path) -> list[str]:
    """Load the weights of a run's best epoch, or of a file, into a network as far as they fit.

    Args:
        net: any module; parameters that are missing there, or have another shape, stay as they are.
        place: a run folder, one of its checkpoints, or a file of :func:`snnsim.save`.

    Returns:
        The names of the parameters that stayed as they were; a warning names them as well.

    Raises:
        CheckpointError: if there is no such file, or nothing in it fits.
    """
    path = Path(place)
    tensors, _ = checkpoint.load(path / "best.safetensors" if path.is_dir() else path)
    found = next(each for p in PREFIXES if (each := _under(p, tensors)))
    own = net.state_dict()
    found = _without_masks(found, own)
    fitting = {
        name: value
        for name, value in found.items()
        if name in own
        and own[name].shape == value.shape
        and own[name].is_floating_point() == value.is_floating_point()
    }
    if not fitting:
        raise CheckpointError(
            f"nothing in {path} fits this network, which has {short(', '.join(own), 200)}"
        )
    net.load_state_dict({**own, **fitting})
    left = [name for name in own if name not in fitting]
    if left:
        warnings.warn(
            f"starting from {path}; not there, or of another shape, and so as drawn: "
            f"{short(', '.join(left), 300)}",
            stacklevel=3,
        )
    return left


def _without_masks(found: dict[str, Tensor], own: dict[str, Tensor]) -> dict[str, Tensor]:
    """What is found, with weights that were cut as plain ones where a network has no mask."""
    plain = dict(found)
    for path, name in masked_in(found):
        whole = ".".join(part for part in (path, name) if part)
        if whole in own:
            start = ".".join(part for part in (path, "parametrizations", name) if part)
            mask = next(v for n, v in found.items() if n.startswith(start) and n.endswith(".mask"))
            plain[whole] = found[f"{start}.original"] * mask
    return plain


def _under(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
