"""Dynamics: does a difference grow, does activity last without input, which units switch classes.

Two runs of a network that differ by one input spike (twins) part at the rate

    growth(l) = mean over twins of log(d_{l+1} / d_l),    d_l = ||s_l - s'_l||,

where ``s`` is the state of a layer and ``l`` counts time steps from the spike. A spiking neuron has
no Jacobian whose eigenvalues would say so, hence twins. What the input is needed for shows when it
is switched off, held constant or replaced by noise. Units that switch classes: ``switching.py``.
Source of the questions: Torre et al. 2025, arXiv:2510.25674, whose rate networks are examined by
Jacobians.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from snnsim.activity import RATE, Recording, record
from snnsim.analysis.report import Figure, Report, against, beside_null
from snnsim.analysis.subject import Subject, last_hidden
from snnsim.analysis.switching import ablate, residency
from snnsim.analysis.weights import other_weights
from snnsim.data import Batch, Sequences, fetch
from snnsim.errors import ConfigError, check_number, check_seed, check_size
from snnsim.layer import device_of, evaluating
from snnsim.neurons import Neuron
from snnsim.training.objectives import Classification, Objective, PerStep
from snnsim.training.recipe import CLASS

MERGED = 1e-5  # twins that are closer than this cannot be told from rounding in float32
ALIVE = 0.1  # of the activity under the data: less than this counts as silence


class Growth(NamedTuple):
    """A ``Growth`` says how twins part, by the number of time steps since their difference.

    Attributes:
        ratio: the mean of ``log(d_{l+1} / d_l)`` over the twins that are apart, ``[L]``; NaN where
            none are.
        distance: the mean distance, ``[L + 1]``.
        apart: the fraction of twins that are apart, ``[L + 1]``.
    """

    ratio: np.ndarray
    distance: np.ndarray
    apart: np.ndarray


class Settled(NamedTuple):
    """A ``Settled`` says what remains of a layer's activity once the data have ended.

    Attributes:
        driven: the mean activity in the second half of the data.
        off, constant, noise: the activity at every step after the data, ``[steps]``.
        kind: ``"self-sustained"`` if it lasts without input, ``"noise-sustained"`` if it lasts
            with noise alone, ``"driven"`` if with neither, ``"silent"`` if there never was any.
    """

    driven: float
    off: np.ndarray
    constant: np.ndarray
    noise: np.ndarray
    kind: str

    def lasting(self, drive: str) -> float:
        """Return what is left in the last quarter of the steps, as a fraction of ``driven``."""
        values: np.ndarray = getattr(self, drive)
        return float(values[-max(len(values) // 4, 1) :].mean() / self.driven) if self.driven else 0


@torch.no_grad()
def perturb(
    net: nn.Module,
    data: Sequences | Tensor,
    *,
    layer: str = "",
    samples: int = 32,
    horizon: int = 20,
    seed: int = 0,
) -> Growth:
    """Return how twins part that differ by one input spike.

    In every sample, one channel of one step of the first half gets a spike, or loses the one it
    has.

    Args:
        net: a spiking or rate-coded network.
        data: a data set, or a batch ``[T, B, ...]``.
        layer: the name of the layer whose state is compared: all state variables of spiking
            neurons, the output of a rate-coded model; ``""`` for the last hidden one.
        samples: the largest number of samples.
        horizon: the number of time steps after the spike, at most half of those of the data.
        seed: the seed of the steps and channels.

    Raises:
        ConfigError: if the data have fewer than two steps.
    """
    check_size("horizon", horizon)
    x = _inputs(net, data, samples)[0]
    if len(x) < 2:
        raise ConfigError(f"the data have {len(x)} time steps, but twins need 2 or more")
    random = np.random.default_rng(check_seed(seed))
    half, count = len(x) // 2, x.shape[1]
    step = torch.from_numpy(random.integers(0, half, count))
    other = _one_spike_apart(x, step, random)
    state = _states(net, torch.cat([x, other], 1), layer or last_hidden(net))
    difference = (state[:, :count] - state[:, count:]).double().flatten(2).norm(dim=2).cpu()
    lags = torch.arange(min(horizon, len(x) - half) + 1).clamp(max=len(x) - half)
    distance = difference.gather(0, step + lags[:, None]).numpy()
    return _growth(distance)


def _one_spike_apart(x: Tensor, step: Tensor, random: np.random.Generator) -> Tensor:
    other = x.clone().flatten(2)
    channel = torch.from_numpy(random.integers(0, other.shape[2], x.shape[1]))
    sample = torch.arange(x.shape[1])
    before = other[step, sample, channel]
    other[step, sample, channel] = torch.where(before < 1, before + 1, before - 1)
    return other.view_as(x)


def _growth(distance: np.ndarray) -> Growth:
    """The growth of distances ``[L + 1, twins]``."""
    apart = distance > MERGED
    floored = np.log(np.maximum(distance, MERGED))
    ratios = np.where(apart[:-1], floored[1:] - floored[:-1], 0.0)
    with np.errstate(invalid="ignore"):
        ratio = ratios.sum(1) / apart[:-1].sum(1)
    return Growth(ratio, distance.mean(1), apart.mean(1))


def _states(net: nn.Module, x: Tensor, layer: str) -> Tensor:
    """What a layer keeps from step to step, ``[T, B, N]``."""
    module = dict(net.named_modules()).get(layer)
    whats = type(module).state if isinstance(module, Neuron) else ("output",)
    found = [record(net, x, [layer], what)[layer].values.flatten(2) for what in whats]
    return torch.cat(found, 2)[: len(x)]


@torch.no_grad()
def settle(
    net: nn.Module,
    drive: Sequences | Tensor,
    sigma: float = 0.1,
    *,
    layer: str = "",
    samples: int = 32,
    steps: int = 200,
    seed: int = 0,
) -> Settled:
    """Return what remains of a layer's activity once the data have ended.

    After the data the input is switched off, or held at its mean over time, or replaced by Gaussian
    noise. Activity is the root mean square of the layer's output over its units, averaged over the
    samples; of a rate-coded model, of the difference from its output when it never had any input.

    Activity that lasts with noise alone need not be sustained by the network: a layer without a
    threshold passes any noise on. Take a small ``sigma``, and compare with a network whose
    recurrent weights were removed (:func:`snnsim.analysis.weights.other_weights`).

    Args:
        net: a spiking or rate-coded network.
        drive: a data set, or a batch ``[T, B, ...]``.
        sigma: the standard deviation of the noise in every channel, 0 or more.
        layer: the name of the layer; ``""`` for the last hidden one.
        samples: the largest number of samples.
        steps: the number of time steps after the data.
        seed: the seed of the noise.
    """
    check_number("sigma", sigma, 0)
    check_size("steps", steps)
    layer = layer or last_hidden(net)
    x = _inputs(net, drive, samples)[0]
    generator = torch.Generator().manual_seed(check_seed(seed))
    tail = x.new_zeros(steps, *x.shape[1:])
    noise = sigma * torch.randn(tail.shape, generator=generator).to(tail)
    tails = {"off": tail, "constant": tail + x.mean(0), "noise": noise}
    rest = _resting(net, len(x) + steps, x, layer)
    activity = {
        name: _activity(net, torch.cat([x, after]), layer, rest) for name, after in tails.items()
    }
    driven = float(activity["off"][len(x) // 2 : len(x)].mean())
    after = {name: values[len(x) :] for name, values in activity.items()}
    found = Settled(driven, **after, kind="silent")
    if driven == 0:
        return found
    if found.lasting("off") >= ALIVE:
        return found._replace(kind="self-sustained")
    return found._replace(kind="noise-sustained" if found.lasting("noise") >= ALIVE else "driven")


def _resting(net: nn.Module, steps: int, x: Tensor, layer: str) -> Tensor:
    """What a layer puts out without any input, ``[T, 1, N]``; 0 for spikes."""
    found = record(net, x.new_zeros(steps, 1, *x.shape[2:]), [layer])[layer]
    return found.values[:steps] * (found.kind == RATE)


def _activity(net: nn.Module, x: Tensor, layer: str, rest: Tensor) -> np.ndarray:
    y = record(net, x, [layer])[layer].values[: len(x)] - rest
    return y.double().flatten(2).square().mean(2).sqrt().mean(1).cpu().numpy()


def _inputs(net: nn.Module, data: Sequences | Tensor, samples: int) -> Batch:
    """Samples up to the end of the shortest, on the device of the network."""
    check_size("samples", samples)
    if isinstance(data, Tensor):
        lengths = torch.full((data.shape[1],), len(data))
        batch = Batch(data, torch.zeros(data.shape[1], dtype=torch.long), lengths)
    else:
        batch = fetch(data, np.arange(min(samples, len(data))))
    steps, kept = int(batch.lengths.min()), min(samples, batch.x.shape[1])
    x = batch.x[:steps, :kept].to(device_of(net))
    return Batch(x, batch.target, torch.full((kept,), steps))


def analyse(
    subject: Subject,
    *,
    samples: int = 32,
    horizon: int = 20,
    sigma: float = 0.1,
    steps: int = 200,
    weights: str = "shuffled",
    ablated: int = 5,
) -> Report:
    """Report how twins part, what remains without input, and which units switch classes.

    Args:
        subject: what is looked at.
        samples: the largest number of samples, except for the accuracy, which takes all.
        horizon: the number of time steps for which twins are followed.
        sigma: the standard deviation of the noise in every input channel.
        steps: the number of time steps after the data.
        weights: what the null is: ``"shuffled"``, the same network with the entries of its
            recurrent matrices in another order (of all its matrices, if it has no recurrent ones),
            or ``"removed"``, with its recurrent matrices at 0.
        ablated: the number of units with the highest kick index that are silenced.

    Figures: ``growth``, the mean log ratio of the distances of twins per time step; ``off``,
    ``constant`` and ``noise``, the activity left as a fraction of that under the data; where the
    network puts out two channels or more, ``stay``, the mean number of steps until the largest is
    another one, and ``kick``, the largest kick index of a unit that fires 20 times or more; where
    samples have classes, also ``lost``, the mean accuracy lost by silencing a unit with a high kick
    index. The null of ``kick`` are shuffled recordings, that of ``stay`` are the same time steps in
    another order, that of ``lost`` are units drawn at random, and that of all others is a network
    with other weights.
    """
    subject.check_answers("dynamics")
    check_size("ablated", ablated, 0)
    layer = subject.layer or last_hidden(subject.net)
    common: dict[str, Any] = {"layer": layer, "samples": samples, "seed": subject.seed}

    def measure() -> tuple[dict[str, float], Growth, Settled]:
        grown = perturb(subject.net, subject.data, horizon=horizon, **common)
        settled = settle(subject.net, subject.data, sigma, steps=steps, **common)
        lasting = {drive: settled.lasting(drive) for drive in ("off", "constant", "noise")}
        return {"growth": _mean(grown.ratio), **lasting}, grown, settled

    found, grown, settled = measure()
    nulls = []
    for number in range(subject.nulls):
        with other_weights(subject.net, weights, subject.seed + number):
            nulls.append(measure())
    figures = {name: against(found[name], [n[0][name] for n in nulls]) for name in found}
    arrays = {
        "growth": grown.ratio, "distance": grown.distance, "apart": grown.apart,
        "off": settled.off, "constant": settled.constant, "noise": settled.noise,
    }  # fmt: skip
    if nulls:
        arrays["distance, null"] = np.mean([n[1].distance for n in nulls], axis=0)
        arrays["off, null"] = np.mean([n[2].off for n in nulls], axis=0)
    told = [
        f"The difference of one spike grows by {figures['growth']} per step (log ratio).",
        f"Activity is {settled.kind}: without input {figures['off']} of it is left, with noise "
        f"{figures['noise']}.",
    ]
    lasting = {"self-sustained": "off", "noise-sustained": "noise"}.get(settled.kind)
    if lasting and figures[lasting].like_null():
        told.append("A network with other weights does the same: it takes no special structure.")
    switches = _switches(subject, layer, samples, ablated)
    figures.update(switches.figures)
    arrays.update(switches.arrays)
    return Report("dynamics", figures, arrays, (*told, *switches.text))


def _mean(ratio: np.ndarray) -> float:
    known = ratio[~np.isnan(ratio)]
    return float(known.mean()) if len(known) else float("nan")


def _switches(subject: Subject, layer: str, samples: int, ablated: int) -> Report:
    """How long the class that the output says lasts, and which units announce its end."""
    batch = _inputs(subject.net, subject.data, samples)
    with torch.no_grad(), evaluating(subject.net):
        y = subject.net(batch.x)
    y = (y[0] if isinstance(y, tuple) else y)[: len(batch.x)]
    if y.dim() != 3 or y.shape[2] < 2 or len(y) < 2:
        return Report("dynamics", {}, {}, ("The output has no classes to switch between.",))
    states = y.argmax(2).cpu()
    rec = record(subject.net, batch.x, [layer])[layer]
    values = rec.values[: len(batch.x)].cpu()
    rec = replace(rec, values=values, lengths=torch.full((values.shape[1],), len(values)))
    whole = residency(rec, states, y.shape[2])

    def largest(each: Recording) -> dict[str, float]:
        return {"kick": float(residency(each, states).known_kick().max())}

    figures = beside_null(largest, rec, subject.null, subject.nulls, subject.seed)
    figures["stay"] = _stay(states, subject)
    arrays = {"kick": whole.known_kick(), "stay": whole.stay, "moves": whole.moves}
    told = [f"The class said lasts {figures['stay']} steps; the highest kick is {figures['kick']}."]
    if ablated and subject.target == CLASS and not batch.target.is_floating_point():
        aim = PerStep() if batch.per_step else Classification(subject.readout, subject.mask_padding)
        figures["lost"] = _lost(subject, layer, whole.known_kick(), ablated, aim)
        told.append(f"Silencing a unit with a high kick loses {figures['lost']} of accuracy.")
    return Report("dynamics", figures, arrays, tuple(told))


def _stay(states: Tensor, subject: Subject) -> Figure:
    """The mean number of steps of a state, beside that of the same steps in another order."""

    def mean(z: Tensor) -> float:
        changes = int((z[1:] != z[:-1]).sum())
        return z.numel() / (changes + z.shape[1])

    random = np.random.default_rng(subject.seed)
    others = [
        torch.from_numpy(random.permuted(states.numpy(), axis=0)) for _ in range(subject.nulls)
    ]
    return against(mean(states), [mean(each) for each in others])


def _lost(subject: Subject, layer: str, kick: np.ndarray, ablated: int, aim: Objective) -> Figure:
    """The mean accuracy that units with a high kick lose, beside units drawn at random."""
    random = np.random.default_rng(subject.seed)
    count = min(check_size("ablated", ablated), len(kick))
    groups = [np.argsort(-kick, kind="stable")[:count]]
    groups += [random.choice(len(kick), count, replace=False) for _ in range(subject.nulls)]
    asked = np.unique(np.concatenate(groups))
    lost = ablate(subject.net, subject.data, asked, layer=layer, objective=aim)
    means = [float(lost[np.searchsorted(asked, group)].mean()) for group in groups]
    return against(means[0], means[1:])
