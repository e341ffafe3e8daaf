"""Small files of the official forms, for the tests of data sets."""

from __future__ import annotations

import itertools
from pathlib import Path

import h5py
import numpy as np
import snnsim_datasets
import soundfile
from snnsim_datasets import images

from snnsim.data.events import BinnedEvents

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


def fingerprints(data) -> list[bytes]:
    """What each sample is, to the bit, without its padding."""
    found = []
    for i in range(len(data)):
        batch = data.batch([i])
        found.append(batch.x[: int(batch.lengths[0])].numpy().tobytes())
    return found


def assert_disjoint(parts: dict) -> None:
    """Every sample is in one part, once; no part is empty."""
    marks = {name: fingerprints(part) for name, part in parts.items()}
    for name, each in marks.items():
        assert len(set(each)) == len(each) > 0, name
    for (one, a), (other, b) in itertools.combinations(marks.items(), 2):
        assert not set(a) & set(b), f"{one} and {other}"


_IMAGES = {  # rows and colours; others are 28 and 1
    "mini-imagenet": (84, 3),
    "cifar10": (32, 3),
    "cifar100": (32, 3),
    "svhn": (32, 3),
}


def write_images(folder, name, count=60):
    """A packed file of noise in which every image is another one."""
    size, colours = _IMAGES.get(name, (28, 1))
    random = np.random.default_rng(3)
    arrays = {}
    for part, number in (("train", count), ("test", count // 3)):
        shape = (number, size, size, colours)[: 3 if colours == 1 else 4]
        arrays[f"x_{part}"] = random.integers(0, 256, shape).astype(np.uint8)
        arrays[f"y_{part}"] = (np.arange(number) % 10).astype(np.uint8)
    np.savez(folder / images.get(name).SET.packed, **arrays)
