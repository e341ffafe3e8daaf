"""Repetition: how much likelier a pattern becomes each time that a network repeats it.

    P_n = mean probability of the spikes of a pattern in its n-th repetition in a row

A pattern is a part of a sample. Where ``P_n`` rises with ``n``, every repetition makes the next
one likelier, and a network that generates falls into a loop. Its null is the probability of the
same pattern after as many repetitions of another one. Source: Xu et al. 2022 (arXiv:2206.02369),
section 2; patterns of spikes instead of sentences are our choice.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from snnsim.analysis.report import Report, against
from snnsim.analysis.subject import Subject
from snnsim.data import Batch, fetch
from snnsim.errors import ConfigError, ShapeError, check_size
from snnsim.generation import generate
from snnsim.layer import device_of, evaluating
from snnsim.training.next_step import Next, next_of


@torch.no_grad()
def self_reinforcement(
    net: nn.Module,
    pattern: Tensor,
    n: int,
    *,
    context: Tensor | None = None,
    target: str = "next-event",
) -> np.ndarray:
    """Return the mean probability of a pattern's spikes in each of its repetitions, ``[n]``.

    Args:
        net: a network from ``[T, B, N]`` and a state to as many outputs, and the next state.
        pattern: the steps that are repeated, ``[L, B, N]``, of ``B`` samples side by side.
        n: the number of times in a row that they are shown, 1 or more.
        context: the steps that come before, ``[T, B, N]``; ``None`` for none.
        target: what the network was trained to predict, ``"next-event"`` or ``"next-step"``.

    >>> from snnsim.baselines import RateNetwork
    >>> net = RateNetwork(4, 4, "gru", width=8)
    >>> self_reinforcement(net, torch.eye(4)[:, None], 3).shape
    (3,)
    """
    aim = next_of(target)
    check_size("n", n)
    if pattern.ndim != 3 or not pattern.numel() or not bool((pattern > 0).any()):
        raise ShapeError(
            f"the pattern is {list(pattern.shape)} but must be [L, B, N], with one spike or more"
        )
    before = pattern[:0] if context is None else context
    x = torch.cat([before, *[pattern] * n])
    p = _probabilities(net, aim, x)[len(before) :]
    rounds = p.unflatten(0, (n, len(pattern)))
    spikes = (pattern > 0).expand_as(rounds) & ~rounds.isnan()  # the first step of all has no past
    each = [float(q[s].double().mean()) for q, s in zip(rounds, spikes, strict=True)]
    return np.array(each)


def _probabilities(net: nn.Module, aim: Next, x: Tensor) -> Tensor:
    """The probability of a spike in every channel at each step of ``x``; NaN at the first."""
    x = x.to(device_of(net))
    with evaluating(net):
        y, _ = net(x[:-1])
    p = aim.of_spikes(y[: len(x) - 1], x[1:]).exp()
    return torch.cat([torch.full_like(p[:1] if len(p) else x[:1], float("nan")), p])


class Patterns(NamedTuple):
    """Patterns of samples, and what came before them there.

    Attributes:
        pattern: ``[L, B, N]``.
        context: ``[T, B, N]``.
    """

    pattern: Tensor
    context: Tensor


def patterns_of(batch: Batch, length: int, context: int) -> Patterns:
    """Return the first steps of each sample as context, and the steps that follow as a pattern.

    Args:
        batch: samples, each at least ``context + length`` steps long.
        length: the number of steps of a pattern, 1 or more.
        context: the number of steps before it, 0 or more.
    """
    x = (batch.x > 0).to(batch.x.dtype)
    return Patterns(x[context : context + length], x[:context])


def repeated_fraction(x: Tensor, length: int = 4) -> float:
    """Return the fraction of runs of steps that were there before in the same sample.

    Args:
        x: spikes, ``[T, B, N]``.
        length: the number of steps in a run, 1 or more; runs without a spike do not count.

    >>> x = torch.eye(3)[[0, 1, 0, 1, 0, 1, 2]][:, None]
    >>> repeated_fraction(x, 2)
    0.5
    """
    check_size("length", length)
    again = runs = 0
    for sample in (x > 0).cpu().numpy().swapaxes(0, 1):
        seen: set[bytes] = set()
        for start in range(len(sample) - length + 1):
            run = sample[start : start + length]
            if run.any():
                packed = run.tobytes()
                again, runs = again + (packed in seen), runs + 1
                seen.add(packed)
    return again / runs if runs else 0.0


def analyse(
    subject: Subject,
    *,
    length: int = 8,
    context: int = 32,
    repetitions: int = 10,
    steps: int = 200,
    temperature: float = 0.0,
    samples: int = 32,
) -> Report:
    """Report whether repetition reinforces itself, and how much generated spikes repeat.

    Args:
        subject: a network that predicts the next event or step, and data.
        length: the number of steps of a pattern.
        context: the number of steps of the same sample before it.
        repetitions: the number of times in a row that a pattern is shown, 2 or more.
        steps: the number of steps that the network generates.
        temperature: of the generation, see :func:`snnsim.generation.generate`.
        samples: the largest number of samples.

    Figures: ``first`` and ``last``, the mean probability of a pattern's spikes the first and the
    last time that it is shown, and ``rise``, their difference; the null is a pattern after as many
    repetitions of that of another sample. ``repeated``, the fraction of runs of four steps in what
    the network generates that were there before; the null are the same steps in another order.
    """
    aim = next_of(subject.target)
    check_size("repetitions", repetitions, 2)
    check_size("context", context, 1)
    batch = _batch(subject, check_size("length", length), context, samples)
    aim.posed(batch)  # refuses data of another kind
    found = patterns_of(batch, length, context)
    curve = self_reinforcement(
        subject.net, found.pattern, repetitions, context=found.context, target=subject.target
    )
    random = np.random.default_rng(subject.seed)
    nulls = [
        _after_others(subject, found, repetitions, _others(random, found.pattern.shape[1]))
        for _ in range(subject.nulls)
    ]
    added = generate(
        subject.net, found.context, steps, target=subject.target, temperature=temperature,
        seed=subject.seed,
    ).cpu()  # fmt: skip
    mixed = [repeated_fraction(_mixed(added, random)) for _ in range(subject.nulls)]
    figures = {
        "first": against(curve[0], [n[0] for n in nulls]),
        "last": against(curve[-1], [n[-1] for n in nulls]),
        "rise": against(curve[-1] - curve[0], [n[-1] - n[0] for n in nulls]),
        "repeated": against(repeated_fraction(added), mixed),
    }
    arrays = {"probability": curve}
    if nulls:
        arrays["probability, null"] = np.mean(nulls, axis=0)
    told = (
        f"The spikes of a pattern have a probability of {curve[0]:.3f} at first and of "
        f"{figures['last']} the {repetitions}th time in a row.",
        f"Of the runs of four steps that the network generates, a fraction of "
        f"{figures['repeated']} was there before; in the data it is {_in_data(batch):.3g}.",
    )
    return Report("repetition", figures, arrays, told)


def _batch(subject: Subject, length: int, context: int, samples: int) -> Batch:
    """Samples that are long enough, cut to the shortest, on the device of the network."""
    long = np.flatnonzero(np.asarray(subject.data.lengths) >= context + length)
    if len(long) < 2:
        raise ConfigError(
            f"{len(long)} samples have the {context + length} steps of context and length, but 2 "
            "are needed, to compare with another pattern; take a smaller context or length"
        )
    batch = fetch(subject.data, long[: check_size("samples", samples, 2)])
    steps = int(batch.lengths.min())
    x = batch.x[:steps].flatten(2).to(device_of(subject.net))
    return Batch(x, batch.target, batch.lengths.clamp(max=steps))


def _others(random: np.random.Generator, count: int) -> Tensor:
    """For each sample another one, ``[count]``."""
    return torch.from_numpy((np.arange(count) + random.integers(1, count)) % count)


def _after_others(subject: Subject, found: Patterns, repetitions: int, other: Tensor) -> np.ndarray:
    """The probability of each pattern after 0, 1, ... repetitions of another sample's."""
    each = []
    for number in range(repetitions):
        before = torch.cat([found.context, *[found.pattern[:, other]] * number])
        curve = self_reinforcement(
            subject.net, found.pattern, 1, context=before, target=subject.target
        )
        each.append(curve[0])
    return np.array(each)


def _mixed(x: Tensor, random: np.random.Generator) -> Tensor:
    """The steps of every sample in another order."""
    order = random.permuted(np.tile(np.arange(len(x))[:, None], (1, x.shape[1])), axis=0)
    return x.gather(0, torch.from_numpy(order)[..., None].expand_as(x))


def _in_data(batch: Batch) -> float:
    return repeated_fraction(batch.x)
