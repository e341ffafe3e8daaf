"""A sound as the spikes that a network was trained on, by the encoding that made those."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from snnsim.data.events import BinnedEvents, Events, bin_all
from snnsim.errors import SnnsimError
from snnsim_experiments.encode.job import Encoding


def encoding_of(encoder: Mapping[str, Any]) -> Encoding | None:
    """Return how recordings became the spikes of an encoder; ``None`` where that is not known.

    Args:
        encoder: of a data set of events, see :class:`snnsim.data.About`; its ``source`` is what the
            spike file says of itself.

    >>> encoding_of({"kind": "events", "pool": 5})
    """
    source = encoder.get("source")
    if encoder.get("kind") != "events" or not source:
        return None
    try:
        return Encoding.stored(source)
    except SnnsimError:  # of a later version, or of another program
        return None


def heard(
    encoding: Encoding, encoder: Mapping[str, Any], dt: float, samples: np.ndarray
) -> BinnedEvents:
    """Return a sound as a data set of one sample, encoded as those of training.

    Args:
        encoding: what :func:`encoding_of` returns.
        encoder: of the training data: how channels are summed, and events binned.
        dt: the length of a step in ms.
        samples: the sound, ``[n]`` int16, at the rate of the encoding.
    """
    made = encoding.encoder()
    arrays = made(samples, encoding.seed_of(""))
    events = Events(
        times=arrays["times"],
        units=arrays["units"],
        offsets=np.asarray([0, len(arrays["times"])], np.int64),
        labels=np.zeros(1, np.int64),
        speakers=np.full(1, -1, np.int64),
        channels=made.channels,
        classes=(),
    )
    return bin_all(events, dt, encoder["pool"], encoder["binning"])
