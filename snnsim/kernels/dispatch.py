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
from snnsim.kernels import cuda_runtime, derivatives
from snnsim.kernels.derive import Equations
from snnsim.kernels.guard import check_axes, check_operands, check_shape
from snnsim.kernels.operator import declare
from snnsim.kernels.scan.cpu import source as cpu_source

BACKENDS = ("auto", "reference", "cpu", "cuda")

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


def known(key: str) -> Equations:
    """The equations that :func:`key_of` gave this key."""
    if key not in _equations:
        raise BackendError(
            f"this process has not made the equations {key!r} that a saved graph asks for; build "
            "the same neuron first, so that its kernels exist"
        )
    return _equations[key]


def choose_backend(backend: str, device: torch.device) -> str:
    """The rung that runs: resolves ``"auto"`` and refuses what cannot run on ``device``."""
    check_choice("backend", backend, BACKENDS)
    derivatives.refuse_named(backend)
    if backend == "auto":
        compiled = device.type in ("cpu", "cuda") and not derivatives.transformed()
        return device.type if compiled else "reference"
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


def _compiled(package: str, rung: str, x: Tensor) -> Any:
    if choose_backend(rung, x.device) not in ("cpu", "cuda"):
        raise BackendError(f"rung {rung!r} is not compiled; use 'cpu' or 'cuda'")
    return _rung(package, rung)


def forward(package: str, rung: str, key: str, *tensors: Any):
    """Run a compiled scan: ``package`` is ``"scan"`` or ``"recurrent_scan"``."""
    return _compiled(package, rung, tensors[0]).forward(known(key), *tensors)


def backward(package: str, rung: str, key: str, learnt: Sequence[bool], *tensors: Any):
    """Run the adjoint of :func:`forward`."""
    return _compiled(package, rung, tensors[0]).backward(known(key), tuple(learnt), *tensors)


def check_scan(
    x: Tensor, state: Tensor, params: Tensor, equations: Equations, learnt: Sequence[bool]
) -> None:
    """Raise unless ``x [T, B, N]``, state ``[S, B, N]`` and parameters ``[P, N]`` fit."""
    check_operands(x, state, params)
    check_axes("x", x, "T, B, N")
    _, B, N = x.shape
    check_shape("state", state, (len(equations.states), B, N))
    check_shape("params", params, (len(equations.params), N))
    if len(learnt) != len(equations.params):
        raise ShapeError(f"learnt has {len(learnt)} entries but params {len(equations.params)}")


def _check_recurrent(x: Tensor, w_rec: Tensor, y0: Tensor) -> None:
    check_operands(x, w_rec, y0)
    check_shape("w_rec", w_rec, (x.shape[2], x.shape[2]))
    check_shape("y0", y0, tuple(x.shape[1:]))


def check_gradients(x: Tensor, state: Tensor, g_y: Tensor, g_final: Tensor) -> None:
    """Raise unless the gradients have the shapes of the scan's results."""
    check_operands(x, g_y, g_final)
    check_shape("g_y", g_y, tuple(x.shape))
    check_shape("g_final", g_final, tuple(state.shape))


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
    rung = choose_backend(backend, x.device)
    if rung == "reference":
        check_scan(x, state, params, equations, learnt)
        return _rung("scan", "reference").scan(equations, x, state, params)
    return run_scan(x, state, params, key_of(equations), list(learnt), rung)


def _scan(
    x: Tensor, state: Tensor, params: Tensor, key: str, learnt: Sequence[bool], rung: str
) -> tuple[Tensor, Tensor]:
    check_scan(x, state, params, known(key), learnt)
    return forward("scan", rung, key, x, state, params)


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
    check_scan(x, state, params, known(key), learnt)
    check_gradients(x, state, g_y, g_final)
    return backward("scan", rung, key, learnt, x, state, params, g_y, g_final)


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
    rung = choose_backend(backend, x.device)
    if rung == "reference":
        check_scan(x, state, params, equations, learnt)
        _check_recurrent(x, w_rec, y0)
        with torch.autocast(x.device.type, enabled=False):  # as the compiled rungs
            return _rung("recurrent_scan", "reference").recurrent_scan(
                equations, x, state, params, w_rec, y0
            )
    return run_recurrent(x, state, params, w_rec, y0, key_of(equations), list(learnt), rung)


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
    check_scan(x, state, params, known(key), learnt)
    _check_recurrent(x, w_rec, y0)
    return forward("recurrent_scan", rung, key, x, state, params, (w_rec, y0))


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
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    check_scan(x, state, params, known(key), learnt)
    _check_recurrent(x, w_rec, y0)
    check_gradients(x, state, g_y, g_final)
    check_shape("y", y, tuple(x.shape))
    check_operands(x, y)
    tensors = (x, state, params, (w_rec, y0), y, (g_y, g_final))
    g_x, g_state, g_params, g_y0 = backward("recurrent_scan", rung, key, learnt, *tensors)
    before = torch.cat([y0.unsqueeze(0), y[:-1]]) if y.shape[0] else y
    return g_x, g_state, g_params, g_x.flatten(0, 1).t() @ before.flatten(0, 1), g_y0


def _shapes(x: Tensor, state: Tensor, *_: Any) -> tuple[torch.Size, torch.Size]:
    return x.shape, state.shape


run_recurrent, _ = declare(
    "recurrent_scan",
    _recurrent,
    _recurrent_backward,
    outputs=("y", "final"),
    shapes=_shapes,
    gradients=("x", "state", "params", "w_rec", "y0"),
)
run_scan, _ = declare(
    "scan",
    _scan,
    _scan_backward,
    outputs=("y", "final"),
    shapes=_shapes,
    gradients=("x", "state", "params"),
)
