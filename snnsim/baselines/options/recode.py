"""Recoding: after each step the state moves so that the answer becomes surer.

    h' = h - alpha dH(softmax(W h)) / dh,   H(p) = -sum p log p

It changes activities, not weights, in training and in evaluation. It corrects quickly, and can also
make a wrong answer surer; the source reports minor gains. Source: Ulmer 2020 (arXiv:2101.00674),
with the entropy of the prediction itself in place of an ensemble's.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from snnsim.baselines.baseline import Baseline, State
from snnsim.errors import ConfigError, check_number
from snnsim.functional.recoding import entropy, recode_signal
from snnsim.layer import weighted_losses


class Recode(Baseline):
    """Let the state of a model descend the entropy of a decoder's answer at every step.

    Args:
        inner: a model that streams and whose output is its state, or the part ``"h"`` of it.
        decoder: module or function from outputs ``[B, n_out]`` to scores ``[B, classes]``.
        alpha: size of the step down the entropy; below 0 it goes up, as a control.
        signal: function of the state and the decoder that returns the direction,
            :func:`snnsim.functional.recoding.recode_signal` unless given.

    State: the state of the model.

    >>> from torch import nn
    >>> from snnsim.baselines.models.gru import GRU
    >>> tuple(Recode(GRU(3, 8), nn.Linear(8, 2), alpha=0.1)(torch.rand(7, 2, 3))[0].shape)
    (7, 2, 8)
    """

    left_out = "surprisal and ensembles as signals, and sizes of the step that are learnt"

    def __init__(
        self,
        inner: Baseline,
        decoder: Callable[[Tensor], Tensor],
        *,
        alpha: float,
        signal: Callable[[Tensor, Callable[[Tensor], Tensor]], Tensor] = recode_signal,
    ):
        super().__init__(inner.n_in, inner.n_out)
        check_number("alpha", alpha)
        state = inner.initial_state(1) if inner.streaming == "exact" else None
        h = state.get("h") if isinstance(state, dict) else state
        if not isinstance(h, Tensor) or h.shape != (1, inner.n_out):
            raise ConfigError(
                f"Recode moves a state that is the output, but that of {type(inner).__name__} is "
                "not; choose a model whose state, or the part 'h' of it, is its output"
            )
        self.inner, self.decoder, self.alpha, self.signal = inner, decoder, alpha, signal
        self.source = inner.source

    def initial_state(self, batch: int) -> State:
        return self.inner.initial_state(batch)

    def run(self, x: Tensor, state: State, lengths: Tensor | None) -> tuple[Tensor, State]:
        outputs = []
        for frame in x.unsqueeze(1):
            with weighted_losses(1 / len(x)):
                y, state = self.inner.run(frame, state, None)
            h = self.moved(y[0])
            state = {**state, "h": h} if isinstance(state, dict) else h
            outputs.append(h)
        return torch.stack(outputs), state

    def moved(self, h: Tensor) -> Tensor:
        """Return ``h`` after one step down the entropy."""
        signal = self.signal(h, self.decoder)
        return (h.clone() if h.is_inference() else h) - self.alpha * signal

    def entropy(self, h: Tensor) -> Tensor:
        """Return the entropy of the decoder's answer for each sample, ``[B]``."""
        return entropy(self.decoder(h))
