"""Neural process: adaptation to a speaker from a few labelled utterances, without gradient steps.

    c = GRU(x),  r = attention(query c, context codes),  z ~ N(mean, 1 / precision)
    precision = prior + sum_i e_i,  mean = (prior m_0 + sum_i e_i m_i) / precision
    y = W relu(V [c, r, z] + b) + d

with a mean ``m_i`` and evidence ``e_i > 0`` from the code of each context utterance, so every
utterance makes ``z`` surer and their order does not matter. The context is a state: it starts
empty, and :meth:`NeuralProcess.observe` adds utterances with their labels. Without a context
the attention gives 0 and ``z`` is the learnt prior. A ``z`` that :meth:`NeuralProcess.sample` has
drawn is one guess at the speaker, the same for all that is asked. With ``cued`` the labels are in
the input: an utterance joins the context where its label ends, and the encoder starts anew.

Source: Du et al. 2023 (arXiv:2208.04600) for the idea; Kim et al. 2019 (arXiv:1901.05761) for the
attentive form; Volpp et al. 2021 (ICLR) for the sums of evidence.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from snnsim.baselines.baseline import Baseline, State, linear
from snnsim.baselines.models.gru import GRU
from snnsim.errors import ConfigError
from snnsim.layer import add_auxiliary_loss


class NeuralProcess(Baseline):
    """A neural process is a recurrent encoder with a head that depends on labelled utterances.

    Args:
        n_in, n_out: numbers of input and output channels; ``n_out`` units.
        latent: number of channels of ``z``.
        classes: number of classes of the labels in a context.
        slots: largest number of utterances in the context; more are refused.
        decoder: number of hidden units of the decoder; 0 for a linear one, ``y = W [c, r, z] + d``,
            which cannot apply what the context says of a speaker to what is asked.
        cued: whether the last ``classes`` input channels are no input but say the class of a
            labelled utterance, one of them being above 0 while it lasts and all 0 otherwise.

    State: ``{"h": [B, n_out]``, ``"context": [B, slots, n_out]``, ``"known": [B, slots]}``; after
    :meth:`sample` also ``"z": [B, latent]``, and with ``cued`` the label of the step before,
    ``"cue": [B, classes]``.

    >>> net = NeuralProcess(3, 8, classes=2)
    >>> context = net.observe(net.initial_state(1), torch.rand(7, 4, 3), torch.tensor([0, 1, 0, 1]))
    >>> tuple(net(torch.rand(7, 1, 3), context)[0].shape)
    (7, 1, 8)
    """

    tables = ("label", "prior")
    source = "Du et al. 2023, arXiv:2208.04600"
    conditional = ("label", "code")
    may_be_none = ("decoder",)
    formerly: ClassVar[dict[str, Any]] = {"decoder": 0}
    left_out = (
        "items and dilated convolutions at several scales (a GRU encodes utterances); the "
        "divergence is that of the context from the prior; on data without labelled utterances "
        "(all but few-shot) the weights that read them are not trained"
    )

    def __init__(
        self,
        n_in: int,
        n_out: int,
        *,
        latent: int = 8,
        classes: int = 10,
        slots: int = 8,
        decoder: int = 64,
        cued: bool = False,
    ):
        super().__init__(n_in, n_out)
        self.latent, self.classes, self.slots, self.cued = latent, classes, slots, cued
        heard = n_in - classes * cued
        if heard < 1:
            raise ConfigError(
                f"n_in is {n_in}, but with cued the last {classes} input channels are labels, so "
                f"{classes + 1} or more are needed; give the classes of the data, or cued=False"
            )
        self.encoder = GRU(heard, n_out)
        self.label = nn.Parameter(torch.randn(classes, n_out) / n_out**0.5)
        self.code = linear(n_out, n_out)
        self.query, self.key, self.value = (linear(n_out, n_out, bias=False) for _ in range(3))
        self.summary = linear(n_out, 2 * latent)
        self.prior = nn.Parameter(torch.zeros(2, latent))
        joined = 2 * n_out + latent
        self.hidden = linear(joined, decoder) if decoder else None
        self.out = linear(decoder or joined, n_out)

    def initial_state(self, batch: int) -> State:
        cue = {"cue": self.zeros(batch, self.classes)} if self.cued else {}
        return {
            "h": self.zeros(batch, self.n_out),
            "context": self.zeros(batch, self.slots, self.n_out),
            "known": self.zeros(batch, self.slots),
            **cue,
        }

    def observe(
        self, state: State, x: Tensor, labels: Tensor, lengths: Tensor | None = None
    ) -> State:
        """Return the state of one sample with ``m`` more labelled utterances in its context.

        Args:
            state: state of one sample (``B = 1``).
            x: utterances ``[T, m, n_in]``.
            labels: their classes ``[m]``.
            lengths: numbers of steps of the utterances, ``[m]``; ``None`` for ``T`` each.
        """
        used = int(state["known"].sum())
        self._check_room(used, len(labels))
        y, _ = self.encoder(x)
        ends = torch.full_like(labels, len(x)) if lengths is None else lengths.to(labels)
        last = y[ends - 1, torch.arange(len(labels), device=y.device)]
        codes = torch.tanh(self.code(last + self.label[labels])[0])
        context, known = state["context"].clone(), state["known"].clone()
        context[0, used : used + len(labels)] = codes
        known[0, used : used + len(labels)] = 1
        return {**state, "context": context, "known": known}

    def _check_room(self, used: int, more: int) -> None:
        if used + more > self.slots:
            raise ConfigError(
                f"the context holds {used} utterances and has room for {self.slots}; "
                f"{more} more do not fit; make the model with a larger slots="
            )

    def _join(self, state: State, ended: Tensor, cue: Tensor) -> State:
        """The state after the samples ``ended [B]`` have ended an utterance of class ``cue``."""
        used = state["known"].sum(1)
        self._check_room(int((used * ended).max()), int(ended.any()))
        code = torch.tanh(self.code(state["h"] + (cue > 0).to(cue) @ self.label)[0])
        slot = torch.arange(self.slots, device=used.device) == used.unsqueeze(1)
        slot = slot & ended.unsqueeze(1)
        context = torch.where(slot.unsqueeze(-1), code.unsqueeze(1), state["context"])
        h = state["h"] * ~ended.unsqueeze(1)
        return {**state, "h": h, "context": context, "known": state["known"] + slot}

    def latent_of(self, state: State) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation ``[B, latent]`` of ``z`` given the context."""
        known = state["known"].unsqueeze(-1)
        m, e = self.summary(state["context"])[0].chunk(2, -1)
        e = nn.functional.softplus(e) * known
        precision = torch.exp(-2 * self.prior[1])
        total = precision + e.sum(1)
        return (precision * self.prior[0] + (e * m).sum(1)) / total, total.rsqrt()

    def sample(self, state: State) -> State:
        """Return the state with a ``z`` drawn for each sample, which all further steps are given.

        Without it, ``z`` is its mean in evaluation, and drawn anew by every call in training.
        Samples of one draw answer together as one speaker would: give them the same ``z``.

        Args:
            state: state of any number of samples, with their contexts.
        """
        mean, deviation = self.latent_of(state)
        return {**state, "z": mean + deviation * torch.randn_like(mean)}

    def run(self, x: Tensor, state: State, lengths: Tensor | None) -> tuple[Tensor, State]:
        if not self.cued:
            return self._answer(x, state)
        x, cue = x.split([x.shape[-1] - self.classes, self.classes], -1)
        before = torch.cat([state["cue"][None], cue[:-1]])
        ended = (before > 0).any(-1) & ((before > 0) != (cue > 0)).any(-1)
        edges = ended.any(1).nonzero().flatten().tolist()
        outputs = []
        for first, last in pairwise([0, *(edge for edge in edges if edge), len(x)]):
            if ended[first].any():
                state = self._join(state, ended[first], before[first])
            y, state = self._answer(x[first:last], state, whole=last == len(x))
            outputs.append(y)
        return torch.cat(outputs), {**state, "cue": cue[-1]}

    def _answer(self, x: Tensor, state: State, whole: bool = True) -> tuple[Tensor, State]:
        """Outputs given the context; the divergence is added where the input is ``whole``."""
        c, h = self.encoder(x, {"h": state["h"]})
        known = state["known"] > 0
        k, v = (m(state["context"])[0] for m in (self.key, self.value))
        scores = torch.einsum("tbn,bmn->tbm", self.query(c)[0], k) / self.n_out**0.5
        scores = scores.masked_fill(~known, torch.finfo(scores.dtype).min)
        weights = scores.softmax(-1) * known  # 0 without a context
        read = torch.einsum("tbm,bmn->tbn", weights, v)
        mean, deviation = self.latent_of(state)
        z = state.get("z", mean)
        if self.training and "z" not in state:
            z = mean + deviation * torch.randn_like(mean)
            if whole:
                self._add_divergence(mean, deviation)
        y = torch.cat([c, read, z.expand(len(x), *z.shape)], -1)
        if self.hidden is not None:
            y = torch.relu(self.hidden(y)[0])
        return self.out(y)[0], {**state, "h": h["h"]}

    def _add_divergence(self, mean: Tensor, deviation: Tensor) -> None:
        """KL from the prior, so that an empty context says nothing."""
        prior, spread = self.prior[0], self.prior[1].exp()
        ratio = (deviation / spread) ** 2
        distance = ((mean - prior) / spread) ** 2
        kl = 0.5 * (ratio + distance - 1 - ratio.log()).sum(-1)
        add_auxiliary_loss("divergence", 1e-3 * kl.mean())
