"""Subspaces, and what enters a connection, against plain computations."""

import inspect

import numpy as np
import pytest
import torch
from small import lif
from torch import nn

import snnsim as sn
from snnsim.continual import Subspace, subspace
from snnsim.continual.presynaptic import (
    Part,
    as_matrix,
    connections_of,
    from_matrix,
    rows_of,
    weight_of,
)
from snnsim.errors import ConfigError
from snnsim.functional import subspace as functions
from snnsim.training.rules import PlasticConnection, prepare


def drawn(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def made(size, solver="hebbian", grown=(), **options):
    """A subspace in double precision whose rows were grown so often."""
    torch.manual_seed(4)
    found = Subspace(size, solver, **options).double()
    for count in grown:
        found.grow(count)
    return found


def test_constants_are_the_published_ones():
    assert functions.CLAMP == 10.0 and functions.SCALE == 20.0
    assert subspace.MEMORY == 200
    assert subspace.SOLVERS == ("hebbian", "iteration", "covariance")
    options = inspect.signature(Subspace).parameters
    assert {name: p.default for name, p in options.items() if name != "size"} == {
        "solver": "hebbian",
        "rate": 0.01,
        "iterations": 5,
        "levels": 0,
        "max_rows": 0,
        "orthonormal": True,
    }


# --- functions ---


@pytest.mark.parametrize(("rows", "count"), [(2, 40), (9, 3), (6, 6)])
@pytest.mark.parametrize("levels", [0, 8])
def test_a_hebbian_update_is_a_sum_over_rows_of_activity(rows, count, levels):
    rest, x, h = drawn(1, count, 10), 9 * drawn(2, count, 10), drawn(3, rows, 10)
    expected = np.zeros((rows, 10))
    for r, a in zip(rest.numpy(), x.numpy(), strict=True):
        y = h.numpy() @ a
        if levels:
            y = np.round(np.clip(y, -20, 20) * levels / 20) * 20 / levels
        expected += np.outer(y, r - h.numpy().T @ y)
    found = functions.hebbian_update(rest, x, h, levels).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-9)


def test_a_step_of_the_power_method_is_the_second_moment_times_the_rows():
    rest, h = drawn(1, 7, 5), drawn(2, 3, 5)
    expected = h @ (rest.t() @ rest)
    torch.testing.assert_close(functions.subspace_iteration(rest, h), expected)


def test_scaled_axes_hold_the_part_of_each_product_in_its_axis():
    products = drawn(1, 3, 6)
    axes, scaled = functions.scaled_axes(products)
    torch.testing.assert_close(axes @ axes.t(), torch.eye(3).double(), rtol=0, atol=1e-12)
    for i in range(3):
        part = float((products[i] @ axes[i]).abs())
        torch.testing.assert_close(scaled[i], part * axes[i])
        assert float((products[i] @ axes[i + 1 :].t()).abs().sum()) < 1e-12


def test_what_lies_within_frozen_rows_is_dropped_and_the_rest_is_orthonormal():
    frozen = torch.linalg.qr(drawn(1, 8, 3))[0].t()
    free = drawn(2, 2, 8)
    inside = frozen[1] + 0.004 * torch.linalg.qr(drawn(3, 8, 1))[0].t()
    found = functions.outside(torch.cat([free, inside]), frozen)
    assert found.shape == (2, 8)
    torch.testing.assert_close(found @ found.t(), torch.eye(2).double(), rtol=0, atol=1e-10)
    assert float((found @ frozen.t()).abs().max()) < 1e-12
    left = functions.residual(free, torch.cat([frozen, found]))
    assert float(left.abs().max()) < 0.02 and float(free.abs().max()) > 0.5
    assert len(functions.outside(torch.cat([free, inside]), frozen, least=1e-5)) == 3
    assert functions.outside(torch.zeros(0, 8), frozen).shape == (0, 8)
    just_enough = frozen[1] + 0.02 * found[0]
    assert len(functions.outside(just_enough[None], frozen)) == 1


@pytest.mark.parametrize(("share", "most", "count"), [
    (0.0, 9, 4), (0.05, 9, 3), (0.11, 9, 2), (0.35, 9, 1), (0.9, 9, 1), (0.05, 2, 2), (0.05, 0, 0),
])  # fmt: skip
def test_principal_rows_are_the_fewest_that_leave_the_share(share, most, count):
    turn = torch.linalg.qr(drawn(1, 5, 5))[0]
    values = torch.tensor([7.0, 2.0, 0.6, 0.4, 0.0]).double()  # shares 0.7, 0.2, 0.06, 0.04
    found = functions.principal_rows(turn.t() @ torch.diag(values) @ turn, share, most)
    assert len(found) == count
    for row, axis in zip(found, turn, strict=False):
        assert abs(float(row @ axis)) == pytest.approx(1, abs=1e-9)


def test_no_energy_has_no_principal_rows():
    assert functions.principal_rows(torch.zeros(3, 3), 0.1, 3).shape == (0, 3)


def test_what_is_unexplained_is_a_share_of_energy():
    x, rows = drawn(1, 6, 5), torch.linalg.qr(drawn(2, 5, 2))[0].t()
    left = x - x @ rows.t() @ rows
    assert functions.unexplained(x, rows) == pytest.approx(float((left**2).sum() / (x**2).sum()))
    assert functions.unexplained(x, rows[:0]) == 1.0
    assert functions.unexplained(torch.zeros(2, 5), rows) == 0.0


# --- growth and projection ---


def test_growth_freezes_what_was_learnt_behind_what_was_frozen():
    found = made(9, grown=(3,), orthonormal=False)
    assert found.frozen.shape == (0, 9) and found.rows.shape == (3, 9)
    torch.testing.assert_close(found.rows @ found.rows.t(), torch.eye(3).double())
    found.rows = drawn(1, 3, 9)
    found.momentum, first = drawn(2, 3, 9), found.rows.clone()
    found.batches.fill_(7)
    found.grow(2)
    assert torch.equal(found.frozen, first)  # as published: as they are
    assert found.rows.shape == found.momentum.shape == (2, 9)
    assert not found.momentum.any() and int(found.batches) == 0
    second = found.rows.clone()
    found.grow(0)
    assert torch.equal(found.frozen, torch.cat([first, second]))


def test_frozen_rows_are_made_orthonormal_to_all_before_them():
    found = made(9, grown=(3, 2))
    found.rows = 0.5 * found.rows + 0.3 * found.frozen[:2] + 0.05 * drawn(2, 2, 9)
    given = found.rows.clone()
    found.grow(1)
    torch.testing.assert_close(found.frozen @ found.frozen.t(), torch.eye(5).double())
    left = given - given @ found.frozen.t() @ found.frozen
    assert float(left.abs().max()) < 1e-12
    assert float((found.rows @ found.rows.t()).item()) == pytest.approx(1)


def test_levels_are_of_activity_and_never_of_changes():
    found = made(6, grown=(2, 0), levels=4)
    x = drawn(1, 3, 6)
    y = x @ found.frozen.t()
    coarse = (y.clamp(-20, 20) / 5).round() * 5
    torch.testing.assert_close(found.project(x), x - coarse @ found.frozen)
    torch.testing.assert_close(found.project_change(x), x - y @ found.frozen)
    assert not torch.allclose(found.project(x), found.project_change(x))


# --- learning ---


def hebbian(x, rows, frozen, momentum, rate, iterations):
    """Oja's rule with momentum, row by row of activity."""
    for _ in range(iterations):
        change = np.zeros_like(rows)
        for a in x:
            rest = a - frozen.T @ (frozen @ a)
            y = rows @ a
            change += np.outer(y, rest - rows.T @ y)
        momentum = 0.9 * momentum + 0.1 * np.clip(change / len(x), -10, 10)
        rows = rows + rate * momentum
    return rows, momentum


@pytest.mark.parametrize("scale", [1.0, 6.0])
@pytest.mark.parametrize("iterations", [1, 3])
def test_hebbian_learning_is_ojas_rule_with_momentum_over_batches(scale, iterations):
    found = made(8, grown=(2, 3), rate=0.03, iterations=iterations)
    rows, momentum = found.rows.numpy().copy(), np.zeros((3, 8))
    for seed in range(3):
        x = scale * drawn(seed, 11, 8)
        rows, momentum = hebbian(x.numpy(), rows, found.frozen.numpy(), momentum, 0.03, iterations)
        found.learn(x, found.project(x) if seed == 1 else None)
        np.testing.assert_allclose(found.rows.numpy(), rows, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(found.momentum.numpy(), momentum, rtol=1e-9, atol=1e-12)
    assert (np.abs(momentum) > 1).any() == (scale > 1)


@pytest.mark.parametrize("solver", ["hebbian", "iteration", "covariance"])
def test_the_rows_used_of_a_batch_are_spread_over_it(solver):
    x = drawn(1, 11, 6)
    for most, chosen in ((4, [0, 2, 5, 8]), (1, [0]), (11, range(11)), (50, range(11))):
        one, two = made(6, solver, (1, 2), max_rows=most), made(6, solver, (1, 2))
        one.learn(x, 0.5 * x)
        two.learn(x[list(chosen)], 0.5 * x[list(chosen)])
        for (name, a), b in zip(one.state_dict().items(), two.state_dict().values(), strict=True):
            assert torch.equal(a, b), name
        again = made(6, solver, (1, 2), max_rows=most)
        again.learn(x)
        assert torch.equal(again.rows, one.rows) == (solver == "covariance")


def test_no_rows_to_learn_is_no_error():
    for solver in ("hebbian", "iteration"):
        found = made(6, solver, (2, 0))
        found.learn(drawn(1, 4, 6))
        assert len(found.rows) == 0 and int(found.batches) == 0


def test_the_iteration_follows_activity_that_drifts_after_many_batches():
    """A running mean: of all batches at first, of about the last two hundred later."""
    found = made(5, "iteration", (1, 2))
    axes, scaled = found.rows.clone(), torch.zeros(2, 5).double()
    for batch in range(1, 321):
        x = drawn(batch, 3, 5) * torch.tensor([3.0, 1, 1, 1, 1]).double()
        x = x if batch <= 200 else x.flip(1)
        found.learn(x)
        rest = x - x @ found.frozen.t() @ found.frozen
        weight = 1 / min(batch, 200)
        mixed = (1 - weight) * scaled + weight * (axes @ rest.t() @ rest) / 3
        q, r = torch.linalg.qr(mixed.t())
        axes, scaled = q.t(), r.diagonal().abs()[:, None] * q.t()
        assert int(found.batches) == batch
    torch.testing.assert_close(found.rows, axes, rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(found.momentum, scaled, rtol=1e-7, atol=1e-9)


def test_a_silent_batch_leaves_the_iteration_its_rows():
    found = made(5, "iteration", (2,))
    before = found.rows.clone()
    found.learn(torch.zeros(4, 5).double())
    assert torch.equal(found.rows, before) and not found.momentum.any()


def test_covariance_sums_over_batches_and_is_forgotten_after_the_task():
    found = made(6, "covariance", (0,))
    batches = [drawn(seed, 7, 6) * torch.arange(1, 7) ** 2 for seed in range(3)]
    for x in batches:
        found.learn(x)
    x = torch.cat(batches)
    torch.testing.assert_close(found.covariance, x.t() @ x)
    found.finish(most=2, share=0.0)
    axes = torch.linalg.eigh(x.t() @ x).eigenvectors
    expected = axes.t()[-2:].flip(0)
    torch.testing.assert_close((found.rows * expected).sum(1).abs(), torch.ones(2).double())
    assert found.momentum.shape == (2, 6) and len(found.covariance) == 0
    rows = found.rows.clone()
    found.finish(most=6, share=0.0)  # nothing was seen since
    assert torch.equal(found.rows, rows)


@pytest.mark.parametrize(("share", "new"), [(0.6, 0), (0.45, 1), (0.15, 1), (0.05, 2), (0.0, 3)])
def test_a_share_is_of_the_whole_energy_that_frozen_rows_explain_too(share, new):
    found = made(4, "covariance", (0,))
    found.frozen = torch.eye(4)[:1].double()
    found.learn(torch.diag(torch.tensor([50.0, 40.0, 9.0, 1.0]).double().sqrt()))
    found.finish(most=4, share=share)
    assert len(found.rows) == new
    assert torch.equal(found.rows.abs().round(), torch.eye(4).double()[1 : 1 + new])


def test_other_solvers_have_nothing_to_finish():
    found = made(4, "hebbian", (2,))
    found.covariance = torch.eye(4).double()
    rows = found.rows.clone()
    found.finish(most=4, share=0.0)
    assert torch.equal(found.rows, rows) and len(found.covariance) == 4


# --- what enters a connection ---


def delayed(granularity, **options):
    layer = sn.Delayed(
        5, 3, dt=1.0, max_delay_ms=4.0, granularity=granularity, kernel_count=2, **options
    )
    with torch.no_grad():  # the last step is under way when the sequence ends
        layer.delay.copy_(torch.arange(layer.delay.numel()).view_as(layer.delay) % 5)
    return layer.eval()


CONNECTIONS = {
    "dense": lambda: (sn.Dense(5, 3), (4, 2, 5)),
    "conv2d": lambda: (
        sn.Conv2d(2, 3, (3, 2), stride=(2, 1), padding=(1, 2), dilation=(1, 2)),
        (2, 2, 2, 6, 5),
    ),
    "conv1d": lambda: (sn.Conv1d(2, 3, 3, stride=2, padding=2, dilation=2), (2, 2, 2, 9)),
    "axonal": lambda: (delayed("axonal"), (4, 2, 5)),
    "axonal, longer": lambda: (delayed("axonal", padding="lengthen"), (4, 2, 5)),
}


@pytest.mark.parametrize("ruled", [False, True])
@pytest.mark.parametrize("kind", CONNECTIONS)
def test_a_gradient_is_the_sum_of_errors_times_what_enters(kind, ruled):
    torch.manual_seed(0)
    layer, shape = CONNECTIONS[kind]()
    if ruled and not isinstance(layer, sn.Delayed):
        layer = PlasticConnection(layer)
    x = torch.randn(shape)
    y, _ = layer(x)
    g = torch.randn_like(y)
    module = layer.module if isinstance(layer, sn.OverTime) else layer
    (found,) = torch.autograd.grad(y, weight_of(module), g)
    rows = rows_of(module, x, y)
    errors = g.flatten(0, 1).flatten(2).transpose(1, 2).flatten(0, 1) if g.dim() > 3 else (
        g.flatten(0, 1)
    )  # fmt: skip
    assert len(rows) == len(errors)
    torch.testing.assert_close(as_matrix(module, found), errors.t() @ rows, rtol=1e-4, atol=1e-5)


def test_dendritic_delays_see_their_input_as_it_is():
    torch.manual_seed(0)
    layer, x = delayed("dendritic"), torch.randn(2, 1, 5)
    y, _ = layer(x)
    (found,) = torch.autograd.grad(y, layer.weight, torch.randn_like(y))
    rows = rows_of(layer, x)
    assert torch.equal(rows, x.flatten(0, 1))
    matrix = as_matrix(layer, found)
    assert matrix.shape == (6, 5) and float(matrix.abs().max()) > 0.1
    axes = torch.linalg.qr(rows.t())[0].t()
    assert float((matrix - matrix @ axes.t() @ axes).abs().max()) < 1e-5
    assert torch.equal(matrix.view(3, 2, 5)[1, 1], found[1, :, 1])


def test_a_layers_own_output_enters_one_step_later():
    layer = sn.Recurrent(lif(3))
    y = torch.arange(12.0).view(2, 2, 3)
    rows = rows_of(layer, torch.zeros(2, 2, 3), y)
    assert rows.tolist() == [[0, 0, 0], [0, 0, 0], [0, 1, 2], [3, 4, 5]]
    assert weight_of(layer) is layer.w_rec


def test_delays_are_whole_in_what_is_protected_though_not_yet_in_training():
    layer = delayed("axonal").train()
    whole = rows_of(layer, torch.ones(4, 1, 5))
    with torch.no_grad():
        layer.delay[0, 0] += 0.3
    assert torch.equal(rows_of(layer, torch.ones(4, 1, 5)), whole)
    assert set(whole.round(decimals=5).unique().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("granularity", ["axonal", "dendritic", "synaptic"])
def test_a_matrix_comes_back_as_the_weight_it_was_made_of(granularity):
    layer = delayed(granularity)
    change = torch.randn(layer.weight.shape)
    matrix = as_matrix(layer, change)
    assert matrix.shape == ((6, 5) if granularity == "dendritic" else (3, 10))
    assert torch.equal(from_matrix(layer, matrix, change), change)
    image = sn.Conv2d(2, 3, 3)
    change = torch.randn(3, 2, 3, 3)
    assert torch.equal(from_matrix(image, as_matrix(image, change), change), change)


@pytest.mark.parametrize("convolution", [nn.Conv1d, nn.Conv2d])
@pytest.mark.parametrize(("options", "says"), [
    ({"groups": 2}, "a convolution in 2 groups"),
    ({"padding": "same"}, "its padding in numbers, of zeros"),
    ({"padding": 1, "padding_mode": "circular"}, "its padding in numbers, of zeros"),
])  # fmt: skip
def test_convolutions_whose_activity_is_not_known_are_refused(convolution, options, says):
    layer = convolution(2, 4, 3, **options)
    with pytest.raises(ConfigError, match=says):
        rows_of(layer, torch.zeros(2, 1, 2, 6, 6) if layer.weight.dim() == 4 else
                torch.zeros(2, 1, 2, 6))  # fmt: skip


def test_modules_without_known_activity_are_refused():
    with pytest.raises(ConfigError, match=r"Delayed\(5, 3\): with a delay for every synapse"):
        rows_of(delayed("synaptic"), torch.zeros(2, 1, 5))
    with pytest.raises(ConfigError, match="it is not known what enters ReLU; known are Dense"):
        rows_of(nn.ReLU(), torch.zeros(2, 1, 5))


def test_connections_are_found_in_their_order_and_under_their_names():
    net = prepare(
        sn.Sequential(
            sn.Dense(5, 4), lif(4), sn.Skip(sn.Sequential(sn.Dense(4, 4), lif(4))),
            sn.Recurrent(lif(4)), delayed("axonal"),
        )
    )  # fmt: skip
    found = connections_of("body", net)
    kinds = [type(module).__name__ for module in found.values()]
    assert kinds == ["PlasticConnection", "PlasticConnection", "Recurrent", "Delayed"]
    assert all(name.startswith("body.") and ".layers" not in name for name in found)
    assert len(found) == 4
    assert list(connections_of("head", PlasticConnection(sn.Dense(2, 2)))) == ["head"]


def test_the_two_connections_of_a_layer_of_torch_are_parts():
    layer = sn.baselines.get("gru")(5, 3)
    found = connections_of("body", layer)
    assert list(found) == ["body.w_in", "body.w_rec"]
    first, second = found.values()
    assert weight_of(first) is layer.module.weight_ih_l0
    assert weight_of(second) is layer.module.weight_hh_l0
    x, y = torch.randn(2, 2, 5), torch.randn(2, 2, 3)
    assert torch.equal(rows_of(first, x), x.flatten(0, 1))
    before = torch.cat([torch.zeros(1, 2, 3), y[:1]])
    assert torch.equal(rows_of(second, x, y), before.flatten(0, 1))
    assert isinstance(second, Part) and second.training
    layer.eval()
    assert not second.training
    seen = []
    handle = second.register_forward_hook(lambda *_: seen.append(1))
    layer(x)
    handle.remove()
    layer(x)
    assert seen == [1]


def test_a_matrix_that_nothing_is_known_to_enter_is_refused_but_a_table_is_not():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.vector = nn.Parameter(torch.zeros(3))
            self.matrix = nn.Parameter(torch.zeros(3, 2))

    with pytest.raises(ConfigError, match=r"what enters 'matrix' of Odd \(body.0\)"):
        connections_of("body", nn.Sequential(Odd()))
    table = Odd()
    table.tables = ("matrix",)
    table.inner = PlasticConnection(sn.Dense(2, 2))
    assert list(connections_of("body", table)) == ["body.inner"]
