"""Delayed recall: which pattern of spikes came first?

A task of memory alone, after Lipton et al. 2015 (arXiv:1506.00019), section 2.
"""

from __future__ import annotations

import numpy as np

from snnsim.data import Arrays
from snnsim.errors import ConfigError, check_seed

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
    """A pattern, ``lag`` steps of noise, and a cue on the last channel.

    Args:
        lag: steps between the end of the pattern and the cue.
        samples: number of sequences.
        patterns: to be told apart; the same for every seed.
        channels: that carry patterns and noise; one more carries the cue.
        noise: probability of a spike of chance per channel and step.
        seed: of order and noise.

    >>> data = delayed_recall(5, 8)
    >>> data.x.shape, bool((data.x[:, -1, -1] == 1).all())
    ((8, 9, 13), True)
    """
    if lag < 0 or min(samples, channels) < 1 or patterns < 2 or not 0 <= noise <= 1:
        raise ConfigError(
            f"lag is {lag}, samples {samples}, channels {channels}, patterns {patterns} and noise "
            f"{noise}; needed are 0, 1, 1, 2 or more and a noise between 0 and 1"
        )
    shapes = np.random.default_rng(99).random((patterns, SHOWN, channels)) < 0.4
    random = np.random.default_rng([check_seed(seed), lag])
    labels = np.arange(samples) % patterns
    random.shuffle(labels)
    x = np.zeros((samples, SHOWN + lag + 1, channels + 1), dtype=np.float32)
    x[:, :, :channels] = random.random((*x.shape[:2], channels)) < noise
    x[:, :SHOWN, :channels] = np.maximum(x[:, :SHOWN, :channels], shapes[labels])
    x[:, -1, channels] = 1
    lengths = np.full(samples, x.shape[1], dtype=np.int64)
    return Arrays(x, labels.astype(np.int64), lengths, tuple(map(str, range(patterns))))
