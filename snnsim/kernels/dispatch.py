"""The scans as torch operators with gradients, and the choice of the rung that runs them.

``backend`` is ``"auto"`` (the compiled rung of the tensors' device), ``"reference"``,
``"cpu"`` or ``"cuda"``. A named backend that cannot run raises :class:`BackendError`; the
only device without a compiled rung that ``"auto"`` serves is served by the reference.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from functools import cache
from hashlib import sha256
from typing import Any

import torch
from torch import Tensor

from snnsim.errors import BackendError, ShapeError, check_choice
from snnsim.kernels import cuda_runtime
from snnsim.kernels.derive import Equations
from snnsim.kernels.scan.cpu import source as cpu_source

BACKENDS = ("auto", "reference", "cpu", "cuda")
DTYPES = (torch.float32, torch.float64)

_equations: dict[str, Equations] = {}


def constant_when_traced(function: Any) -> Any:
    """What ``torch.compiler.assume_constant_result`` does, without importing torch's tracer."""
    function._dynamo_marked_constant = True
    return function


@constant_when_traced
def key_of(equations: Equations) -> str:
    """A string under which the operators find these equations again: a hash of their source."""
    return _key(equations)


@cache
def _key(equations: Equations) -> str:
    text = cpu_source(equations, (True,) * len(equations.params))
    digest = sha256(text.encode()).hexdigest()[:16]
    key = f"{getattr(equations.step, '__qualname__', 'step')}-{digest}"
    _equations.setdefault(key, equations)
    return key


def _known(key: str) -> Equations:
    if key not in _equations:
        raise BackendError(
            f"this process has not made the equations {key!r} that a saved graph asks for; build "
            "the same neuron first, so that its kernels exist"
        )
    return _equations[key]


def choose_backend(backend: str, device: torch.device) -> str:
    """The rung that runs: resolves ``"auto"`` and refuses what cannot run on ``device``."""
    check_choice("backend", backend, BACKENDS)
    if backend == "auto":
        return device.type if device.type in ("cpu", "cuda") else "reference"
    simulated = backend == "cuda" and cuda_runtime.simulated()
    if backend == "cuda" and not simulated and not torch.cuda.is_available():
        raise BackendError(
            f"backend 'cuda' on tensors of device {device.type!r}: torch sees no CUDA device here; "
            "use backend='auto'"
        )
    if backend != "reference" and backend != device.type and not simulated:
        raise BackendError(
            f"backend {backend!r} cannot run on tensors of device {device.type!r}; "
            f"move them with .to({backend!r}) or use backend='auto'"
        )
    return backend


def _rung(package: str, backend: str) -> Any:
    return importlib.import_module(f"snnsim.kernels.{package}.{backend}")


def forward(package: str, rung: str, key: str, *tensors: Tensor):
    """Run a compiled scan: ``package`` is ``"scan"`` or ``"recurrent_scan"``."""
    return _rung(package, rung).forward(_known(key), *tensors)


def backward(package: str, rung: str, key: str, learnt: Sequence[bool], *tensors: Tensor):
    """Run the adjoint of :func:`forward`."""
    return _rung(package, rung).backward(_known(key), tuple(learnt), *tensors)


def _check_sizes(x: Tensor, state: Tensor, params: Tensor, equations: Equations) -> None:
    """The kernels do not check bounds, so the door does."""
    _, B, N = x.shape
    expected = (len(equations.states), B, N), (len(equations.params), N)
    if (tuple(state.shape), tuple(params.shape)) != expected:
        raise ShapeError(
            f"state is {tuple(state.shape)} and params {tuple(params.shape)}, but x of "
            f"{tuple(x.shape)} needs {expected[0]} and {expected[1]}"
        )


def check_operands(x: Tensor, *others: Tensor) -> None:
    """One number type and one device, which the scans have kernels for."""
    if x.dtype not in DTYPES:
        raise ShapeError(f"x is {x.dtype} but scans compute in float32 or float64; cast it first")
    for other in others:
        if other.dtype != x.dtype or other.device != x.device:
            raise ShapeError(
                f"x is {x.dtype} on {x.device} but a state or parameter is {other.dtype} on "
                f"{other.device}; bring them to one dtype and device with .to(...)"
            )


def scan(
    equations: Equations,
    x: Tensor,
    state: Tensor,
    params: Tensor,
    learnt: Sequence[bool],
    backend: str = "auto",
) -> tuple[Tensor, Tensor]:
    """Run a neuron over time; see :func:`snnsim.kernels.scan.reference.scan` for the arguments.

    ``learnt`` says for each row of ``params`` whether its gradient is wanted; the others get 0.
    Gradients: ``x``, ``state`` and ``params``. Saves its inputs for the backward pass.
    """
    check_operands(x, state, params)
    _check_sizes(x, state, params, equations)
    rung = choose_backend(backend, x.device)
    if rung == "reference":
        return _rung("scan", "reference").scan(equations, x, state, params)
    return run_scan(x, state, params, key_of(equations), list(learnt), rung)


@torch.library.custom_op("snnsim::scan", mutates_args=())
def run_scan(
    x: Tensor, state: Tensor, params: Tensor, key: str, learnt: Sequence[bool], rung: str
) -> tuple[Tensor, Tensor]:
    return forward("scan", rung, key, x, state, params)


@torch.library.custom_op("snnsim::scan_backward", mutates_args=())
def _scan_backward(
    x: Tensor,
    state: Tensor,
    params: Tensor,
    g_y: Tensor,
    g_final: Tensor,
    key: str,
    learnt: Sequence[bool],
    rung: str,
) -> tuple[Tensor, Tensor, Tensor]:
    return backward("scan", rung, key, learnt, x, state, params, g_y, g_final)


@run_scan.register_fake
def _(x, state, params, key, learnt, rung):
    return torch.empty_like(x, memory_format=torch.contiguous_format), torch.empty_like(
        state, memory_format=torch.contiguous_format
    )


@_scan_backward.register_fake
def _(x, state, params, g_y, g_final, key, learnt, rung):
    like = (x, g_final, params)
    return tuple(torch.empty_like(a, memory_format=torch.contiguous_format) for a in like)


def _save_scan(ctx, inputs, output):
    x, state, params, ctx.key, ctx.learnt, ctx.rung = inputs
    ctx.save_for_backward(x, state, params)


def _differentiate_scan(ctx, g_y, g_final):
    x, state, params = ctx.saved_tensors
    grads = _scan_backward(
        x, state, params, g_y.contiguous(), g_final.contiguous(), ctx.key, ctx.learnt, ctx.rung
    )
    return (*grads, None, None, None)


run_scan.register_autograd(_differentiate_scan, setup_context=_save_scan)


def recurrent_scan(
    equations: Equations,
    x: Tensor,
    state: Tensor,
    params: Tensor,
    w_rec: Tensor,
    y0: Tensor,
    learnt: Sequence[bool],
    backend: str = "auto",
) -> tuple[Tensor, Tensor]:
    """Run a recurrent layer over time; arguments as in
    :func:`snnsim.kernels.recurrent_scan.reference.recurrent_scan`.

    Gradients: ``x``, ``state``, ``params``, ``w_rec`` and ``y0``. Saves its inputs and ``y``.
    """
    check_operands(x, state, params, w_rec, y0)
    _check_sizes(x, state, params, equations)
    if w_rec.shape != (x.shape[2], x.shape[2]) or y0.shape != x.shape[1:]:
        raise ShapeError(
            f"w_rec is {tuple(w_rec.shape)} and y0 {tuple(y0.shape)}, but x of {tuple(x.shape)} "
            f"needs {(x.shape[2], x.shape[2])} and {tuple(x.shape[1:])}"
        )
    rung = choose_backend(backend, x.device)
    if rung == "reference":
        with torch.autocast(x.device.type, enabled=False):  # as the compiled rungs
            return _rung("recurrent_scan", "reference").recurrent_scan(
                equations, x, state, params, w_rec, y0
            )
    return _recurrent(x, state, params, w_rec, y0, key_of(equations), list(learnt), rung)


@torch.library.custom_op("snnsim::recurrent_scan", mutates_args=())
def _recurrent(
    x: Tensor,
    state: Tensor,
    params: Tensor,
    w_rec: Tensor,
    y0: Tensor,
    key: str,
    learnt: Sequence[bool],
    rung: str,
) -> tuple[Tensor, Tensor]:
    return forward("recurrent_scan", rung, key, x, state, params, w_rec, y0)


@torch.library.custom_op("snnsim::recurrent_scan_backward", mutates_args=())
def _recurrent_backward(
    x: Tensor,
    state: Tensor,
    params: Tensor,
    w_rec: Tensor,
    y0: Tensor,
    y: Tensor,
    g_y: Tensor,
    g_final: Tensor,
    key: str,
    learnt: Sequence[bool],
    rung: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return backward(
        "recurrent_scan", rung, key, learnt, x, state, params, w_rec, y0, y, g_y, g_final
    )


@_recurrent.register_fake
def _(x, state, params, w_rec, y0, key, learnt, rung):
    return torch.empty_like(x, memory_format=torch.contiguous_format), torch.empty_like(
        state, memory_format=torch.contiguous_format
    )


@_recurrent_backward.register_fake
def _(x, state, params, w_rec, y0, y, g_y, g_final, key, learnt, rung):
    like = (x, g_final, params, y0)
    return tuple(torch.empty_like(a, memory_format=torch.contiguous_format) for a in like)


def _save_recurrent(ctx, inputs, output):
    x, state, params, w_rec, y0, ctx.key, ctx.learnt, ctx.rung = inputs
    ctx.save_for_backward(x, state, params, w_rec, y0, output[0])


def _differentiate_recurrent(ctx, g_y, g_final):
    saved = ctx.saved_tensors  # asked for once, as checkpointing demands
    *_, y0, y = saved
    g_x, g_state, g_params, g_y0 = _recurrent_backward(
        *saved, g_y.contiguous(), g_final.contiguous(), ctx.key, ctx.learnt, ctx.rung
    )
    before = torch.cat([y0.unsqueeze(0), y[:-1]]) if y.shape[0] else y
    g_w_rec = g_x.flatten(0, 1).t() @ before.flatten(0, 1)
    return g_x, g_state, g_params, g_w_rec, g_y0, None, None, None


_recurrent.register_autograd(_differentiate_recurrent, setup_context=_save_recurrent)
