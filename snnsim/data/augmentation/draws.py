"""Random numbers of samples, which depend on nothing but the key, the transform and the sample."""

from __future__ import annotations

import numpy as np


def of_samples(key: tuple[int, ...], transform: str, samples: int, each: int = 1) -> np.ndarray:
    """Return some numbers for every sample, ``[samples, each]``, uniform from 0 to 1.

    The numbers of a sample do not depend on how many follow it.

    Args:
        key: the seed and the epoch (and, on a stream, the task between them).
        transform: the name of the transform that uses them.
        samples: the number of samples of the data set.
        each: the number of random numbers of a sample.
    """
    return np.random.default_rng((*key, *transform.encode())).random((samples, each))


def generator(key: tuple[int, ...], transform: str, sample: int) -> np.random.Generator:
    """Return a generator of one sample, for a transform that needs many numbers."""
    return np.random.default_rng((*key, *transform.encode(), 0, sample))
