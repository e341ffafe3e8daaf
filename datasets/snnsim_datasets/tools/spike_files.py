"""Spike files in the Heidelberg layout that also say how they were made.

What :mod:`snnsim_datasets.tools.heidelberg` reads is there as in any such file; the rest is
optional:

    extra/keys                          names of the classes, in the order of their labels
    extra/split                         "train", "validation" or "test" for each sample, or ""
    extra/files                         the recording of each sample, relative to its folder
    extra/meta_info/speaker_names       names of the speakers, in the order of their numbers
    attributes of the file: channels    number of channels
                            encoder     JSON text, {"kind": ..., options}
                            checksum    SHA-256 of labels, speakers, splits, offsets, times, units
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from snnsim.data.events import Events
from snnsim.data.limits import read_seconds
from snnsim.errors import DataError, naming, short
from snnsim_datasets.tools import heidelberg
from snnsim_datasets.tools.apart import run_apart
from snnsim_datasets.tools.files import atomic, unpacked
from snnsim_datasets.tools.listing import PARTS

KEYS, SPLIT, FILES = "extra/keys", "extra/split", "extra/files"
SPEAKER_NAMES = "extra/meta_info/speaker_names"
MOST_CHANNELS = 2**31 - 1
MOST_TEXT = 1 << 16  # of an attribute


@dataclass(frozen=True)
class SpikeFile:
    """A spike file holds recorded spikes, and says where they come from.

    Attributes:
        events: the spikes, with labels, speakers and the names of the classes (which may be
            absent).
        encoder: how they were made, ``{"kind": ..., options}``; empty if that is not known.
        speaker_names: the names of the speakers, in the order of their numbers; may be empty.
        splits: ``"train"``, ``"validation"``, ``"test"`` or ``""`` for each sample; may be empty.
        files: the recording of each sample, relative to their folder; may be empty.
    """

    events: Events
    encoder: Mapping[str, Any] = field(default_factory=dict)
    speaker_names: tuple[str, ...] = ()
    splits: tuple[str, ...] = ()
    files: tuple[str, ...] = ()


@dataclass(frozen=True)
class About:
    """An ``About`` is what a spike file says beside its spikes; all of it is optional.

    Attributes:
        samples: the number of samples.
        channels: the number of channels; ``None`` if the file does not say.
        keys: the names of the classes, in the order of their labels.
        speaker_names: the names of the speakers, in the order of their numbers.
        splits: ``"train"``, ``"validation"``, ``"test"`` or ``""`` for each sample, or nothing.
        files: the recording of each sample, or nothing.
        encoder: how the spikes were made, ``{"kind": ..., options}``, or nothing.
        checksum: the SHA-256 of :func:`checksum`; empty if the file has none.
    """

    samples: int
    channels: int | None
    keys: tuple[str, ...]
    speaker_names: tuple[str, ...]
    splits: tuple[str, ...]
    files: tuple[str, ...]
    encoder: dict[str, Any]
    checksum: str


def checksum(events: Events, splits: Sequence[str] = ()) -> str:
    """Return the SHA-256 of labels, speakers, splits, offsets, times and units, hexadecimal.

    Times count as float32 seconds, which is what a file has.

    Args:
        events: the spikes.
        splits: the split of each sample; nothing is the same as ``""`` for all.
    """
    named = "\n".join(splits or [""] * len(events)).encode()
    state = hashlib.sha256()
    for values, kind in ((events.labels, "<i8"), (events.speakers, "<i8")):
        state.update(values.astype(kind).tobytes())
    state.update(named + b"\n")
    for values, kind in ((events.offsets, "<i8"), (events.times, "<f4"), (events.units, "<u4")):
        state.update(values.astype(kind).tobytes())
    return state.hexdigest()


def write(path: Path | str, content: SpikeFile) -> str:
    """Write a spike file and return its checksum; a file that is there is replaced at the end.

    Equal content gives equal bytes. Times are written as float32.

    Args:
        path: path of the file.
        content: what it will hold.

    Raises:
        OSError: if it cannot be written.
    """
    import h5py

    path, events = Path(path), content.events
    found = checksum(events, content.splits)
    units = np.uint16 if events.channels <= 2**16 else np.uint32
    named = {
        KEYS: events.classes,
        SPLIT: content.splits if any(content.splits) else (),
        FILES: content.files,
        SPEAKER_NAMES: content.speaker_names,
    }
    memory = io.BytesIO()  # the library itself reports a full disk several times, in tracebacks
    with h5py.File(memory, "w") as file:
        heidelberg.put(file, events, np.float32, units)
        for name, texts in named.items():
            if texts:
                file.create_dataset(name, data=list(texts), dtype=h5py.string_dtype())
        file.attrs["channels"] = events.channels
        file.attrs["checksum"] = found
        if content.encoder:
            file.attrs["encoder"] = json.dumps(dict(content.encoder), sort_keys=True)
    with naming(path), atomic(path) as temporary:
        temporary.write_bytes(memory.getbuffer())
    return found


def read(path: Path | str, channels: int = heidelberg.CHANNELS) -> SpikeFile:
    """Read a spike file (``.h5``, ``.h5.gz`` or ``.h5.zip``) and check it against its checksum.

    Args:
        path: path of the file.
        channels: number of channels of a file that does not say it; 0 for :func:`channels_of` its
            units.

    Raises:
        DataError: naming the file and what is wrong with it.
    """
    path = Path(path)
    told = about(path)
    known = (told.channels or channels) > 0
    most = (told.channels or channels) if known else MOST_CHANNELS
    events, _ = heidelberg.read(path, told.keys, most, told.channels is not None or not known)
    if not known:
        events = replace(events, channels=channels_of(events.units))
    if told.checksum and checksum(events, told.splits) != told.checksum:
        raise DataError(
            f"{path} does not have the checksum that it states: it was damaged or changed after it "
            "was written; encode the recordings again"
        )
    if told.speaker_names and events.speakers.max() >= len(told.speaker_names):
        raise DataError(
            f"{path} has speaker {events.speakers.max()} but names only {len(told.speaker_names)}"
        )
    return SpikeFile(events, told.encoder, told.speaker_names, told.splits, told.files)


def channels_of(units: np.ndarray) -> int:
    """Return how many channels spikes are taken to have of which nothing says it.

    These are 700, as in the Heidelberg data sets, if the largest unit is from 350 to 699; else one
    more than the largest unit.

    >>> channels_of(np.array([3, 127])), channels_of(np.array([699]))
    (128, 700)
    """
    largest, usual = int(np.max(units, initial=0)), heidelberg.CHANNELS
    return usual if usual // 2 <= largest < usual else largest + 1


def about(path: Path | str) -> About:
    """Read what a spike file says beside its spikes, without reading these.

    Args:
        path: path of the file (``.h5``, ``.h5.gz`` or ``.h5.zip``).

    Raises:
        DataError: for a file that is no spike file, or entries that are damaged or contradict each
            other.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path} does not exist")
    try:
        with unpacked(path) as plain:
            size = plain.stat().st_size
            return run_apart(lambda: _about(plain, size), read_seconds(size), str(path))
    except DataError as error:
        text = " ".join(str(error).split())
        raise DataError(text if str(path) in text else f"{path}: {text}") from error


def _about(plain: Path, size: int) -> About:
    import h5py

    try:
        with h5py.File(plain, "r") as file:
            if not heidelberg.there(file, "labels"):
                raise DataError("it has no labels, so it is no spike file")
            samples = len(heidelberg.array_of(file, "labels", size))
            return About(
                samples,
                _channels(file),
                _names(file, KEYS, size),
                _names(file, SPEAKER_NAMES, size),
                _splits(file, samples, size),
                _one_each(FILES, _texts(file, FILES, size), samples),
                _encoder(file),
                _checksum(file),
            )
    except DataError:
        raise
    except Exception as error:  # whatever the library raises of a damaged file
        kind = type(error).__name__
        raise DataError(f"it is not a readable HDF5 file ({kind}: {error})") from error


def _texts(file: Any, name: str, size: int) -> tuple[str, ...]:
    if not heidelberg.there(file, name):
        return ()
    found = heidelberg.array_of(file, name, size)
    if found.dtype.kind not in "OS":
        raise DataError(f"{name} is {found.dtype} but must be texts")
    return tuple(_text(name, each) for each in found[:])


def _text(name: str, given: Any) -> str:
    try:
        text = given.decode() if isinstance(given, bytes) else given
    except UnicodeDecodeError as error:
        raise DataError(f"{name} has a text that is not UTF-8: {short(given)}") from error
    if not isinstance(text, str):
        raise DataError(f"{name} has {short(given)} but must have texts")
    return text


def _names(file: Any, name: str, size: int) -> tuple[str, ...]:
    """Texts that tell things apart."""
    found = _texts(file, name, size)
    if "" in found or len(set(found)) < len(found):
        raise DataError(f"{name} must have different names but has {short(found)}")
    return found


def _one_each(name: str, found: tuple[str, ...], samples: int) -> tuple[str, ...]:
    if found and len(found) != samples:
        raise DataError(f"{name} has {len(found)} entries but there are {samples} samples")
    return found


def _splits(file: Any, samples: int, size: int) -> tuple[str, ...]:
    found = _one_each(SPLIT, _texts(file, SPLIT, size), samples)
    for split in found:
        if split not in (*PARTS, ""):
            raise DataError(
                f"{SPLIT} has {short(split)} but must have {', '.join(PARTS)} or nothing"
            )
    return found if any(found) else ()


def _channels(file: Any) -> int | None:
    if "channels" not in file.attrs:
        return None
    given = np.asarray(file.attrs["channels"])
    if given.size != 1 or given.dtype.kind not in "iu" or not 1 <= given.item() <= MOST_CHANNELS:
        raise DataError(
            f"its attribute channels is {short(given.tolist())} but must be a whole number of 1 or "
            "more"
        )
    return int(given.item())


def _attribute(file: Any, name: str) -> str:
    """An attribute that is a text; empty where there is none."""
    if name not in file.attrs:
        return ""
    text = _text(f"its attribute {name}", file.attrs[name])
    if len(text) > MOST_TEXT:
        raise DataError(f"its attribute {name} has {len(text)} characters; it is damaged")
    return text


def _encoder(file: Any) -> dict[str, Any]:
    text = _attribute(file, "encoder")
    if not text:
        return {}
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"its attribute encoder is no JSON ({error})") from error
    if not isinstance(found, dict) or not isinstance(found.get("kind"), str):
        raise DataError(f'its attribute encoder is {short(text)} but must be {{"kind": ..., ...}}')
    return found


def _checksum(file: Any) -> str:
    text = _attribute(file, "checksum")
    if text and not re.fullmatch("[0-9a-f]{64}", text):
        raise DataError(f"its attribute checksum is {short(text)} but must be a SHA-256")
    return text
