"""What operators check of numbers, shapes and delays, and which backend is chosen."""

from __future__ import annotations

import math

import pytest
import torch
from toolbox import normal

import snnsim as sn
from snnsim.errors import BackendError, ConfigError, NonFiniteError, ShapeError
from snnsim.kernels import cuda_runtime, dispatch, guard, threads
from snnsim.kernels.delay_conv.taps import fused_taps

ops = torch.ops.snnsim


CPU = torch.device("cpu")


# --- the checks ----------------------------------------------------------------------------------


def test_operands_have_one_number_type_and_device_that_kernels_have():
    x = torch.zeros(2)
    guard.check_operands(x, x, x)
    guard.check_operands(x.double(), x.double())
    for kind in (torch.float16, torch.bfloat16, torch.int64, torch.bool):
        with pytest.raises(ShapeError, match="kernels compute in float32 or float64"):
            guard.check_operands(x.to(kind), x.to(kind))
    with pytest.raises(ShapeError, match="a state or parameter is torch.float64 on cpu"):
        guard.check_operands(x, x, x.double())
    with pytest.raises(ShapeError, match="on meta"):
        guard.check_operands(x, x.to("meta"))


def test_axes_shapes_and_counts():
    x = torch.zeros(2, 3, 4)
    guard.check_axes("x", x, "T, B, N")
    with pytest.raises(ShapeError, match=r"x has shape \(2, 3, 4\) but must be \[T, B\]"):
        guard.check_axes("x", x, "T, B")
    guard.check_axes("x", x[0, 0], "N")
    guard.check_shape("x", x, (2, 3, 4))
    with pytest.raises(ShapeError, match=r"x has shape \(2, 3, 4\) but .* need \(2, 3, 5\)"):
        guard.check_shape("x", x, (2, 3, 5))
    guard.check_count("n", 1, 1, 3)
    guard.check_count("n", 3, 1, 3)
    for wrong in (0, 4):
        with pytest.raises(ShapeError, match=f"n is {wrong} but must lie in 1 .. 3"):
            guard.check_count("n", wrong, 1, 3)


def test_delays_index_the_taps():
    guard.check_delays(torch.tensor([0.0, 4.0]), 5)
    guard.check_delays(torch.zeros(0), 5)
    for value in (-1e-3, 4.001):
        with pytest.raises(ConfigError, match="must lie in 0 .. 4 steps"):
            guard.check_delays(torch.tensor([1.0, value]), 5)
    for value in (torch.nan, torch.inf, -torch.inf):
        with pytest.raises(NonFiniteError, match="a delay is NaN or infinite"):
            guard.check_delays(torch.tensor([1.0, value, 2.0]), 5)


def test_widths_are_one_or_one_per_synapse():
    weight = torch.zeros(2, 3, 1)
    guard.check_widths(torch.ones(1), weight)
    guard.check_widths(torch.ones(6), weight)
    for wrong in (torch.ones(2), torch.tensor(1.0), torch.ones(2, 3), torch.ones(2, 3, 1)):
        with pytest.raises(ShapeError, match="must be flat, of 1 or 6 values"):
            guard.check_widths(wrong, weight)
    with pytest.raises(NonFiniteError, match="width sigma"):
        guard.check_widths(torch.tensor([torch.inf]), weight)


def test_a_profile_needs_delays_in_range_and_finite_widths():
    guard.check_profile(torch.tensor([2.0]), 0.5, 3)
    with pytest.raises(ConfigError, match="delays reach"):
        guard.check_profile(torch.tensor([2.5]), 0.5, 3)
    for sigma in (math.nan, torch.tensor([1.0, torch.inf])):
        with pytest.raises(NonFiniteError, match="width sigma"):
            guard.check_profile(torch.tensor([2.0]), sigma, 3)


def test_synapses_fit_their_input():
    x, weight = torch.zeros(4, 2, 3), torch.zeros(5, 3, 2)
    guard.check_synapses(x, weight, weight, 3)
    for given, reason in (
        ((x[0], weight, weight), r"x has shape .*\[T, B, I\]"),
        ((x, weight[0], weight), r"weight has shape .*\[O, I, K\]"),
        ((x, weight[:, :2], weight), "weight has shape"),
        ((x, weight, weight[:4]), "delay has shape"),
        ((x.double(), weight, weight), "float32"),
        ((x, weight, weight.double()), "float64"),
    ):
        with pytest.raises(ShapeError, match=reason):
            guard.check_synapses(*given, 3)
    with pytest.raises(ConfigError, match="delays reach from 3"):
        guard.check_synapses(x, weight, weight + 3, 3)


# --- backends ------------------------------------------------------------------------------------


def test_a_backend_is_resolved_or_refused():
    assert dispatch.BACKENDS == ("auto", "reference", "cpu", "cuda")
    assert dispatch.choose_backend("auto", CPU) == "cpu"
    assert dispatch.choose_backend("auto", torch.device("cuda", 1)) == "cuda"
    assert dispatch.choose_backend("auto", torch.device("meta")) == "reference"
    assert dispatch.choose_backend("reference", torch.device("meta")) == "reference"
    assert dispatch.choose_backend("cpu", CPU) == "cpu"
    with pytest.raises(ConfigError, match="backend"):
        dispatch.choose_backend("gpu", CPU)
    with pytest.raises(
        BackendError, match=r"cannot run on tensors of device 'cuda'.*\.to\('cpu'\)"
    ):
        dispatch.choose_backend("cpu", torch.device("cuda"))


def test_cuda_is_refused_where_there_is_none_and_on_tensors_elsewhere(monkeypatch):
    monkeypatch.delenv("NUMBA_ENABLE_CUDASIM", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(BackendError, match="torch sees no CUDA device here"):
        dispatch.choose_backend("cuda", CPU)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert dispatch.choose_backend("cuda", torch.device("cuda")) == "cuda"
    with pytest.raises(BackendError, match="'cuda' cannot run on tensors of device 'cpu'"):
        dispatch.choose_backend("cuda", CPU)
    monkeypatch.setenv("NUMBA_ENABLE_CUDASIM", "1")
    assert cuda_runtime.simulated()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert dispatch.choose_backend("cuda", CPU) == "cuda"
    monkeypatch.setenv("NUMBA_ENABLE_CUDASIM", "0")
    assert not cuda_runtime.simulated()


def test_a_transformation_takes_the_reference_or_refuses_a_named_rung():
    seen = []

    def function(x):
        seen.append(dispatch.choose_backend("auto", CPU))
        assert dispatch.choose_backend("reference", CPU) == "reference"
        with pytest.raises(BackendError, match="'cpu' has derivatives in reverse mode only"):
            dispatch.choose_backend("cpu", CPU)
        return x.sum()

    torch.func.grad(function)(torch.ones(2))
    with torch.autograd.forward_ad.dual_level():
        function(torch.ones(2))
    assert seen == ["reference", "reference"]
    assert dispatch.choose_backend("auto", CPU) == "cpu"


def test_equations_are_found_under_their_key_or_it_is_said_that_they_are_not():
    first, second = sn.LIF(3, dt=1.0), sn.LIF(9, dt=1.0)
    key = dispatch.key_of(first.equations)
    assert key == dispatch.key_of(second.equations) and key.split("-")[0].endswith("step")
    assert key != dispatch.key_of(sn.LIF(3, dt=1.0, reset="zero").equations)
    assert dispatch.known(key) == first.equations
    with pytest.raises(BackendError, match="has not made the equations 'none'"):
        dispatch.known("none")


# --- launching -----------------------------------------------------------------------------------


class Kernel:
    def __init__(self):
        self.calls = []

    def __getitem__(self, place):
        return lambda *args: self.calls.append((place, args))


@pytest.mark.parametrize(("lanes", "blocks"), [(1, 1), (127, 1), (128, 1), (129, 2), (256, 2)])
def test_a_kernel_is_launched_with_a_thread_for_every_lane(monkeypatch, lanes, blocks):
    monkeypatch.setenv("NUMBA_ENABLE_CUDASIM", "1")
    kernel = Kernel()
    strided = torch.arange(6.0).view(2, 3).t().requires_grad_()
    cuda_runtime.launch(kernel, lanes, 128, (strided, 7))
    (((found, threads_), (array, number)),) = kernel.calls
    assert (found, threads_) == (blocks, 128) and number == 7
    assert array.flags["C_CONTIGUOUS"] and array.tolist() == strided.tolist()
    cuda_runtime.launch(kernel, 0, 128, (strided,))
    assert len(kernel.calls) == 1


def test_a_recurrent_layer_wider_than_a_block_is_refused():
    from snnsim.kernels.recurrent_scan import cuda

    assert cuda.MAX_WIDTH == 1024
    cuda._check_width(1024)
    with pytest.raises(BackendError, match="1025 neurons is wider than the 1024"):
        cuda._check_width(1025)


# --- threads -------------------------------------------------------------------------------------


def test_small_work_and_one_item_stay_on_the_calling_thread(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    smallest = threads.SMALLEST_PARALLEL_WORK
    for items, work, expected in (
        (10, smallest - 1, [(0, 10)]),
        (1, smallest, [(0, 1)]),
        (10, smallest, [(0, 3), (3, 6), (6, 10)]),
        (2, smallest, [(0, 1), (1, 2)]),
    ):
        calls = []
        threads.run_chunked(lambda tag, a, b, c=calls: c.append((a, b)), ("tag",), items, work)
        assert sorted(calls) == expected


def test_taps_do_not_depend_on_how_many_synapses_lie_side_by_side():
    weight, delay = normal(300, 2, 1), 4 * torch.rand(300, 2, 1).double()
    sigma = torch.rand(600).double()
    whole = fused_taps(weight, delay, sigma, 5, "gauss")
    for o in (0, 127, 128, 129, 299):
        alone = fused_taps(
            weight[o : o + 1], delay[o : o + 1], sigma[2 * o : 2 * o + 2], 5, "gauss"
        )
        assert torch.equal(alone[:, 0], whole[:, o])
