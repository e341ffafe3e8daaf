"""What a deep network answers when its blocks are skipped and repeated.

A path runs every block 0, 1 or 2 times. The paths of a sample are judged by its right class, which
nobody knows in use: they show what is redundant and are no way to answer better. The control is the
same for a label drawn at random. Paths are the leaves of a tree whose levels are the blocks, and
samples walk it together, so that a common beginning is computed once; where the tree is too large,
it is cut at paths that change few blocks. Source: Li, Li & Zhou 2025 (arXiv:2507.07996), which
searches a tree for each sample by itself (Monte Carlo) and may repeat several blocks as one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from snnsim.analysis.report import Figure
from snnsim.analysis.stack import Stack, stack_of
from snnsim.baselines import RateNetwork
from snnsim.data import Sequences, fetch
from snnsim.errors import ConfigError, check_seed, check_size
from snnsim.functional.readouts import get_readout
from snnsim.layer import device_of, evaluating, run_layer
from snnsim.synapses.delayed import delayed_layers

REPEATS = (0, 1, 2)  # how often a block of a path is run
MOST_PATHS = len(REPEATS) ** 6  # without a bound that was asked for
BATCH = 64


class Paths(NamedTuple):
    """``Paths`` holds what a network answers when its blocks are skipped and repeated.

    Attributes:
        counts: how often each block is run in each path, ``[P, L]``.
        answers: the class that each path gives each sample, ``[P, S]``.
        target: the right class of each sample, ``[S]``.
        classes: the number of classes.
    """

    counts: np.ndarray
    answers: np.ndarray
    target: np.ndarray
    classes: int

    @property
    def right(self) -> np.ndarray:
        """Return whether each path is right about each sample, ``[P, S]``."""
        return self.answers == self.target

    @property
    def trained(self) -> int:
        """Return the number of the path in which every block is run once."""
        return int(np.flatnonzero((self.counts == 1).all(1))[0])

    def shortest(self) -> np.ndarray:
        """Return how many blocks the shortest right path of each sample runs; -1 for none."""
        lengths = np.where(self.right, self.counts.sum(1)[:, None], np.iinfo(int).max)
        return np.where(self.right.any(0), lengths.min(0), -1)

    def shorter(self) -> Figure:
        """Return the fraction of samples right as trained that have a shorter right path.

        Its null is the same fraction for a label drawn from the other classes.
        """
        short = self.counts.sum(1) < self.counts.shape[1]
        return self._reached(self.right[self.trained], short)

    def corrected(self) -> Figure:
        """Return the fraction of samples wrong as trained that some path makes right.

        Its null is the same fraction for a label drawn from the classes that are neither right nor
        the answer as trained.
        """
        return self._reached(~self.right[self.trained], np.ones(len(self.counts), bool))

    def _reached(self, samples: np.ndarray, among: np.ndarray) -> Figure:
        answers = self.answers[among][:, samples]
        given = (answers[:, :, None] == np.arange(self.classes)).any(0)  # [S, C]
        rows = np.arange(len(given))
        target, trained = self.target[samples], self.answers[self.trained, samples]
        other = np.ones_like(given)
        other[rows, target] = other[rows, trained] = False
        if not len(given):
            return Figure(float("nan"))
        null = float(given[other].mean()) if other.any() else None
        return Figure(float(given[rows, target].mean()), null)


@torch.no_grad()
def paths(
    net: nn.Module,
    data: Sequences,
    *,
    readout: str = "sum_softmax",
    mask_padding: bool = False,
    changes: int = 0,
) -> Paths:
    """Return what every path through the blocks of a network answers.

    A path runs each block 0, 1 or 2 times, in their order.

    Args:
        net: the network.
        data: samples with classes.
        readout: the name of the read-out, see :mod:`snnsim.functional.readouts`.
        mask_padding: whether the read-out ignores the steps after the end of a sample.
        changes: the largest number of blocks that a path skips or repeats; 0 for all paths of up
            to 6 blocks, and of more blocks for as many changes as make at most 729 paths.

    Raises:
        ConfigError: if there are fewer than 2 blocks, or targets are no classes.
    """
    stack, read = stack_of(net), get_readout(readout)
    count = len(stack.blocks)
    check_size("changes", changes, 0)
    changes = min(changes, count) or _affordable(count)
    steps, found, targets, classes = int(np.max(data.lengths)), [], [], 0
    for first in range(0, len(data), BATCH):
        batch = fetch(data, np.arange(first, min(first + BATCH, len(data))), steps)
        if batch.per_step or batch.target.dim() != 1 or batch.target.is_floating_point():
            raise ConfigError("paths need one class for each sample, but the targets are others")
        answers = []
        for y, longer in _outputs(net, stack, batch.x.to(device_of(net)), mask_padding, changes):
            lengths = _lengths(net, batch.lengths) + longer
            scores = read(y, lengths if mask_padding else None)
            answers.append(scores.argmax(1).cpu().numpy())
            classes = scores.shape[1]
        found.append(np.stack(answers))
        targets.append(batch.target.numpy())
    counts = np.array(list(_counts(count, changes)))
    return Paths(counts, np.concatenate(found, 1), np.concatenate(targets), classes)


def _affordable(blocks: int) -> int:
    """How many changes of so many blocks make at most ``MOST_PATHS`` paths, at least 1."""
    most, total = 0, 1
    while most < blocks:
        total += math.comb(blocks, most + 1) * (len(REPEATS) - 1) ** (most + 1)
        if total > MOST_PATHS:
            break
        most += 1
    return max(most, 1)


def _counts(blocks: int, changes: int) -> Iterator[tuple[int, ...]]:
    """How often each path runs each block, in the order of ``itertools.product``."""
    if not blocks:
        yield ()
        return
    for count in REPEATS if changes else (1,):
        for rest in _counts(blocks - 1, changes - (count != 1)):
            yield (count, *rest)


def _lengths(net: nn.Module, lengths: Tensor) -> Tensor:
    if not isinstance(net, RateNetwork):
        return lengths
    found: Any = net.output_lengths(lengths)  # None only for None
    return found


def _outputs(
    net: nn.Module, stack: Stack, x: Tensor, mask_padding: bool, changes: int
) -> Iterator[tuple[Tensor, int]]:
    """The output of every path in the order of ``_counts``, and how much longer it is.

    Where delays make outputs longer and a mask needs all of them, steps are appended to the input.
    """
    tails = [_tail(block) for block in stack.blocks]
    ends = _tail(stack.before) + _tail(stack.after)
    if mask_padding:
        repeated = sum(sorted(tails)[-changes:]) * (max(REPEATS) - 1)
        extra = ends + sum(tails) + repeated
        x = torch.cat([x, x.new_zeros((extra, *x.shape[1:]))])

    def walk(x: Tensor, place: int, longer: int, left: int) -> Iterator[tuple[Tensor, int]]:
        if place == len(stack.blocks):
            yield run_layer(stack.after, x, None)[0], longer
            return
        for count in range(max(REPEATS) + 1 if left else 2):
            if count:
                x = run_layer(stack.blocks[place], x, None)[0]
            if left or count == 1:
                changed = left - (count != 1)
                yield from walk(x, place + 1, longer + count * tails[place], changed)

    with evaluating(net):
        yield from walk(run_layer(stack.before, x, None)[0], 0, ends, changes)


def _tail(module: nn.Module) -> int:
    return sum(layer.tail for layer in delayed_layers(module))


class SinglePath(NamedTuple):
    """A ``SinglePath`` is one path for all samples.

    Attributes:
        counts: how often each block is run, ``[L]``.
        accuracy: its accuracy on samples on which it was not chosen, a fraction.
        trained: the accuracy on the same samples as trained.
    """

    counts: np.ndarray
    accuracy: float
    trained: float


def best_single_path(found: Paths, seed: int = 0) -> SinglePath:
    """Choose the best path for all samples on a random half of them, and score it on the others.

    Of equally good paths the shortest is taken.

    Args:
        found: what all paths answer, of two samples or more.
        seed: of the halves.
    """
    samples = len(found.target)
    check_size("the number of samples", samples, 2)
    order = np.random.default_rng(check_seed(seed)).permutation(samples)
    chosen, rest = order[: samples // 2], order[samples // 2 :]
    good = found.right[:, chosen].mean(1)
    best = int(np.lexsort((found.counts.sum(1), -good))[0])
    accuracy = found.right[:, rest].mean(1)
    return SinglePath(found.counts[best], float(accuracy[best]), float(accuracy[found.trained]))
