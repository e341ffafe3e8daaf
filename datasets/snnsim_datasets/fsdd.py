"""Free Spoken Digit Dataset: English digits, as audio or as cochlea spikes."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from snnsim.data.events import BinnedEvents
from snnsim.errors import DataError, check_choice
from snnsim_datasets.tools.audio import Recordings, is_audio, read_audio, warn_passed_over
from snnsim_datasets.tools.catalogue import FSDD as INFO
from snnsim_datasets.tools.cochlear_sets import ENDINGS, load_by_speaker, locate
from snnsim_datasets.tools.files import default_root, digest_all, find
from snnsim_datasets.tools.mel import MelFrontEnd
from snnsim_datasets.tools.splits import check_split, held_out_speakers

RATE = 8000
FORMS = ("auto", "spikes", "audio")


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
    download: bool = True,
    progress=None,
) -> BinnedEvents | Recordings:
    """Load a split.

    Args:
        split: ``"train"``, ``"validation"``, ``"test"`` or ``"train_all"``.
        root: folder of the spike files or of ``recordings/``.
        form: ``"spikes"``, ``"audio"``, or ``"auto"`` for whichever the root holds.
        dt, pool, binning: as in :func:`snnsim_datasets.shd.load`, for spikes.
        n_mels: number of mel bands, for audio.
    """
    check_split(INFO.name, split, INFO.splits)
    check_choice("form", form, FORMS)
    folder = default_root(INFO.name) if root is None else Path(root)
    has_spikes = find(folder, ["fsdd_train" + ending for ending in ENDINGS]) is not None
    if form == "spikes" or (form == "auto" and has_spikes):
        paths = [locate(INFO, f"fsdd_{part}", folder, False) for part in ("train", "test")]
        return load_by_speaker(INFO, split, *paths, dt=dt, pool=pool, binning=binning)
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
    test = np.asarray([int(m.group(3)) < 5 for _, m in found])
    chosen = test if split == "test" else ~test
    if split in ("train", "validation"):
        held = np.isin(speakers, held_out_speakers(speakers[~test]))
        chosen = chosen & (held if split == "validation" else ~held)
    kept = [path for (path, _), keep in zip(found, chosen, strict=True) if keep]
    clips = [_read(path) for path in kept]
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


def _read(path: Path) -> np.ndarray:
    samples, rate = read_audio(path)
    if rate != RATE:
        raise DataError(f"{path} is sampled at {rate} Hz but {RATE} Hz was expected")
    return samples
