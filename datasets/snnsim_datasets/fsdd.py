"""Free Spoken Digit Dataset: English digits, as audio or as cochlea spikes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Unpack

import numpy as np

from snnsim.data.events import BinnedEvents
from snnsim.errors import DataError, check_choice
from snnsim_datasets.tools.audio import Recordings, is_audio, read_at, warn_passed_over
from snnsim_datasets.tools.catalogue import INFOS
from snnsim_datasets.tools.cochlear_sets import ENDINGS, CochlearSet
from snnsim_datasets.tools.files import Fetching, check_fetching, digest_all, find, folder_of
from snnsim_datasets.tools.mel import MelFrontEnd
from snnsim_datasets.tools.splits import by_speaker, check_split

INFO = INFOS["fsdd"]
RATE = 8000
FORMS = ("auto", "spikes", "audio")
SPIKES = CochlearSet(INFO)
_CLIP = re.compile(r"(\d)_(.+)_(\d+)")


def load(
    split: str,
    root: Path | str | None = None,
    *,
    form: str = "auto",
    dt: float = 10.0,
    pool: int = 5,
    binning: str = "grid",
    n_mels: int = 140,
    **fetching: Unpack[Fetching],
) -> BinnedEvents | Recordings:
    """Load a split.

    Args:
        split: ``"train"``, ``"validation"``, ``"test"`` or ``"train_all"``.
        root: folder of the spike files or of ``recordings/``.
        form: ``"spikes"``, ``"audio"``, or ``"auto"`` for whichever the root holds.
        dt, pool, binning: as in :func:`snnsim_datasets.shd.load`; for spikes only.
        n_mels: number of mel bands; for audio only.
        fetching: see :class:`snnsim_datasets.tools.files.Fetching`.
    """
    check_fetching(fetching)
    check_split(INFO.name, split, INFO.splits)
    check_choice("form", form, FORMS)
    folder = folder_of(INFO.name, root)
    has_spikes = find(folder, ["fsdd_train" + ending for ending in ENDINGS]) is not None
    if form == "spikes" or (form == "auto" and has_spikes):
        return SPIKES.load(split, folder, dt=dt, pool=pool, binning=binning)
    return _load_audio(split, folder, n_mels)


def _load_audio(split: str, folder: Path, n_mels: int) -> Recordings:
    folder = folder / "recordings" if (folder / "recordings").is_dir() else folder
    paths = sorted(folder.iterdir()) if folder.is_dir() else []
    found = [(p, m) for p in paths if is_audio(p) and (m := _CLIP.fullmatch(p.stem))]
    taken = {p for p, _ in found}
    wanted = "<digit>_<speaker>_<index> with an ending that can be read"
    warn_passed_over(folder, [p for p in paths if p not in taken], wanted)
    if not found:
        raise DataError(
            f"{folder} has neither fsdd_train.h5 nor <digit>_<speaker>_<index>.wav files; get the "
            f"recordings from {INFO.citation.split(', ')[-1]} and give their folder with --root"
        )
    names = sorted({m.group(2) for _, m in found})
    labels = np.asarray([int(m.group(1)) for _, m in found], dtype=np.int64)
    speakers = np.asarray([names.index(m.group(2)) for _, m in found], dtype=np.int64)
    chosen = np.flatnonzero([(int(m.group(3)) < 5) == (split == "test") for _, m in found])
    if split in ("train", "validation"):
        held = by_speaker(speakers[chosen])
        chosen = chosen[held if split == "validation" else ~held]
    clips = [read_at(found[i][0], RATE) for i in chosen]
    if not clips:
        raise DataError(f"{folder} has no recordings for split {split!r}")
    front_end = MelFrontEnd(RATE, RATE, n_mels)
    return Recordings(
        samples=np.concatenate(clips),
        offsets=np.concatenate([[0], np.cumsum([len(c) for c in clips])]).astype(np.int64),
        labels=labels[chosen],
        speakers=speakers[chosen],
        channels=n_mels,
        classes=INFO.classes,
        dt=front_end.hop_ms,
        front_end=front_end,
        one_length=False,
        checksums={f"{folder.name}/": digest_all(folder, sorted(taken))},
    )
