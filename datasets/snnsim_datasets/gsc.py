"""Google Speech Commands v0.02 as mel spectrograms."""

from __future__ import annotations

import re
import shutil
import tarfile
from pathlib import Path

import numpy as np

from snnsim.errors import DataError, check_choice
from snnsim_datasets.tools import files
from snnsim_datasets.tools.audio import Recordings, is_audio, read_at, warn_passed_over
from snnsim_datasets.tools.catalogue import INFOS
from snnsim_datasets.tools.mel import MelFrontEnd
from snnsim_datasets.tools.splits import check_split, hash_fraction

INFO = INFOS["gsc"]
WORDS = INFO.classes
RATE, SAMPLES = 16000, 16000
LISTS = {"validation": "validation_list.txt", "test": "testing_list.txt"}
PROTOCOLS = ("official", "speaker")
VERSION = 2  # of what is cached of clips
_CLIP = re.compile(r"(?:[a-z]+_)?([0-9a-f]{6,8})_nohash_\d+")


def load(
    split: str,
    root: Path | str | None = None,
    *,
    protocol: str = "official",
    n_mels: int = 140,
    f_max: float | None = None,
    download: bool = True,
    progress=None,
) -> Recordings:
    """Load a split.

    Args:
        split: ``"train"``, ``"validation"`` or ``"test"``.
        root: folder with one sub-folder per word.
        protocol: ``"official"`` or ``"speaker"``; see the note of :data:`INFO`.
        n_mels: number of mel bands.
        f_max: upper end of the bands in Hz; ``None`` is the Nyquist frequency, 4000; the
            published front end has 14000 (see :mod:`snnsim_datasets.tools.mel`).
        download: whether to fetch and unpack the archive if no root is given and the default
            folder has no clips.
        progress: optional function of (bytes so far, bytes in all).
    """
    check_split(INFO.name, split, INFO.splits)
    check_choice("protocol", protocol, PROTOCOLS)
    folder = _folder(root, download, progress)
    chosen, every = (_official if protocol == "official" else _by_speaker)(folder, split)
    names = WORDS if protocol == "official" else tuple(sorted({c.parent.name for c in every}))
    if not chosen:
        raise DataError(f"{folder} has no clips for split {split!r}")
    front_end = MelFrontEnd(RATE, 8000, n_mels, f_max=f_max)
    numbers: dict[str, int] = {}
    return Recordings(
        samples=_samples(folder, chosen),
        offsets=np.arange(len(chosen) + 1, dtype=np.int64) * SAMPLES,
        labels=np.asarray([names.index(c.parent.name) for c in chosen], dtype=np.int64),
        speakers=np.asarray(
            [numbers.setdefault(speaker_of(c), len(numbers)) for c in chosen], dtype=np.int64
        ),
        channels=n_mels,
        classes=names,
        dt=front_end.hop_ms,
        front_end=front_end,
        one_length=True,
        checksums={f"{folder.name}/": files.digest_all(folder, every)},
    )


def speaker_of(clip: Path) -> str:
    """Return the speaker's hash in a clip's name; a clip without one is its own speaker.

    >>> speaker_of(Path("on/a60a09cf_nohash_1.flac")), speaker_of(Path("_silence_/12.flac"))
    ('a60a09cf', '12')
    """
    match = _CLIP.fullmatch(clip.stem)
    return match.group(1) if match else clip.stem


def _folder(root: Path | str | None, download: bool, progress) -> Path:
    folder = files.folder_of(INFO.name, root)
    for candidate in (folder / "speech_commands_v0.02", folder):
        if candidate.is_dir() and any(
            p.is_dir() and p.suffix != ".unpacking" for p in candidate.iterdir()
        ):
            return candidate
    if not download or root is not None:
        raise DataError(
            f"{folder} has no folders of words; give the folder that holds them with --root"
        )
    archive = files.fetch(INFO.remotes[0], folder, progress)
    target = folder / "speech_commands_v0.02"
    unpacking = folder / "speech_commands_v0.02.unpacking"
    shutil.rmtree(unpacking, ignore_errors=True)  # of an interrupted attempt
    with tarfile.open(archive) as packed:
        packed.extractall(unpacking, filter="data")
    unpacking.rename(target)
    return target


def _clips(folder: Path) -> list[Path]:
    words = [p for p in sorted(folder.iterdir()) if p.is_dir() and p.name != "_background_noise_"]
    clips = [c for w in words for c in sorted(w.iterdir()) if c.is_file()]
    warn_passed_over(folder, [c for c in clips if not is_audio(c)], "recordings that can be read")
    return [c for c in clips if is_audio(c)]


def _official(folder: Path, split: str) -> tuple[list[Path], list[Path]]:
    listed: dict[str, set[str]] = {}
    for name, file in LISTS.items():
        path = folder / file
        if not path.is_file():
            raise DataError(
                f"{path} is missing, so the official split cannot be made; use the complete "
                "archive, or set data.protocol to 'speaker'"
            )
        listed[name] = _entries(path)
    clips = {_key(c): c for c in _clips(folder) if c.parent.name in WORDS}
    for name, entries in listed.items():
        if entries and not entries & clips.keys():
            raise DataError(
                f"no entry of {folder / LISTS[name]} is a clip in {folder}, so its clips would be "
                "taken for training; get the list that belongs to them, or set data.protocol to "
                "'speaker'"
            )
    both = listed["validation"] & listed["test"]
    if both:
        raise DataError(f"{sorted(both)[0]} is in both lists of {folder}, {' and '.join(LISTS)}")

    def part(clip: Path) -> str:
        return next((name for name, members in listed.items() if _key(clip) in members), "train")

    return [c for c in clips.values() if part(c) == split], list(clips.values())


def _key(clip: Path) -> str:
    """How a clip is listed, without its ending: the lists say .wav, a copy may be .flac."""
    return f"{clip.parent.name}/{clip.stem}"


def _entries(path: Path) -> set[str]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (UnicodeDecodeError, OSError) as error:
        raise DataError(f"{path} is not a readable list of clips ({error})") from error
    return {Path(entry).with_suffix("").as_posix() for entry in text.split()}


def _by_speaker(folder: Path, split: str) -> tuple[list[Path], list[Path]]:
    clips = _clips(folder)

    def part(clip: Path) -> str:
        at = hash_fraction(speaker_of(clip), "snnsim-gsc")
        return "test" if at < 0.2 else "validation" if at < 0.35 else "train"

    return [c for c in clips if part(c) == split], clips


def _samples(folder: Path, clips: list[Path]) -> np.ndarray:
    """All clips as int16, one second each, memory-mapped from a cache file."""
    name = f"gsc-{files.place_key(folder, clips)[:24]}-v{VERSION}.npy"
    size = len(clips) * SAMPLES

    def write(path: Path) -> None:
        out = np.lib.format.open_memmap(path, mode="w+", dtype=np.int16, shape=(size,))
        _fill(out, clips)
        out.flush()

    stored = _stored(name, size)
    if stored is None:
        files.cache(name, write)
        stored = _stored(name, size)
    return _fill(np.empty(size, np.int16), clips) if stored is None else stored


def _stored(name: str, size: int) -> np.ndarray | None:
    """What the cache has under a name; ``None`` if that is absent, damaged or of other clips."""
    try:
        stored = np.load(files.cache_root() / name, mmap_mode="r")
        return stored if stored.shape == (size,) and stored.dtype == np.int16 else None
    except files.DAMAGE:
        return None


def _fill(out: np.ndarray, clips: list[Path]) -> np.ndarray:
    for i, clip in enumerate(clips):
        out[i * SAMPLES : (i + 1) * SAMPLES] = one_second(clip)
    return out


def one_second(clip: Path) -> np.ndarray:
    """Return the first second of a clip, with silence behind a shorter one."""
    samples = read_at(clip, RATE)
    return np.pad(samples[:SAMPLES], (0, max(0, SAMPLES - len(samples))))
