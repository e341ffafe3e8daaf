"""Quasi-LSTM: an LSTM whose gates do not see the state.

    L = s(W_f x + b),  h[t] = L h[t-1] + (1 - L) W x[t],  y[t] = s(W_o x + b_o) * h[t]

Options give the published forms of its parts: with ``input_gate``, ``s(W_i x + b_i)`` takes the
place of ``1 - L``; with ``candidate="tanh"``, ``tanh(W x)`` that of ``W x``. With a ``sharpness``
``c`` the gate ``L`` is reversed: ``s(-(W_f x + b))^c`` with ``gate="power"``, as published, or
``1 - s(W_f x + b)^c`` with ``gate="complement"``, which is ours and flat near one. Source: Bradbury
et al. 2017 (arXiv:1611.01576), for the candidate; as a dynamical system Sieber et al. 2024
(arXiv:2405.15731), section 3.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from snnsim.baselines.baseline import State, bias_of, linear
from snnsim.baselines.ltv import LinearModel, Matrices
from snnsim.errors import ConfigError, check_choice

GATES = ("complement", "power")
CANDIDATES = ("linear", "tanh")


class QuasiLSTM(LinearModel):
    """A quasi-LSTM has one decay per channel and step.

    Args:
        n_in, n_out: numbers of input and output channels; ``n_out`` units.
        sharpness: exponent ``c`` of the reversed gate, 0 or more; 0 for the plain gate.
        gate: form of the reversed gate: ``"complement"`` for ``L = 1 - s(W_f x + b)^c``, which is
            ours, or ``"power"`` for ``L = s(-(W_f x + b))^c`` of Sieber et al.
        input_gate: whether what enters has a gate of its own instead of ``1 - L``.
        candidate: what enters, ``"linear"`` or ``"tanh"``.

    Raises:
        ConfigError: ``gate="power"`` without a ``sharpness``, which would never forget.

    State: ``[B, n_out]``.

    >>> tuple(QuasiLSTM(3, 5)(torch.rand(7, 2, 3))[0].shape)
    (7, 2, 5)
    """

    residual = True
    source = "Bradbury et al. 2017, arXiv:1611.01576; Sieber et al. 2024, arXiv:2405.15731"
    left_out = (
        "by default there is no input gate, and the candidate is linear; the published forms are "
        "input_gate, candidate and, of the reversed gate, gate"
    )

    def __init__(
        self,
        n_in: int,
        n_out: int,
        *,
        sharpness: float = 0.0,
        gate: str = "complement",
        input_gate: bool = False,
        candidate: str = "linear",
    ):
        check_choice("gate", gate, GATES)
        check_choice("candidate", candidate, CANDIDATES)
        if gate == "power" and not sharpness:
            raise ConfigError(
                'gate="power" with sharpness 0 gives a decay of 1; give a sharpness above 0, or '
                'gate="complement" for the plain gate'
            )
        super().__init__(n_in, n_out)
        self.sharpness, self.gate, self.candidate = sharpness, gate, candidate
        self.gates = linear(n_in, (3 if input_gate else 2) * n_out)
        self.value = linear(n_in, n_out, bias=False)
        bias_of(self.gates)[:n_out] += -1.0 if sharpness else 1.0  # remembers a few steps at first

    def initial_state(self, batch: int) -> State:
        return self.zeros(batch, self.n_out)

    def _gates(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Decay, what enters of the candidate, and what leaves."""
        forget, output, *entry = self.gates(x)[0].split(self.n_out, -1)
        decay = self._decay(forget)
        enters = torch.sigmoid(entry[0]) if entry else 1 - decay
        return decay, enters, torch.sigmoid(output)

    def _decay(self, forget: Tensor) -> Tensor:
        if not self.sharpness:
            return torch.sigmoid(forget)
        # powers of s by their logarithms, without the infinite slope of a power at 0
        if self.gate == "power":
            return (self.sharpness * nn.functional.logsigmoid(-forget)).exp()
        return -torch.expm1(self.sharpness * nn.functional.logsigmoid(forget))

    def terms(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        decay, enters, output = self._gates(x)
        value = self.value(x)[0]
        return decay, enters * (value.tanh() if self.candidate == "tanh" else value), output

    def read(self, h: Tensor, context: Tensor) -> Tensor:
        return context * h

    def ltv(self, x: Tensor) -> Matrices:
        """Return the matrices; those of a ``tanh`` have its slope from 0 to the current value."""
        decay, enters, output = self._gates(x)
        if self.candidate == "tanh":
            value = self.value(x)[0]
            nothing = value == 0
            divisor = value.masked_fill(nothing, 1.0)
            enters = enters * torch.where(nothing, 1.0, value.tanh() / divisor)
        entry = enters.unsqueeze(-1) * self.value.weight
        return Matrices(decay, entry, torch.diag_embed(output))
