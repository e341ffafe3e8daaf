"""Compiling and launching numba-cuda kernels, on a GPU or in numba's simulator."""

from __future__ import annotations

import math
import os
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch

from snnsim.errors import BackendError
from snnsim.kernels.derive import FUNCTIONS


def simulated() -> bool:
    """Whether kernels run in numba's CUDA simulator (``NUMBA_ENABLE_CUDASIM=1``)."""
    return os.environ.get("NUMBA_ENABLE_CUDASIM") == "1"


def _cuda() -> Any:
    try:
        from numba import cuda
    except ImportError as error:
        raise BackendError(
            f"backend 'cuda' needs numba-cuda, which did not import ({error}); "
            "install it with: pip install 'snnsim[cuda]'"
        ) from error
    return cuda


def _namespace(body: str, dtype: str, kernel: Any) -> Any:
    import numpy as np

    space: dict[str, Any] = {name: getattr(math, name) for name in FUNCTIONS}
    space.update(np=np, F=getattr(np, dtype), cuda=_cuda(), kernel=kernel)
    exec(body, space)  # our own generated text
    return SimpleNamespace(**space)


def compile_cuda(body: str, dtype: str) -> Any:
    """Kernels defined by generated source, to be compiled on first launch."""
    return _namespace(body, dtype, _cuda().jit)


def compile_ptx(
    body: str, dtype: str, name: str, signature: str, capability: tuple[int, int]
) -> str:
    """PTX text of one kernel for a compute capability; needs no GPU."""
    function = getattr(_namespace(body, dtype, lambda function: function), name)
    ptx, _ = _cuda().compile_ptx(function, signature, cc=capability)
    return ptx


def launch(kernel: Any, lanes: int, threads: int, tensors: tuple[Any, ...]) -> None:
    """Launch ``kernel`` with one thread per lane on torch's current stream."""
    if lanes:
        launch_grid(kernel, (lanes + threads - 1) // threads, threads, tensors)


def launch_grid(kernel: Any, blocks: int, threads: int, tensors: tuple[Any, ...]) -> None:
    """Launch ``blocks`` blocks of ``threads`` threads on torch's current stream.

    What is not a tensor among the arguments is passed as it is.
    """
    arrays = [t.detach().contiguous() if isinstance(t, torch.Tensor) else t for t in tensors]
    if simulated():
        kernel[blocks, threads](*(_convert(a, torch.Tensor.numpy) for a in arrays))
        return
    cuda = _cuda()
    stream = cuda.external_stream(torch.cuda.current_stream().cuda_stream)
    place = partial(cuda.as_cuda_array, sync=False)
    kernel[blocks, threads, stream](*(_convert(a, place) for a in arrays))


def _convert(value: Any, function: Any) -> Any:
    return function(value) if isinstance(value, torch.Tensor) else value
