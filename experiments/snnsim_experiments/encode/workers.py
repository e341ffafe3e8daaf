"""Encoding in one process or in several."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

import torch

from snnsim.errors import ConfigError
from snnsim_experiments.encode.kinds import Encoder

if TYPE_CHECKING:
    from snnsim_experiments.encode.job import Encoding, Task

Progress = Callable[[int, int], None]
MOST = 1024  # processes


def processors() -> int:
    """Return the number of processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def run_all(
    encoding: Encoding,
    encoder: Encoder,
    tasks: Sequence[Task],
    jobs: int,
    done: Callable[[], None],
) -> None:
    """Run all tasks; each is computed by one thread, so that the results do not depend on ``jobs``.

    Args:
        encoding: what the encoder was made of, for other processes.
        encoder: what encodes, in this process.
        tasks: the tasks.
        jobs: the number of processes; 1 for this process alone.
        done: called after each task.

    Raises:
        ConfigError: if a process ended unexpectedly.
    """
    jobs = min(jobs, len(tasks))
    if jobs > 1:
        _run_apart(encoding, tasks, jobs, done)
        return
    with _one_thread():
        for task in tasks:
            task.run(encoder)
            done()


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _run_apart(
    encoding: Encoding, tasks: Sequence[Task], jobs: int, done: Callable[[], None]
) -> None:
    context = multiprocessing.get_context("spawn")  # threads of torch and numba do not survive fork
    leash, held = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(jobs, context, _begin, (encoding, leash))
    try:
        for future in as_completed([pool.submit(_run, task) for task in tasks]):
            future.result()
            done()
    except BrokenProcessPool as error:
        raise ConfigError(
            "a process that encodes ended unexpectedly: it was killed, or there was not enough "
            "memory; run the same command again, if need be with fewer --jobs, and it goes on with "
            "the recordings that are left"
        ) from error
    except BaseException:
        held.close()  # ends all processes at once, whatever they are doing
        raise
    finally:
        pool.shutdown(cancel_futures=True)
        held.close()
        leash.close()


_encoder: list[Encoder] = []  # of a process that encodes


def _begin(encoding: Encoding, leash: Connection) -> None:
    """In a process that encodes, before its first task."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that waits for it decides
    threading.Thread(target=_end_with, args=(leash,), daemon=True).start()
    torch.set_num_threads(1)
    _encoder.append(encoding.encoder())


def _end_with(leash: Connection) -> None:
    """End this process when the other end of the pipe is closed, also by the death of its owner."""
    with suppress(EOFError, OSError):
        leash.recv()
    os._exit(1)


def _run(task: Task) -> None:
    task.run(_encoder[0])
