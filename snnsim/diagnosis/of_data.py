"""What is wrong with the input, the labels, or how they are read out."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from snnsim.data import Batch
from snnsim.diagnosis.chance import like_chance
from snnsim.diagnosis.findings import NOTE, PROBLEM, WARNING, Finding
from snnsim.diagnosis.observation import Observation, inputs_finite

# of the root mean square of what is not zero: spikes are 1, mel bands and standardised values lie
# around it, so that both bounds are far from what networks are made for
SMALL, LARGE = 0.02, 30.0
# fraction of neuron steps in which the surrogate sees the membrane; working networks have 0.1 to 1
NEAR = 0.02
# fraction of samples without any input: some silent recordings are in many data sets, half are not
EMPTY, SOME_EMPTY = 0.5, 0.05
# fraction of the most frequent class: an answer that is always the same is then nearly right
ONE_CLASS, MANY_OF_ONE = 0.95, 0.8
# mean fraction of a batch that is padding: spoken words of 0.4 to 1.4 s have a third
PADDED, HALF_PADDED = 0.75, 0.6
# a trained network at chance has a loss of at least this fraction of that of a constant answer
AT_CHANCE = 0.97


def of_batches(batches: list[Batch]) -> Iterator[Finding]:
    """Yield what is wrong with the input itself, whatever the network."""
    if not inputs_finite(batches):
        yield Finding(
            "input not finite", "input", PROBLEM,
            "The input holds NaN or infinite values.",
            "Look for empty recordings, logarithms of 0 and divisions by a standard deviation of "
            "0 where the input is made, and mend or remove those samples.",
        )  # fmt: skip
        return
    empty = float(torch.cat([_silent(b) for b in batches]).double().mean())
    if empty >= SOME_EMPTY:
        yield Finding(
            "empty input", "input", PROBLEM if empty >= EMPTY else WARNING,
            f"{empty:.0%} of the samples have no input at all: all of their values are 0.",
            "Check the unit of times (ms or s), the channels, and how events become time steps; "
            "remove recordings that are silent.",
            {"empty": empty},
        )  # fmt: skip
    elif _all_alike(batches):
        yield Finding(
            "constant input", "input", PROBLEM,
            "All samples have the same input, so that nothing can tell them apart.",
            "Check that batches are made of different samples, and that normalisation does not "
            "remove what differs.",
        )  # fmt: skip


def _silent(batch: Batch) -> Tensor:
    return (batch.x == 0).transpose(0, 1).flatten(1).all(1)


def _all_alike(batches: list[Batch]) -> bool:
    first = batches[0].x[:, :1]
    if sum(b.x.shape[1] for b in batches) < 2:
        return False
    return all(len(b.x) == len(first) and bool((b.x == first).all()) for b in batches)


def of_scale(seen: Observation) -> Iterator[Finding]:
    """Yield that the input is too small or too large for the first layer of neurons."""
    values = torch.cat([b.x[b.x != 0].double().flatten() for b in seen.batches])
    if not len(values) or not seen.spiking:
        return
    size = float(values.square().mean().sqrt())
    first = seen.spiking[0]
    figures = {"rms": size, "dead": first.dead, "saturated": first.saturated}
    told = f"Input values that are not 0 have a root mean square of {size:.3g}"
    if size < SMALL:
        silent = min(first.dead, seen.after_trial(first).dead) >= DEAD
        yield Finding(
            "input too small", "input", PROBLEM if silent else NOTE,
            f"{told}, and {first.dead:.0%} of the neurons of {first.name} never spike.",
            "Scale the input so that its values are about 1, or put a BatchNorm before the "
            "neurons.",
            figures,
        )  # fmt: skip
    elif size > LARGE:
        near = 1.0 if first.usable_fraction is None else first.usable_fraction
        stuck = first.dead + first.saturated >= STUCK or near < NEAR
        yield Finding(
            "input too large", "input", PROBLEM if stuck else NOTE,
            f"{told}; the membranes of {first.name} are near enough to the threshold for a "
            f"gradient in {near:.1%} of all neuron steps.",
            "Scale the input so that its values are about 1, or put a BatchNorm before the "
            "neurons.",
            figures,
        )  # fmt: skip


# fractions of a layer's neurons; also used for layers
DEAD, STUCK = 0.95, 0.95


def of_labels(seen: Observation) -> Iterator[Finding]:
    """Yield that one class dominates, or that the input does not tell the labels."""
    if seen.labels is None or not len(seen.labels):
        return
    counts = np.bincount(np.asarray(seen.labels).ravel())
    largest = float(counts.max() / counts.sum())
    if largest >= MANY_OF_ONE:
        yield Finding(
            "one class", "labels", PROBLEM if largest >= ONE_CLASS else WARNING,
            f"{largest:.0%} of the samples are of class {int(counts.argmax())}, so that always "
            "answering it is nearly the best that the loss asks for.",
            "Take as many samples of each class, weight the loss by class, and judge by the "
            "accuracy of each class.",
            {"most_frequent": largest},
        )  # fmt: skip
    elif seen.probe is not None and seen.probe.accuracy <= seen.probe.chance:
        yield _unlike_input(seen)


def _unlike_input(seen: Observation) -> Finding:
    """A linear probe does no better than chance; a trained network neither."""
    found = seen.probe
    assert found is not None
    sure = seen.trained and is_at_chance(seen)
    network = f" The network's loss, {seen.loss:.3f}, is at chance, {seen.chance:.3f}." * sure
    return Finding(
        "labels unlike input", "labels", PROBLEM if sure else NOTE,
        f"A ridge regression on the input summed over time answers {found.accuracy:.0%} of "
        f"{found.samples} samples rightly, and always answering the most frequent class "
        f"{found.most_frequent:.0%}.{network}",
        "Check that labels and samples are in the same order (shuffle both by the same "
        "permutation). Where classes differ by order or combination, as in parity or a grammar, "
        "it is as it should be.",
        {"probe": found.accuracy, "most_frequent": found.most_frequent},
    )  # fmt: skip


def is_at_chance(seen: Observation) -> bool:
    """Return whether loss and accuracy are no better than those of the best constant answer.

    Both are taken in training and in evaluation mode: dropout alone may hide what was learnt.
    """
    losses, scores = [seen.loss], [seen.score]
    if seen.evaluated is not None:
        scores.append(seen.evaluated[0])
        losses.append(seen.evaluated[1])
    if seen.chance is None or min(losses) < AT_CHANCE * seen.chance:
        return False
    if not seen.answers or seen.labels is None:
        return True
    largest = float(np.bincount(seen.labels.ravel()).max() / seen.labels.size)
    return max(scores) <= like_chance(largest, seen.samples)


def of_padding(seen: Observation) -> Iterator[Finding]:
    """Yield that the read-out looks at padding most of the time."""
    if seen.objective.mask_padding or not len(seen.lengths):
        return
    longest = int(seen.lengths.max())
    padded = 1 - float(seen.lengths.mean()) / max(longest, 1)
    if padded >= HALF_PADDED:
        yield Finding(
            "padding read out", "read-out", PROBLEM if padded >= PADDED else WARNING,
            f"The read-out is not masked, samples have {float(seen.lengths.mean()):.0f} steps on "
            f"average and are padded to {longest}: {padded:.0%} of what is read out is padding.",
            "Set training.mask_padding=true (mask_padding=True of the objective), or cut the few "
            "samples that are so long.",
            {"padding": padded},
        )  # fmt: skip


def swapped(x: Tensor, target: Tensor, lengths: Tensor | None) -> Finding | None:
    """Return that batch and time are swapped, if the number of targets says so.

    Args:
        x: the input as it was given.
        target: the target of each sample.
        lengths: the number of steps of each sample, if it is known.
    """
    count = len(target) if lengths is None else len(lengths)
    if x.dim() < 2 or x.shape[1] == count or x.shape[0] != count:
        return None
    return Finding(
        "not time-major", "input", PROBLEM,
        f"The input is {list(x.shape)} and there are {count} samples: its first dimension is the "
        "batch, but it must be time.",
        "Give x as [T, B, ...], such as x.transpose(0, 1); snnsim.data.Arrays takes [n, T, ...] "
        "and makes batches of it.",
        {"first": float(x.shape[0]), "second": float(x.shape[1]), "samples": float(count)},
    )  # fmt: skip


def outside(target: Tensor, outputs: int) -> Finding | None:
    """Return that classes lie outside of the outputs, if they do.

    Args:
        target: classes, of any shape.
        outputs: the number of outputs.
    """
    if target.is_floating_point() or not target.numel():
        return None
    low, high = int(target.min()), int(target.max())
    if low >= 0 and high < outputs:
        return None
    return Finding(
        "labels outside of outputs", "labels", PROBLEM,
        f"Labels are {low} .. {high} but the network has {outputs} outputs, for the labels 0 .. "
        f"{outputs - 1}.",
        "Count labels from 0, and give the network as many outputs as there are classes.",
        {"lowest": float(low), "highest": float(high), "outputs": float(outputs)},
    )  # fmt: skip
