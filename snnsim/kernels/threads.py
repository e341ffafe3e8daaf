"""Runs a compiled kernel over chunks of its work on as many threads as torch uses.

The kernels release the interpreter lock and share nothing, so plain Python threads do.
Unlike OpenMP barriers they do not spin, which on a busy machine slows everything down many
times over (experiments/LOG.md), and small work stays on the calling thread.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch

SMALLEST_PARALLEL_WORK = 1 << 15  # element updates below which threads cost more than they give

_pools: dict[tuple[int, int], ThreadPoolExecutor] = {}


def _pool(threads: int) -> ThreadPoolExecutor:
    key = (os.getpid(), threads)  # a forked child must not use its parent's threads
    if key not in _pools:
        _pools[key] = ThreadPoolExecutor(threads, thread_name_prefix="snnsim")
    return _pools[key]


def run_chunked(kernel: Callable[..., Any], args: tuple[Any, ...], items: int, work: int) -> None:
    """Call ``kernel(*args, first, last)`` so that together all ``items`` are covered.

    Each item is computed wholly by one call, so the result does not depend on the number of
    threads.
    """
    threads = min(torch.get_num_threads(), items)
    if threads <= 1 or work < SMALLEST_PARALLEL_WORK:
        kernel(*args, 0, items)
        return
    bounds = [items * i // threads for i in range(threads + 1)]
    pool = _pool(threads - 1)
    futures = [pool.submit(kernel, *args, a, b) for a, b in itertools.pairwise(bounds[1:])]
    kernel(*args, bounds[0], bounds[1])
    for future in futures:
        future.result()
