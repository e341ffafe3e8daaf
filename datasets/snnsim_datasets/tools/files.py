"""Finding, fetching and checking files. Nothing is ever left half-written under its name."""

from __future__ import annotations

import functools
import gzip
import hashlib
import http.client
import lzma
import os
import pickle
import re
import struct
import tarfile
import tempfile
import tokenize
import urllib.error
import urllib.request
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypedDict

import numpy as np

from snnsim.data.limits import check_bytes
from snnsim.errors import DataError
from snnsim.folders import cache_folder, data_folder, new_beside
from snnsim_datasets.tools.info import Remote

CHUNK = 1 << 20

# what reading a damaged file may raise; a flipped bit can make an archive look encrypted
# (RuntimeError) or compressed in another way (lzma), and an array's header is parsed as Python
DAMAGE = (
    OSError, EOFError, RuntimeError, ValueError, TypeError, LookupError, ArithmeticError,
    SyntaxError, tokenize.TokenError, struct.error, zlib.error, lzma.LZMAError,
    zipfile.BadZipFile, tarfile.TarError, pickle.UnpicklingError,
)  # fmt: skip


class Fetching(TypedDict, total=False):
    """Every loader takes these options; they have no effect where nothing is downloaded."""

    download: bool
    progress: Any


def check_fetching(given: Fetching) -> None:
    """Raise :class:`TypeError` for an option that no loader takes."""
    for name in given.keys() - Fetching.__annotations__.keys():
        raise TypeError(f"load() got an unexpected keyword argument {name!r}")


def default_root(name: str) -> Path:
    """Return the folder in which a data set is kept unless a root is given.

    It is the folder of that name in :func:`snnsim.folders.data_folder`.
    """
    return data_folder() / name


def folder_of(name: str, root: Path | str | None) -> Path:
    """Return the folder of a data set: the root that was given, or the default one."""
    return default_root(name) if root is None else Path(root)


def cache_root() -> Path:
    """Return the folder of converted data: ``data`` in :func:`snnsim.folders.cache_folder`.

    Raises:
        RuntimeError: if there is no home folder.
    """
    return cache_folder() / "data"


def cached_arrays(
    name: str, keys: Sequence[str], convert: Callable[[], dict[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """Return arrays from an ``.npz`` file of the cache, or convert them and keep them there.

    Args:
        name: name of the file; it must hold a checksum of what is converted, and the version of
            what converts it.
        keys: names of the arrays.
        convert: function that returns them by name.
    """
    try:
        with np.load(cache_root() / name) as stored:
            return {key: stored[key] for key in keys}
    except DAMAGE:
        pass  # absent or damaged: convert again
    arrays = convert()

    def write(path: Path) -> None:
        with path.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)

    cache(name, write)
    return arrays


@functools.cache
def _warned() -> list[str]:
    return []


def cache(name: str, write: Callable[[Path], Any]) -> None:
    """Have ``write`` fill a file of the cache; warn once if none can be kept, which costs time."""
    try:
        with atomic(cache_root() / name) as temporary:
            write(temporary)
    except (OSError, RuntimeError) as error:
        if _warned():
            return
        _warned().append(str(error))
        warnings.warn(
            f"converted data cannot be cached ({error}) and are converted again each time; set "
            "SNNSIM_CACHE_DIR to a folder that can be written",
            stacklevel=3,
        )


def digest(path: Path, algorithm: str = "sha256") -> str:
    """Return the checksum of a file's content, hexadecimal."""
    state = hashlib.new(algorithm)
    with path.open("rb") as file:
        while block := file.read(CHUNK):
            state.update(block)
    return state.hexdigest()


def digest_all(folder: Path, files: Sequence[Path]) -> str:
    """Return one SHA-256 checksum of several files, of their places in the folder and contents.

    It is remembered in the cache until the size or the time of change of a file differs.
    """
    ordered = sorted(files)
    name = f"sha256-{place_key(folder, ordered)[:32]}.txt"
    try:
        known = (cache_root() / name).read_text(encoding="ascii")
        if re.fullmatch("[0-9a-f]{64}", known):
            return known
    except (OSError, ValueError, RuntimeError):
        pass  # not known yet
    state = hashlib.sha256()
    for file in ordered:
        state.update(f"{file.relative_to(folder).as_posix()}\0{digest(file)}\n".encode())
    cache(name, lambda path: path.write_text(state.hexdigest(), encoding="ascii"))
    return state.hexdigest()


def place_key(folder: Path, files: Sequence[Path]) -> str:
    """Return a hash of a folder's place and its files' names, sizes and times, for the cache."""
    names = [file.relative_to(folder).as_posix() for file in files]
    return hashlib.sha256(f"{folder.resolve()}\n{stamp_of(names, files)}".encode()).hexdigest()


def stamp_of(names: Sequence[str], files: Sequence[Path]) -> str:
    """Return the names, sizes and times of change of files, a line for each."""
    facts = zip(names, (file.stat() for file in files), strict=True)
    # the time of change, unlike that of modification, nobody can set
    return "\n".join(f"{n} {s.st_size} {s.st_mtime_ns} {s.st_ctime_ns}" for n, s in facts)


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Give a temporary path that takes the name ``path`` only when the block has succeeded."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(new_beside(path))
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def find(root: Path, names: Sequence[str]) -> Path | None:
    """Return the first of ``names`` that is a file in ``root``, or ``None``."""
    return next((root / name for name in names if (root / name).is_file()), None)


def locate(
    folder: Path,
    names: Sequence[str],
    remote: Remote | None = None,
    download: bool = False,
    progress=None,
    instead: str = "",
) -> Path:
    """Return the first of ``names`` that is a file in a folder, or download it.

    Args:
        folder: folder of the data set.
        names: names that the file may have there.
        remote: where to download it from; ``None`` where there is no official source.
        download: whether to download it if it is absent.
        progress: optional function of (bytes so far, bytes in all or 0).
        instead: what else can be done about an absent file, for the error.

    Raises:
        DataError: if the file is absent and is not to be downloaded, or cannot be.
    """
    found = find(folder, names)
    if found is not None:
        return found
    if remote is None or not download:
        fetching = "allow the download" if remote else ""
        ways = [fetching, "put it there", "give the folder that holds it with --root", instead]
        raise DataError(f"no {_one_of(names)} in {folder}; {_one_of([w for w in ways if w])}")
    return fetch(remote, folder, progress)


def _one_of(texts: Sequence[str]) -> str:
    *others, last = texts
    return f"{', '.join(others)} or {last}" if others else last


def fetch(remote: Remote, root: Path, progress=None) -> Path:
    """Download ``remote`` into ``root`` unless it is there, and check it.

    An interrupted download is kept as ``<name>.part`` and continued the next time; the file
    gets its name only after its checksum has been found right.

    Args:
        remote: what to fetch.
        root: folder to put it into.
        progress: optional function of (bytes so far, bytes in all or 0).
    """
    target = root / remote.name
    if target.is_file():
        return target
    if not root.is_dir() and root != default_root(root.name):
        raise DataError(f"{root} does not exist; give the folder of the data with --root")
    root.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    problems = []
    for url in remote.urls:
        try:
            _continue_download(url, part, progress)
        except (OSError, http.client.HTTPException) as error:
            problems.append(f"{url}: {error}")
            continue
        found = digest(part, remote.algorithm)
        if found == remote.checksum.lower():
            os.replace(part, target)
            return target
        part.unlink()
        problems.append(f"{url}: {remote.algorithm} {found}, expected {remote.checksum}")
    raise DataError(
        f"could not download {remote.name}:\n  "
        + "\n  ".join(problems)
        + "\nGet the file by other means and put it at "
        f"{target}, or give the folder that holds it with --root"
    )


def _continue_download(url: str, part: Path, progress) -> None:
    done = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "snnsim"})
    if done:
        request.add_header("Range", f"bytes={done}-")
    try:
        response = urllib.request.urlopen(request, timeout=60)
    except urllib.error.HTTPError as error:
        if error.code == 416 and done:  # nothing left to fetch
            return
        raise
    with response:
        resumed = response.status == 206
        total = int(response.headers.get("Content-Length") or 0) + (done if resumed else 0)
        done = done if resumed else 0
        with part.open("ab" if resumed else "wb") as file:
            for size in _copy(response, file):
                done += size
                if progress is not None:
                    progress(done, total)
    if total and done < total:
        raise OSError(f"connection closed after {done} of {total} bytes; run again to continue")


def _copy(response, file: BinaryIO) -> Iterator[int]:
    """Write a response to a file, yielding the size of each block; keeps what a break leaves."""
    try:
        while block := response.read(CHUNK):
            file.write(block)
            yield len(block)
    except http.client.IncompleteRead as broken:
        file.write(broken.partial)
        raise


@contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """Unpack a ``.gz`` or single-file ``.zip`` to a temporary file; others stay as they are."""
    if path.suffix not in (".gz", ".zip"):
        yield path
        return
    size = path.stat().st_size
    if size == 0:
        raise DataError(
            f"{path} is truncated or corrupt (empty, 0 bytes); delete it and download it again"
        )
    with tempfile.TemporaryDirectory(prefix="snnsim-") as folder:
        target = Path(folder) / path.stem
        try:
            with _open_packed(path) as packed, target.open("wb") as out:
                held = 0
                while block := packed.read(CHUNK):
                    held += len(block)
                    check_bytes(str(path), held, size)
                    out.write(block)
        except DAMAGE as error:
            raise DataError(
                f"{path} is truncated or corrupt ({error}); delete it and download it again"
            ) from error
        yield target


def check_unpacked(archive: zipfile.ZipFile, path: Path) -> None:
    """Raise :class:`DataError` if an archive declares more than a file of its size can hold."""
    held = sum(member.file_size for member in archive.infolist())
    check_bytes(str(path), held, path.stat().st_size)


def read_arrays(path: Path, names: Sequence[str], kind: str) -> list[np.ndarray]:
    """Return the arrays of these names in an ``.npz`` file; ``kind`` says which, for the error.

    Raises:
        DataError: for a file that is damaged, lacks one of them, or unpacks to too much.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            check_unpacked(archive, path)
        with np.load(path) as stored:
            return [stored[name] for name in names]
    except DAMAGE as error:
        raise DataError(f"{path} is not a readable {kind} ({error})") from error


def read_known(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Return those arrays of an ``.npz`` file that it has, by name.

    Raises:
        DataError: for a file that is damaged.
    """
    try:
        with np.load(path) as stored:
            return {name: stored[name] for name in names if name in stored}
    except DAMAGE as error:
        raise DataError(f"{path} is not a readable .npz file ({error})") from error


def _open_packed(path: Path):
    if path.suffix == ".gz":
        return gzip.open(path, "rb")
    archive = zipfile.ZipFile(path)
    names = [name for name in archive.namelist() if not name.endswith("/")]
    if len(names) != 1:
        raise DataError(f"{path} holds {len(names)} files but exactly one was expected")
    return archive.open(names[0])
