"""Operators called by their names: what does not fit is refused before a kernel sees it."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

import snnsim as sn
from snnsim.errors import BackendError, ConfigError, NonFiniteError, ShapeError
from snnsim.kernels import cuda_runtime, dispatch, guard, threads
from snnsim.kernels.delay_conv import choose_rung, delay_conv, events, most_spikes, spectral
from snnsim.kernels.delay_conv import dispatch as delay_dispatch
from snnsim.kernels.delay_conv.one_tap import accumulate, forward_shifts, one_tap_conv
from snnsim.kernels.delay_conv.profiles import fits_window
from snnsim.kernels.delay_conv.taps import flat_widths, fused_taps, kernel_taps
from snnsim.kernels.delay_conv.transforms import good_period
from snnsim.kernels.event_scan import cpu as event_scan
from snnsim.kernels.normalised_scan import affine_scan, moments, normalised, normalised_scan

ops = torch.ops.snnsim
CPU = torch.device("cpu")


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


# --- the checks ---------------------------------------------------------------------------------


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


# --- backends -----------------------------------------------------------------------------------


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


# --- scans --------------------------------------------------------------------------------------


def scan_case(n=4, seed=0):
    neuron = sn.LIF(n, dt=1.0, learn=("tau_mem",)).double()
    x = normal(5, 2, n, seed=seed)
    state = neuron.pack_state(x, None)
    params = neuron.packed_parameters(x).detach()
    return neuron, x, state, params


SCAN_REFUSALS = [
    ("x", lambda a: a[0], r"x has shape|must be \[T, B, N\]"),
    ("x", lambda a: a.float(), "float32"),
    ("x", lambda a: a.half(), "kernels compute"),
    ("state", lambda a: a[..., :3], "state has shape"),
    ("state", lambda a: a[:, :1], "state has shape"),
    ("state", lambda a: torch.cat([a, a]), "state has shape"),
    ("params", lambda a: a[:, :3], "params has shape"),
    ("params", lambda a: a[:-1], "params has shape"),
    ("params", lambda a: a.float(), "float32"),
    ("learnt", lambda a: a[:-1], "learnt has"),
]
each_refusal = pytest.mark.parametrize(("name", "change", "reason"), SCAN_REFUSALS)


@each_refusal
@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_a_scan_refuses_what_does_not_fit(name, change, reason, backend):
    neuron, x, state, params = scan_case()
    given = {"x": x, "state": state, "params": params, "learnt": neuron.learnt()}
    given[name] = change(given[name])
    with pytest.raises(ShapeError, match=reason):
        dispatch.scan(neuron.equations, *given.values(), backend)
    w, y0 = normal(4, 4), normal(2, 4)
    rest = {n: given[n] for n in ("x", "state", "params")}
    with pytest.raises(ShapeError, match=reason):
        dispatch.recurrent_scan(neuron.equations, *rest.values(), w, y0, given["learnt"], backend)


@pytest.mark.parametrize("backend", ["cpu", "reference"])
@pytest.mark.parametrize(
    ("w", "y0", "reason"),
    [
        (normal(4, 3), normal(2, 4), "w_rec has shape"),
        (normal(3, 4), normal(2, 4), "w_rec has shape"),
        (normal(4, 4), normal(2, 3), "y0 has shape"),
        (normal(4, 4), normal(1, 4), "y0 has shape"),
        (normal(4, 4).float(), normal(2, 4), "float32"),
        (normal(4, 4), normal(2, 4).float(), "float32"),
    ],
)
def test_a_recurrent_scan_refuses_what_does_not_fit(w, y0, reason, backend):
    neuron, x, state, params = scan_case()
    with pytest.raises(ShapeError, match=reason):
        dispatch.recurrent_scan(neuron.equations, x, state, params, w, y0, neuron.learnt(), backend)


@each_refusal
def test_the_backward_operators_refuse_it_as_well(name, change, reason):
    neuron, x, state, params = scan_case()
    key = dispatch.key_of(neuron.equations)
    given = {"x": x, "state": state, "params": params, "learnt": list(neuron.learnt())}
    given[name] = change(given[name])
    learnt = given.pop("learnt")
    g = (torch.ones_like(x), torch.ones_like(state))
    with pytest.raises(ShapeError, match=reason):
        ops.scan_backward(*given.values(), *g, key, learnt, "cpu")
    w, y0 = normal(4, 4), normal(2, 4)
    with pytest.raises(ShapeError, match=reason):
        ops.recurrent_scan_backward(
            *given.values(), w, y0, torch.ones_like(x), *g, key, learnt, "cpu"
        )


def test_gradients_have_the_shapes_of_results():
    neuron, x, state, params = scan_case()
    key, learnt = dispatch.key_of(neuron.equations), list(neuron.learnt())
    w, y0 = normal(4, 4), normal(2, 4)
    for g, final, reason in (
        (x[:4], state, "g_y has shape"),
        (x, state[..., :3], "g_final has shape"),
        (x.float(), state, "float32"),
        (x, state.float(), "float32"),
    ):
        with pytest.raises(ShapeError, match=reason):
            ops.scan_backward(x, state, params, g, final, key, learnt, "cpu")
        with pytest.raises(ShapeError, match=reason):
            ops.recurrent_scan_backward(x, state, params, w, y0, x, g, final, key, learnt, "cpu")
    for y, reason in ((x[:4], "y has shape"), (x.float(), "float32")):
        with pytest.raises(ShapeError, match=reason):
            ops.recurrent_scan_backward(x, state, params, w, y0, y, x, state, key, learnt, "cpu")
    with pytest.raises(ShapeError, match="w_rec has shape"):
        ops.recurrent_scan_backward(x, state, params, w[:3], y0, x, x, state, key, learnt, "cpu")


def test_an_operator_runs_compiled_rungs_only_and_those_that_can():
    neuron, x, state, params = scan_case()
    key, learnt = dispatch.key_of(neuron.equations), list(neuron.learnt())
    for rung, reason in (("reference", "rung 'reference' is not compiled"), ("cuda", "cuda")):
        with pytest.raises(BackendError, match=reason):
            ops.scan(x, state, params, key, learnt, rung)
    with pytest.raises(BackendError, match="has not made the equations"):
        ops.scan(x, state, params, "another", learnt, "cpu")


@pytest.mark.parametrize("recurrent", [False, True])
def test_parameters_whose_gradient_is_not_wanted_get_zero(recurrent):
    neuron, x, state, params = scan_case()
    run = dispatch.recurrent_scan if recurrent else dispatch.scan
    more = (normal(4, 4), normal(2, 4)) if recurrent else ()
    count = len(params)
    whole = None
    for learnt in ([True] * count, [k == 0 for k in range(count)]):
        leaf = params.clone().requires_grad_()
        y, _ = run(neuron.equations, x, state, leaf, *more, learnt, "cpu")
        (found,) = torch.autograd.grad((y * x).sum(), leaf)
        whole = found if whole is None else whole
        for row, wanted in enumerate(learnt):
            expected = whole[row] if wanted else torch.zeros_like(whole[row])
            assert torch.allclose(found[row], expected, atol=1e-12)
    assert sum(bool(row.any()) for row in whole) >= 2


@pytest.mark.parametrize(
    ("batch", "n"),
    [(3, 1500), (2, 1024), (2, 1025), (6, 300), (7, 130), (2, 512), (2, 513), (1, 2049)],
)
def test_wide_layers_and_samples_side_by_side_equal_the_reference(batch, n):
    results = []
    x = normal(4, batch, n, seed=1).requires_grad_()
    for backend in ("reference", "cpu"):
        tau = torch.linspace(2.0, 30.0, n)
        neuron = sn.LIF(n, dt=1.0, tau_mem=tau, learn=("tau_mem",), backend=backend).double()
        given = {"v": normal(batch, n, seed=2).requires_grad_()}
        y, state = neuron(3 * x, given)
        g = normal(4, batch, n, seed=3)
        loss = (y * g).sum() + (state["v"] * normal(batch, n, seed=4)).sum()
        wanted = [x, given["v"], *neuron.parameters()]
        results.append([y, state["v"], *torch.autograd.grad(loss, wanted)])
    for a, b in zip(*results, strict=True):
        assert torch.allclose(a, b, atol=1e-9) and bool(b.any())


# --- normalised scans ---------------------------------------------------------------------------


def normalised_case():
    neuron, x, state, params = scan_case()
    key = dispatch.key_of(normalised(neuron.equations, False))
    weight, bias = normal(4, seed=5), normal(4, seed=6)
    return neuron, (x, state, params, weight, bias), key


def test_a_normalised_scan_refuses_what_does_not_fit():
    neuron, given, key = normalised_case()
    learnt = list(neuron.learnt())
    for place, change, reason in (
        (0, lambda a: a[0], r"must be \[T, B, N\]"),
        (0, lambda a: a[:1, :1], "too few values to normalise by"),
        (0, lambda a: a[:0], "too few values"),
        (0, lambda a: a[..., :0], "too few values"),
        (1, lambda a: a[:, :1], "state has shape"),
        (2, lambda a: a[1:], "params has shape"),
        (3, lambda a: a[:3], "a row of the normalisation has shape"),
        (4, lambda a: a[:3], "a row of the normalisation has shape"),
        (4, lambda a: a.float(), "float32"),
    ):
        changed = [change(a) if i == place else a for i, a in enumerate(given)]
        with pytest.raises(ShapeError, match=reason):
            ops.normalised_scan(*changed, 1e-5, key, learnt, "cpu")
    plain = dispatch.key_of(neuron.equations)
    with pytest.raises(ShapeError, match="not those of a normalised neuron"):
        ops.normalised_scan(*given, 1e-5, plain, learnt, "cpu")
    with pytest.raises(ShapeError, match="learnt has"):
        ops.normalised_scan(*given, 1e-5, key, learnt[1:], "cpu")


def test_its_backward_operator_refuses_it_as_well():
    neuron, given, key = normalised_case()
    x, state = given[:2]
    learnt = list(neuron.learnt())
    mean, var = moments(x)
    good = [*given, mean, var, x, state]
    for place, change, reason in (
        (3, lambda a: a[:3], "a row of the normalisation"),
        (4, lambda a: a[:3], "a row of the normalisation"),
        (5, lambda a: a[:3], "a row of the normalisation"),
        (6, lambda a: a[:3], "a row of the normalisation"),
        (7, lambda a: a[:4], "g_y has shape"),
        (8, lambda a: a[:, :1], "g_final has shape"),
        (2, lambda a: a[1:], "params has shape"),
    ):
        changed = [change(a) if i == place else a for i, a in enumerate(good)]
        with pytest.raises(ShapeError, match=reason):
            ops.normalised_scan_backward(*changed, 1e-5, key, learnt, "cpu")


@pytest.mark.parametrize("masked", [True, False])
def test_a_normalised_scan_is_its_equation(masked):
    neuron, (x, state, params, weight, bias), _ = normalised_case()
    x = 5 + 3 * x
    mask = torch.tensor([[0, 2, 2, 0], [2, 0, 2, 2.0]]).double() if masked else None
    learnt = neuron.learnt()
    y, final, mean, var = normalised_scan(
        neuron.equations, x, state, mask, params, weight, bias, 0.3, learnt, "auto"
    )
    rows = x.numpy().reshape(-1, 4)
    np.testing.assert_allclose(mean, rows.mean(0), rtol=1e-12)
    np.testing.assert_allclose(var, rows.var(0), rtol=1e-12)
    normed = (x - mean) / (var + 0.3).sqrt() * weight + bias
    expected, end = dispatch.scan(neuron.equations, normed, state, params, learnt, "reference")
    factor = 1.0 if mask is None else mask
    assert torch.allclose(y, expected * factor, atol=1e-12)
    assert torch.allclose(final, end, atol=1e-12) and final.shape == state.shape
    affine = torch.stack([mean, weight / (var + 0.3).sqrt(), bias])
    again, last = affine_scan(
        neuron.equations, x, state, mask, params, affine, [*learnt, False, True, True], "auto"
    )
    assert torch.allclose(again, y, atol=1e-12) and torch.allclose(last, final, atol=1e-12)


def test_moments_of_many_rows_are_those_of_numpy():
    for rows in (1, 2, 63, 64, 65, 200):
        x = 1e3 + normal(rows, 1, 3, seed=rows)
        mean, var = moments(x)
        np.testing.assert_allclose(mean, x[:, 0].numpy().mean(0), rtol=1e-13)
        np.testing.assert_allclose(var, x[:, 0].numpy().var(0), rtol=1e-9, atol=1e-12)


# --- the event-driven layer -----------------------------------------------------------------------


def prepared(recurrent=False, **changes):
    neuron = sn.LIF(4, dt=1.0).double()
    given = {
        "params": neuron.packed_parameters(torch.zeros(1).double()).detach(),
        "bias": normal(4), "weight": normal(3, 8), "target": torch.arange(8).expand(3, 8),
        "w_rec": normal(4 if recurrent else 0, 4), "rows": 1,
    } | changes  # fmt: skip
    return event_scan.prepare(neuron.equations, *given.values())


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"params": normal(9, 4)}, "params has shape"),
        ({"bias": normal(3)}, "bias has shape"),
        ({"bias": normal(4).float()}, "float32"),
        ({"weight": normal(3, 8).float()}, "float32"),
        ({"target": torch.arange(7).expand(3, 7)}, "target has shape"),
        ({"target": torch.arange(8).expand(2, 8)}, "target has shape"),
        ({"target": torch.arange(1, 9).expand(3, 8)}, "outside of 2 steps of 4 neurons"),
        ({"target": torch.arange(-1, 7).expand(3, 8)}, "outside of 2 steps of 4 neurons"),
        ({"rows": 0}, "outside of 1 steps of 4 neurons"),
        ({"w_rec": normal(3, 4)}, "w_rec has shape"),
        ({"w_rec": normal(4, 3)}, "w_rec has shape"),
        ({"w_rec": normal(4, 4).float()}, "float32"),
    ],
)
def test_a_layer_that_does_not_fit_is_not_prepared(changes, reason):
    with pytest.raises(ShapeError, match=reason):
        prepared(**changes)


def test_what_is_prepared_says_what_it_takes():
    layer = prepared(recurrent=True)
    assert (layer.inputs, layer.neurons, layer.rows) == (3, (1, 4), 1)
    assert layer.dtype == torch.float64
    assert layer.constants[4] is False  # targets are the columns
    assert prepared(target=torch.arange(8).flip(0).expand(3, 8)).constants[4] is True


def test_arguments_of_another_layer_are_refused():
    layer = prepared()
    x, pending, state = normal(5, 2, 3), normal(2, 1, 4), normal(1, 2, 4)
    event_scan.check_arguments(layer, x, pending, state)
    y, after, final = event_scan.forward(layer, x, pending, state)
    assert (y.shape, after.shape, final.shape) == ((5, 2, 4), pending.shape, state.shape)
    for given, reason in (
        ((x[0], pending, state), r"must be \[T, B, I\]"),
        ((x[..., :2], pending, state), r"takes torch.float64 of \[T, B, 3\]"),
        ((x.float(), pending.float(), state.float()), r"the layer takes torch.float64"),
        ((x, pending.float(), state), "float32"),
        ((x, pending[:1], state), "pending has shape"),
        ((x, torch.cat([pending] * 2, 1), state), "pending has shape"),
        ((x, pending[..., :3], state), "pending has shape"),
        ((x, pending, state[:, :1]), "neurons has shape"),
        ((x, pending, torch.cat([state] * 2)), "neurons has shape"),
        ((x, pending, state[0]), "neurons has shape"),
    ):
        for call in (event_scan.check_arguments, event_scan.forward):
            with pytest.raises(ShapeError, match=reason):
                call(layer, *given)


def test_a_layer_leaves_its_arguments_alone_and_finds_what_is_not_finite():
    layer = prepared(recurrent=True)
    x, pending, state = normal(5, 2, 3), normal(2, 1, 4), normal(1, 2, 4)
    kept = [a.clone() for a in (x, pending, state)]
    event_scan.forward(layer, x, pending, state)
    assert all(torch.equal(a, b) for a, b in zip((x, pending, state), kept, strict=True))
    bad = x.clone()
    bad[4, 1, 2] = torch.nan
    with pytest.raises(NonFiniteError, match=r"the input is nan at \[4, 1, 2\]"):
        event_scan.forward(layer, bad, pending, state)
    event_scan.forward(layer, bad, pending, state, check_finite=False)
    state[0, 1, 3] = -torch.inf
    with pytest.raises(NonFiniteError, match=r"the state of the neurons is -inf at \[0, 1, 3\]"):
        event_scan.forward(layer, x, pending, state)


# --- delays -------------------------------------------------------------------------------------


def synapses():
    x, weight = normal(6, 2, 3), normal(4, 3, 2, seed=1)
    return x, weight, torch.full((4, 3, 2), 1.0).double()


def test_the_convolution_refuses_what_does_not_fit():
    x, weight, delay = synapses()
    for given, reason in (
        ((x[0], weight, delay), "with the same I"),
        ((x, weight[0], delay[0]), "with the same I"),
        ((x[..., :2], weight, delay), "with the same I"),
        ((x, weight, delay[..., :1]), "delay has shape"),
        ((x.float(), weight, delay), "float64"),
    ):
        with pytest.raises(ShapeError, match=reason):
            delay_conv(*given, 0.1, length=5)
    for tail in (-1, 5):
        with pytest.raises(
            ShapeError, match=rf"tail is {tail} but must lie in 0 .. length - 1 = 4"
        ):
            delay_conv(x, weight, delay, 0.1, length=5, tail=tail)
    assert len(delay_conv(x, weight, delay, 0.1, length=5, tail=4)) == 10


@pytest.mark.parametrize("shape", [(0, 2, 3, 4), (6, 0, 3, 4), (6, 2, 0, 4), (6, 2, 3, 0)])
def test_empty_convolutions_are_zero_with_gradients_of_zero(shape):
    steps, batch, n_in, n_out = shape
    leaves = [torch.ones(s).double().requires_grad_() for s in (
        (steps, batch, n_in), (n_out, n_in, 1), (n_out, n_in, 1),
    )]  # fmt: skip
    y = delay_conv(*leaves, 0.1, length=5, tail=2)
    assert y.shape == (steps + 2, batch, n_out) and not y.any()
    for g in torch.autograd.grad(y.sum(), leaves):
        assert not g.any()


def test_rungs_called_by_name_refuse_what_does_not_fit():
    x, weight, delay = synapses()
    sigma = torch.tensor([0.1]).double()
    taps = kernel_taps(weight, delay, 0.1, 5, "gauss")
    for frames in (-1, 11):
        with pytest.raises(ShapeError, match="frames is"):
            ops.one_tap_conv(x, weight, delay, 5, frames)
        with pytest.raises(ShapeError, match="frames is"):
            ops.event_conv(x, weight, delay, sigma, 5, "gauss", frames)
        with pytest.raises(ShapeError, match="frames is"):
            ops.spectral_conv(x, taps, frames)
    with pytest.raises(ShapeError, match="frames is 0"):
        ops.spectral_conv(x, taps, 0)
    with pytest.raises(ShapeError, match="is empty"):
        ops.spectral_conv(x[:0], taps, 1)
    with pytest.raises(ShapeError, match="taps has shape"):
        ops.spectral_conv(x, taps[..., :2], 6)
    with pytest.raises(ShapeError, match=r"taps has shape .*\[D, O, I\]"):
        ops.spectral_conv(x, taps[0], 6)
    with pytest.raises(ShapeError, match="weight has shape"):
        ops.event_conv(x[..., :2], weight, delay, sigma, 5, "gauss", 6)
    with pytest.raises(ConfigError, match="too wide to be summed spike by spike"):
        ops.event_conv(x, weight, delay, sigma + 2, 5, "gauss", 6)
    with pytest.raises(ConfigError, match="delays reach"):
        ops.one_tap_conv(x, weight, delay + 9, 5, 6)
    for name in ("linear", "one_tap"):
        with pytest.raises(ConfigError, match="profile"):
            ops.delay_taps(weight, delay, sigma, 5, name)
    with pytest.raises(ConfigError, match="4 taps"):
        ops.delay_taps(weight, delay, sigma, 4, "gauss")
    with pytest.raises(ShapeError, match="must be flat"):
        ops.delay_taps(weight, delay, sigma[0], 5, "gauss")
    with pytest.raises(ShapeError, match="delay has shape"):
        ops.delay_taps(weight, delay[:2], sigma, 5, "gauss")


def test_their_backward_operators_refuse_it_as_well():
    x, weight, delay = synapses()
    sigma, g = torch.tensor([0.1]).double(), normal(6, 2, 4)
    taps = kernel_taps(weight, delay, 0.1, 5, "gauss")
    calls = (
        lambda g: ops.one_tap_conv_backward(x, weight, delay, g, 5, True, True),
        lambda g: ops.event_conv_backward(x, weight, delay, sigma, g, 5, "gauss", True, True),
        lambda g: ops.spectral_conv_backward(x, taps, g, True, True),
    )
    for call in calls:
        call(g)
        for wrong, reason in (
            (g[..., :3], "g has shape"), (g[:, :1], "g has shape"), (g.float(), "float32"),
            (normal(11, 2, 4), "is 11 but must lie in"),
        ):  # fmt: skip
            with pytest.raises(ShapeError, match=reason):
                call(wrong)
    for wrong in (normal(5, 4, 2), normal(5, 3, 3)):
        with pytest.raises(ShapeError, match="g has shape"):
            ops.delay_taps_backward(weight, delay, sigma, wrong, "gauss", True)
    with pytest.raises(ShapeError, match="float32"):
        ops.delay_taps_backward(weight, delay, sigma, normal(5, 4, 3).float(), "gauss", True)


@pytest.mark.parametrize("wants", list(itertools.product([True, False], repeat=2)))
def test_gradients_that_are_not_wanted_come_back_empty(wants):
    x, weight, delay = synapses()
    sigma, g = torch.tensor([0.1]).double(), normal(6, 2, 4)
    taps = kernel_taps(weight, delay, 0.1, 5, "gauss")
    found = [
        ops.one_tap_conv_backward(x, weight, delay, g, 5, *wants),
        ops.spectral_conv_backward(x, taps, g, *wants),
    ]
    for pair, second in zip(found, (weight, taps), strict=True):
        for one, like, wanted in zip(pair, (x, second), wants, strict=True):
            assert one.shape == (like.shape if wanted else (0,))
    g_x, _, _, g_sigma = ops.event_conv_backward(x, weight, delay, sigma, g, 5, "gauss", *wants)
    assert g_x.shape == (x.shape if wants[0] else (0,))
    assert g_sigma.shape == ((1,) if wants[1] else (0,))


def test_widths_are_laid_out_flat():
    weight = normal(4, 3, 2)
    assert flat_widths(0.5, weight).tolist() == [0.5]
    assert flat_widths(torch.tensor([[[0.5]]]), weight).tolist() == [0.5]
    per_copy = torch.tensor([0.1, 0.2])
    assert flat_widths(per_copy, weight).tolist() == pytest.approx([0.1, 0.2] * 12)
    assert flat_widths(per_copy, weight).dtype == torch.float64


def test_whole_steps_are_added_with_a_bias():
    weight, x = normal(2, 3, 2), normal(7, 2, 3, seed=1)
    delay = torch.tensor([0, 1, 2, 3, 4, 2.0]).view(1, 3, 2).expand(2, 3, 2).double()
    bias = torch.tensor([10.0, -20.0]).double()
    shifts = forward_shifts(weight, delay, 5)
    plain = one_tap_conv(x, weight, delay, 5, 7)
    found = accumulate(x, 4, shifts, 5, 7, bias)
    assert torch.allclose(found, plain + bias, atol=1e-12)
    with pytest.raises(ShapeError, match="bias has shape"):
        accumulate(x, 4, shifts, 5, 7, bias[:1])
    with pytest.raises(ShapeError, match="float32"):
        accumulate(x, 4, shifts, 5, 7, bias.float())
    for wrong in (x[..., :0], torch.cat([x, x], 2)[..., :5], x.float()):
        with pytest.raises(ShapeError, match="has 6 columns of float64"):
            accumulate(wrong, 4, shifts, 5, 7)
    with pytest.raises(ShapeError, match=r"must be \[T, B, I\]"):
        accumulate(x[0], 4, shifts, 5, 7)
    with pytest.raises(ConfigError, match="delays reach"):
        forward_shifts(weight, delay + 1, 5)


# --- which rung ---------------------------------------------------------------------------------


def cost_by_hand(shape, length, frames):
    """Of the spectral rung, and of the reference."""
    steps, samples, inputs, outputs = shape
    _, cost = spectral.best_period(steps, frames, length, (samples, inputs, outputs))
    return cost + 1e5, length * frames * samples * inputs * outputs


def test_the_constants_of_the_costs():
    assert (delay_dispatch.OVERHEAD, delay_dispatch.ONE_TAP) == (1e5, 2.2)
    assert (delay_dispatch.EVENT, delay_dispatch.EVENT_VALUE) == (30.0, 40.0)
    assert threads.SMALLEST_PARALLEL_WORK == 1 << 15


@pytest.mark.parametrize("shape", [(101, 256, 140, 256), (101, 4, 30, 8), (50, 2, 3, 4)])
def test_the_share_of_spikes_below_which_they_are_added_one_by_one(shape):
    spectral_cost, dense = cost_by_hand(shape, 25, 113)
    steps, samples, inputs, outputs = shape
    values = 40.0 * samples * (steps * inputs + 113 * outputs)
    each = 30.0 * steps * samples * inputs * outputs
    expected = max((min(spectral_cost, dense) - values) / each, 0.0)
    most = most_spikes(shape, 25, 113)
    assert most == pytest.approx(expected, rel=1e-12)
    assert most_spikes((0, *shape[1:]), 25, 12) == 0.0
    options = {"narrow": True, "rate": most * 0.999}
    chosen = choose_rung("auto", "gauss", "cpu", shape, 25, 113, **options)
    assert (chosen == "events") == (most > 0)
    dense_input = {**options, "rate": most * 1.001 + 1e-9}
    assert choose_rung("auto", "gauss", "cpu", shape, 25, 113, **dense_input) != "events"
    assert choose_rung("auto", "gauss", "cuda", shape, 25, 113, **options) != "events"
    wide = {**options, "narrow": False}
    assert choose_rung("auto", "gauss", "cpu", shape, 25, 113, **wide) != "events"


@pytest.mark.parametrize("samples", [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64])
def test_the_cheaper_of_spectra_and_the_reference_runs(samples):
    shape = (60, samples, 10, 10)
    spectral_cost, dense = cost_by_hand(shape, 9, 60)
    expected = "spectral" if spectral_cost < dense else "reference"
    assert choose_rung("auto", "gauss", "cpu", shape, 9, 60) == expected
    whole = {"trains": True}
    expected = "one_tap" if 2.2 * dense / 9 < spectral_cost else expected
    assert choose_rung("auto", "one_tap", "cpu", shape, 9, 60, **whole) == expected
    assert choose_rung("auto", "one_tap", "cpu", shape, 9, 60) == "one_tap"


def test_named_rungs_run_where_they_can():
    shape = (60, 2, 10, 10)
    assert choose_rung("auto", "gauss", "cpu", (0, 2, 10, 10), 9, 4) == "reference"
    for device in ("cpu", "cuda"):
        assert choose_rung("one_tap", "one_tap", device, shape, 9, 60) == "one_tap"
    for profile, device in (("one_tap", "meta"), ("gauss", "cpu")):
        with pytest.raises(BackendError, match="only whole-step delays"):
            choose_rung("one_tap", profile, device, shape, 9, 60)
    assert choose_rung("events", "gauss", "cpu", shape, 9, 60, narrow=True) == "events"
    for narrow, device in ((False, "cpu"), (True, "cuda")):
        with pytest.raises(BackendError, match="it runs only on the CPU"):
            choose_rung("events", "gauss", device, shape, 9, 60, narrow=narrow)


def test_a_traced_convolution_has_no_costs(monkeypatch):
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    shape = (60, 2, 10, 10)
    assert choose_rung("auto", "gauss", "cpu", shape, 9, 60) == "spectral"
    assert choose_rung("auto", "one_tap", "cpu", shape, 9, 60) == "one_tap"
    assert choose_rung("auto", "one_tap", "cpu", shape, 9, 60, trains=True) == "spectral"
    assert choose_rung("auto", "one_tap", "cuda", shape, 9, 60) == "spectral"


def test_kernels_that_lie_within_eight_taps_are_narrow():
    for wide, root in ((False, math.sqrt(40)), (True, math.sqrt(80))):
        limit = 4 / root - 0.27
        dtype = torch.float64 if wide else torch.float32
        for width, fits in ((limit - 1e-4, True), (limit + 1e-4, False)):
            assert fits_window(width, 0, wide) == fits
            assert events.fits(-width, "gauss", dtype) == fits
            both = torch.tensor([0.0, width])
            assert events.fits(both, "gauss", dtype) == fits
    assert events.fits(3.0, "triangle", torch.float32)
    assert not events.fits(3.01, "triangle", torch.float32)
    for name in ("linear", "one_tap"):
        assert not events.fits(0.0, name, torch.float32)


def test_the_rate_of_spikes_is_that_of_one_sample_of_eight():
    x = torch.zeros(5, 17, 4)
    x[0, 8], x[1, 16, 0], x[2, 3] = 2.0, -1.0, 1.0
    assert events.spike_rate(x) == pytest.approx(5 / 60, rel=1e-12)
    assert events.spike_rate(x[:, :0]) == 0.0


def test_several_kernels_per_pair_count_as_more_spikes(monkeypatch):
    seen = []
    original = delay_dispatch.choose_rung

    def noting(*given):
        seen.append(given)
        return original(*given)

    monkeypatch.setattr(delay_dispatch, "choose_rung", noting)
    x = (torch.rand(9, 8, 3, generator=torch.Generator().manual_seed(0)) < 0.5).double()
    weight = normal(4, 3, 2)
    delay_conv(x, weight, torch.ones(4, 3, 2).double(), 0.1, length=5, tail=2)
    share = float(x[:, 0].mean())
    assert seen[0][:6] == ("auto", "gauss", "cpu", (9, 8, 3, 4), 5, 11)
    assert seen[0][6:8] == (False, True) and seen[0][8] == pytest.approx(2 * share)
    leaf = weight.clone().requires_grad_()
    delay_conv(x, leaf, torch.ones(4, 3, 2).double(), 3.0, length=5)
    assert seen[1][5] == 9 and seen[1][6:] == (True, False, 1.0)
    with torch.no_grad():
        delay_conv(x, leaf, torch.ones(4, 3, 2).double(), 3.0, length=5)
    assert seen[2][6] is False
    delay_conv(x.clone().requires_grad_(), weight, torch.ones(4, 3, 2).double(), 3.0, length=5)
    assert seen[3][6] is True


# --- spectra ------------------------------------------------------------------------------------


def test_periods_are_even_with_halves_of_small_factors():
    def good(period):
        half = period // 2
        for radix in (2, 3, 5):
            while half % radix == 0:
                half //= radix
        return period % 2 == 0 and half == 1

    for least in range(1, 300):
        expected = next(p for p in itertools.count(max(least, 2)) if good(p))
        assert good_period(least) == expected


def test_the_best_period_is_the_cheapest_candidate():
    for steps, length, tail in ((9, 5, 0), (101, 25, 12), (1000, 25, 0), (3000, 201, 100)):
        period, cost = spectral.best_period(steps, steps + tail, length, (8, 20, 30))

        def by_hand(p, steps=steps, length=length, tail=tail):
            blocks = len(spectral.cut(steps, steps + tail, length, p))
            return p * (blocks * 8 * (1.5 * 600 + 25 * 50) + 25 * 600)

        assert cost == pytest.approx(by_hand(period), rel=1e-12)
        whole = good_period(steps + length - 1)
        longest = max(512, 4 * length)
        candidates, p = ([whole] if whole <= longest else []), good_period(max(2 * length, 16))
        while p < min(whole, longest):
            candidates.append(p)
            p = good_period(p + p // 4)
        assert period in candidates and cost == min(by_hand(p) for p in candidates)


@pytest.mark.parametrize("most", [1, 2, 3, 5, 7, 100])
def test_work_is_grouped_in_no_more_rows_than_fit(most):
    blocks = spectral.cut(100, 110, 11, 50)
    groups = list(spectral.parts(blocks, 7, most))
    done = [(p.block.out0, s) for g in groups for p in g for s in range(p.sample0, p.sample1)]
    assert sorted(done) == sorted((b.out0, s) for b in blocks for s in range(7))
    for group in groups:
        rows = [r for p in group for r in range(p.row, p.row + p.sample1 - p.sample0)]
        assert rows == list(range(len(rows))) and 0 < len(rows) <= most
    for one, two in itertools.pairwise(groups):  # no two would have fitted together
        first = two[0].sample1 - two[0].sample0
        assert one[-1].row + one[-1].sample1 - one[-1].sample0 + first > most


def test_scratch_memory_is_used_again_and_grows():
    scratch, like = spectral._Scratch(), torch.zeros(1)
    first = scratch.take("a", like, 2, 3)
    assert first.shape == (2, 3) and first.dtype == like.dtype
    assert scratch.take("a", like, 3, 2).data_ptr() == first.data_ptr()
    assert scratch.take("b", like, 2, 3).data_ptr() != first.data_ptr()
    assert scratch.take("a", like.double(), 2, 3).dtype == torch.float64
    larger = scratch.take("a", like, 7)
    assert larger.shape == (7,)
    assert scratch.take("a", like, 1).data_ptr() == larger.data_ptr()


# --- launching ----------------------------------------------------------------------------------


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


# --- threads ------------------------------------------------------------------------------------


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
