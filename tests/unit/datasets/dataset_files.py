"""Small files of the official forms, for the tests of data sets."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import snnsim_datasets
import soundfile
from snnsim_datasets.tools.events import BinnedEvents

PARTS = ("train", "validation", "test")


def load_all(name: str, root: Path | None, splits=PARTS, **options) -> dict:
    return {s: snnsim_datasets.load(name, s, root, **options) for s in splits}


def listing(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def write_heidelberg(path: Path, labels, speakers=None) -> None:
    """Sample i has i + 1 spikes of unit i at 25 ms, so that it can be recognised."""
    with h5py.File(path, "w") as file:
        times = file.create_dataset("spikes/times", len(labels), h5py.vlen_dtype(np.float16))
        units = file.create_dataset("spikes/units", len(labels), h5py.vlen_dtype(np.uint16))
        for i in range(len(labels)):
            times[i] = np.full(i + 1, 0.025, np.float16)
            units[i] = np.full(i + 1, i, np.uint16)
        file["labels"] = np.asarray(labels, np.uint64)
        if speakers is not None:
            file["extra/speaker"] = np.asarray(speakers, np.uint64)


def identities(binned: BinnedEvents) -> list[int]:
    return [int(n) - 1 for n in np.add.reduceat(binned.counts, binned.offsets[:-1], dtype=int)]


def write_clip(path: Path, samples=16_000, rate=16_000, value=1000, channels=1) -> str:
    """A constant clip; returns its name as it stands in the official lists."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.full((samples, channels), value, np.int16), rate, subtype="PCM_16")
    return f"{path.parent.name}/{path.name}"
