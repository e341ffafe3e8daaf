"""A run folder held by one run at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from snnsim.errors import CheckpointError, ConfigError
from snnsim.training import distributed

LOCK = "run.lock"
INSTEAD = "choose another --out"


class InUse(ConfigError):
    """Raised if another run holds a folder."""


def ours_alone(folder: Path) -> list[Path]:
    """Return what is in a folder besides its lock and the unfinished files of a killed run."""
    if not folder.exists():
        return []
    return [p for p in folder.iterdir() if p.name != LOCK and p.suffix != ".tmp"]


@dataclass(frozen=True)
class Held:
    """A held folder is written to by one run alone.

    Attributes:
        folder: the run folder.
        lock: the descriptor of its lock file; ``None`` in all processes but the first.
    """

    folder: Path
    lock: int | None

    def still(self) -> bool:
        """Return whether the folder that was locked is still the one of this name."""
        if self.lock is None:
            return True
        try:
            return os.fstat(self.lock).st_ino == (self.folder / LOCK).stat().st_ino
        except OSError:
            return False

    def check(self) -> None:
        """Raise :class:`CheckpointError` if the folder no longer belongs to this run."""
        if not self.still():
            raise CheckpointError(
                f"{self.folder} was removed or moved while this run was using it, so nothing more "
                "is written there"
            )


@contextmanager
def claim(folder: Path, instead: str = INSTEAD) -> Iterator[Held]:
    """Hold a run folder, so that no other run can write to it; a failed start leaves no folder.

    The lock is the operating system's and so ends with the process, however it ends.

    Args:
        folder: the run folder.
        instead: what can be done about a folder that cannot be held, for the errors.

    Raises:
        ConfigError: another run holds the folder, or it cannot be made.
    """
    if distributed.rank() != 0:  # the first process holds it for all
        yield Held(folder, None)
        return
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file; {instead}")
    made = _make(folder, instead)
    handle = _lock(folder, instead)
    held = Held(folder, handle)
    try:
        for left in folder.rglob("*.tmp"):
            left.unlink(missing_ok=True)
        yield held
    except BaseException:
        if held.still() and not (folder / "run.json").exists():
            (folder / "initial.safetensors").unlink(missing_ok=True)
        raise
    finally:
        if held.still():
            (folder / LOCK).unlink(missing_ok=True)
        os.close(handle)
        for place in made:  # empty ones go
            with suppress(OSError):
                place.rmdir()


def _make(folder: Path, instead: str) -> list[Path]:
    """Make a folder and those above it; returns the new ones, the innermost first."""
    missing = [p for p in (folder, *folder.parents) if not p.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        lost = [p for p in (folder, *folder.parents) if p.is_symlink() and not p.exists()]
        why = f"{lost[0]} is a broken link" if lost else f"{folder} lies below a file"
        raise ConfigError(f"{why}; {instead}") from None
    return missing


def _lock(folder: Path, instead: str = INSTEAD) -> int:
    import fcntl

    while True:
        handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            raise InUse(
                f"{folder} is in use by another run; wait until it ends, or {instead}"
            ) from None
        try:
            if os.fstat(handle).st_ino == (folder / LOCK).stat().st_ino:
                return handle
        except FileNotFoundError:
            pass
        os.close(handle)  # the run that held it has just ended and deleted it
