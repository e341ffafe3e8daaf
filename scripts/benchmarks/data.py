"""Data: hearing and binning recordings, and making batches of them."""

from __future__ import annotations

import numpy as np
from snnsim_datasets import load

from benchmarks.measure import Case, Run
from snnsim.data.events import Events, bin_all
from snnsim.encoders import Cochlea


def batch() -> Case:
    """Making a batch of 256 embedded recordings, with the binned ones in memory."""

    def ours() -> Run:
        data = load("spoken-digits", "train")
        indices = np.arange(256)
        return lambda: data.batch(indices)

    return Case("batch of 256 recordings", {"snnsim": ours})


def binning(recordings: int = 1000, events: int = 8000) -> Case:
    """First-time binning of as many recordings as an eighth of SHD, to 140 channels of 10 ms."""
    generator = np.random.default_rng(0)
    shape = (recordings, events)
    made = Events(
        times=np.sort(generator.random(shape, dtype=np.float32), axis=1).ravel(),
        units=generator.integers(0, 700, recordings * events),
        offsets=np.arange(recordings + 1) * events,
        labels=np.zeros(recordings, np.int64),
        speakers=np.zeros(recordings, np.int64),
        channels=700,
        classes=("any",),
    )
    name = f"binning {recordings} recordings of {events} events"
    return Case(name, {"snnsim": lambda: lambda: bin_all(made, 10.0, pool=5)})


def hearing(seconds: float = 5.0, channels: int = 700) -> Case:
    """Spikes of a sound by the cochlea model; CPU seconds below ``seconds`` are real time."""
    cochlea = Cochlea(channels=channels)
    sound = np.random.default_rng(0).normal(size=int(seconds * cochlea.rate)).cumsum()
    sound -= sound.mean()
    name = f"cochlea of {channels} units, {seconds:g} s of sound"
    return Case(name, {"snnsim": lambda: lambda: cochlea(sound)})
