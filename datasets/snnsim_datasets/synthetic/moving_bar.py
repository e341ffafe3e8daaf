"""A bar of active channels that moves up or down.

One step alone says nothing of the direction. After the moving images of Donahue et al. 2015
(arXiv:1411.4389).
"""

from __future__ import annotations

import numpy as np

from snnsim.data import Arrays
from snnsim.errors import ConfigError, check_seed


def moving_bar(
    samples: int,
    *,
    channels: int = 32,
    steps: int = 12,
    width: int = 3,
    first: tuple[float, float] = (0.0, 1.0),
    noise: float = 0.02,
    seed: int = 0,
) -> Arrays:
    """Does the bar move to higher channels? It moves one channel per step, round the end.

    Args:
        samples: number of sequences.
        channels: over which it moves.
        steps: of each sequence.
        width: of the bar.
        first: range of the bar's place at the middle step, as shares of the channels; train on
            one range and test on another to see whether positions are generalised.
        noise: probability that a channel is flipped.
        seed: of everything.

    >>> moving_bar(4).x.shape
    (4, 12, 32)
    """
    if min(samples, steps) < 1 or not 1 <= width < channels or not 0 <= first[0] < first[1] <= 1:
        raise ConfigError(
            f"samples {samples}, steps {steps}: 1 or more; width {width}: less than channels "
            f"{channels}; first {first}: a range within 0 .. 1"
        )
    random = np.random.default_rng(check_seed(seed))
    labels = np.arange(samples) % 2
    random.shuffle(labels)
    middle = random.uniform(*first, samples) * channels
    offset = (np.arange(steps) - steps // 2) * np.where(labels, 1, -1)[:, None]
    place = np.floor(middle[:, None] + offset).astype(int)
    distance = (np.arange(channels) - place[:, :, None]) % channels
    x = (distance < width) ^ (random.random(distance.shape) < noise)
    lengths = np.full(samples, steps, dtype=np.int64)
    return Arrays(x.astype(np.float32), labels.astype(np.int64), lengths, ("down", "up"))
