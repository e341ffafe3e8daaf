"""Recordings of your own: a folder of sounds for each class, or a table that lists them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from snnsim.errors import check_number, check_size
from snnsim_datasets.tools import files
from snnsim_datasets.tools.audio import Recordings, oddities, read_mixed
from snnsim_datasets.tools.catalogue import INFOS
from snnsim_datasets.tools.files import Fetching, check_fetching
from snnsim_datasets.tools.mel import MelFrontEnd
from snnsim_datasets.tools.own_files import divided
from snnsim_datasets.tools.rows import Finding, Row
from snnsim_datasets.tools.splits import check_split

INFO = INFOS["recordings"]
VERSION = 1  # of what is cached of clips
WINDOW_MS = 32.0  # of the Fourier transform
MOST_BANDS = 1024
RATES = (1000, 192_000)  # the lowest and the highest to which recordings are resampled


def load(
    split: str,
    root: Path | str | None = None,
    *,
    n_mels: int = 80,
    rate: int = 16000,
    normalised: bool = True,
    equalised: float = 0.5,
    speaker: str = "",
    held_out: float = 0.2,
    split_seed: int = 0,
    split_by: str = "auto",
    **fetching: Unpack[Fetching],
) -> Recordings:
    """Load a split.

    Args:
        split: ``"train"``, ``"validation"`` or ``"test"``.
        root: a folder with a folder for each class, or a table (``.csv``, ``.tsv``) that lists the
            recordings, or the folder of a table called ``recordings``; see
            :func:`snnsim_datasets.tools.listing.listed`.
        n_mels: number of mel bands, up to 1024.
        rate: rate in Hz to which recordings are resampled, 1000 .. 192000.
        normalised: whether each recording is brought to one level, and freed of a part of its mean
            spectrum, in which microphones and voices differ; see
            :func:`snnsim_datasets.tools.mel.without_mean`.
        equalised: the fraction of its mean spectrum that is taken out, 0 .. 1. With 1, sounds that
            do not change are all alike.
        speaker: regular expression whose first group is the speaker in the place of a file, such
            as ``"_(.+)_"``; empty for what folders or table say.
        held_out: about which fraction of the recordings validation and test have each, where the
            parts are not given.
        split_seed: of the choice of these.
        split_by: ``"speaker"``, ``"class"`` or ``"auto"``, see
            :func:`snnsim_datasets.tools.splits.divide`.
        fetching: see :class:`snnsim_datasets.tools.files.Fetching`.

    Raises:
        DataError: if there are no recordings, or one of them cannot be read.
    """
    check_fetching(fetching)
    check_split(INFO.name, split, INFO.splits)
    check_size("data.n_mels", n_mels, 1, MOST_BANDS)
    check_size("data.rate", rate, *RATES)
    check_number("data.equalised", equalised, 0, 1)
    how: dict[str, Any] = {"held_out": held_out, "split_seed": split_seed, "split_by": split_by}
    all_of_them = divided(INFO.name, root, speaker=speaker, **how)
    found, parts = all_of_them.found, all_of_them.parts
    chosen = parts == split
    samples, offsets = _clips(found.folder, found.where(chosen), rate)
    n_fft = round(rate * WINDOW_MS / 1000)
    front_end = MelFrontEnd(
        rate, rate, n_mels, n_fft=n_fft, scaled=True, normalised=normalised, equalised=equalised
    )
    return Recordings(
        samples=samples,
        offsets=offsets,
        labels=found.labels[chosen],
        speakers=found.speakers[chosen],
        channels=n_mels,
        classes=found.classes,
        dt=front_end.hop_ms,
        front_end=front_end,
        one_length=False,
        checksums=all_of_them.checksums,
    )


def rows(root: Path | str | None = None, **options: Any) -> list[Row]:
    """Return what is in which split, without reading a recording.

    Args:
        root: as in :func:`load`.
        options: those of :func:`load`.
    """
    return divided(INFO.name, root, **options).rows()


def findings(
    root: Path | str | None = None, progress: Any = None, **options: Any
) -> Iterator[Finding]:
    """Read every recording and tell what is wrong with which.

    Args:
        root: as in :func:`load`.
        progress: function of (recordings so far, recordings in all).
        options: those of :func:`load`.
    """
    return divided(INFO.name, root, **options).findings(oddities, progress)


def _clips(folder: Path, paths: list[Path], rate: int) -> tuple[np.ndarray, np.ndarray]:
    """Samples of all clips one after another, and where each begins; kept in the cache."""
    key = files.place_key(folder, paths)

    def read() -> dict[str, np.ndarray]:
        clips = [read_mixed(path, rate) for path in paths]
        sizes = np.cumsum([0, *(len(clip) for clip in clips)])
        return {"samples": np.concatenate(clips), "offsets": sizes.astype(np.int64)}

    name = f"recordings-{key[:24]}-{rate}-v{VERSION}.npz"
    stored = files.cached_arrays(name, ("samples", "offsets"), read)
    return stored["samples"], stored["offsets"]
