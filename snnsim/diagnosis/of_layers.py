"""What is wrong with the layers: their activity, their gradients and their delays."""

from __future__ import annotations

import math
from collections.abc import Iterator

from torch import Tensor, nn

from snnsim.diagnosis.findings import NOTE, PROBLEM, WARNING, Finding
from snnsim.diagnosis.layers_seen import LayerSeen
from snnsim.diagnosis.observation import Observation, not_finite
from snnsim.diagnosis.of_data import DEAD, STUCK
from snnsim.networks.dropout import Dropout
from snnsim.synapses.delayed import DelayedConnection

# fractions of a layer's neurons that never spike, or in nearly every step; half of them is often
# seen at the start of a training that works
HALF = 0.7
SATURATED = 0.9
# fraction of neurons that the surrogate sees in any step of any sample
BLIND = 0.05
# root mean squared gradient of the first layer beside that of the last, and its growth from layer
# to layer: a normalised network of ten layers that learns has 2e4, a factor of 3 for each
VANISHED, EXPLODED, GROWTH = 1e-7, 1e4, 5.0
# the same of the first quarter of the time steps beside the last
EARLY_VANISHED, EARLY_EXPLODED = 1e-8, 1e5
# recurrent networks with ratios of 1e11 were seen to learn with adam, which divides by the size of
# a gradient; it squares them in float32 before, which overflows from about 1e19 on
HOPELESS = 1e15
# fraction of learnable delays at one of the ends of their range; drawn evenly, none are
CLAMPED, SOME_CLAMPED = 0.5, 0.25
# the fewest taps for which a border is not simply where most delays are
FEWEST_TAPS = 5
# width of a kernel in time steps: wider ones are changed by rounding delays to whole steps
WIDE = 1.0
# fall of the score, by rounding, that is worse than a wide kernel
FALL = 0.15
# probabilities of dropout; published networks have 0.1 to 0.5
DROPPED, MANY_DROPPED = 0.9, 0.7


def of_finite(seen: Observation) -> Iterator[Finding]:
    """Yield where NaN or infinity first appears."""
    lost = not_finite(seen.net)
    if lost is not None:
        yield Finding(
            "weights not finite", lost, PROBLEM,
            f"{lost} holds NaN or infinite values: the training before has diverged.",
            "Go back to an earlier checkpoint, or start anew with a smaller lr or with clip=1.",
        )  # fmt: skip
        return
    first = next((each for each in seen.layers.values() if not each.finite), None)
    if first is not None or not math.isfinite(seen.loss):
        where = first.name or "network" if first is not None else "training"
        yield Finding(
            "activity not finite", where, PROBLEM,
            f"The output of {where} becomes NaN or infinite, though input and weights are finite.",
            "Look for a division by 0, a logarithm or a growing state in this layer; make initial "
            "weights smaller.",
        )  # fmt: skip


def of_activity(seen: Observation) -> Iterator[Finding]:
    """Yield layers that are dead, saturated, or both.

    It is a problem only if trial steps do not change it: surrogate gradients wake many a layer.
    """
    last = list(seen.layers.values())[-1:]
    for layer in seen.spiking:
        kind = "read-out" if layer in last else "layer"
        if layer.dead >= HALF:
            yield _dead(seen, layer, "silent read-out" if kind == "read-out" else "dead layer")
        elif layer.saturated >= HALF:
            yield _saturated(seen, layer, f"saturated {kind}")
        elif layer.dead + layer.saturated >= STUCK:
            yield _stuck(seen, layer)


def _dead(seen: Observation, layer: LayerSeen, what: str) -> Finding:
    later, high = seen.after_trial(layer).dead, layer.membrane_high
    sure = layer.dead >= DEAD and later >= layer.dead  # one that wakes is seen to wake others
    reach = f" In 95 % of the steps their membranes are below {high:.2g} of the threshold."
    return Finding(
        what, layer.name or "network", PROBLEM if sure else WARNING,
        f"{layer.dead:.0%} of the {layer.kind} neurons of {layer.name} never spike in any of "
        f"{seen.samples} samples, and {later:.0%} after {len(seen.losses)} trial steps."
        f"{reach if high is not None else ''}",
        "Make their input larger (larger initial weights, BatchNorm before them), the threshold "
        "smaller or tau_mem longer.",
        _figures(layer) | {"dead_later": later},
    )  # fmt: skip


def _saturated(seen: Observation, layer: LayerSeen, what: str) -> Finding:
    later = seen.after_trial(layer).saturated
    sure = min(layer.saturated, later) >= SATURATED
    return Finding(
        what, layer.name or "network", PROBLEM if sure else WARNING,
        f"{layer.saturated:.0%} of the {layer.kind} neurons of {layer.name} spike in nearly every "
        f"time step, whatever the input, and {later:.0%} after {len(seen.losses)} trial steps.",
        "Make their input smaller (smaller initial weights, BatchNorm before them) or the "
        "threshold larger.",
        _figures(layer) | {"saturated_later": later},
    )  # fmt: skip


def _stuck(seen: Observation, layer: LayerSeen) -> Finding:
    later = seen.after_trial(layer)
    sure = later.dead + later.saturated >= STUCK
    return Finding(
        "stuck layer", layer.name or "network", PROBLEM if sure else WARNING,
        f"Of the {layer.kind} neurons of {layer.name} {layer.dead:.0%} never spike and "
        f"{layer.saturated:.0%} in nearly every time step: what they say does not depend on the "
        "input.",
        "Make their input smaller (scale it, or put a BatchNorm before them).",
        _figures(layer),
    )  # fmt: skip


def _figures(layer: LayerSeen) -> dict[str, float]:
    rate = float(layer.rates.mean())
    return {"dead": layer.dead, "saturated": layer.saturated, "rate": rate}


def of_surrogates(seen: Observation) -> Iterator[Finding]:
    """Yield layers whose surrogate derivative is next to 0 for all of their neurons."""
    for layer in seen.spiking:
        sensitive = layer.sensitive
        if sensitive is None or sensitive >= BLIND:
            continue
        module = seen.net.get_submodule(layer.name)
        yield Finding(
            "surrogate too narrow", layer.name or "network", PROBLEM,
            f"Only {sensitive:.1%} of the neurons of {layer.name} ever come near enough to their "
            f"threshold for {module.surrogate} to pass on a hundredth of its largest derivative: "
            "no gradient gets through.",
            "Take a wider surrogate (a smaller alpha, a larger width), or bring the membrane to "
            "the threshold by larger or smaller input.",
            {"sensitive": sensitive},
        )  # fmt: skip


def of_gradients(seen: Observation) -> Iterator[Finding]:
    """Yield gradients that explode or vanish from layer to layer, or from late to early steps."""
    sized = [each for each in seen.layers.values() if each.gradient_size is not None]
    if len(sized) >= 2:
        first, last = sized[0], sized[-1]
        yield from _by_depth(seen, first, last, len(sized) - 1)
    shortest = int(min(int(b.lengths.min()) for b in seen.batches))
    ratios = [(ratio, layer) for layer in sized if (ratio := early_to_late(layer, shortest))]
    if ratios:  # one finding, of the layer where it is worst
        yield from _by_time(*max(ratios, key=lambda each: abs(math.log(each[0]))))


def _by_depth(
    seen: Observation, first: LayerSeen, last: LayerSeen, layers: int
) -> Iterator[Finding]:
    small, large = first.gradient_size, last.gradient_size
    explained = any(e.dead >= DEAD or (e.sensitive or 1.0) < BLIND for e in seen.spiking)
    if small is None or not large or explained:
        return
    ratio = small / large
    told = (
        f"The gradient at the input of {first.name} is {ratio:.2g} times that at {last.name} "
        f"({small:.2g} and {large:.2g} in root mean square)."
    )
    if ratio > max(EXPLODED, GROWTH**layers):
        yield Finding(
            "exploding gradient", first.name or "network", _how_bad(ratio), told,
            "Make the weights between them smaller, put BatchNorm before each layer of neurons, "
            "or set training.clip=1.",
            {"ratio": ratio},
        )  # fmt: skip
    elif ratio < min(VANISHED, GROWTH**-layers):
        yield Finding(
            "vanishing gradient", first.name or "network", PROBLEM, told,
            "Take a wider surrogate, put BatchNorm before each layer of neurons, add skip "
            "connections, or take fewer layers.",
            {"ratio": ratio},
        )  # fmt: skip


def early_to_late(layer: LayerSeen, steps: int) -> float | None:
    """Return the gradient of the first quarter of the time steps beside that of the last.

    Args:
        layer: what was seen of a layer.
        steps: the number of steps that all samples have; later ones may be padding.

    Returns:
        The ratio of the root mean squares; ``None`` where a quarter is short or has no gradient.
    """
    quarter = steps // 4
    if quarter < 2:
        return None
    early, late = _size(layer.gradient[:quarter]), _size(layer.gradient[steps - quarter : steps])
    return early / late if late and early else None


def _by_time(ratio: float, layer: LayerSeen) -> Iterator[Finding]:
    told = (
        f"In {layer.name} the gradient of the first quarter of the time steps is {ratio:.2g} "
        "times that of the last."
    )
    if ratio > EARLY_EXPLODED:
        yield Finding(
            "exploding gradient", layer.name or "network", _how_bad(ratio), told,
            "It grows from step to step backwards in time: make recurrent weights smaller (a gain "
            "below 1), take detach_reset=True, set training.clip=1, or cut sequences.",
            {"time_ratio": ratio},
        )  # fmt: skip
    elif ratio < EARLY_VANISHED:
        yield Finding(
            "vanishing gradient", layer.name or "network", WARNING, told,
            "What happens early is not learnt: read out all steps and not only the last, take "
            "longer time constants, or delays.",
            {"time_ratio": ratio},
        )  # fmt: skip


def _how_bad(ratio: float) -> str:
    return PROBLEM if ratio > HOPELESS else WARNING


def _size(squares: Tensor) -> float:
    return float(squares.mean().sqrt()) if len(squares) else 0.0


def of_delays(seen: Observation) -> Iterator[Finding]:
    """Yield delays at a border of their range, and kernels that are still wide."""
    for name, layer in seen.net.named_modules():
        if not isinstance(layer, DelayedConnection) or not layer.learn_delay:
            continue
        if layer.length >= FEWEST_TAPS:
            yield from _at_border(name or "network", layer)
        width = float(layer.sigma.detach().abs())
        if seen.trained and width > WIDE and layer.profile != "one_tap":
            yield _wide(seen, name or "network", width)


def _at_border(name: str, layer: DelayedConnection) -> Iterator[Finding]:
    delay, longest = layer.delay.detach(), layer.length - 1
    low = float((delay <= 1e-3).double().mean())
    high = float((delay >= longest - 1e-3).double().mean())
    if low + high < SOME_CLAMPED:
        return
    yield Finding(
        "delays at border", name, PROBLEM if low + high >= CLAMPED else WARNING,
        f"{low:.0%} of the delays of {name} are 0 and {high:.0%} are {longest} steps, the largest "
        "possible: they are held there and learn no further.",
        "Make lr_delay smaller; where most delays are at the largest, make max_delay_ms larger.",
        {"at_zero": low, "at_largest": high},
    )  # fmt: skip


def _wide(seen: Observation, name: str, width: float) -> Finding:
    fall = 0.0
    if seen.evaluated is not None and seen.objective.larger_is_better:
        fall = seen.score - seen.evaluated[0]
    told = f" Evaluation, which rounds delays, scores {fall:.2f} less." * (fall >= FALL)
    return Finding(
        "wide kernels", name, PROBLEM if fall >= FALL else WARNING,
        f"The delay kernels of {name} are still {width:.3g} steps wide, and evaluation rounds "
        f"delays to whole steps.{told}",
        "Narrow them while training: call snnsim.narrow_delays(net, epoch, epochs) at the start "
        "of each epoch, or let the training reach its sigma_fraction of the epochs.",
        {"width": width, "fall": fall},
    )  # fmt: skip


def of_dropout(seen: Observation) -> Iterator[Finding]:
    """Yield dropout that leaves next to nothing."""
    for name, module in seen.net.named_modules():
        p = getattr(module, "p", 0.0) if isinstance(module, DROPOUTS) else 0.0
        if p >= MANY_DROPPED:
            yield Finding(
                "dropout too high", name or "network", PROBLEM if p >= DROPPED else WARNING,
                f"{name} drops {p:.0%} of the neurons before it and scales the others by "
                f"{1 / max(1 - p, 1e-9):.3g}.",
                "Take 0.1 to 0.5.",
                {"p": float(p)},
            )  # fmt: skip


DROPOUTS = (Dropout, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)


def of_missing_gradients(seen: Observation) -> Iterator[Finding]:
    """Yield weights that need a gradient and receive none."""
    without = [name for name, norm in seen.gradients.items() if norm is None]
    if not without or not math.isfinite(seen.loss):
        return
    cut = [name for name in without if _is_used(seen, name)]
    shown = cut or without
    used = "are of layers that ran" if cut else "are of layers that did not run"
    yield Finding(
        "no gradient", shown[0], PROBLEM if cut else NOTE,
        f"{len(shown)} parameters need a gradient and receive none, though the loss was "
        f"differentiated; they {used}: {', '.join(shown[:4])}.",
        "Look for detach(), no_grad(), .data or an argmax between them and the loss, or for a "
        "layer that is made but not called.",
        {"parameters": float(len(shown))},
    )  # fmt: skip


def _is_used(seen: Observation, name: str) -> bool:
    """Whether a layer ran without any gradient; a part of one may be there for other tasks."""
    layer = name.rpartition(".")[0]
    inside = [n for n in seen.gradients if n.startswith(f"{layer}." if layer else "")]
    whole = all(seen.gradients[n] is None for n in inside)
    return whole and layer in seen.called and seen.net.get_parameter(name).dim() >= 2


def weights_of(net: nn.Module) -> dict[str, Tensor]:
    """Return the weights of a network by name, without biases, delays and parameters of neurons."""
    named = net.named_parameters()
    return {n: p for n, p in named if p.dim() >= 2 and n.rpartition(".")[2] != "delay"}
