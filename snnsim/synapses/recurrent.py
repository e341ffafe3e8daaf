"""Recurrent connections within a layer of neurons."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from snnsim.errors import ConfigError, ShapeError, check_number
from snnsim.layer import Layer
from snnsim.neurons.neuron import Neuron

OWN_FORWARD = (
    "{} a forward of their own, but Recurrent feeds the output of a step back into the next; write "
    "the model as a step, or feed its output back yourself"
)


class Recurrent(Layer):
    """A recurrent layer feeds the outputs of its neurons back as input one time step later.

    The input of ``neuron`` is ``x[t] + w_rec @ z[t-1]``. The neurons are called once for the whole
    sequence, so that their hooks see their outputs.

    Args:
        neuron: a flat layer of neurons (``n`` is a number).
        gain: the scale of the orthogonal initial matrix.
        self_connections: whether neurons may feed themselves; if not, the diagonal of the matrix
            starts at 0 and gets no gradient.

    Call: as the neuron's; the state also holds its last output under ``"z"``, ``[B, N]``.

    >>> from snnsim.neurons import LIF
    >>> z, state = Recurrent(LIF(4, dt=1.0))(torch.ones(5, 2, 4))
    >>> tuple(z.shape), sorted(state)
    ((5, 2, 4), ['v', 'z'])
    """

    mask: Tensor

    def __init__(self, neuron: Neuron, gain: float = 1.0, self_connections: bool = True):
        super().__init__()
        if type(neuron).forward is not Neuron.forward:
            raise ConfigError(OWN_FORWARD.format(f"{type(neuron).__name__} has"))
        if len(neuron.shape) != 1:
            raise ConfigError(f"Recurrent needs a flat layer of neurons, not {neuron.shape}")
        if "z" in type(neuron).state:
            raise ConfigError("Recurrent keeps the last output as state 'z'; rename the neuron's")
        check_number("gain", gain)
        self.neuron = neuron
        self.w_rec = nn.Parameter(nn.init.orthogonal_(torch.empty(neuron.n, neuron.n), gain))
        mask = torch.ones(neuron.n, neuron.n)
        if not self_connections:
            mask.fill_diagonal_(0)
            with torch.no_grad():
                self.w_rec.fill_diagonal_(0)
        self.register_buffer("mask", mask, persistent=False)

    def forward(
        self, x: Tensor, state: dict[str, Tensor] | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        neuron = self.neuron
        if "forward" in vars(neuron):
            raise ConfigError(OWN_FORWARD.format("these neurons have"))
        x = neuron.check_input(x)
        if state is not None and not (isinstance(state, dict) and "z" in state):
            raise ShapeError("the state of Recurrent must hold 'z', the last output")
        y0 = x.new_zeros(x.shape[1:]) if state is None else state["z"]
        if not isinstance(y0, Tensor) or y0.shape != x.shape[1:]:
            have = tuple(getattr(y0, "shape", ()))
            raise ShapeError(
                f"state 'z' has shape {have} but x needs {tuple(x.shape[1:])}; pass state=None to "
                "start afresh"
            )
        y, after = neuron(x, state, (self.w_rec * self.mask, y0))
        return y, {**after, "z": y[-1] if y.shape[0] else y0}
