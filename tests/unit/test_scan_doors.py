"""Scans called by their operators' names: what does not fit is refused before a kernel sees it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from toolbox import assert_same, named, normal

import snnsim as sn
from snnsim.errors import BackendError, NonFiniteError, ShapeError
from snnsim.kernels import dispatch
from snnsim.kernels.event_scan import cpu as event_scan
from snnsim.kernels.normalised_scan import (
    Normalisation,
    affine_scan,
    moments,
    normalised,
    normalised_scan,
)

ops = torch.ops.snnsim


# --- scans ---------------------------------------------------------------------------------------


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


def test_a_recurrent_scan_that_goes_on_has_the_gradients_of_its_reference():
    neuron, x, state, params = scan_case()
    given = (x, state, params, normal(4, 4, seed=7), normal(2, 4, seed=8))
    results = []
    for backend in ("cpu", "reference"):
        leaves = [a.clone().requires_grad_() for a in given]
        y, final = dispatch.recurrent_scan(neuron.equations, *leaves, [True] * len(params), backend)
        loss = (y * normal(*y.shape, seed=9)).sum() + (final * normal(*final.shape, seed=3)).sum()
        results.append(named("x state params w_rec y0", torch.autograd.grad(loss, leaves)))
    assert_same(*results, rtol=1e-5, atol=1e-9)
    assert [name for name, a in results[0].items() if not a.any()] == []


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
        found = [y, state["v"], *torch.autograd.grad(loss, wanted)]
        results.append(named("y v x.grad v.grad tau_mem.grad", found))
    assert_same(*results, rtol=1e-5, atol=1e-9)
    assert [name for name, a in results[0].items() if not a.any()] == []


# --- normalised scans ----------------------------------------------------------------------------


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
        neuron.equations, x, state, mask, params, Normalisation(weight, bias, 0.3), learnt, "auto"
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


# --- the event-driven layer ----------------------------------------------------------------------


def prepared(recurrent=False, **changes):
    neuron = sn.LIF(4, dt=1.0).double()
    given = {
        "params": neuron.packed_parameters(torch.zeros(1).double()).detach(),
        "bias": normal(4), "weight": normal(3, 8), "target": torch.arange(8).expand(3, 8),
        "w_rec": normal(4 if recurrent else 0, 4), "rows": 1,
    } | changes  # fmt: skip
    connections = event_scan.Connections(given["weight"], given["target"], given["w_rec"])
    return event_scan.prepare(
        neuron.equations, given["params"], given["bias"], connections, given["rows"]
    )


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


def test_a_recurrent_layer_needs_a_step_for_currents_under_way():
    here = torch.arange(8).expand(3, 8) % 4
    with pytest.raises(ShapeError, match="recurrent currents are under way for one step"):
        prepared(recurrent=True, rows=0, target=here)
    assert prepared(rows=0, target=here).rows == 0


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
