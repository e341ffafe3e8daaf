"""Chunks: which earlier chunks a network with chunks looked up, and what they are worth.

For layers with ``network.chunk``, see :class:`snnsim.baselines.options.chunks.ChunkRecurrent`. The
null of the accuracy is the same network that looks nothing up; that of what was found are all
earlier chunks that could have been found.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from snnsim.analysis.report import Figure, Report
from snnsim.analysis.subject import Subject
from snnsim.baselines.options.chunks import ChunkRecurrent, lookups, without_lookups
from snnsim.data import fetch
from snnsim.errors import ConfigError, check_size
from snnsim.layer import device_of, evaluating
from snnsim.training.evaluate import equally_padded, run_padded


class Hits(NamedTuple):
    """A ``Hits`` holds what a layer found for every chunk of some samples.

    Attributes:
        chunk: the number of each chunk, from 0, ``[C]``.
        ago: how many chunks before it each of the ``k`` chunks that were found lies, the most
            similar first, ``[S, C, k]``; 0 for none, and for chunks after the end of a sample.
        similarity: their cosine similarities, ``[S, C, k]``; 0 where ``ago`` is.
        kept: the similarities of all chunks that could have been found, the oldest first, ``[S, C,
            slots]``; NaN where there is none.
    """

    chunk: np.ndarray
    ago: np.ndarray
    similarity: np.ndarray
    kept: np.ndarray


@torch.no_grad()
def hits(subject: Subject) -> Hits:
    """Return which earlier chunks a layer found in every sample of a subject.

    Args:
        subject: the network and the data; ``layer`` names the layer with chunks, ``""`` the last.

    Raises:
        ConfigError: if there is no such layer.
    """
    layer, net, data = _layer(subject), subject.net, subject.data
    parts = []
    for chosen, padded in equally_padded(data.lengths, int(np.max(data.lengths)), 256):
        batch = fetch(data, chosen, padded)
        with evaluating(net), lookups() as found:
            y, ends = run_padded(net, batch.x.to(device_of(net)), batch.lengths)
        own = [each for each in found if each.layer is layer and each.step < len(y)]
        inside = torch.stack([each.step < ends for each in own], 1).unsqueeze(2)
        ago, near, kept = (
            torch.stack([getattr(each, name).cpu() for each in own], 1)
            for name in ("ago", "similarity", "kept")
        )
        used = inside & (ago > 0)
        kept = torch.where(inside, kept, torch.nan)
        parts.append((chosen, (ago * used).numpy(), (near * used).numpy(), kept.numpy()))
    order = np.argsort(np.concatenate([part[0] for part in parts]))
    joined = [np.concatenate([part[i] for part in parts])[order] for i in (1, 2, 3)]
    return Hits(np.asarray([each.step // layer.chunk for each in own]), *joined)


def _layer(subject: Subject) -> ChunkRecurrent:
    named = {n: m for n, m in subject.net.named_modules() if isinstance(m, ChunkRecurrent)}
    if subject.layer and subject.layer not in named:
        raise ConfigError(
            f"{subject.layer} is no layer with chunks; the network has {', '.join(named) or 'none'}"
        )
    if not named:
        raise ConfigError(
            f"{type(subject.net).__name__} has no layer with chunks; train a baseline with "
            "network.chunk, for example --set network.chunk=20 --set network.chunk_query=4"
        )
    return named[subject.layer or list(named)[-1]]


def analyse(subject: Subject, *, shown: int = 2) -> Report:
    """Report which earlier chunks were looked up, and the accuracy without them.

    Args:
        subject: what is looked at; ``layer`` names a layer with chunks, ``""`` the last.
        shown: the number of samples of which the text lists all chunks with what was found.

    Figures: ``accuracy``, with as its null that of the network that looks nothing up;
    ``similarity``, the mean cosine similarity of what was found, and ``ago``, how many chunks
    before its use it lies on average, both with as null the mean over all earlier chunks that could
    have been found. Arrays: ``ago`` and ``similarity`` of every sample and chunk.
    """
    check_size("shown", shown, 0)
    found = hits(subject)
    used, there = found.ago > 0, np.isfinite(found.kept)
    ages = np.broadcast_to(_layer(subject).ages().numpy(), there.shape)
    with without_lookups():
        without = subject.accuracy(subject.net)
    figures = {
        "accuracy": Figure(subject.accuracy(subject.net), without),
        "similarity": Figure(_mean(found.similarity, used), _mean(found.kept, there)),
        "ago": Figure(_mean(found.ago, used), _mean(ages, there)),
    }
    if not subject.nulls:
        figures = {name: Figure(figure.value) for name, figure in figures.items()}
    told = [
        f"The accuracy is {figures['accuracy']}, where the null looks nothing up; what is found "
        f"has a similarity of {figures['similarity']}."
    ]
    for sample in range(min(shown, len(used))):
        told += _listed(found, sample)
    arrays = {"chunk": found.chunk, "ago": found.ago, "similarity": found.similarity}
    return Report("chunks", figures, arrays, tuple(told))


def _mean(values: np.ndarray, where: np.ndarray) -> float:
    return float(values[where].mean()) if where.any() else 0.0


def _listed(found: Hits, sample: int) -> list[str]:
    """What was found in one sample, a line for each chunk."""
    lines = []
    for place, chunk in enumerate(found.chunk):
        ago, near = found.ago[sample, place], found.similarity[sample, place]
        named = [f"{chunk - a} ({s:.2f})" for a, s in zip(ago, near, strict=True) if a]
        if named:
            lines.append(f"sample {sample}, chunk {chunk}: found {', '.join(named)}")
    return lines
