"""Which worker has which cell: a file for each, made at once or not at all, and kept young.

A worker that dies leaves its file. It is taken over when it is not of a living process of this
machine, or has not been touched for a while by another's.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

BEAT = 5.0  # s between touches
STALE = 60.0  # s after which the file of another machine's worker is that of a dead one

HOST = socket.gethostname()


def try_claim(place: Path) -> str | None:
    """Return a token if the file could be made, or ``None`` if another worker has it.

    Args:
        place: the file.
    """
    token = uuid.uuid4().hex
    text = json.dumps({"host": HOST, "pid": os.getpid(), "token": token})
    for _ in range(2):
        try:
            descriptor = os.open(place, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        except FileExistsError:
            if not is_stale(place) or not _taken_away(place):
                return None
            continue
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        return token
    return None


def is_stale(place: Path) -> bool:
    """Return whether the worker that made a file is dead."""
    try:
        age = _now(place.parent) - place.stat().st_mtime
        told = json.loads(place.read_text())
    except FileNotFoundError:
        return False  # released just now
    except ValueError:
        return age > STALE  # killed while it wrote
    if isinstance(told, dict) and told.get("host") == HOST:
        return not _is_alive(told.get("pid"))
    return age > STALE


def _now(folder: Path) -> float:
    """The time of the clock that stamps files, which may be another machine's."""
    probe = folder / f".clock-{uuid.uuid4().hex}"
    try:
        probe.touch()
        return probe.stat().st_mtime
    finally:
        probe.unlink(missing_ok=True)


def _is_alive(pid: object) -> bool:
    if not isinstance(pid, int):
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _taken_away(place: Path) -> bool:
    """Whether this worker, and no other, has removed a dead one's file."""
    aside = place.with_name(f".dead-{uuid.uuid4().hex}")
    try:
        place.rename(aside)
    except FileNotFoundError:
        return False
    if is_stale(aside):
        aside.unlink()
        return True
    with suppress(FileExistsError):  # another was quicker, and this is its file
        os.link(aside, place)
    aside.unlink()
    return False


@contextmanager
def kept_young(place: Path, token: str, beat: float = BEAT) -> Iterator[None]:
    """Within this context, a claim is touched; it is removed afterwards."""
    done = threading.Event()

    def touch() -> None:
        while not done.wait(beat):
            if holds(place, token):
                with suppress(OSError):
                    os.utime(place)

    thread = threading.Thread(target=touch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        if holds(place, token):
            place.unlink(missing_ok=True)


def holds(place: Path, token: str) -> bool:
    """Return whether a file is the claim of a token."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return json.loads(place.read_text()).get("token") == token
    return False
