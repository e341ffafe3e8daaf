"""Google Speech Commands v0.02 as mel spectrograms."""

from __future__ import annotations

import re
import shutil
import tarfile
from pathlib import Path

import numpy as np

from snnsim.errors import DataError, check_choice
from snnsim_datasets.tools.audio import Recordings, read_audio
from snnsim_datasets.tools.files import Remote, atomic, cache_root, default_root, fetch
from snnsim_datasets.tools.info import Info
from snnsim_datasets.tools.mel import MelFrontEnd
from snnsim_datasets.tools.splits import check_split, hash_fraction

RATE, SAMPLES = 16000, 16000
LISTS = {"validation": "validation_list.txt", "test": "testing_list.txt"}
WORDS = (
    *("backward", "bed", "bird", "cat", "dog", "down", "eight", "five", "follow", "forward"),
    *("four", "go", "happy", "house", "learn", "left", "marvin", "nine", "no", "off", "on"),
    *("one", "right", "seven", "sheila", "six", "stop", "three", "tree", "two", "up", "visual"),
    *("wow", "yes", "zero"),
)
PROTOCOLS = ("official", "speaker")

INFO = Info(
    name="gsc",
    title="Google Speech Commands v0.02",
    kind="16 kHz speech, 1 s; 84843 training, 9981 validation and 11005 test clips of 35 words",
    channels=140,
    classes=WORDS,
    splits=("train", "validation", "test"),
    licence="CC BY 4.0",
    citation="Warden 2018, arXiv:1804.03209",
    remotes=(
        Remote(
            "speech_commands_v0.02.tar.gz",
            ("http://download.tensorflow.org/data/speech_commands_v0.02.tar.gz",),
            "af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58",
            "sha256",
        ),
    ),
    note="Protocol 'official' uses the lists in the archive; 'speaker' splits any folder of "
    "<word>/<clip> by a hash of the speaker: 65 % train, 15 % validation, 20 % test.",
)

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
        download: whether to fetch and unpack the archive if the root is absent.
        progress: optional function of (bytes so far, bytes in all).
    """
    check_split(INFO.name, split, INFO.splits)
    check_choice("protocol", protocol, PROTOCOLS)
    folder = _folder(root, download, progress)
    clips = _official(folder, split) if protocol == "official" else _by_speaker(folder, split)
    names = WORDS if protocol == "official" else tuple(sorted({c.parent.name for c in clips[1]}))
    chosen = clips[0]
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
    )


def speaker_of(clip: Path) -> str:
    """The speaker's hash in a clip's name; clips without one are their own speaker.

    >>> speaker_of(Path("on/a60a09cf_nohash_1.flac")), speaker_of(Path("_silence_/12.flac"))
    ('a60a09cf', '12')
    """
    match = _CLIP.fullmatch(clip.stem)
    return match.group(1) if match else clip.stem


def _folder(root: Path | str | None, download: bool, progress) -> Path:
    folder = default_root(INFO.name) if root is None else Path(root)
    for candidate in (folder / "speech_commands_v0.02", folder):
        if candidate.is_dir() and any(
            p.is_dir() and p.suffix != ".unpacking" for p in candidate.iterdir()
        ):
            return candidate
    if not download or root is not None:
        raise DataError(f"{folder} has no word folders; give the folder that has, with --root")
    archive = fetch(INFO.remotes[0], folder, progress)
    target = folder / "speech_commands_v0.02"
    unpacking = folder / "speech_commands_v0.02.unpacking"
    shutil.rmtree(unpacking, ignore_errors=True)  # of an interrupted attempt
    with tarfile.open(archive) as packed:
        packed.extractall(unpacking, filter="data")
    unpacking.rename(target)
    return target


def _clips(folder: Path) -> list[Path]:
    words = [p for p in sorted(folder.iterdir()) if p.is_dir() and p.name != "_background_noise_"]
    return [c for w in words for c in sorted(w.iterdir()) if c.suffix in (".wav", ".flac")]


def _official(folder: Path, split: str) -> tuple[list[Path], list[Path]]:
    listed: dict[str, set[str]] = {}
    for name, file in LISTS.items():
        path = folder / file
        if not path.is_file():
            raise DataError(
                f"{path} is missing, so the official split cannot be made; use the complete "
                "archive, or set data.protocol to 'speaker'"
            )
        listed[name] = {
            Path(entry).with_suffix("").as_posix() for entry in path.read_text().split()
        }
    clips = [c for c in _clips(folder) if c.parent.name in WORDS]

    def part(clip: Path) -> str:
        key = f"{clip.parent.name}/{clip.stem}"  # the lists say .wav, a copy may be .flac
        return next((name for name, members in listed.items() if key in members), "train")

    return [c for c in clips if part(c) == split], clips


def _by_speaker(folder: Path, split: str) -> tuple[list[Path], list[Path]]:
    clips = _clips(folder)

    def part(clip: Path) -> str:
        at = hash_fraction(speaker_of(clip), "snnsim-gsc")
        return "test" if at < 0.2 else "validation" if at < 0.35 else "train"

    return [c for c in clips if part(c) == split], clips


def _samples(folder: Path, clips: list[Path]) -> np.ndarray:
    """All clips as int16, one second each, memory-mapped from a cache file."""
    import hashlib

    facts = ((c.relative_to(folder), c.stat()) for c in clips)
    stamp = "\n".join(f"{name} {stat.st_size} {stat.st_mtime_ns}" for name, stat in facts)
    key = hashlib.sha256(f"{folder.resolve()}\n{stamp}".encode()).hexdigest()[:24]
    cached = cache_root() / f"gsc-{key}.npy"
    size = len(clips) * SAMPLES
    try:
        stored = np.load(cached, mmap_mode="r")
        if stored.shape == (size,) and stored.dtype == np.int16:
            return stored
    except (OSError, ValueError, EOFError):
        pass  # absent or damaged: read the clips again
    with atomic(cached) as temporary:
        out = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.int16, shape=(size,))
        for i, clip in enumerate(clips):
            out[i * SAMPLES : (i + 1) * SAMPLES] = _one_second(clip)
        out.flush()
    return np.load(cached, mmap_mode="r")


def _one_second(clip: Path) -> np.ndarray:
    samples, rate = read_audio(clip)
    if rate != RATE:
        raise DataError(f"{clip} is sampled at {rate} Hz but {RATE} Hz was expected")
    return np.pad(samples[:SAMPLES], (0, max(0, SAMPLES - len(samples))))
