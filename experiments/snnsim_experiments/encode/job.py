"""Turning recordings into spikes or mel bands, once, into a file: ``snnsim encode``.

    >>> from snnsim_experiments.encode.job import Encoding, encode
    >>> encode(Encoding("delta", {"threshold": 0.2}), "FOLDER", "spikes.h5")  # doctest: +SKIP

What one recording becomes depends on the options, the seed and the place of the recording in its
folder, and on nothing else. Every finished recording is kept in a hidden folder beside the output,
so that a job that was killed goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from snnsim_datasets.tools import files, spike_files, value_files
from snnsim_datasets.tools.audio import is_audio, read_mixed, seconds_of
from snnsim_datasets.tools.files import DAMAGE, atomic
from snnsim_datasets.tools.listing import TABLES, Listing, listed
from snnsim_datasets.tools.spike_files import SpikeFile
from snnsim_datasets.tools.value_files import ValueFile

import snnsim
from snnsim.data.events import Events, offsets_of
from snnsim.data.limits import limit
from snnsim.errors import ConfigError, DataError, SnnsimError, check_seed, check_size, naming
from snnsim_experiments.encode import workers
from snnsim_experiments.encode.kinds import Arrays, Encoder, Mel, complete, encoder_of
from snnsim_experiments.encode.workers import Progress
from snnsim_experiments.lock import claim

VERSION = 1  # of what is kept of a recording
SPIKES, VALUES = ".h5", ".npz"


@dataclass(frozen=True)
class Encoding:
    """An encoding says how a recording becomes spikes or values.

    Attributes:
        kind: one of :data:`~snnsim_experiments.encode.kinds.KINDS`.
        options: the options of the kind; those that are not given have their defaults.
        seed: the seed of what is random.

    Raises:
        ConfigError: if the kind or an option is not known, or a value is out of range.

    >>> Encoding("mel", {"n_mels": 40}).about
    {'kind': 'mel', 'seed': 0, 'n_mels': 40, 'rate': 16000, 'hop_ms': 10.0}
    """

    kind: str
    options: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", complete(self.kind, self.options))
        check_seed(self.seed)

    @classmethod
    def stored(cls, about: Mapping[str, Any]) -> Encoding:
        """Return the encoding that an output holds, so that other recordings can be encoded alike.

        Args:
            about: what :attr:`about` was.

        >>> Encoding.stored({"kind": "mel", "n_mels": 40}) == Encoding("mel", {"n_mels": 40})
        True
        """
        options = dict(about)
        return cls(options.pop("kind", ""), seed=options.pop("seed", 0), options=options)

    @property
    def about(self) -> dict[str, Any]:
        """Return the encoding as plain values, which the output holds."""
        return {"kind": self.kind, "seed": self.seed, **self.options}

    @property
    def ending(self) -> str:
        """Return how the name of the output must end."""
        return VALUES if self.kind == "mel" else SPIKES

    def encoder(self) -> Encoder:
        """Return what encodes recordings; raise :class:`ConfigError` for bad options."""
        return encoder_of(self.kind, self.options)

    def seed_of(self, place: str) -> int:
        """Return the seed of a recording.

        Args:
            place: the path of the recording in its folder, with ``/`` between folders.
        """
        drawn = hashlib.sha256(f"{self.seed}\n{place}".encode()).digest()
        return int.from_bytes(drawn[:8], "little") >> 1


class Task(NamedTuple):
    """A task is one recording that has to be encoded.

    Attributes:
        path: the recording.
        seed: its seed.
        part: the file that keeps what it becomes.
    """

    path: Path
    seed: int
    part: Path

    def run(self, encoder: Encoder) -> None:
        """Encode the recording and keep the result; errors name the recording."""
        samples = read_mixed(self.path, encoder.rate)
        try:
            arrays = encoder(samples, self.seed)
        except SnnsimError as error:
            raise DataError(f"{self.path} cannot be encoded: {error}") from error
        with naming(self.part), atomic(self.part) as temporary, temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)


def encode(
    encoding: Encoding,
    source: Path | str,
    out: Path | str,
    *,
    speaker: str = "",
    jobs: int = 1,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Encode recordings and write the result to one file.

    Args:
        encoding: how they become spikes or values.
        source: a folder with a folder for each class, a table (``.csv``, ``.tsv``) or the folder of
            a table called ``recordings``, see :func:`snnsim_datasets.tools.listing.listed`; or a
            single recording.
        out: the file to write: ``.h5`` for spikes (:mod:`snnsim_datasets.tools.spike_files`),
            ``.npz`` for values (:mod:`snnsim_datasets.tools.value_files`).
        speaker: a regular expression whose first group is the speaker in the path of a recording;
            empty for what folders or table say.
        jobs: the number of processes that encode at the same time. With more than 1, a script has
            to call this function under ``if __name__ == "__main__":``.
        overwrite: whether to replace ``out`` if it exists.
        progress: optional function of (recordings done, recordings in all).

    Returns:
        What was written, by name: ``out``, ``kind``, ``recordings``, ``classes``, ``channels``,
        ``spikes`` or ``steps``, ``seconds`` (of sound) and ``checksum``.

    Raises:
        ConfigError: if an argument cannot be used, or a process ended unexpectedly.
        DataError: naming the recording that cannot be read.
        OSError: if the output cannot be written.
    """
    source, out = Path(source), Path(out)
    _check_out(encoding, out, overwrite)
    check_size("jobs", jobs, 1, workers.MOST)
    encoder = encoding.encoder()
    found = _listing(source, speaker)
    seconds = _seconds(encoding, encoder, found)
    places = [path.relative_to(found.folder).as_posix() for path in found.paths]
    with claim(parts_of(out), "choose another output") as held:
        tasks = [
            Task(path, encoding.seed_of(place), held.folder / _part(encoding, path, place))
            for path, place in zip(found.paths, places, strict=True)
        ]
        waiting = [task for task in tasks if not _is_whole(task.part)]
        workers.run_all(encoding, encoder, waiting, jobs, _Counted(progress, len(tasks), waiting))
        arrays = [_read(task.part) for task in tasks]
        written = _write(encoding, encoder, found, places, arrays, out)
        shutil.rmtree(held.folder)
    return {
        "out": str(out),
        "kind": encoding.kind,
        "recordings": len(tasks),
        "classes": len(found.classes),
        "channels": encoder.channels,
        **written,
        "seconds": seconds,
    }


def parts_of(out: Path) -> Path:
    """Return the hidden folder in which finished recordings are kept until all are.

    >>> parts_of(Path("data/spikes.h5")).as_posix()
    'data/.spikes.h5.parts'
    """
    return out.with_name(f".{out.name}.parts")


class _Counted:
    """Counts finished recordings, for a function of (done, all)."""

    def __init__(self, progress: Progress | None, total: int, waiting: list[Task]):
        self.progress, self.total, self.done = progress, total, total - len(waiting) - 1
        self()

    def __call__(self) -> None:
        self.done += 1
        if self.progress is not None:
            self.progress(self.done, self.total)


# --- before anything is encoded -------------------------------------------------------------------


def _check_out(encoding: Encoding, out: Path, overwrite: bool) -> None:
    if out.suffix != encoding.ending:
        what = "values" if encoding.ending == VALUES else "spikes"
        raise ConfigError(
            f"the output is {out} but {encoding.kind} makes {what}, which go into a file that ends "
            f"in {encoding.ending}"
        )
    if out.is_dir():
        raise ConfigError(f"{out} is a folder; give the name of a file to write")
    if out.exists() and not overwrite:
        raise ConfigError(f"{out} exists; choose another name, or replace it with --overwrite")


def _listing(source: Path, speaker: str) -> Listing:
    if not (source.is_file() and is_audio(source)):
        table = files.find(source, [f"recordings{ending}" for ending in TABLES])
        return listed(source if table is None else table, speaker)
    if speaker:
        raise ConfigError(f"{source} is a single recording; remove --speaker")
    unknown = np.full(1, -1)
    return Listing(source.parent, (source,), np.zeros(1, np.int64), (), unknown, ("",))


def _seconds(encoding: Encoding, encoder: Encoder, found: Listing) -> float:
    """The length of all recordings together, from their headers, each of which is checked."""
    total, most = 0.0, limit("SNNSIM_MAX_SECONDS")
    for path in found.paths:
        seconds = seconds_of(path)
        if seconds > most and encoding.ending == SPIKES:
            raise DataError(
                f"{path} lasts {seconds:.1f} s but spike recordings last at most {most:g} s; cut "
                "it into pieces, or raise SNNSIM_MAX_SECONDS"
            )
        if seconds < encoder.shortest:
            raise DataError(
                f"{path} lasts {1000 * seconds:.1f} ms but {encoding.kind} needs at least "
                f"{1000 * encoder.shortest:g} ms; remove it, or add silence"
            )
        total += seconds
    return round(total, 3)


# --- what is kept of a recording ------------------------------------------------------------------


def _part(encoding: Encoding, path: Path, place: str) -> str:
    """The name of the file that keeps what a recording, as it is now, becomes."""
    stamp = path.stat()
    facts = [VERSION, snnsim.__version__, encoding.about, place, stamp.st_size, stamp.st_mtime_ns]
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    return f"{key}.npz"


def _is_whole(part: Path) -> bool:
    try:
        _read(part)
    except DAMAGE:  # absent, or cut off when the machine went down
        return False
    return True


def _read(part: Path) -> Arrays:
    with np.load(part) as stored:
        return dict(stored)


# --- the output -----------------------------------------------------------------------------------


def _write(
    encoding: Encoding,
    encoder: Encoder,
    found: Listing,
    places: list[str],
    arrays: list[Arrays],
    out: Path,
) -> dict[str, Any]:
    """Write the output; returns how much there is, and the checksum."""
    if isinstance(encoder, Mel):
        values = [each["values"] for each in arrays]
        content = ValueFile(
            values, found.labels, found.speakers, found.classes, found.parts, encoder.dt,
            encoding.about,
        )  # fmt: skip
        return {"steps": sum(map(len, values)), "checksum": value_files.write(out, content)}
    events = Events(
        times=np.concatenate([each["times"] for each in arrays]),
        units=np.concatenate([each["units"] for each in arrays]),
        offsets=offsets_of([len(each["times"]) for each in arrays]),
        labels=found.labels,
        speakers=found.speakers,
        channels=encoder.channels,
        classes=found.classes,
    )
    whole = SpikeFile(events, encoding.about, found.speaker_names, found.parts, tuple(places))
    return {"spikes": len(events.times), "checksum": spike_files.write(out, whole)}
