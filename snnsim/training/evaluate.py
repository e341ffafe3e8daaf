"""Accuracy, loss and firing rates of a network on a data set."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from snnsim.data import Batch, Sequences, fetch
from snnsim.errors import ConfigError, NonFiniteError
from snnsim.finite import check_input, first_not_finite
from snnsim.functional.readouts import get_readout
from snnsim.layer import device_of, evaluating, listening
from snnsim.neurons import LI, Neuron
from snnsim.renamed import not_needed
from snnsim.synapses.delayed import delayed_layers
from snnsim.training import distributed
from snnsim.training.objectives import as_objective

WHERE = "a network is evaluated where it is; use net.to(device)"


@dataclass(frozen=True)
class Scores:
    """``Scores`` holds the results of a network on a data set, as means over its samples.

    Attributes:
        score: the score of the objective; for classification the accuracy, a fraction from 0 to 1.
        loss: the loss of the objective.
        firing_rate: the number of spikes per neuron and time step over all layers, including the
            steps of padding.
        samples: the number of samples of the data set.
        metric: the name of the score, such as ``"accuracy"`` or ``"mse"``.
    """

    score: float
    loss: float
    firing_rate: float
    samples: int
    metric: str = "accuracy"

    @property
    def accuracy(self) -> float:
        """Return the score if it is an accuracy.

        Raises:
            ConfigError: if the score is of another metric.
        """
        if self.metric != "accuracy":
            raise ConfigError(f"these scores are {self.metric}, not accuracy; read .score")
        return self.score

    def by_name(self) -> dict[str, float]:
        """Return the figures by name; the score is under the name of its metric.

        >>> list(Scores(0.5, 1.0, 0.1, 8).by_name())
        ['accuracy', 'loss', 'firing_rate', 'samples']
        """
        rest = {"loss": self.loss, "firing_rate": self.firing_rate, "samples": self.samples}
        return {self.metric: self.score, **rest}


@contextmanager
def counting_spikes(net: nn.Module) -> Iterator[list[float]]:
    """Within this context, the list that is yielded accumulates ``[spikes, neuron steps]``."""
    totals = [0.0, 0.0]

    def count(name: str, module: nn.Module, inputs: Any, output: Any) -> None:
        spikes = output[0].detach()
        totals[0] += float(spikes.sum())
        totals[1] += spikes.numel()

    named = {
        n: m for n, m in net.named_modules() if isinstance(m, Neuron) and not isinstance(m, LI)
    }
    with listening(named, count):
        yield totals


def run_padded(
    net: nn.Module, x: Tensor, lengths: Tensor, masked: bool = False
) -> tuple[Tensor, Tensor]:
    """Return the outputs of a padded batch, and their lengths.

    A network with ``output_lengths`` receives the lengths, because it may look ahead or merge time
    steps. Where delays make the output longer than the input, every sample becomes longer by the
    same number of steps. If the read-out is ``masked``, padding is appended for all these steps;
    otherwise the outputs after the end of the batch would be cut off for the longest sample and not
    for the others.

    Args:
        net: the network.
        x: the padded input, ``[T, B, ...]``.
        lengths: the number of time steps of each sample, ``[B]``.
        masked: whether the read-out ignores the steps after the end of a sample.

    Returns:
        The outputs ``[T', B, ...]`` and the number of output steps of each sample ``[B]``.
    """
    if hasattr(net, "output_lengths"):
        own: Any = net
        return own(x, None, lengths)[0], own.output_lengths(lengths)
    tails = [layer.tail for layer in delayed_layers(net)] if masked else []
    if sum(tails[1:]):
        x = torch.cat([x, x.new_zeros((sum(tails[1:]), *x.shape[1:]))])
    y, _ = net(x)
    return y, lengths + max(y.shape[0] - x.shape[0], 0)


def equally_padded(
    lengths: np.ndarray, steps: int, batch_size: int
) -> Iterator[tuple[np.ndarray, int]]:
    """Yield batches ``(indices, steps)`` in which every sample is padded as it would be alone.

    Args:
        lengths: the number of time steps of each sample, ``[n]``.
        steps: the number of time steps to which samples are padded; longer ones keep their length.
        batch_size: the largest number of samples in a batch.

    >>> [(chosen.tolist(), n) for chosen, n in equally_padded(np.array([3, 9, 4, 5]), 5, 2)]
    [([0, 2], 5), ([3], 5), ([1], 9)]
    """
    padded = np.maximum(np.asarray(lengths), steps)
    for size in np.unique(padded):
        alike = np.flatnonzero(padded == size)
        for first in range(0, len(alike), batch_size):
            yield alike[first : first + batch_size], int(size)


def check_weights(net: nn.Module) -> None:
    """Raise :class:`NonFiniteError` if a parameter or buffer holds NaN or an infinity."""
    lost = first_not_finite([*net.named_parameters(), *net.named_buffers()])
    if lost is not None:
        raise NonFiniteError(f"{lost} of the network is NaN or infinite: its training diverged")


@torch.no_grad()
def predict(
    net: nn.Module,
    x: Tensor,
    readout: str,
    lengths: Tensor | None = None,
    masked: bool = True,
    check_finite: bool = True,
) -> Tensor:
    """Return the class scores ``[B, C]`` of a batch, in evaluation mode and without gradients.

    Args:
        net: the network.
        x: the input of the network, ``[T, B, N]``.
        readout: the name of the read-out, see :mod:`snnsim.functional.readouts`.
        lengths: the number of time steps of each sample, ``[B]``; with ``None`` all samples are as
            long as ``x``.
        masked: whether the read-out ignores the steps after the end of a sample.
        check_finite: whether ``x`` is searched for NaN and infinities.

    Raises:
        NonFiniteError: if ``x`` is not finite.
    """
    if check_finite:
        check_input(x)
    if lengths is None:
        lengths, masked = torch.full((x.shape[1],), x.shape[0]), False
    with evaluating(net):
        y, ends = run_padded(net, x, lengths, masked)
    return get_readout(readout)(y, ends if masked else None)


def _outputs(
    net: nn.Module,
    data: Sequences,
    aim: Any,
    batches: Iterable[tuple[np.ndarray, int]],
    check_finite: bool,
) -> Iterator[tuple[np.ndarray, Batch, Tensor, Tensor]]:
    """Yield the indices of each batch, the batch, the outputs, and where each sample ends."""
    device = device_of(net)
    for chosen, padded in batches:
        if len(chosen) == 0:
            continue
        batch = aim.posed(fetch(data, chosen, padded))
        x = batch.x.to(device)
        if check_finite:
            check_input(x)
        with evaluating(net):
            y, ends = run_padded(net, x, batch.lengths, aim.mask_padding)
        yield chosen, batch, y, ends


class Answer(NamedTuple):
    """An ``Answer`` is what a network answers for one sample, beside what it should answer.

    Attributes:
        found: the read-out's values ``[C]``, or the outputs of every step ``[T, C]``.
        target: the target of the sample, a class, ``[C]``, or either for every step, ``[T, ...]``.
    """

    found: Tensor
    target: Tensor


@torch.no_grad()
def answers(
    net: nn.Module,
    data: Sequences,
    *,
    objective: Any = None,
    readout: str = "sum_softmax",
    mask_padding: bool = False,
    batch_size: int = 256,
    steps: int = 0,
    check_finite: bool = True,
) -> list[Answer]:
    """Return what a network answers for each sample of a data set, in evaluation mode.

    Args:
        net, data, objective, readout, mask_padding, batch_size, steps, check_finite: as in
            :func:`evaluate`; samples are padded as they are there.

    Raises:
        NonFiniteError: if an input is NaN or infinite.
    """
    aim = as_objective(objective, readout, mask_padding)
    batches = equally_padded(data.lengths, steps or int(np.max(data.lengths)), batch_size)
    by_sample: dict[int, Answer] = {}
    for chosen, batch, y, ends in _outputs(net, data, aim, batches, check_finite):
        found = aim.answer(y, ends).cpu()
        for b, (sample, n) in enumerate(zip(chosen.tolist(), batch.lengths.tolist(), strict=True)):
            target = batch.target[:n, b] if batch.per_step else batch.target[b]
            by_sample[sample] = Answer(found[:n, b] if aim.per_step else found[b], target)
    return [by_sample[sample] for sample in range(len(data))]


@torch.no_grad()
def evaluate(
    net: nn.Module,
    data: Sequences,
    *,
    objective: Any = None,
    readout: str = "sum_softmax",
    mask_padding: bool = False,
    batch_size: int = 256,
    steps: int = 0,
    check_finite: bool = True,
    **former: Any,
) -> Scores:
    """Evaluate a network on a data set, in evaluation mode and without gradients.

    Args:
        net: the network. In evaluation mode its delays are rounded to whole steps and its
            normalisation uses running statistics.
        data: a data set, see :class:`snnsim.data.Sequences`.
        objective: the loss and the score, as in :class:`snnsim.training.Trainer`; with ``None`` it
            is a classification by ``readout``.
        readout, mask_padding: the read-out of a classification, see
            :class:`snnsim.training.Recipe`.
        batch_size: the largest number of samples in a batch.
        steps: the number of time steps to which samples are padded; longer ones keep their length.
            With 0, all are padded to the longest. Unmasked read-outs depend on the padding, so this
            must not depend on the batch.
        check_finite: whether batches are searched for NaN and infinities.

    Returns:
        Exact means over all samples (not means of the means of batches).

    Raises:
        NonFiniteError: if a weight or an input is NaN or infinite.
    """
    not_needed(former, ("device",), WHERE)
    check_weights(net)
    aim = as_objective(objective, readout, mask_padding)
    batches = equally_padded(data.lengths, steps or int(np.max(data.lengths)), batch_size)
    mine = ((distributed.share(chosen), padded) for chosen, padded in batches)
    totals = torch.zeros(5, dtype=torch.float64)  # score, loss, samples, spikes, places
    with counting_spikes(net) as spikes:
        for chosen, batch, y, ends in _outputs(net, data, aim, mine, check_finite):
            loss, score = aim.measure(y, batch, ends)
            totals[0] += score
            totals[1] += float(loss)
            totals[2] += len(chosen)
        totals[3:] = torch.tensor(spikes, dtype=torch.float64)
    score, loss, samples, spiked, places = distributed.sum_over_processes(
        totals, device_of(net)
    ).tolist()
    rate = spiked / places if places else 0.0
    return Scores(score / samples, loss / samples, rate, int(samples), aim.metric)
