"""What enters a connection, as the rows ``[R, N]`` that its weight's gradient is made of."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from snnsim.baselines.torch_recurrent import TorchRecurrent
from snnsim.continual.learner import Learner
from snnsim.errors import ConfigError
from snnsim.layer import Layer
from snnsim.synapses import Delayed, Dense, Recurrent
from snnsim.training.rules import PlasticConnection


class Part:
    """Stands for one of the two connections in a recurrent layer of torch.nn.

    Args:
        owner: the layer.
        name: name of the weight, ``"weight_ih_l0"`` or ``"weight_hh_l0"``.
    """

    def __init__(self, owner: nn.RNNBase, name: str):
        self.owner, self.name = owner, name

    @property
    def weight(self) -> Any:
        """Return the weight of this connection."""
        return getattr(self.owner, self.name)

    @property
    def training(self) -> bool:
        """Say whether the layer is being trained."""
        return self.owner.training

    def register_forward_hook(self, hook: Any) -> Any:
        """Call the hook whenever the layer has run."""
        return self.owner.register_forward_hook(hook)


Connection = Layer | Part


def connections_of(name: str, module: nn.Module) -> dict[str, Connection]:
    """Return all connections of a network, by names that start with ``name``, in their order.

    Connections are ``Dense``, ``Conv1d``, ``Conv2d`` (each under a learning rule), ``Delayed``,
    ``Recurrent``, and the two in a recurrent layer of torch.nn. Parameters that a module names in
    its ``tables`` are none.
    """
    if isinstance(module, PlasticConnection | Delayed | Recurrent):
        return {name.replace(".layers", ""): module}
    if isinstance(module, TorchRecurrent):
        parts = {"w_in": "weight_ih_l0", "w_rec": "weight_hh_l0"}
        return {f"{name}.{k}": Part(module.module, v) for k, v in parts.items()}
    tables = getattr(module, "tables", ())
    unknown = [
        n for n, p in module.named_parameters(recurse=False) if p.dim() > 1 and n not in tables
    ]
    if unknown:
        raise ConfigError(
            f"it is not known what enters {unknown[0]!r} of {type(module).__name__} ({name}); "
            "known are Dense, Conv1d, Conv2d, Delayed and Recurrent"
        )
    found: dict[str, Connection] = {}
    for child, inner in module.named_children():
        found |= connections_of(f"{name}.{child}", inner)
    return found


def shared_connections(learner: Learner) -> dict[str, Connection]:
    """Return the connections that all tasks share: the body's, and those of a shared head."""
    found = connections_of("body", learner.body)
    if learner.shares_head:
        found |= connections_of("head", learner.heads[0])
    return found


def rows_of(module: nn.Module | Part, x: Tensor, y: Tensor | None = None) -> Tensor:
    """Return the presynaptic activity of a connection.

    Args:
        module: the connection.
        x: its input, ``[T, B, ...]`` (or ``[B, ...]`` for dense ones).
        y: its output, ``[T, B, ...]``; needed only of recurrent layers.

    Returns:
        Rows ``[R, N]``: for a convolution the patches at its own stride, padding and dilation; for
        axonal delays the activity after the (whole) delays; for a recurrent layer its own
        output one step before.
    """
    module = owner_of(module)
    if isinstance(module, Dense):
        return x.flatten(0, -2)
    if isinstance(module, nn.Conv1d | nn.Conv2d):
        return _patches(module, x)
    recurrent = isinstance(module, Part) and module.name == "weight_hh_l0"
    if isinstance(module, Part) and not recurrent:
        return x.flatten(0, 1)
    if isinstance(module, Recurrent) or recurrent:
        assert y is not None
        return torch.cat([torch.zeros_like(y[:1]), y[:-1]]).flatten(0, 1)
    if isinstance(module, Delayed):
        return module.presynaptic(x).flatten(0, 1)
    raise ConfigError(
        f"it is not known what enters {type(module).__name__}; known are Dense, Conv1d, Conv2d, "
        "Delayed and Recurrent"
    )


def owner_of(module: Any) -> Any:
    """Return what has the weight of a connection: the module under a learning rule, or itself."""
    return module.inner if isinstance(module, PlasticConnection) else module


def weight_of(module: nn.Module | Part) -> nn.Parameter:
    """Return the parameter whose gradient is made of :func:`rows_of`."""
    owner = owner_of(module)
    found: Any = owner.w_rec if isinstance(owner, Recurrent) else owner.weight
    return found


def as_matrix(module: nn.Module | Part, gradient: Tensor) -> Tensor:
    """Return a gradient of the weight as ``[outputs, N]``; a view if it can be one."""
    if isinstance(module, Delayed) and module.granularity == "dendritic":
        return gradient.permute(0, 2, 1).flatten(0, 1)
    return gradient.flatten(1)


def from_matrix(module: nn.Module | Part, matrix: Tensor, like: Tensor) -> Tensor:
    """Return a matrix of :func:`as_matrix` in the shape of the weight."""
    if isinstance(module, Delayed) and module.granularity == "dendritic":
        return matrix.view(like.shape[0], like.shape[2], like.shape[1]).permute(0, 2, 1)
    return matrix.view_as(like)


def _patches(module: nn.Conv1d | nn.Conv2d, x: Tensor) -> Tensor:
    """What each place of the output sees of the input, that of one axis as an image of one row."""
    if module.groups != 1:
        raise ConfigError(
            f"a convolution in {module.groups} groups has a subspace per group, which is not "
            "built; use groups=1"
        )
    if isinstance(module.padding, str) or module.padding_mode != "zeros":
        raise ConfigError(
            f"a convolution has padding {module.padding!r} of {module.padding_mode}; give it its "
            "padding in numbers, of zeros, to protect it"
        )
    images = x.flatten(0, 1)
    size: tuple[int, ...] = module.kernel_size
    dilation, padding, stride = module.dilation, module.padding, module.stride
    if isinstance(module, nn.Conv1d):
        images = images.unsqueeze(2)
        size, dilation, padding, stride = (1, *size), (1, *dilation), (0, *padding), (1, *stride)
    patches = nn.functional.unfold(images, size, dilation, padding, stride)
    return patches.transpose(1, 2).flatten(0, 1)
