"""A bar of active channels that moves up or down.

One step alone says nothing of the direction. After the moving images of Donahue et al. 2015
(arXiv:1411.4389).
"""

from __future__ import annotations

import numpy as np

from snnsim.data import Arrays
from snnsim.errors import ConfigError, check_number, check_seed, check_size, is_number, short


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
    """Make sequences that ask whether a bar moves to higher channels.

    It moves one channel per step; beyond the last channel comes the first.

    Args:
        samples: number of sequences.
        channels: number of channels over which the bar moves.
        steps: number of steps of each sequence.
        width: number of channels that the bar covers, less than all.
        first: range of the bar's place at the middle step, as fractions of the channels between
            0 and 1; train on one range and test on another to see whether positions are
            generalised.
        noise: probability between 0 and 1 that a channel is flipped.
        seed: seed of directions, places and noise.

    >>> moving_bar(4).x.shape
    (4, 12, 32)
    """
    check_size("samples", samples)
    check_size("steps", steps)
    check_size("channels", channels, 2)
    check_size("width", width, 1, channels - 1)
    check_number("noise", noise, 0, 1)
    pair = isinstance(first, (tuple, list, np.ndarray)) and len(first) == 2
    if not pair or not all(map(is_number, first)) or not 0 <= first[0] < first[1] <= 1:
        raise ConfigError(
            f"first is {short(first)} but must be two numbers between 0 and 1, the smaller first"
        )
    random = np.random.default_rng(check_seed(seed))
    labels = np.arange(samples) % 2
    random.shuffle(labels)
    middle = random.uniform(*first, samples) * channels
    offset = (np.arange(steps) - steps // 2) * np.where(labels, 1, -1)[:, None]
    place = np.floor(middle[:, None] + offset).astype(int)
    distance = (np.arange(channels) - place[:, :, None]) % channels
    x = (distance < width) ^ (random.random(distance.shape) < noise)
    return Arrays(x, labels, classes=("down", "up"))
