"""Reading in a process of its own: a library that hangs or crashes on a damaged file is cut off."""

from __future__ import annotations

import os
import pickle
import select
import signal
import time
import warnings
from collections.abc import Callable
from typing import Any

from snnsim.errors import DataError

BLOCK = 1 << 20


def run_apart(function: Callable[[], Any], seconds: float, what: str) -> Any:
    """Return the result of a function that runs in a child process, or raise its exception.

    Args:
        function: function without arguments; what it returns or raises must be picklable.
        seconds: time in seconds after which the child is killed.
        what: name of what is read, for the error.

    Raises:
        DataError: if the child takes longer or dies.

    >>> run_apart(lambda: 6 * 7, 10.0, "a number")
    42
    """
    if not hasattr(os, "fork"):  # no cheap child: read here
        return function()
    reading, writing = os.pipe()
    with warnings.catch_warnings():  # the child uses no threads and leaves without a trace
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        os.close(reading)
        _end_with_time(seconds)
        _answer(function, writing)
    os.close(writing)
    try:
        answer = _collect(reading, time.monotonic() + seconds)
    finally:
        os.close(reading)
        _end(child)
    if answer is None:
        raise DataError(
            f"reading {what} took more than the limit of {seconds:.0f} s and was cut off: the file "
            "is damaged, or the disk very slow; raise SNNSIM_READ_SECONDS if it is the disk"
        )
    try:
        good, value = pickle.loads(answer)
    except Exception as error:
        raise DataError(f"reading {what} ended the process that read it: it is damaged") from error
    if not good:
        raise value
    return value


def _end_with_time(seconds: float) -> None:
    """In the child: computing much longer ends it, even if the parent is gone by then."""
    import resource

    most = int(seconds) + 5
    resource.setrlimit(resource.RLIMIT_CPU, (most, most))


def _answer(function: Callable[[], Any], writing: int) -> None:
    """In the child: send the result and leave without any of the parent's clean-up."""
    try:
        try:
            content = pickle.dumps((True, function()), protocol=5)
        except BaseException as error:
            content = pickle.dumps((False, _plain(error)))
        view = memoryview(content)
        while view:
            view = view[os.write(writing, view[:BLOCK]) :]
    finally:
        os._exit(0)


def _plain(error: BaseException) -> BaseException:
    """The error as one that can be sent."""
    if isinstance(error, DataError):
        return DataError(*error.args)
    return RuntimeError(f"{type(error).__name__}: {error}")


def _collect(reading: int, until: float) -> bytes | None:
    """All that the child sends, or ``None`` if it is not done in time."""
    parts: list[bytes] = []
    while True:
        ready, _, _ = select.select([reading], [], [], max(0.0, until - time.monotonic()))
        if not ready:
            return None
        part = os.read(reading, BLOCK)
        if not part:
            return b"".join(parts)
        parts.append(part)


def _end(child: int) -> None:
    """Make sure that the child is gone."""
    try:
        if os.waitpid(child, os.WNOHANG)[0] == 0:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    except (ChildProcessError, ProcessLookupError):
        pass
