"""Garden paths: sequences whose beginning suggests an answer that a late cue may overturn.

The beginning hints at one of two classes, most often at the right one, so that it pays to follow
it; then a cue tells the class. What matters is how soon a wrong early answer is revised.
"""

from __future__ import annotations

import numpy as np

from snnsim.data import Arrays
from snnsim.errors import ConfigError, check_number, check_seed, check_size

GROUP = 6  # channels that hint at a class, and as many that carry its cue
QUIET, HINT, CUE = 0.05, 0.3, 0.15  # probabilities of a spike per step and channel


def garden_path(
    samples: int, *, misled: float = 0.3, steps: int = 40, late: int = 24, seed: int = 0
) -> Arrays:
    """Make sequences of two classes whose hint is wrong in some of them.

    Args:
        samples: number of sequences; half of them are of each class.
        misled: fraction of the sequences whose beginning hints at the other class, 0 to 1.
        steps: number of steps of a sequence, 2 or more.
        late: step at which the cue begins and the hint ends, from 1 to ``steps - 1``.
        seed: seed of the order, of who is misled, and of the spikes.

    Returns:
        Sequences ``[samples, steps, 24]``: six channels for each class that hint, then six for
        each class that carry the cue. All have a few random spikes.

    >>> data = garden_path(10)
    >>> data.x.shape, data.target.tolist().count(1)
    ((10, 40, 24), 5)
    """
    check_size("samples", samples)
    check_size("steps", steps, 2)
    check_size("late", late, 1)
    check_number("misled", misled, 0, 1)
    if late >= steps:
        raise ConfigError(f"late is {late} but must be less than steps, {steps}, to leave a cue")
    random = np.random.default_rng(check_seed(seed))
    labels = random.permutation(np.arange(samples) % 2)
    wrong = random.permutation(np.arange(samples) < round(misled * samples))
    rates = np.full((samples, steps, 4, GROUP), QUIET)
    each = np.arange(samples)
    rates[each, :late, np.where(wrong, 1 - labels, labels)] = HINT
    rates[each, late:, 2 + labels] = CUE
    x = (random.random(rates.shape) < rates).reshape(samples, steps, 4 * GROUP)
    return Arrays(x.astype(np.float32), labels, classes=("left", "right"))
