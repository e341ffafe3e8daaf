"""Objectives of networks that generate: the target is what comes next in the input itself.

Of events one by one (``x[t]`` is one-hot) the next channel is a class, and the loss is that of
SASRec with every other channel as a negative; of spikes on a time grid every channel fires in the
next step or not. Against loops, training may add DITTO's loss on repeated patterns:

    L = -mean log p(x[t + 1] | x[0 .. t])  +  repetition * mean -log(1 - |p_n - scale p*_{n-1}|)

Sources: Kang & McAuley 2018 (arXiv:1808.09781), equation 7, with all channels in place of one
sampled negative; Xu et al. 2022 (arXiv:2206.02369), equation 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from snnsim.data import Batch
from snnsim.errors import ConfigError, DataError, ShapeError, check_choice, check_number, check_size
from snnsim.functional.losses import repetition_loss
from snnsim.training.evaluate import run_padded
from snnsim.training.objectives import (
    Classification,
    Measured,
    Objective,
    in_full,
    weights_of_steps,
)
from snnsim.training.recipe import CLASS, TARGETS, Recipe

OCCURRENCES = 4  # of a repeated pattern in a window, at least


@dataclass(frozen=True)
class Next(Objective):
    """The loss is the negative log-likelihood of each next step; it is also the score.

    It is a mean over the steps of a sample, in nats; a smaller one is better. This is the base
    class of :class:`NextEvent` and :class:`NextStep`.

    Args:
        repetition: the weight of the loss against repetition in training, 0 or more; 0 means none.
            It is computed on patterns that are cut from the samples at random and repeated until
            they are as long as the batch.
        steps: the number of time steps of a pattern, 0 or more; 0 draws one for each sample, from
            2 to a quarter of the length of the batch.
        scale: what the probability of a repeated step is to become of that in the repetition
            before, from 0 to 1.
    """

    repetition: float = 0.0
    steps: int = 0
    scale: float = 0.5
    metric = "nats"
    larger_is_better = False

    def __post_init__(self) -> None:
        check_number("repetition", self.repetition, 0)
        check_size("steps", self.steps, 0)
        check_number("scale", self.scale, 0, 1)

    def likelihood(self, y: Tensor, following: Tensor) -> Tensor:
        """Return the log-likelihood of the steps that follow, ``[T, B]``.

        Args:
            y: the outputs of the network, ``[T, B, N]``.
            following: the input one step later, ``[T, B, N]``.
        """
        return self.of_spikes(y, following).masked_fill(following == 0, 0).sum(-1)

    def of_spikes(self, y: Tensor, following: Tensor) -> Tensor:
        """Return the log-probability of a spike in each channel, ``[T, B, N]``.

        Args:
            y, following: as for :meth:`likelihood`.
        """
        raise NotImplementedError

    def drawn(self, y: Tensor, temperature: float, generator: torch.Generator | None) -> Tensor:
        """Return the next step ``[B, N]``, drawn by the outputs of a step.

        Args:
            y: the outputs of a step, ``[B, N]``.
            temperature: a divisor of the outputs; 0 takes the likeliest.
            generator: the source of random numbers; ``None`` for torch's own.
        """
        raise NotImplementedError

    def check(self, following: Tensor, inside: Tensor) -> None:
        """Raise :class:`DataError` for data that have no such next steps.

        Args:
            following: the input one step later, ``[T, B, N]``.
            inside: whether a step belongs to its sample, ``[T, B]``.
        """
        raise NotImplementedError

    def posed(self, batch: Batch) -> Batch:
        """Return the batch without its last step, whose target is the input one step later."""
        if batch.x.ndim != 3 or len(batch.x) < 2:
            raise ShapeError(
                f"the input is {list(batch.x.shape)} but must be [T, B, N] with 2 time steps or "
                "more, to have a next step"
            )
        following, lengths = batch.x[1:], (batch.lengths - 1).clamp(min=0)
        inside = weights_of_steps(len(following), lengths.to(following.device)) > 0
        self.check(following, inside)
        return Batch(batch.x[:-1], following, lengths)

    def measure(self, y: Tensor, batch: Batch, lengths: Tensor) -> Measured:
        following = batch.target.to(y.device)
        y = _as_many(y, following)
        each = -self.likelihood(y, following)
        loss = (each * weights_of_steps(len(each), batch.lengths.to(y))).sum()
        return Measured(loss, float(loss.detach()))

    def penalty(self, net: nn.Module, batch: Batch) -> Tensor | None:
        """Return the loss on repeated patterns, summed over the samples; ``None`` without one."""
        if not self.repetition or not batch.x.shape[1]:
            return None
        found = repeated_patterns(batch, self.steps)
        y, _ = run_padded(net, found.x, torch.full_like(batch.lengths, len(found.x)))
        p = self.of_spikes(_as_many(y, found.following), found.following).exp()
        step = torch.arange(len(p), device=p.device)[:, None]
        before = (step - found.period).clamp(min=0)
        earlier = p.gather(0, before[..., None].expand_as(p))
        counted = (step >= found.period)[..., None] & (found.following > 0)
        if not bool(counted.any()):
            return None
        loss = repetition_loss(p[counted], earlier[counted], self.scale)
        return self.repetition * p.shape[1] * loss


class NextEvent(Next):
    """The loss is the cross-entropy of the next event's channel, where each step is one event."""

    def of_spikes(self, y: Tensor, following: Tensor) -> Tensor:
        return y.log_softmax(-1)

    def drawn(self, y: Tensor, temperature: float, generator: torch.Generator | None) -> Tensor:
        if temperature == 0:
            channel = y.argmax(-1)
        else:
            p = (y / temperature).softmax(-1)
            channel = torch.multinomial(p, 1, generator=generator)[:, 0]
        return functional.one_hot(channel, y.shape[-1]).to(y)

    def check(self, following: Tensor, inside: Tensor) -> None:
        one = (following.sum(-1) == 1) & (following.amax(-1) == 1) & (following.amin(-1) == 0)
        if not bool((one | ~inside).all()):
            raise DataError(
                "next-event needs exactly one event in every time step, but some have none or "
                'several; set data.binning to "events", or predict "next-step"'
            )


class NextStep(Next):
    """The loss is the binary cross-entropy of all channels: does each fire in the next step?

    It is summed over the channels. A channel with several spikes in a step counts as firing.
    """

    def likelihood(self, y: Tensor, following: Tensor) -> Tensor:
        fires = (following > 0).to(y)
        loss = functional.binary_cross_entropy_with_logits(y, fires, reduction="none")
        return -loss.sum(-1)

    def of_spikes(self, y: Tensor, following: Tensor) -> Tensor:
        return functional.logsigmoid(y)

    def drawn(self, y: Tensor, temperature: float, generator: torch.Generator | None) -> Tensor:
        if temperature == 0:
            return (y > 0).to(y)
        return torch.bernoulli((y / temperature).sigmoid(), generator=generator)

    def check(self, following: Tensor, inside: Tensor) -> None:
        if bool((following < 0).any()) or bool((following != following.round()).any()):
            raise DataError(
                "next-step needs counts of spikes, whole numbers of 0 or more, but the input has "
                "other values, such as mel bands; take data that are spikes"
            )


class Repeated(NamedTuple):
    """Patterns that are repeated to the end of a window.

    Attributes:
        x: the input, ``[T, B, N]``.
        following: the input one step later, ``[T, B, N]``.
        period: the number of steps of each pattern, ``[B]``.
    """

    x: Tensor
    following: Tensor
    period: Tensor


def repeated_patterns(batch: Batch, steps: int = 0) -> Repeated:
    """Return a random part of each sample, repeated until it is as long as the batch.

    Args:
        batch: a batch as :meth:`Next.posed` returns it.
        steps: the number of time steps of a part, or of a shorter sample as a whole; 0 draws one
            for each sample, from 2 to a quarter of the length of the batch.
    """
    T, B = batch.x.shape[:2]
    lengths = batch.lengths.to(batch.x.device).clamp(min=1)
    longest = lengths.clamp(max=steps or max(T // OCCURRENCES, 2))
    shortest = longest if steps else longest.clamp(max=2)
    period = shortest + _below(longest - shortest + 1)
    start = _below(lengths - period + 1)
    step = torch.arange(T + 1, device=batch.x.device)[:, None]
    source = start + step % period
    whole = batch.x.gather(0, source[..., None].expand(T + 1, B, batch.x.shape[2]))
    return Repeated(whole[:-1], whole[1:], period)


def _below(most: Tensor) -> Tensor:
    """A random whole number from 0 to just below each of ``most``."""
    drawn = torch.rand(most.shape).to(most.device)
    return torch.minimum((drawn * most).long(), most - 1)


def _as_many(y: Tensor, following: Tensor) -> Tensor:
    """Outputs for the steps that are there; delays make outputs longer than the input."""
    y = in_full(y)[: len(following)]
    if y.shape != following.shape:
        raise ShapeError(
            f"the network gives {list(y.shape)} but the next steps are {list(following.shape)}; a "
            "network that predicts the next step has as many outputs as channels"
        )
    return y


def next_of(target: str, repetition: float = 0.0, steps: int = 0, scale: float = 0.5) -> Next:
    """Return the objective that is called ``"next-event"`` or ``"next-step"``.

    Args:
        target: its name.
        repetition, steps, scale: the arguments of :class:`Next`.
    """
    check_choice("target", target, TARGETS)
    if target == CLASS:
        raise ConfigError(
            "a network whose target is the class generates nothing; train one with "
            "training.target next-event or next-step"
        )
    made = NextEvent if target == "next-event" else NextStep
    return made(repetition, steps, scale)


def objective_of(recipe: Recipe) -> Objective:
    """Return the objective that a recipe names by its target and read-out."""
    if recipe.target == CLASS:
        return Classification(recipe.readout, recipe.mask_padding)
    return next_of(
        recipe.target, recipe.repetition, recipe.repetition_steps, recipe.repetition_scale
    )
