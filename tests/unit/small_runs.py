"""Runs of less than a second for the tests of run folders, one for each command that writes one."""

from __future__ import annotations

import os
import resource
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import contextmanager
from functools import cache, wraps
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from snnsim_datasets import spoken_digits

from snnsim.data.events import BinnedEvents

sys.path.insert(0, str(Path(__file__).parent / "datasets"))  # for those who run it as a script
from dataset_files import write_clip, write_heidelberg

TINY = ("--set", "network.hidden=[4]", "-q")
SHD = ("shd", "train", "--config", "none", "--set", "data.pool=50", "--epochs", "2", *TINY)
DIGITS = (
    "spoken-digits", "train", "--config", "none", "--set", "data.pool=50", "--epochs", "2", *TINY
)  # fmt: skip
ON_PARITY = (
    "--stream", "parity", "--set", "stream.tasks=2", "--set", "stream.samples=16",
    "--set", "training.epochs=1", *TINY,
)  # fmt: skip
WRITERS = {  # every command that writes a run folder or a folder of runs
    "train": DIGITS,
    "continual run": ("continual", "run", "--method", "fine-tuning", *ON_PARITY),
    "continual compare": ("continual", "compare", "--methods", "fine-tuning,ewc", *ON_PARITY),
    "continual repeat": (
        "continual", "repeat", "--sizes", "0,8", "--epochs", "1", "--set", "network.delays=none",
        "--set", "data.pool=50", *TINY,
    ),
    "baselines train": (
        "baselines", "train", "--model", "gru", "--data", "spoken-digits", "--width", "4",
        "--epochs", "2", "--set", "data.pool=50", "-q",
    ),
    "baselines compare": (
        "baselines", "compare", "--models", "gru,elman", "--data", "spoken-digits",
        "--budget", "2k", "--epochs", "1", "--set", "data.pool=50", "-q",
    ),
}  # fmt: skip


TEXTS = {  # of JSON files that are damaged, or of something else
    "empty": b"",
    "half": b'{"config": {"data',
    "null": b"null",
    "a number": b"3",
    "a list": b"[1]",
    "an object": b"{}",
    "deep": b'{"config":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep objects": b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    "not UTF-8": b'{"config": "\xff\xfe"}',
    "zero bytes": b"\0" * 500,
    "5000 digits": b'{"config": {}, "seed": ' + b"9" * 5000 + b"}",
    "not finite": b'{"config": NaN, "dt": Infinity}',
    "half a surrogate": rb'{"config": "\ud800"}',
}


class Source(NamedTuple):
    """Data of a kind: how they are written, the command that reads them, and a file to change."""

    write: Callable[[Path], None]
    command: tuple[str, ...]
    change: str
    other: Callable[[Path], None]


_load = spoken_digits.load


@cache
def _digits(split: str, **options) -> BinnedEvents:
    return _load(split, **options)


@wraps(_load)  # whose signature is what a configuration may say
def read_once(split, root=None, *, progress=None, **options) -> BinnedEvents:
    """Stand for ``spoken_digits.load``, which almost every small run calls."""
    return _load(split, root, **options) if root is not None else _digits(split, **options)


def write_shd(root: Path) -> None:
    """Thirty samples of three speakers in training, twenty of two others for the test."""
    root.mkdir(parents=True, exist_ok=True)
    labels = np.arange(30) % 20
    write_heidelberg(root / "shd_train.h5", labels, np.arange(30) % 3)
    write_heidelberg(root / "shd_test.h5", np.arange(20), np.arange(20) % 2 + 7)


def other_shd_test(root: Path) -> None:
    write_heidelberg(root / "shd_test.h5", (np.arange(20) + 1) % 20, np.arange(20) % 2 + 7)


def write_fsdd(root: Path) -> None:
    """Three speakers, three digits, two recordings of each in training and one for the test."""
    for digit in range(3):
        for number, speaker in enumerate(("anna", "bert", "cleo")):
            for index in (0, 5, 6):
                value = 1000 * digit + 100 * number + index
                name = f"{digit}_{speaker}_{index}.wav"
                write_clip(root / "recordings" / name, 2000, 8000, value)


def other_recording(root: Path) -> None:
    write_clip(root / "recordings" / "1_bert_6.wav", 2000, 8000, 77)


def write_nmnist(root: Path) -> None:
    root.mkdir(parents=True, exist_ok=True)
    for part in ("train", "test"):
        _nmnist(root / f"nmnist_{part}.npz", 0)


def other_events(root: Path) -> None:
    _nmnist(root / "nmnist_test.npz", 1)


def _nmnist(path: Path, first: int) -> None:
    sizes = np.arange(30) + 1
    np.savez(
        path,
        x=np.repeat((np.arange(30) + first) % 34, sizes).astype(np.uint8),
        y=np.full(sizes.sum(), 7, np.uint8),
        p=np.ones(sizes.sum(), np.uint8),
        dt_us=np.concatenate([[12_000] + [0] * (n - 1) for n in sizes]).astype(np.int32),
        offsets=np.concatenate([[0], np.cumsum(sizes)]),
        labels=(np.arange(30) % 10).astype(np.uint8),
    )


def write_images(root: Path) -> None:
    _images(root, 0)


def other_images(root: Path) -> None:
    _images(root, 1)


def _images(root: Path, seed: int) -> None:
    root.mkdir(parents=True, exist_ok=True)
    generator, arrays = np.random.default_rng(seed), {}
    for part, count in (("train", 60), ("test", 20)):
        pixels = generator.integers(0, 255, (count, 28, 28))
        arrays[f"x_{part}"] = pixels.astype(np.uint8)
        arrays[f"y_{part}"] = (np.arange(count) % 10).astype(np.uint8)
    np.savez(root / "mnist_full.npz", **arrays)


SOURCES = {
    "spikes": Source(write_shd, SHD, "shd_test.h5", other_shd_test),
    "recordings": Source(
        write_fsdd,
        ("fsdd", "train", "--config", "none", "--set", "data.n_mels=8", "--epochs", "2", *TINY),
        "1_bert_6.wav",
        other_recording,
    ),
    "camera": Source(
        write_nmnist,
        ("nmnist", "train", "--config", "none", "--set", "data.dt=20", "--epochs", "2", *TINY),
        "nmnist_test.npz",
        other_events,
    ),
    "baseline": Source(
        write_shd,
        (
            "baselines", "train", "--model", "gru", "--data", "shd", "--width", "4",
            "--epochs", "2", "--set", "data.pool=50", "-q",
        ),
        "shd_test.h5",
        other_shd_test,
    ),
    "stream of spikes": Source(
        write_shd,
        (
            "continual", "run", "--stream", "split-shd", "--method", "fine-tuning",
            "--set", "stream.per_task=10", "--set", "training.epochs=1", *TINY,
        ),
        "shd_test.h5",
        other_shd_test,
    ),
    "stream of images": Source(
        write_images,
        (
            "continual", "run", "--stream", "split-mnist", "--method", "fine-tuning",
            "--set", "stream.per_task=5", "--set", "training.epochs=1", *TINY,
        ),
        "mnist_full.npz",
        other_images,
    ),
}  # fmt: skip


def interrupt_after(monkeypatch, steps: int) -> None:
    """Ctrl-C in a later training step; at once for 0. ``monkeypatch.undo()`` ends it."""
    backward, calls = torch.Tensor.backward, []

    def stop(self, *arguments, **options):
        calls.append(self)
        if len(calls) > steps:
            raise KeyboardInterrupt
        return backward(self, *arguments, **options)

    monkeypatch.setattr(torch.Tensor, "backward", stop)


def contents(folder: Path) -> dict[str, bytes]:
    """All files of a folder but the lock."""
    paths = (p for p in folder.rglob("*") if p.is_file() and p.name != "run.lock")
    return {str(p.relative_to(folder)): p.read_bytes() for p in paths}


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def forked(function: Callable[[], int]) -> int:
    """Call a function in a child process, which ends with what it returns. Returns its number."""
    child = os.fork()
    if child == 0:
        code = 9
        try:
            code = function()
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(code)
    return child


def exit_codes(children: list[int]) -> list[int]:
    """Of forked processes, in their order."""
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


@contextmanager
def files_of_at_most(size: int):
    """Within this context a write beyond so many bytes of a file fails."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
