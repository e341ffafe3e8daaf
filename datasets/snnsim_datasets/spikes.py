"""Spikes of your own: files in the layout of SHD with any channels and classes, or ``.npz``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from snnsim.data.events import BinnedEvents, Events, bin_all, offsets_of, whole_numbers
from snnsim.errors import DataError, check_number
from snnsim_datasets.tools import files, spike_files
from snnsim_datasets.tools.catalogue import INFOS
from snnsim_datasets.tools.files import Fetching, check_fetching
from snnsim_datasets.tools.places import SPIKES
from snnsim_datasets.tools.rows import Row
from snnsim_datasets.tools.splits import check_split, check_trained, divide

INFO = INFOS["spikes"]
ARRAYS = ("times", "units", "offsets", "labels")
FURTHER = ("classes", "speakers", "splits", "channels")
MOST_UNTOLD = 2**20  # channels that are pooled without being told
MOST_POOLED = 150  # channels that are left where nothing is said of pooling
FEWEST_POOLED = 50
NAMED = {"train": "train", "valid": "validation", "validation": "validation", "test": "test"}
_PART = re.compile(rf"(?i)(.*?)[_-]?({'|'.join(NAMED)})((?:\.h5|\.hdf5)(?:\.gz|\.zip)?|\.npz)")


def load(
    split: str,
    root: Path | str | None = None,
    *,
    dt: float = 10.0,
    pool: int = 0,
    binning: str = "grid",
    channels: int = 0,
    held_out: float = 0.2,
    split_seed: int = 0,
    split_by: str = "auto",
    **fetching: Unpack[Fetching],
) -> BinnedEvents:
    """Load a split.

    Args:
        split: ``"train"``, ``"validation"`` or ``"test"``.
        root: a spike file (``.h5``, packed or not, or ``.npz``), of which ``NAME_train.h5``,
            ``NAME_valid.h5`` and ``NAME_test.h5`` are read together, or a folder with these. An
            ``.npz`` file has ``times`` (seconds, all recordings one after another), ``units``,
            ``offsets`` (where each begins, and the last ends) and ``labels``, and perhaps
            ``classes``, ``speakers``, ``splits`` and ``channels``.
        dt: length of a time step in ms.
        pool: number of neighbouring channels that are summed into one; must divide their number.
            0 takes the smallest that leaves at most 150 channels, or none if that leaves few.
        binning: how events become steps; see :func:`snnsim.data.events.bin_events`.
        channels: number of channels; 0 for that of the files, or if they do not say, 700 as in SHD
            or, with no unit from 350 to 699, one more than the largest unit.
        held_out: about which fraction of the recordings a part has that is not given.
        split_seed: of the choice of these.
        split_by: ``"speaker"``, ``"class"`` or ``"auto"``, see
            :func:`snnsim_datasets.tools.splits.divide`.
        fetching: see :class:`snnsim_datasets.tools.files.Fetching`.

    Raises:
        DataError: if there is no such file, or it is damaged or does not fit the others.
    """
    check_fetching(fetching)
    check_split(INFO.name, split, INFO.splits)
    check_number("data.pool", pool, 0)
    check_number("data.channels", channels, 0)
    found = _found(root, channels)
    parts = _parts(found, held_out, split_seed, split_by)
    events = found.events.subset(parts == split)
    if pool == 0 and events.channels > MOST_UNTOLD:
        raise DataError(
            f"{root} has unit {int(events.units.max())} and so {events.channels:g} channels, which "
            "are too many to be summed without being told; if it is not damaged, give data.pool"
        )
    pool = pool or pooling(events.channels)
    binned = bin_all(events, dt, pool, binning, found.checksums)
    return replace(binned, source=found.encoder)


def facts(root: Path | str | None = None, **options: Any) -> dict[str, str]:
    """Return what ``snnsim data info`` says of the channels.

    Args:
        root: as in :func:`load`.
        options: those of :func:`load`.
    """
    channels = _found(root, options.get("channels", 0)).events.channels
    pool = options.get("pool", 0) or (pooling(channels) if channels <= MOST_UNTOLD else 0)
    summed = f", summed by {pool} neighbours to {channels // pool}" if pool > 1 else ""
    return {"channels": f"{channels}{summed}"}


def rows(root: Path | str | None = None, **options: Any) -> list[Row]:
    """Return what is in which split.

    Args:
        root: as in :func:`load`.
        options: those of :func:`load`.
    """
    defaults: dict[str, Any] = {"held_out": 0.2, "split_seed": 0, "split_by": "auto"}
    found = _found(root, options.get("channels", 0))
    parts = _parts(found, *(options.get(name, default) for name, default in defaults.items()))
    events = found.events
    return [
        Row(
            found.files[i] if found.files else str(i),
            events.classes[label],
            _speaker(found.speaker_names, speaker),
            str(parts[i]),
        )
        for i, (label, speaker) in enumerate(zip(events.labels, events.speakers, strict=True))
    ]


def pooling(channels: int) -> int:
    """Return how many neighbouring channels are summed where that is not said.

    >>> pooling(700), pooling(128), pooling(256), pooling(701)
    (5, 1, 2, 1)
    """
    divisors = (d for d in range(1, channels + 1) if channels % d == 0)
    chosen = next(d for d in divisors if channels // d <= MOST_POOLED)
    return chosen if channels // chosen >= FEWEST_POOLED or channels <= MOST_POOLED else 1


@dataclass(frozen=True)
class _Found:
    """All recordings of a place; ``splits`` has the split of each, or is empty."""

    events: Events
    splits: tuple[str, ...]
    files: tuple[str, ...]
    speaker_names: tuple[str, ...]
    encoder: dict[str, Any]
    checksums: dict[str, str]


def _speaker(names: Sequence[str], number: int) -> str:
    return "" if number < 0 else names[number] if names else str(number)


def _parts(found: _Found, held_out: float, seed: int, by: str) -> np.ndarray:
    events = found.events
    given = found.splits or ("",) * len(events)
    parts = divide(events.labels, events.speakers, given, held_out, seed, by)
    check_trained(events.labels, parts, events.classes)
    return parts


# --- files ----------------------------------------------------------------------------------------


def _found(root: Path | str | None, channels: int) -> _Found:
    place = files.folder_of(INFO.name, root)
    paths = _paths(place)
    each = [_read(path) for path in paths.values()]
    return _joined(list(paths), each, channels)


def _paths(place: Path) -> dict[str, Path]:
    """The files by the split that their names say; one of any name is of all splits."""
    if place.is_dir():
        spikes = [p for p in sorted(place.iterdir()) if p.name.lower().endswith((*SPIKES, ".npz"))]
        named = [path for path in spikes if _PART.fullmatch(path.name)]
        if not spikes:
            raise DataError(f"{place} has no spike files ({', '.join((*SPIKES[:2], '.npz'))})")
        if len(spikes) > 1 and not named:
            raise DataError(f"{place} has {len(spikes)} spike files; name one of them")
        place = (named or spikes)[0]
    if not place.is_file():
        raise DataError(f"{place} does not exist; give the file of your spikes with --root")
    match = _PART.fullmatch(place.name)
    if match is None:
        return {"": place}
    found: dict[str, Path] = {}
    for other in sorted(place.parent.iterdir()):
        each = _PART.fullmatch(other.name)
        if each is None or each[1].lower() != match[1].lower():
            continue
        part = NAMED[each[2].lower()]
        if part in found:
            raise DataError(f"{found[part]} and {other} are both for {part}; remove one")
        found[part] = other
    if "train" not in found:
        raise DataError(f"beside {place} there is no file for training; name it NAME_train.h5")
    return found


def _read(path: Path) -> _Found:
    if path.name.lower().endswith(".npz"):
        return _arrays(path)
    told = spike_files.read(path, channels=0)
    sums = {path.name: files.digest(path)}
    return _Found(
        told.events, told.splits, told.files, told.speaker_names, dict(told.encoder), sums
    )


def _arrays(path: Path) -> _Found:
    needed = files.read_arrays(path, ARRAYS, "file of spikes")
    given = dict(zip(ARRAYS, needed, strict=True)) | files.read_known(path, FURTHER)
    try:
        return _of_arrays(given, {path.name: files.digest(path)})
    except (DataError, ValueError, TypeError) as error:
        raise DataError(f"{path}: {error}") from error


def _of_arrays(given: dict[str, np.ndarray], checksums: dict[str, str]) -> _Found:
    labels = whole_numbers("labels", given["labels"])
    units = whole_numbers("units", given["units"])
    told = int(given["channels"]) if "channels" in given else None
    events = Events(
        times=given["times"],
        units=units,
        offsets=given["offsets"],
        labels=labels,
        speakers=given.get("speakers", np.full(len(labels), -1)),
        channels=spike_files.channels_of(units) if told is None else told,
        classes=tuple(map(str, given.get("classes", np.zeros(0, str)).tolist())),
    )
    splits = tuple(str(each) for each in given.get("splits", np.zeros(0, str)).tolist())
    if splits and (len(splits) != len(labels) or not set(splits) <= {"", *INFO.splits}):
        raise DataError(
            f"splits are {sorted(set(splits))[:5]} of {len(splits)} recordings but must be one of "
            f"{', '.join(INFO.splits)} for each of the {len(labels)}"
        )
    return _Found(events, splits, (), (), {}, checksums)


def _joined(splits: Sequence[str], found: Sequence[_Found], channels: int) -> _Found:
    """The recordings of several files as those of one."""
    first = found[0]
    for each in found[1:]:
        if each.events.classes != first.events.classes or each.encoder != first.encoder:
            names = ", ".join(n for f in (first, each) for n in f.checksums)
            raise DataError(f"the files {names} have other classes or were encoded differently")
    every = [each.events for each in found]
    for each in found:
        if (each.events.labels < 0).any():
            raise DataError(
                f"{', '.join(each.checksums)} has label {int(each.events.labels.min())} but labels "
                "must be 0 or more"
            )
    count = channels or max(events.channels for events in every)
    labels = np.concatenate([events.labels for events in every])
    known = first.events.classes or tuple(str(i) for i in range(int(labels.max()) + 1))
    joined = Events(
        times=np.concatenate([events.times for events in every]),
        units=np.concatenate([events.units for events in every]),
        offsets=offsets_of(np.concatenate([np.diff(events.offsets) for events in every])),
        labels=labels,
        speakers=np.concatenate([events.speakers for events in every]),
        channels=count,
        classes=known,
    )
    given: list[str] = []
    for name, each in zip(splits, found, strict=True):
        given += [name] * len(each.events) if name else each.splits
    sums = {name: total for each in found for name, total in each.checksums.items()}
    named = first.files if len(found) == 1 else ()
    return _Found(joined, tuple(given), named, first.speaker_names, first.encoder, sums)
