"""Few-shot classification: utterances of a new speaker, some with their classes, then one without.

A speaker shifts all channels alike, and classes are bumps that lie apart, so the shift turns one
class into another: only the labelled utterances of the speaker tell. All of them are one sequence
``[utterance, silence, utterance, ...]``, in which a labelled one has its class in channels of its
own while it lasts. After the task of Du et al. 2023 (arXiv:2208.04600), in small.
"""

from __future__ import annotations

import numpy as np

from snnsim.data import Arrays
from snnsim.errors import check_seed, check_size

HEIGHT = 1.5  # mean count of a channel at the top of a bump, whose width is one channel


def bumps(centre: np.ndarray, channels: int) -> np.ndarray:
    """Return the mean counts of a ring of channels around centres ``[...]``: ``[..., channels]``.

    >>> bumps(np.array([1]), 4).round(2).tolist()
    [[0.91, 1.5, 0.91, 0.2]]
    """
    half = channels // 2
    distance = (np.arange(channels) - centre[..., None] + half) % channels - half
    rates: np.ndarray = HEIGHT * np.exp(-0.5 * distance**2.0)
    return rates


def few_shot(
    samples: int,
    *,
    fewest: int = 0,
    most: int = 8,
    classes: int = 4,
    channels: int = 16,
    duration: int = 8,
    seed: int = 0,
) -> Arrays:
    """Make sequences of labelled utterances of a speaker and one whose class is asked.

    Args:
        samples: number of sequences, each with a speaker of its own.
        fewest, most: smallest and largest number of labelled utterances; all numbers between them
            are equally likely.
        classes: number of classes, 2 or more.
        channels: number of channels, at least one per class; one more per class carries labels.
        duration: number of steps of an utterance; one silent step lies between two.
        seed: seed of speakers, classes and spikes.

    >>> few_shot(2, fewest=1, most=1).x.shape
    (2, 17, 20)
    """
    check_size("samples", samples)
    check_size("classes", classes, 2)
    check_size("channels", channels, classes)
    check_size("duration", duration)
    check_size("fewest", fewest, 0, check_size("most", most, 0))
    random = np.random.default_rng(check_seed(seed))
    known = random.integers(fewest, most + 1, samples)
    shift = random.integers(0, channels, samples)
    label = random.integers(0, classes, (samples, most + 1))
    centre = label * channels // classes + shift[:, None]
    rates = bumps(centre, channels)
    spikes = random.poisson(rates[:, :, None], (samples, most + 1, duration, channels))
    told = np.eye(classes)[label] * (np.arange(most + 1) < known[:, None])[:, :, None]
    told = np.broadcast_to(told[:, :, None], (samples, most + 1, duration, classes))
    x = np.concatenate([spikes, told], axis=-1)
    x = np.pad(x, ((0, 0), (0, 0), (0, 1), (0, 0))).reshape(samples, -1, channels + classes)
    lengths = (known + 1) * (duration + 1) - 1
    asked = label[np.arange(samples), known]
    return Arrays(x[:, :-1], asked, lengths, tuple(map(str, range(classes))))
