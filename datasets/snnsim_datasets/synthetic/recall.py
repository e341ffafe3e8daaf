"""Delayed recall: which pattern of spikes came first?

A task of memory alone, after Lipton et al. 2015 (arXiv:1506.00019), section 2.
"""

from __future__ import annotations

import numpy as np

from snnsim.data import Arrays
from snnsim.errors import check_number, check_seed, check_size

SHOWN = 3  # steps that a pattern lasts


def delayed_recall(
    lag: int,
    samples: int,
    *,
    patterns: int = 4,
    channels: int = 12,
    noise: float = 0.02,
    seed: int = 0,
) -> Arrays:
    """Make sequences of a pattern, ``lag`` steps of noise, and a cue that asks which it was.

    Args:
        lag: number of steps between the end of the pattern and the cue, 0 or more.
        samples: number of sequences.
        patterns: number of patterns, 2 or more; they are the same for every seed.
        channels: number of channels that carry patterns and noise; one more carries the cue.
        noise: probability between 0 and 1 of a random spike per channel and step.
        seed: seed of the order of the patterns and of the noise.

    >>> data = delayed_recall(5, 8)
    >>> data.x.shape, bool((data.x[:, -1, -1] == 1).all())
    ((8, 9, 13), True)
    """
    check_size("lag", lag, 0)
    check_size("samples", samples)
    check_size("patterns", patterns, 2)
    check_size("channels", channels)
    check_number("noise", noise, 0, 1)
    shapes = np.random.default_rng(99).random((patterns, SHOWN, channels)) < 0.4
    random = np.random.default_rng([check_seed(seed), lag])
    labels = np.arange(samples) % patterns
    random.shuffle(labels)
    x = np.zeros((samples, SHOWN + lag + 1, channels + 1), dtype=np.float32)
    x[:, :, :channels] = random.random((*x.shape[:2], channels)) < noise
    x[:, :SHOWN, :channels] = np.maximum(x[:, :SHOWN, :channels], shapes[labels])
    x[:, -1, channels] = 1
    return Arrays(x, labels, classes=tuple(map(str, range(patterns))))
