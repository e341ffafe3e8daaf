"""Stacks of layers and their parts: normalisation, dropout, skips, pieces; the built networks."""

from __future__ import annotations

import math

import pytest
import torch
from toolbox import random
from torch import nn

import snnsim as sn
from snnsim import processes
from snnsim.errors import ConfigError, ShapeError
from snnsim.networks import dropout as dropping
from snnsim.networks import fusion, normalization
from snnsim.networks.normalization import BatchNorm
from snnsim.networks.sequential import split_state

SMALL = {"dt": 2.0, "tau_mem": 7.0, "max_delay_ms": 8.0, "dropout": 0.3}


# --- batch normalisation --------------------------------------------------------------------------


class Processes:
    """Stands for ``torch.distributed``: ``size`` processes whose tensors are those of this one."""

    def __init__(self, size=1, own=0, rows=(), initialized=True):
        self.size, self.own, self.rows, self.initialized = size, own, rows, initialized

    def is_available(self):
        return True

    def is_initialized(self):
        return self.initialized

    def get_world_size(self):
        return len(self.rows)

    def get_rank(self):
        return self.own

    def all_reduce(self, x):
        x.mul_(self.size)

    def all_gather(self, into, own):
        assert int(own) == self.rows[self.own]
        for tensor, rows in zip(into, self.rows, strict=True):
            tensor.fill_(rows)


def pretend(monkeypatch, module, group):
    """Have a module of layers find itself in a group of processes."""
    monkeypatch.setattr(processes, "distributed", group)
    if hasattr(module, "distributed"):
        monkeypatch.setattr(module, "distributed", group)


def norm(n=3, **options):
    torch.manual_seed(0)
    layer = BatchNorm(n, **options).double()
    nn.init.uniform_(layer.weight, 0.5, 2.0)
    nn.init.normal_(layer.bias)
    nn.init.normal_(layer.running_mean)
    nn.init.uniform_(layer.running_var, 0.5, 2.0)
    return layer


def torchs(layer):
    other = nn.BatchNorm1d(layer.n, eps=layer.eps, momentum=layer.momentum).double()
    other.load_state_dict(layer.state_dict(), strict=False)
    return other


def compare(layer, other, x, copies=1):
    """Outputs, gradients and running averages; ``other`` sees the batches of all processes."""
    g = random(*x.shape, seed=9)
    one, two = x.clone().requires_grad_(), x.clone().requires_grad_()
    y, state = layer(one)
    joint = torch.cat([two] * copies).flatten(0, 1)
    z = other(joint if x.dim() == 3 else joint.flatten(2)).view(-1, *x.shape[1:])[: len(x)]
    assert state is None and y.shape == x.shape
    exactly = {"rtol": 1e-9, "atol": 1e-10}
    torch.testing.assert_close(y, z, **exactly)
    for key in ("running_mean", "running_var"):
        torch.testing.assert_close(getattr(layer, key), getattr(other, key), **exactly)
    (y * g).sum().backward()
    (other(joint if x.dim() == 3 else joint.flatten(2)).view(copies, *x.shape) * g).sum().backward()
    # a process has the gradients of the whole loss for its own samples
    torch.testing.assert_close(one.grad, two.grad / copies, **exactly)
    torch.testing.assert_close(layer.weight.grad, other.weight.grad / copies, **exactly)
    torch.testing.assert_close(layer.bias.grad, other.bias.grad / copies, **exactly)


@pytest.mark.parametrize("options", [{}, {"eps": 0.3}, {"momentum": 0.7}, {"momentum": 0.0}])
@pytest.mark.parametrize("training", [True, False])
def test_normalisation_is_torchs_with_every_option(options, training):
    layer = norm(**options).train(training)
    compare(layer, torchs(layer).train(training), 3 * random(7, 4, 3) - 1)


@pytest.mark.parametrize("options", [{}, {"eps": 0.3, "momentum": 0.7}])
@pytest.mark.parametrize("shape", [(7, 4, 3), (2, 4, 3, 5)])
@pytest.mark.parametrize("size", [1, 2])
def test_processes_normalise_their_batches_together(monkeypatch, size, shape, options):
    pretend(monkeypatch, normalization, Processes(size))
    layer = norm(**options)
    compare(layer, torchs(layer), 3 * random(*shape) - 1, copies=size)


def test_processes_that_are_not_there_or_not_training_are_not_asked(monkeypatch):
    x = random(7, 4, 3)
    for group, training in ((Processes(5, initialized=False), True), (Processes(5), False)):
        pretend(monkeypatch, normalization, group)
        layer = norm().train(training)
        compare(layer, torchs(layer).train(training), x)


def test_one_value_has_no_variance():
    layer = sn.BatchNorm(3)
    with pytest.raises(ShapeError, match=r"more than one value.*x is \(1, 1, 3\).*net.eval\(\)"):
        layer(torch.ones(1, 1, 3))
    assert layer.running_var.tolist() == [1.0] * 3
    layer(torch.ones(2, 1, 3)), layer(torch.ones(1, 2, 3)), layer(torch.ones(1, 1, 3, 2))
    layer.eval()(torch.ones(1, 1, 3))


def test_one_value_of_all_processes_has_no_variance(monkeypatch):
    pretend(monkeypatch, normalization, Processes(1))
    layer = norm()
    before = layer.running_var.clone()
    with pytest.raises(ShapeError, match="more than one value"):
        layer(random(1, 1, 3))
    assert torch.equal(layer.running_var, before)
    pretend(monkeypatch, normalization, Processes(2))
    assert norm()(random(1, 1, 3))[0].shape == (1, 1, 3)  # two processes have two values


def test_a_normalisation_says_what_it_is_and_refuses_what_does_not_fit():
    layer = sn.BatchNorm(3)
    assert (layer.n, layer.eps, layer.momentum) == (3, 1e-5, 0.1)
    assert layer.weight.tolist() == layer.running_var.tolist() == [1.0] * 3
    assert layer.bias.tolist() == layer.running_mean.tolist() == [0.0] * 3
    assert repr(sn.BatchNorm(3, 0.25, 0.5)) == "BatchNorm(3, eps=0.25, momentum=0.5)"
    for shape in ((5, 2, 4), (5, 3), (5, 3, 2)):
        with pytest.raises(ShapeError, match=r"BatchNorm needs \[T, B, 3, \.\.\.\]"):
            layer(torch.ones(shape))
    for options, text in (
        ({"eps": -1e-9}, "eps is"), ({"eps": math.nan}, "eps is nan"), ({"n": 0}, "n is 0"),
        ({"momentum": -0.1}, "momentum is"), ({"momentum": 1.1}, "momentum is"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=text):
            sn.BatchNorm(**{"n": 3, **options})
    sn.BatchNorm(3, eps=0, momentum=1), sn.BatchNorm(3, momentum=0)


# --- dropout --------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [0.2, 0.75])
def test_what_is_kept_of_each_sample_and_neuron_is_scaled(p):
    torch.manual_seed(0)
    x = random(3, 200, 50) + 0.5
    y, state = sn.Dropout(p)(x)
    mask = state["mask"]
    assert mask.shape == (200, 50) and mask.dtype == x.dtype
    torch.testing.assert_close(mask.unique(), torch.tensor([0.0, 1 / (1 - p)]).double())
    assert float((mask == 0).double().mean()) == pytest.approx(p, abs=0.02)
    for axis in (0, 1):  # drawn for each sample and each neuron
        assert 0 < float((mask == 0).double().mean(axis).std()) < 0.1
    assert torch.equal(y, x * mask)
    again, same = sn.Dropout(p)(x[:1], state)
    assert torch.equal(again, x[:1] * mask) and torch.equal(same["mask"], mask)
    other, new = sn.Dropout(p)(x)
    assert not torch.equal(new["mask"], mask) and not torch.equal(other, y)


def test_nothing_is_dropped_in_evaluation_or_at_a_share_of_zero():
    x, state = random(3, 2, 4), {"mask": random(2, 4)}
    for layer in (sn.Dropout(0.5).eval(), sn.Dropout(0.0), sn.Dropout(0.0).eval()):
        assert not layer.active
        for given in (None, state):
            y, after = layer(x, given)
            assert y is x and after is given
    assert sn.Dropout(0.5).active and sn.Dropout(1e-6).active
    assert repr(sn.Dropout(0.25)) == "Dropout(p=0.25)"


def test_shares_and_masks_that_do_not_fit_are_refused():
    for p in (1.0, 1, 2.0, -0.1, math.nan):
        with pytest.raises(ConfigError, match="dropout probability is"):
            sn.Dropout(p)
    assert sn.Dropout(0.999).p == 0.999
    for shape in ((3, 4), (2, 1), (2,), (3, 2, 4)):
        with pytest.raises(ShapeError, match=r"dropout mask in the state.*x needs \(2, 4\)"):
            sn.Dropout(0.5)(torch.ones(3, 2, 4), {"mask": torch.ones(shape)})


@pytest.mark.parametrize("own", [0, 1, 2])
def test_processes_draw_one_mask_and_take_their_rows(monkeypatch, own):
    rows, layer = (3, 1, 4), sn.Dropout(0.5)
    torch.manual_seed(7)
    whole = layer(torch.ones(2, 8, 5, 6))[1]["mask"]
    pretend(monkeypatch, dropping, Processes(own=own, rows=rows))
    torch.manual_seed(7)
    y, state = layer(torch.ones(2, rows[own], 5, 6))
    first = sum(rows[:own])
    assert torch.equal(state["mask"], whole[first : first + rows[own]])
    assert torch.equal(y[1], state["mask"])


# --- stacks ---------------------------------------------------------------------------------------


def test_a_stack_is_a_sequence_of_its_layers():
    parts = [sn.Dense(3, 4), nn.ReLU(), sn.LI(4, dt=1.0)]
    net = sn.Sequential(*parts)
    assert len(net) == 3 and list(net) == parts
    assert net[0] is parts[0] and net[-1] is parts[2]
    x = torch.rand(5, 2, 3)
    y, state = net(x)
    expected, last = parts[2](torch.relu(parts[0](x)[0]))
    assert torch.equal(y, expected)
    assert state[:2] == (None, None) and torch.equal(state[2]["v"], last["v"])
    empty, nothing = sn.Sequential()(x)
    assert empty is x and nothing == ()


def test_each_layer_of_a_stack_gets_its_own_state():
    torch.manual_seed(0)
    net = sn.Sequential(
        sn.LI(3, dt=1.0, tau_mem=2.0), sn.BatchNorm(3).eval(), sn.LI(3, dt=1.0, tau_mem=5.0),
        sn.Dropout(0.5), sn.LI(3, dt=1.0, tau_mem=9.0),
    ).double()  # fmt: skip
    x, v = random(6, 2, 3), [random(2, 3, seed=s) for s in range(3)]
    mask = torch.tensor([[0.0, 2, 2], [2, 0, 2]]).double()
    y, state = net(x, ({"v": v[0]}, None, {"v": v[1]}, {"mask": mask}, {"v": v[2]}))
    z, first = net[0](x, {"v": v[0]})
    z, third = net[2](net[1](z)[0], {"v": v[1]})
    z, last = net[4](z * mask, {"v": v[2]})
    torch.testing.assert_close(y, z, rtol=1e-9, atol=1e-10)
    assert len(state) == 5 and state[1] is None and torch.equal(state[3]["mask"], mask)
    for found, wanted in zip((state[0], state[2], state[4]), (first, third, last), strict=True):
        torch.testing.assert_close(found["v"], wanted["v"], rtol=1e-9, atol=1e-10)


def test_states_are_split_over_layers_or_refused():
    assert split_state(None, 3) == (None, None, None)
    assert split_state((1, 2), 2) == (1, 2)
    with pytest.raises(ShapeError, match="state has 2 entries but the network 3 layers"):
        split_state((1, 2), 3)
    with pytest.raises(ShapeError, match="state is <class 'list'> but the network 2 layers"):
        split_state([1, 2], 2)


@pytest.mark.parametrize("odd", [None, "LIF", sn.LIF, 3])
def test_what_is_no_layer_is_refused_where_a_stack_is_made(odd):
    layer = sn.Dense(2, 2)
    for make, what in (
        (lambda: sn.Sequential(layer, odd), "layer 1"),
        (lambda: sn.Skip(odd), "the skipped layer"),
        (lambda: sn.Skip(layer, odd if odd is not None else 1.0), "project"),
    ):
        with pytest.raises(ConfigError, match=f"^{what} is .* must be a layer or a torch module"):
            make()
    with pytest.raises(ConfigError, match=r"layer 0 is a list; write Sequential\(\*layers\)"):
        sn.Sequential([layer, layer])


def test_a_skip_refuses_ways_of_different_shapes():
    x = torch.zeros(4, 2, 3)
    with pytest.raises(ShapeError, match=r"joins \(4, 2, 3\) to \(4, 2, 5\); give project="):
        sn.Skip(sn.Dense(3, 5))(x)
    with pytest.raises(ShapeError, match=r"joins \(4, 2, 1\) to \(4, 2, 3\)"):
        sn.Skip(sn.Dense(3, 3), sn.Dense(3, 1))(x)  # which would broadcast
    with pytest.raises(ShapeError, match="state has 1 entries but the network 2"):
        sn.Skip(sn.Dense(3, 3))(x, (None,))
    plain = sn.Skip(nn.Identity(), nn.Linear(3, 3, bias=False))
    y, state = plain(torch.ones(4, 2, 3))
    torch.testing.assert_close(y, 1 + torch.ones(4, 2, 3) @ plain.project.weight.t())
    assert state == (None, None)
    kept = sn.Skip(sn.LI(3, dt=1.0))
    assert kept(x, (None, "other"))[1][1] == "other"


def test_a_still_input_is_repeated_without_a_copy():
    layer, x = sn.Repeat(5), torch.rand(1, 2, 3, 4)
    y, state = layer(x)
    assert y.shape == (5, 2, 3, 4) and state is None and y.data_ptr() == x.data_ptr()
    assert all(torch.equal(step, x[0]) for step in y)
    assert repr(layer) == "Repeat(5)"
    for steps in (0, 2):
        with pytest.raises(ShapeError, match=f"x has {steps} steps but Repeat takes a still"):
            layer(torch.zeros(steps, 2, 3))
    with pytest.raises(ConfigError, match="steps is 0"):
        sn.Repeat(0)


# --- pieces of time -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("total", "steps", "pieces"),
    [(10, None, [3, 3, 3, 1]), (9, None, [3, 3, 3]), (8, None, [2] * 4), (1, None, [1]),
     (7, 3, [3, 3, 1]), (7, 7, [7]), (7, 20, [7]), (3, 1, [1, 1, 1]), (0, None, [0])],
)  # fmt: skip
def test_pieces_carry_the_state_from_one_to_the_next(total, steps, pieces):
    lengths = []

    class Noting(sn.LI):
        def forward(self, x, state=None):
            lengths.append(len(x))
            return super().forward(x, state)

    net, x, start = Noting(3, dt=1.0).double(), random(total, 2, 3), {"v": random(2, 3, seed=1)}
    for state in (None, start):
        lengths.clear()
        y, after = sn.run_checkpointed(net, x, state, steps=steps)
        assert lengths == pieces
        expected, last = sn.LI(3, dt=1.0).double()(x, state)
        torch.testing.assert_close(y, expected, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(after["v"], last["v"], rtol=1e-12, atol=1e-12)


def test_pieces_need_a_length_and_statistics_that_stay():
    x = torch.rand(6, 2, 3)
    for steps in (0, -1):
        with pytest.raises(ConfigError, match=f"steps is {steps} but a piece"):
            sn.run_checkpointed(sn.LI(3, dt=1.0), x, steps=steps)
    net = sn.Sequential(sn.BatchNorm(3), sn.BatchNorm(3).eval(), sn.LI(3, dt=1.0))
    with pytest.raises(ConfigError, match="takes its statistics from all time steps"):
        sn.run_checkpointed(net, x)
    net[0].eval()
    assert sn.run_checkpointed(net, x)[0].shape == (6, 2, 3)


# --- what runs as one -----------------------------------------------------------------------------


class Named(sn.Neuron):
    """A neuron one of whose names the fused operator needs."""

    state = ("v",)

    @staticmethod
    def step(x, v):
        return x, (x + v,)


def with_state(name):
    space: dict = {}
    exec(f"def step(x, {name}):\n    return x, (x + {name},)", space)
    return type("Made", (sn.Neuron,), {"state": (name,), "step": staticmethod(space["step"])})


def test_layers_that_run_as_one_are_counted():
    lif, bn, drop = sn.LIF(4, dt=1.0), sn.BatchNorm(4), sn.Dropout(0.1)
    for layers, count in (
        ([bn, lif, drop], 3), ([bn, lif], 2), ([bn, lif, nn.ReLU()], 2), ([bn, lif, lif], 2),
        ([bn], 0), ([], 0), ([lif, bn], 0), ([bn, drop], 0), ([bn, bn, lif], 0),
        ([bn, sn.LIF(3, dt=1.0), drop], 0), ([bn, sn.LIF((4, 1), dt=1.0)], 0),
        ([bn, sn.Recurrent(lif)], 0), ([nn.BatchNorm1d(4), lif], 0),
        ([bn, lif, nn.Dropout(0.1)], 2), ([bn, Named(4, dt=1.0), drop], 3),
    ):  # fmt: skip
        assert fusion.fusable(layers) == count, layers
    for name in ("norm_mean", "norm_gain", "norm_bias", "dropout_mask"):
        assert fusion.fusable([bn, with_state(name)(4, dt=1.0), drop]) == 0
    drop.register_forward_hook(lambda *_: None)
    assert fusion.fusable([bn, lif, drop]) == 2


def test_inputs_that_run_as_one(monkeypatch):
    def can(x, backend="auto", training=True):
        layers = [sn.BatchNorm(4).train(training), sn.LIF(4, dt=1.0, backend=backend)]
        return fusion.can_run(layers, x)

    x = torch.ones(5, 2, 4)
    assert can(x) and can(x, "cpu") and can(x, training=False)
    assert not can(x, "reference")
    assert not can(x.double()) and not can(x.half()) and not can(x.bool())
    assert not can(x[..., :3]) and not can(x[0]) and not can(x.unsqueeze(3)) and not can(x[:0])
    assert not can(x[:1, :1]) and can(x[:1, :1], training=False) and can(x[:1])
    with torch.autocast("cpu", torch.bfloat16):
        assert not can(x)
    mixed = [sn.BatchNorm(4), sn.LIF(4, dt=1.0)]
    mixed[0].running_mean = mixed[0].running_mean.double()
    assert not fusion.can_run(mixed, x)
    pretend(monkeypatch, fusion, Processes())
    assert not can(x) and can(x, training=False)
    pretend(monkeypatch, fusion, Processes(initialized=False))
    assert can(x)


@pytest.mark.parametrize("training", [True, False])
def test_layers_run_as_one_keep_their_options_and_states(training, monkeypatch):
    found = []
    for fused in (True, False):
        torch.manual_seed(0)
        bn = norm(4, eps=0.3, momentum=0.7)
        lif = sn.LIF(4, dt=1.0, reset="zero", v_threshold=0.8, v_reset=-0.2).double()
        net = sn.Sequential(bn, lif, sn.Dropout(0.5)).train(training)
        state = (None, {"v": random(3, 4, seed=1)}, {"mask": (random(3, 4, seed=2) > 0.3) * 2.0})
        if not fused:
            monkeypatch.setattr(fusion, "can_run", lambda *_: False)
        y, after = net(4 * random(6, 3, 4), state)
        assert after[0] is None and torch.equal(after[2]["mask"], state[2]["mask"])
        found.append([y, after[1]["v"], bn.running_mean, bn.running_var])
        assert 0 < float((y > 0).double().mean()) < 1
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-10)
