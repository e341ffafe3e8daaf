"""Where compiled kernels are kept on disk, and why nobody else's code can come from there.

Loading a kernel runs what the file says, so the folder has to be ours alone: it and all above it
belong to this user (or root), and nobody else can write there. Kernels live in ``kernels/`` below
``$SNNSIM_CACHE_DIR``, else the user's for caches; converted data have a folder beside it.
Where there is no such folder, kernels are compiled anew in each process.

Everything kept is named by a digest of all text it was compiled from, so it cannot be stale.
"""

from __future__ import annotations

import ast
import hashlib
import os
import shutil
import stat
import tempfile
import time
import warnings
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from snnsim.folders import cache_folder

KEPT = 3000  # kernels that stay; those not used for longest go first


def base_folder() -> Path:
    """What the environment or the home folder says, whether it can be used or not."""
    return cache_folder().absolute()


def code_folder() -> Path | None:
    """The folder of compiled kernels, made if need be; ``None`` where there is no safe one."""
    try:
        return _usable(base_folder() / "kernels")
    except (OSError, RuntimeError):  # no home folder
        return None


@cache  # looked at once in a process: what is ours alone stays so
def _usable(folder: Path) -> Path | None:
    try:
        for place in (folder.parent, folder, folder / "__pycache__"):
            if not place.exists():
                place.parent.mkdir(parents=True, exist_ok=True)
                place.mkdir(mode=0o700, exist_ok=True)
        folder = folder.resolve()
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError:
        return None
    reason = why_unsafe(folder)
    if reason is None:
        return folder
    if reason not in _said:
        _said.add(reason)
        _warn(folder, reason)
    return None


_said: set[str] = set()  # warned of in this process


def _warn(folder: Path, reason: str) -> None:
    warnings.warn(
        f"compiled kernels are not kept in {folder}, because {reason}; whoever can write there "
        "could run code as you. Kernels are compiled anew in each process until SNNSIM_CACHE_DIR "
        "names a folder that is yours alone",
        stacklevel=4,
    )


def why_unsafe(folder: Path) -> str | None:
    """Why code from a folder is not to be trusted, or ``None`` if it is."""
    if not hasattr(os, "getuid"):  # systems without Unix permissions
        return None
    for place in (folder, *folder.parents):
        status = place.stat()
        sticky = place != folder and status.st_mode & stat.S_ISVTX  # others cannot rename there
        reason = _foreign(place, status, writable=bool(sticky))
        if reason is not None:
            return reason
    for place in _inside(folder):
        reason = _foreign(place, place.lstat())
        if reason is not None:
            return reason
    return None


def _inside(folder: Path) -> Iterator[Path]:
    for at, folders, files in os.walk(folder):
        yield from (Path(at) / name for name in (*folders, *files))


def _foreign(place: Path, status: os.stat_result, writable: bool = False) -> str | None:
    if status.st_uid not in (os.getuid(), 0):
        return f"{place} belongs to another user"
    if stat.S_ISLNK(status.st_mode):
        return f"{place} is a symbolic link"
    by_others = status.st_mode & stat.S_IWOTH
    by_group = status.st_mode & stat.S_IWGRP and not _own_group(status.st_gid)
    if (by_others or by_group) and not writable:
        return f"other users can write to {place}"
    return None


@cache
def _own_group(group: int) -> bool:
    """Whether a group is the user's private one, as many systems give to each."""
    import grp
    import pwd

    try:
        found, user = grp.getgrgid(group), pwd.getpwuid(os.getuid())
    except KeyError:
        return False
    return found.gr_name == user.pw_name and set(found.gr_mem) <= {user.pw_name}


@cache
def text_of(module: str) -> str:
    """Source of a module of this package and of all it imports from the package."""
    found: dict[str, str] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        spec = find_spec(name)
        if name in found or spec is None or spec.origin is None:
            continue
        found[name] = Path(spec.origin).read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(found[name])):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("snnsim."):
                names = [f"{node.module}.{each.name}" for each in node.names]
                waiting += [str(node.module), *(n for n in names if _is_module(n))]
    if module not in found:  # else a kernel would be kept under the digest of nothing
        raise ImportError(f"the source of {module} cannot be found", name=module)
    return "\n".join(f"# {name}\n{found[name]}" for name in sorted(found))


def _is_module(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def digest(text: str) -> str:
    """A name for what is compiled from a text with numba's present settings."""
    import numba

    settings: Any = numba.config
    return hashlib.sha256(f"{settings.BOUNDSCHECK}\n{text}".encode()).hexdigest()[:24]


def write_once(path: Path, text: str) -> None:
    """Write a file beside its name and move it there, unless it is there already."""
    if path.exists() and path.read_text(encoding="utf-8") == text:
        # its date of writing stays: older versions of numba compile anew what has another
        os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))
        return
    handle, name = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)
    evict(path.parent)


def evict(folder: Path, kept: int = KEPT) -> None:
    """Delete what has not been used for longest, beyond so many kernels."""
    entries = sorted(folder.glob("kernel_*"), key=_last_used, reverse=True)
    for old in entries[kept:]:
        if old.is_dir():
            shutil.rmtree(old, ignore_errors=True)
            continue
        old.unlink(missing_ok=True)
        for compiled in (folder / "__pycache__").glob(f"{old.stem}*"):
            compiled.unlink(missing_ok=True)


def _last_used(path: Path) -> float:
    try:
        status = path.stat()
    except OSError:  # another process has deleted it
        return 0.0
    return status.st_mtime if path.is_dir() else status.st_atime
