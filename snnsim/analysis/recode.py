"""Recoding: how fast a wrong early answer is revised where activities move towards a surer one.

At every time step the last hidden layer moves by ``-alpha dH/dh``, where ``H`` is the entropy of
the answer that its state votes for (:class:`snnsim.networks.Recoded` for membranes,
:class:`snnsim.baselines.options.recode.Recode` for rate-coded models). The null moves it equally
far, with the moves of its units exchanged; below 0 the answer is made less sure. Source: Ulmer 2020
(arXiv:2101.00674), whose gains are minor: this is a probe, and no way to a higher accuracy.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from collections.abc import Sequence as Ordered
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from snnsim.activity import record
from snnsim.analysis.report import Figure, Report, against
from snnsim.analysis.subject import Subject
from snnsim.baselines import Baseline, RateNetwork
from snnsim.data import fetch
from snnsim.errors import ConfigError, check_number
from snnsim.functional.readouts import get_readout
from snnsim.functional.recoding import entropy, recode_signal
from snnsim.layer import device_of, evaluating
from snnsim.networks import Recoded, Sequential, recoded
from snnsim.training.evaluate import equally_padded, run_padded

Signal = Callable[[Tensor, Callable[[Tensor], Tensor]], Tensor]


def moving(net: nn.Module, alpha: float, signal: Signal = recode_signal) -> nn.Module:
    """Return a copy of a network whose last hidden layer is recoded, with the same weights.

    Args:
        net: a network that :func:`snnsim.networks.recoded` takes, or a
            :class:`snnsim.baselines.RateNetwork` without residual blocks. If it is recoded already,
            ``alpha`` takes the place of its own.
        alpha: the size of the step down the entropy; below 0 it goes up.
        signal: the direction, see :class:`snnsim.networks.Recoded`.

    Raises:
        ConfigError: if there is no such layer.
    """
    if isinstance(net, RateNetwork):
        net = copy.deepcopy(net)
        net.recode(alpha, signal=signal)
        return net
    if not isinstance(net, Sequential):
        raise ConfigError(
            f"recoding needs a Sequential or a RateNetwork, but this is a {type(net).__name__}"
        )
    return recoded(net, alpha, signal=signal)


def exchanged(seed: int) -> Signal:
    """Return a direction of the same length as that of recoding, with its units exchanged.

    Args:
        seed: the seed of the orders of the units, of which there is a new one for every step.
    """
    random = torch.Generator().manual_seed(seed)

    def signal(h: Tensor, decode: Callable[[Tensor], Tensor]) -> Tensor:
        order = torch.randperm(h.shape[-1], generator=random)
        return recode_signal(h, decode)[..., order.to(h.device)]

    return signal


class Answers(NamedTuple):
    """An ``Answers`` says when a network was right.

    Attributes:
        right: whether the answer after each output step is right, ``[T, S]``; after the end of a
            sample, that of its last step.
        steps: the number of output steps of each sample, ``[S]``.
    """

    right: np.ndarray
    steps: np.ndarray


@torch.no_grad()
def answers(subject: Subject, net: nn.Module) -> Answers:
    """Return when a network is right about the samples of a subject.

    Args:
        subject: the data, and how the answer is read.
        net: the network of the subject, or one that was made of it.
    """
    read, data = get_readout(subject.readout), subject.data
    found: list[tuple[np.ndarray, np.ndarray, Any]] = []
    steps = subject.steps or int(np.max(data.lengths))
    for chosen, padded in equally_padded(data.lengths, steps, 256):
        batch = fetch(data, chosen, padded)
        with evaluating(net):
            x = batch.x.to(device_of(net))
            y, ends = run_padded(net, x, batch.lengths, subject.mask_padding)
        masked, answer = subject.mask_padding, []
        for t in range(1, len(y) + 1):
            scores = read(y[:t], ends.clamp(max=t) if masked else None)
            answer.append((scores.argmax(1).cpu() == batch.target).numpy())
        found.append((chosen, np.stack(answer), ends.numpy() if masked else len(y)))
    longest = max(len(right) for _, right, _ in found)
    whole = Answers(np.zeros((longest, len(data)), bool), np.zeros(len(data), int))
    for chosen, right, own in found:
        whole.right[:, chosen] = np.concatenate([right, right[-1:].repeat(longest - len(right), 0)])
        whole.steps[chosen] = own
    return whole


def steps_to_recover(found: Answers, samples: np.ndarray, early: float) -> np.ndarray:
    """Return how many steps after the early one each sample's answer is right for good.

    Args:
        found: when the network was right.
        samples: the numbers of the samples.
        early: the early step, as a fraction of the steps of a sample.

    Returns:
        The numbers of steps; where the last answer is wrong too, those that were left and one more.

    >>> right = np.array([[False, False], [True, False], [False, False], [True, False]])
    >>> steps_to_recover(Answers(right, np.array([4, 4])), np.arange(2), 0.25).tolist()
    [3, 4]
    """
    first = early_step(found, early)
    wanted = []
    for sample in samples:
        wrong = np.flatnonzero(~found.right[: found.steps[sample], sample])
        last = wrong[-1] if len(wrong) else -1
        wanted.append(max(last + 1 - first[sample], 0))
    return np.asarray(wanted, int)


def early_step(found: Answers, early: float) -> np.ndarray:
    """Return the index of the early step of every sample, ``[S]``."""
    return np.maximum(np.ceil(early * found.steps).astype(int), 1) - 1


def analyse(
    subject: Subject, *, alpha: Ordered[float] = (0.0, 0.01, 0.05), early: float = 0.25
) -> Report:
    """Report what happens to answers where the last hidden layer is recoded.

    Args:
        subject: what is looked at; ``readout``, ``mask_padding`` and ``steps`` say how it is
            evaluated, and ``nulls`` is the number of networks that are moved in other directions.
        alpha: the sizes of the step down the entropy, any numbers; 0 is always among them, and so
            is the largest one's negative, as a control.
        early: the fraction of a sample's steps, from 0 to 1, after which an answer is early.

    Figures, for every ``A`` of ``alpha``: ``entropy falls at A``, the fraction of samples in which
    a single move makes the answer surer on average; ``accuracy at A`` at the end; and ``steps to
    recover at A``, from an early answer that is wrong until the answer is right for good, the mean
    over the samples in which it errs early without moves. The null moves the same layer
    equally far, with the moves of its units exchanged.
    """
    subject.check_classes("recode")
    check_number("early", early, 0, 1)
    levels = _levels(alpha)
    probe = _Probe.of(subject, early)
    figures: dict[str, Figure] = {}
    arrays: dict[str, list[Any]] = {"alpha": levels, "entropy change": [], "accuracy": []}
    null: dict[str, list[Any]] = {"entropy change, null": [], "accuracy, null": []}
    for level in levels:
        found = probe.measure(level, recode_signal)
        others = [probe.measure(level, exchanged(subject.seed + i)) for i in range(subject.nulls)]
        for name, value in found.figures.items():
            beside = [other.figures[name] for other in others]
            figures[f"{name} at {level:g}"] = against(value, beside)
        arrays["entropy change"].append(found.change)
        arrays["accuracy"].append(found.accuracy)
        if others:
            null["entropy change, null"].append(np.mean([other.change for other in others]))
            null["accuracy, null"].append(np.mean([other.accuracy for other in others], axis=0))
    kept = arrays | (null if subject.nulls else {})
    text = _told(figures, levels, probe, early)
    return Report("recode", figures, {k: np.asarray(v) for k, v in kept.items()}, text)


def _levels(alpha: Ordered[float] | float) -> list[float]:
    given = [float(a) for a in np.atleast_1d(np.asarray(alpha, float))]
    for each in given:
        check_number("alpha", each)
    most = max((abs(each) for each in given), default=0.0)
    return sorted({0.0, *given, -most} if most else {0.0})


class _Measured(NamedTuple):
    """What one size of the step does: figures, mean change of entropy, and accuracy over time."""

    figures: dict[str, float]
    change: float
    accuracy: np.ndarray


class _Probe(NamedTuple):
    """The network without moves, and the samples in which its early answer is wrong."""

    subject: Subject
    early: float
    plain: Answers
    misled: np.ndarray
    states: _States

    @classmethod
    def of(cls, subject: Subject, early: float) -> _Probe:
        states = _States.of(subject)  # refuses other networks at once
        plain = answers(subject, moving(subject.net, 0.0))
        first = early_step(plain, early)
        misled = np.flatnonzero(~plain.right[first, np.arange(len(first))])
        return cls(subject, early, plain, misled, states)

    def measure(self, alpha: float, signal: Signal) -> _Measured:
        found = self.plain
        if alpha:
            found = answers(self.subject, moving(self.subject.net, alpha, signal))
        change = self.states.change(alpha, signal)
        waited = steps_to_recover(found, self.misled, self.early)
        figures = {
            "entropy falls": float((change < 0).mean()),
            "accuracy": float(found.right[-1].mean()),
            "steps to recover": float(waited.mean()) if len(waited) else 0.0,
        }
        return _Measured(figures, float(change.mean()), found.right.mean(1))


class _States(NamedTuple):
    """The activities that recoding moves, ``[T, S, N]``, and the answers that they vote for."""

    values: Tensor
    inside: Tensor
    decode: Callable[[Tensor], Tensor]

    @classmethod
    def of(cls, subject: Subject) -> _States:
        net = moving(subject.net, 0.0)
        layers: Any = net.layers
        place = max(i for i, each in enumerate(layers) if isinstance(each, Recoded | Baseline))
        layer: Any = layers[place]
        if isinstance(layer, Recoded):
            name, what, decode = f"layers.{place}.neurons", "voltage", layer.scores
        else:
            name, what, decode = f"layers.{place}", "output", layer.decoder
        rec = record(net, subject.data, [name], what)[name]
        return cls(rec.values, rec.inside(), decode)

    @torch.no_grad()
    def change(self, alpha: float, signal: Signal) -> np.ndarray:
        """The mean change of entropy over the steps of each sample, ``[S]``."""
        move = alpha * signal(self.values, self.decode)
        after, before = (entropy(self.decode(h)) for h in (self.values - move, self.values))
        steps = self.inside.sum(0).clamp(min=1)
        mean: Tensor = ((after - before) * self.inside).sum(0) / steps
        return mean.double().cpu().numpy()


def _told(
    figures: dict[str, Figure], levels: list[float], probe: _Probe, early: float
) -> tuple[str, ...]:
    misled, when = len(probe.misled), f"after {100 * early:.0f} % of their steps"
    if not misled:
        return (f"No sample is answered wrongly {when}.",)
    told = [
        f"{misled} of {len(probe.plain.steps)} samples are answered wrongly {when}; without "
        f"moves they are right for good {figures['steps to recover at 0'].value:.3g} steps later."
    ]
    for level in levels:
        if level:
            told.append(
                f"With alpha = {level:g} it takes {figures[f'steps to recover at {level:g}']}; a "
                "move makes the answer surer in a fraction of "
                f"{figures[f'entropy falls at {level:g}']} of the samples."
            )
    return tuple(told)
