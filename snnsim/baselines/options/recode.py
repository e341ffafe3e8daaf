"""Recoding: after each step the state moves so that the answer becomes surer.

    h' = h - alpha dH(softmax(W h)) / dh,   H(p) = -sum p log p

It changes activities, not weights, in training and in evaluation. It corrects quickly, and can also
make a wrong answer surer; the source reports minor gains. Source: Ulmer 2020 (arXiv:2101.00674),
with the entropy of the prediction itself in place of an ensemble's.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from snnsim.baselines.baseline import Baseline, State
from snnsim.errors import ConfigError
from snnsim.layer import weighted_losses


class Recode(Baseline):
    """Let the state of a model descend the entropy of a decoder's answer at every step.

    Args:
        inner: a model that streams and whose output is its state, or the part ``"h"`` of it.
        decoder: module from outputs ``[B, n_out]`` to scores ``[B, classes]``.
        alpha: size of the step down the entropy.

    State: the state of the model.

    >>> from snnsim.baselines.models.gru import GRU
    >>> tuple(Recode(GRU(3, 8), nn.Linear(8, 2), alpha=0.1)(torch.rand(7, 2, 3))[0].shape)
    (7, 2, 8)
    """

    def __init__(self, inner: Baseline, decoder: nn.Module, *, alpha: float):
        super().__init__(inner.n_in, inner.n_out)
        state = inner.initial_state(1)
        h = state.get("h") if isinstance(state, dict) else state
        if not isinstance(h, Tensor) or h.shape != (1, inner.n_out):
            raise ConfigError(
                f"Recode moves a state that is the output, but that of {type(inner).__name__} is "
                "not; choose a model whose state, or the part 'h' of it, is its output"
            )
        self.inner, self.decoder, self.alpha = inner, decoder, alpha
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
        keep = torch.is_grad_enabled()
        with torch.inference_mode(False), torch.enable_grad():
            h = h.clone() if h.is_inference() else h
            at = h if h.requires_grad else h.detach().requires_grad_()
            (slope,) = torch.autograd.grad(self.entropy(at).sum(), at, create_graph=keep)
        return h - self.alpha * slope

    def entropy(self, h: Tensor) -> Tensor:
        """Return the entropy of the decoder's answer for each sample, ``[B]``."""
        scores: Any = self.decoder(h)
        log_p = scores.log_softmax(-1)
        return -(log_p.exp() * log_p).sum(-1)
