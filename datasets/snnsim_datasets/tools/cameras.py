"""Recordings of event cameras: the formats of several makers as times, pixels and polarities.

    ending           what it is                                              geometry
    .raw             Prophesee EVT 2.0 and EVT 3.0                           in the header
    .dat             Prophesee DAT, version 2                                in the header
    .aedat4          iniVation AEDAT 4 (needs the package aedat)             in the header
    .bin             the 40-bit addresses of N-MNIST and N-Caltech101        unknown
    .npz, .npy       arrays t, x, y, p, or one with these fields             unknown
    .csv             columns t, x, y, p                                      unknown

Sources: the formats' descriptions at https://docs.prophesee.ai (EVT 2.0, EVT 3.0, DAT); Orchard,
Jayawant, Cohen & Thakor 2015, doi:10.3389/fnins.2015.00437 (40 bits).
"""

from __future__ import annotations

import csv
import re
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from snnsim.data.events import whole_numbers
from snnsim.data.limits import limit, read_seconds
from snnsim.errors import DataError
from snnsim_datasets.tools import files
from snnsim_datasets.tools.apart import run_apart

FIELDS = {
    "t": ("t", "ts", "time", "timestamp", "timestamps"),
    "x": ("x",),
    "y": ("y",),
    "p": ("p", "on", "polarity", "pol"),
}
LARGEST = 1 << 14  # rows or columns that a camera can have, as in DAT
JITTER = 10_000  # microseconds by which the clock of a camera may fall back


class CameraRecording(NamedTuple):
    """A ``CameraRecording`` has the events of one recording of an event camera.

    Attributes:
        t: the times of the events in microseconds since the first of them, ``[n]`` int64,
            ascending.
        x, y: their columns and rows, ``[n]`` int64, from the upper left corner.
        p: their polarities, ``[n]`` int64: 1 where it became brighter, else 0.
        height, width: the numbers of rows and columns of the camera; 0 where that is not said.
    """

    t: np.ndarray
    x: np.ndarray
    y: np.ndarray
    p: np.ndarray
    height: int = 0
    width: int = 0


def read(path: Path) -> CameraRecording:
    """Read a recording of an event camera.

    Args:
        path: a file with one of the endings of :data:`READERS`.

    Raises:
        DataError: if it is damaged, truncated, too long, or of another kind; if its clock runs
            backwards; or if it has events outside the camera.
    """
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError(
            f"{path} is not a recording of an event camera that can be read; its name must end in "
            f"one of {', '.join(READERS)}"
        )
    if not path.is_file():
        raise DataError(f"{path} does not exist")
    try:
        return _checked(reader(path))
    except MemoryError as error:
        raise DataError(f"{path} needs more memory than there is") from error
    except (DataError, *files.DAMAGE) as error:
        known = isinstance(error, DataError)
        text = str(error) if known else f"it is damaged or of another format ({error})"
        raise DataError(text if str(path) in text else f"{path}: {text}") from error


def _checked(recording: CameraRecording) -> CameraRecording:
    """The events in the order of time from 0 on, if all of them can be."""
    t = recording.t
    if (t[1:] < t[:-1]).any():
        order = np.argsort(t, kind="stable")
        recording = recording._replace(**{name: getattr(recording, name)[order] for name in FIELDS})
        t = recording.t
    lasts = (float(t[-1]) - float(t[0])) / 1e6 if len(t) else 0.0
    if lasts > limit("SNNSIM_MAX_SECONDS"):
        raise DataError(
            f"it lasts {lasts:g} s, but recordings last at most "
            f"{limit('SNNSIM_MAX_SECONDS'):g} s; times must be microseconds; cut it into parts, or "
            "raise SNNSIM_MAX_SECONDS"
        )
    _, x, y, _, height, width = recording
    for name, values, size in (("x", x, width), ("y", y, height)):
        outside = values[(values < 0) | (values >= (size or LARGEST))]
        if outside.size:
            raise DataError(
                f"it has an event at {name} = {outside[0]}, outside of the camera, where {name} is "
                f"0 .. {(size or LARGEST) - 1}"
            )
    return recording._replace(t=t - t[0] if len(t) else t)


# --- Prophesee ------------------------------------------------------------------------------------


def _header(content: bytes) -> tuple[dict[str, str], int]:
    """The entries of a header of lines that begin with ``%``, and where it ends."""
    found: dict[str, str] = {}
    place = 0
    while content.startswith(b"%", place):
        end = content.find(b"\n", place)
        if end < 0:
            raise DataError("its header does not end: it is truncated")
        name, _, value = content[place + 1 : end].decode("latin-1").strip().partition(" ")
        found[name.lower()] = value.strip()
        place = end + 1
        if name.lower() == "end":
            break
    return found, place


def _raw(path: Path) -> CameraRecording:
    content = path.read_bytes()
    header, start = _header(content)
    said = header.get("format", "") or header.get("evt", "")
    version = re.sub(r"\.0$", "", said.split(";")[0].upper().removeprefix("EVT").strip())
    decoders: dict[str, tuple[Callable[[np.ndarray], CameraRecording], str]] = {
        "2": (_evt2, "<u4"), "3": (_evt3, "<u2"),
    }  # fmt: skip
    if version not in decoders:
        raise DataError(
            f"its header says the format {said!r}, but EVT 2.0 and EVT 3.0 can be read; convert it "
            "to one of them"
        )
    decode, kind = decoders[version]
    body, size = content[start:], np.dtype(kind).itemsize
    if len(body) % size:
        raise DataError(
            f"it has {len(body)} bytes of events, not a multiple of {size}: it is truncated"
        )
    height, width = _geometry(header)
    return decode(np.frombuffer(body, kind))._replace(height=height, width=width)


def _geometry(header: dict[str, str]) -> tuple[int, int]:
    """Rows and columns of a camera, 0 where the header does not say."""
    wide, _, high = header.get("geometry", "").partition("x")
    options = dict(part.partition("=")[::2] for part in header.get("format", "").split(";"))
    height = high or options.get("height") or header.get("height") or "0"
    width = wide or options.get("width") or header.get("width") or "0"
    known = height.isdecimal() and width.isdecimal()
    found = (int(height), int(width)) if known else (-1, -1)
    if not (0 < min(found) <= max(found) <= LARGEST or found == (0, 0)):
        raise DataError(f"its header says a camera of {width} x {height} pixels, which none has")
    return found


def _held(where: np.ndarray, values: np.ndarray) -> np.ndarray:
    """At every place the last value up to it of those ``where`` there is one; -1 before them."""
    last = np.maximum.accumulate(np.where(where, np.arange(len(where)), -1))
    return np.where(last >= 0, values[last], -1)


def _unwrapped(clock: np.ndarray, period: int) -> np.ndarray:
    """Times of a clock that begins again at 0 after ``period``."""
    return clock + period * np.cumsum(np.diff(clock, prepend=clock[:1]) < -period // 2)


def _time_base(is_time: np.ndarray, high: np.ndarray, bits: int) -> np.ndarray:
    """The upper part of the time of every word, -1 before the first; it has ``bits`` bits."""
    base = np.zeros(len(high), np.int64)
    base[is_time] = _unwrapped(high[is_time], 1 << bits)
    return _held(is_time, base)


def _check_clock(t: np.ndarray) -> np.ndarray:
    """The times of a camera, which fall back by no more than some jitter."""
    late = np.maximum.accumulate(t) - t if len(t) else t
    if len(t) and late.max() > JITTER:
        raise DataError(
            f"its clock runs backwards by {late.max()} microseconds at event {int(late.argmax())}: "
            "it is damaged, or several recordings in one file"
        )
    return t


def _evt2(words: np.ndarray) -> CameraRecording:
    """Words of 32 bits: 4 of kind; then 28 of the upper time, or 6 of the lower, 11 of x, 11 of y.

    Kind 0 is an event that became darker, 1 brighter, 8 the time.
    """
    words = words.astype(np.int64)
    kind = words >> 28
    base = _time_base(kind == 8, words & 0xFFFFFFF, 28)
    event = (kind <= 1) & (base >= 0)
    found = words[event]
    t = (base[event] << 6) | (found >> 22) & 0x3F
    return CameraRecording(_check_clock(t), (found >> 11) & 0x7FF, found & 0x7FF, kind[event])


def _evt3(words: np.ndarray) -> CameraRecording:
    """Words of 16 bits, 4 of them of kind, each of which changes a part of the next event.

    0: its row. 2: its column and polarity, which completes it. 3: column and polarity of the first
    of many; 4 and 5: which of the next 12 or 8 columns have one. 6: the lower 12 bits of the time.
    8: the upper 12.
    """
    words = words.astype(np.int64)
    kind = words >> 12
    base = _time_base(kind == 8, words & 0xFFF, 12)
    place = np.arange(len(words))
    lower = _held(kind == 6, place) > _held(kind == 8, place)  # since the last upper part
    t = (base << 12) + np.where(lower, _held(kind == 6, words & 0xFFF), 0)
    y = _held(kind == 0, words & 0x7FF)
    known = (base >= 0) & (y >= 0)
    single = np.flatnonzero((kind == 2) & known)
    first = _held(kind == 3, words)
    step = np.where(kind == 4, 12, np.where(kind == 5, 8, 0))
    passed = np.cumsum(step) - step
    column = (first & 0x7FF) + passed - _held(kind == 3, passed)
    many = np.flatnonzero(((kind == 4) | (kind == 5)) & known & (first >= 0))
    bits = (words[many, None] >> np.arange(12)) & 1
    bits[kind[many] == 5, 8:] = 0
    row, bit = np.nonzero(bits)
    at = np.concatenate([single, many[row]])
    x = np.concatenate([words[single] & 0x7FF, column[many[row]] + bit])
    p = np.concatenate([words[single] >> 11 & 1, first[many[row]] >> 11 & 1])
    order = np.argsort(at, kind="stable")
    at = at[order]
    return CameraRecording(_check_clock(t[at]), x[order], y[at], p[order])


def _dat(path: Path) -> CameraRecording:
    """Events of 8 bytes: 32 bits of time; 4 of polarity, 14 of y, 14 of x."""
    content = path.read_bytes()
    header, start = _header(content)
    version = header.get("version", "2")
    if version != "2":
        raise DataError(f"its header says version {version}, but version 2 of DAT can be read")
    if len(content) < start + 2 or content[start + 1] != 8:
        raise DataError("its events are not of 8 bytes: it is damaged or no DAT file")
    body = content[start + 2 :]
    if len(body) % 8:
        raise DataError(f"it has {len(body)} bytes of events, not a multiple of 8: it is truncated")
    words = np.frombuffer(body, "<u4").reshape(-1, 2).astype(np.int64)
    place, t = words[:, 1], _unwrapped(words[:, 0], 1 << 32)
    p = ((place >> 28 & 0xF) > 0).astype(np.int64)
    height, width = _geometry(header)
    return CameraRecording(_check_clock(t), place & 0x3FFF, place >> 14 & 0x3FFF, p, height, width)


# --- others ---------------------------------------------------------------------------------------


def read_addresses(content: bytes, name: str = "it") -> CameraRecording:
    """Decode events of 40 bits, in any order of time.

    An event has five bytes: x, y, and 24 bits of polarity (highest) and microseconds. One with
    y = 240 is no event but says that the clock overflowed.

    Args:
        content: the bytes of the recording.
        name: what the recording is called in an error.

    Raises:
        DataError: if the content is truncated.
    """
    if len(content) % 5:
        raise DataError(f"{name} has {len(content)} bytes, not a multiple of 5: it is truncated")
    raw = np.frombuffer(content, dtype=np.uint8).reshape(-1, 5).astype(np.int64)
    t = ((raw[:, 2] & 127) << 16) | (raw[:, 3] << 8) | raw[:, 4]
    overflow = raw[:, 1] == 240
    t = t + np.cumsum(overflow) * (1 << 13)
    found = raw[~overflow]
    return CameraRecording(t[~overflow], found[:, 0], found[:, 1], found[:, 2] >> 7)


def _bin(path: Path) -> CameraRecording:
    return read_addresses(path.read_bytes())


def _aedat4(path: Path) -> CameraRecording:
    try:
        import aedat
    except ImportError as error:
        raise DataError(
            f"{path} is an AEDAT 4 file, which the package aedat reads: pip install "
            "'snnsim[cameras]'"
        ) from error

    def decoded() -> CameraRecording:
        decoder = aedat.Decoder(path)
        streams = {n: s for n, s in decoder.id_to_stream().items() if s["type"] == "events"}
        if len(streams) != 1:
            raise DataError(f"it has events of {len(streams)} cameras, but must have those of one")
        packets = [packet["events"] for packet in decoder if "events" in packet]
        (stream,) = streams.values()
        none = np.zeros(0, np.int64)
        columns = ([none, *(packet[name] for packet in packets)] for name in ("t", "x", "y", "on"))
        t, x, y, p = (np.concatenate(each, dtype=np.int64, casting="unsafe") for each in columns)
        return CameraRecording(t, x, y, p, int(stream["height"]), int(stream["width"]))

    recording: CameraRecording = run_apart(decoded, read_seconds(path.stat().st_size), str(path))
    return recording


def _npy(path: Path) -> CameraRecording:
    return _of_array(np.load(path, mmap_mode="r", allow_pickle=False))  # no more than there is


def _npz(path: Path) -> CameraRecording:
    with zipfile.ZipFile(path) as archive:
        files.check_unpacked(archive, path)
    with np.load(path, allow_pickle=False) as stored:
        if len(stored.files) == 1:
            return _of_array(stored[stored.files[0]])
        return _of_columns({name: stored[name] for name in stored.files})


def _of_array(array: np.ndarray) -> CameraRecording:
    if array.dtype.names is not None:
        return _of_columns({name: array[name] for name in array.dtype.names})
    if array.ndim != 2 or array.shape[1] != len(FIELDS):
        raise DataError(
            f"it has an array {list(array.shape)} without named fields, but must have the fields "
            "t, x, y and p, or be [events, 4] in this order"
        )
    return _of_columns(dict(zip(FIELDS, np.asarray(array).T, strict=True)))


def _csv(path: Path) -> CameraRecording:
    with path.open(encoding="utf-8-sig", newline="") as file:
        first = next(csv.reader(file), [])
    named = any(re.search("[A-Za-z]", cell) for cell in first)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "loadtxt: input contained no data")  # a silent recording
        values = np.loadtxt(path, delimiter=",", skiprows=int(named), ndmin=2, encoding="utf-8-sig")
    titles = [cell.strip().lower().partition("@") for cell in first]  # as x@640, of faery
    names = [name for name, _, _ in titles] if named else list(FIELDS)
    sizes = {name: size for name, _, size in titles if size}
    if not values.size:
        values = values.reshape(0, len(names))
    if values.shape[1] != len(names):
        raise DataError(f"it has {values.shape[1]} columns, but must have t, x, y and p")
    height, width = _geometry({"height": sizes.get("y", ""), "width": sizes.get("x", "")})
    recording = _of_columns(dict(zip(names, values.T, strict=True)))
    return recording._replace(height=height, width=width)


def _of_columns(given: dict[str, Any]) -> CameraRecording:
    """Events by the names of their fields."""
    lower = {name.lower(): values for name, values in given.items()}
    found: dict[str, np.ndarray] = {}
    for field, names in FIELDS.items():
        name = next((each for each in names if each in lower), None)
        if name is None:
            raise DataError(
                f"it has the fields {', '.join(given) or 'of an empty file'}, but must have t "
                "(microseconds), x, y and p (polarity)"
            )
        size = len(found["t"]) if found else None
        found[field] = whole_numbers(f"values of {field}", lower[name], size)
    odd = found["p"][(found["p"] < -1) | (found["p"] > 1)]
    if odd.size:
        raise DataError(f"it has the polarity {odd[0]}, but polarities are 0 (or -1) and 1")
    return CameraRecording(found["t"], found["x"], found["y"], (found["p"] > 0).astype(np.int64))


READERS: dict[str, Callable[[Path], CameraRecording]] = {
    ".raw": _raw,
    ".dat": _dat,
    ".aedat4": _aedat4,
    ".bin": _bin,
    ".npz": _npz,
    ".npy": _npy,
    ".csv": _csv,
}
