"""Sparsity: what is masked, how much of it, and that what was cut stays cut."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

import snnsim as sn
from snnsim import baselines
from snnsim.errors import CheckpointError, ConfigError
from snnsim.networks import delay_network
from snnsim.sparsity import Mask, masked, matrices, sparsify


def spiking(**options):
    """A delayed layer with recurrent neurons, and a read-out."""
    torch.manual_seed(0)
    return sn.Sequential(
        sn.Delayed(6, 8, dt=1.0, max_delay_ms=4, **options),
        sn.Recurrent(sn.LIF(8, dt=1.0, tau_mem=5.0), self_connections=False),
        sn.Dense(8, 3),
        sn.LI(3, dt=1.0, tau_mem=5.0),
    )


def convolving():
    torch.manual_seed(0)
    return sn.Sequential(
        sn.Conv2d(2, 4, 3), sn.LIF((4, 4, 4), dt=1.0), sn.TimeDistributed(nn.Flatten()),
        sn.Dense(64, 3),
    )  # fmt: skip


def by_hand(weights, density, per):
    """Masks by magnitude of arrays: the largest ``round(density n)`` of each, or of all."""
    if per == "layer":
        return [m for w in weights for m in by_hand([w], density, "network")]
    sizes = np.sort(np.concatenate([np.abs(w).ravel() for w in weights]))[::-1]
    count = round(density * len(sizes))
    limit = sizes[count - 1] if count else np.inf
    return [np.abs(w) >= limit for w in weights]


def off_diagonal(name, w):
    return w[~np.eye(len(w), dtype=bool)] if name == "w_rec" else w


@pytest.mark.parametrize("per", ["layer", "network"])
@pytest.mark.parametrize("density", [0.8, 0.33, 0.05])
@pytest.mark.parametrize("make", [spiking, convolving])
def test_masks_by_magnitude_are_those_of_a_sort(make, density, per):
    net = make().double()
    before = [(n, w.detach().numpy().copy()) for _, n, w in matrices(net)]
    sizes = [off_diagonal(n, w) for n, w in before]
    kept = sparsify(net, density, "magnitude", per=per)
    expected = by_hand(sizes, density, per)
    for (_, name, w), (_, old), mask in zip(matrices(net), before, expected, strict=True):
        now = off_diagonal(name, w.detach().numpy())
        np.testing.assert_array_equal(now, off_diagonal(name, old) * mask)
    total = sum(s.size for s in sizes)
    assert kept == pytest.approx(sum(m.sum() for m in expected) / total, abs=1e-12)
    assert kept == pytest.approx(density, abs=3 / min(s.size for s in sizes))


@pytest.mark.parametrize("make", [spiking, convolving])
@pytest.mark.parametrize("per", ["layer", "network"])
def test_random_masks_have_their_size_and_seed(make, per):
    found = []
    for seed in (1, 1, 2):
        net = make()
        sparsify(net, 0.4, seed=seed, per=per)
        found.append(torch.cat([(w != 0).flatten() for _, _, w in matrices(net)]))
        for _, name, w in matrices(net):
            count = (w != 0).sum()
            size = w.numel() - (len(w) if name == "w_rec" else 0)
            assert per == "network" or count == round(0.4 * size)
    assert torch.equal(found[0], found[1]) and not torch.equal(found[0], found[2])


@pytest.mark.parametrize("way", ["random", "magnitude"])
def test_only_weights_of_synapses_are_masked(way):
    net = delay_network((20, 32, 32, 4), dt=10.0, tau_mem=20.0, max_delay_ms=240, dropout=0.0)
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    sparsify(net, 0.5, way, seed=0)
    assert [name for _, name in masked(net)] == ["weight"] * 3
    weights = torch.cat([w.flatten() for _, _, w in matrices(net)])
    assert float((weights == 0).double().mean()) == pytest.approx(0.5, abs=1e-3)
    for name, value in before.items():
        if not name.endswith("weight") or value.dim() < 2:
            assert torch.equal(net.get_parameter(name), value)


@pytest.mark.parametrize("model", baselines.models.names())
def test_tables_decays_and_distances_of_baselines_are_never_masked(model):
    cls = baselines.models.get(model)
    net = cls(12, 24)
    sparsify(net, 0.5, seed=0)
    for module in net.modules():
        tables = getattr(module, "tables", ())
        assert not set(tables) & set(getattr(module, "parametrizations", ()))
    assert all(name in ("weight", "w_rec") or name.startswith("weight_") for _, name in masked(net))


def test_input_and_recurrent_weights_are_masked_apart():
    for what, expected in (("input", ["weight", "weight"]), ("recurrent", ["w_rec"])):
        net = spiking()
        sparsify(net, 0.5, what=what)
        assert [name for _, name in masked(net)] == expected
    gru = baselines.models.get("gru")(3, 4)
    assert [n for _, n, _ in matrices(gru, "recurrent")] == ["weight_hh_l0"]
    assert [n for _, n, _ in matrices(gru, "input")] == ["weight_ih_l0"]
    leaky = baselines.models.get("leaky")(3, 4)
    assert [w.shape for _, _, w in matrices(leaky, "recurrent")] == [(4, 4)]
    with pytest.raises(ConfigError, match="Dense has no matrix of recurrent weights"):
        sparsify(sn.Dense(3, 4), 0.5, what="recurrent")


@pytest.mark.parametrize("granularity", ["synaptic", "axonal"])
def test_what_was_cut_stays_cut_and_its_delay_stays_where_it_is(granularity):
    net = spiking(granularity=granularity).train()
    sparsify(net, 0.3, seed=0)
    connection = net[0]
    if granularity == "axonal":
        connection.parametrizations.weight[0].mask[:, 0] = 0
    gone = connection.weight == 0
    gone = gone if granularity == "synaptic" else gone.all(0)
    before = connection.delay.detach().clone()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.05)
    for _ in range(3):
        optimizer.zero_grad()
        x = 3 * torch.rand(12, 4, 6)
        (net(x)[0].square().sum() + connection(x)[0].square().sum()).backward()
        optimizer.step()
    assert bool(gone.any()) and torch.equal(connection.delay[gone], before[gone])
    moved = connection.delay[~gone] != before[~gone]
    assert float(moved.double().mean()) > 0.8
    for _, name, w in matrices(net):
        share = float((off_diagonal(name, w.detach().numpy()) == 0).mean())
        assert share == pytest.approx(0.7, abs=0.1)


@pytest.mark.parametrize("way", ["random", "magnitude"])
def test_a_second_cut_is_within_the_first_and_counts_all_synapses(way):
    net = spiking()
    sparsify(net, 0.5, way, seed=0)
    first = [w != 0 for _, _, w in matrices(net)]
    assert sparsify(net, 0.2, way, seed=1) == pytest.approx(0.2, abs=0.02)
    second = [w != 0 for _, _, w in matrices(net)]
    assert not any(bool((b & ~a).any()) for a, b in zip(first, second, strict=True))
    assert sparsify(net, 1.0, way) == pytest.approx(0.2, abs=0.02)
    assert sum(isinstance(m, Mask) for m in net.modules()) == 3


@pytest.mark.parametrize("make", [spiking, convolving])
def test_a_sparse_network_is_saved_loaded_and_copied(make, tmp_path):
    net = make().eval()
    sparsify(net, 0.4, "magnitude")
    shape = (9, 2, 6) if make is spiking else (9, 2, 2, 6, 6)
    x = 2 * torch.rand(shape)
    y = net(x)[0]
    assert torch.equal(copy.deepcopy(net)(x)[0], y)
    sn.save(net, tmp_path / "net.safetensors")
    again = sn.load(tmp_path / "net.safetensors")
    assert torch.equal(again(x)[0], y) and masked(again) == masked(net)
    optimizer = torch.optim.SGD(again.parameters(), lr=0.1)
    again.train()(x)[0].square().sum().backward()
    optimizer.step()
    for (_, _, a), (_, _, b) in zip(matrices(again), matrices(net), strict=True):
        assert bool((a[b == 0] == 0).all())


def test_a_sparse_baseline_is_saved_and_loaded(tmp_path):
    net = baselines.RateNetwork(6, 3, "leaky", width=8, density=0.5).eval()
    sparsify(net, 0.2, "magnitude")
    sn.save(net, tmp_path / "net.safetensors")
    x = torch.rand(5, 2, 6)
    assert torch.equal(sn.load(tmp_path / "net.safetensors")(x)[0], net(x)[0])


def test_a_file_with_masks_of_other_layers_is_refused(tmp_path):
    from snnsim import checkpoint

    net = spiking()
    sparsify(net, 0.4)
    sn.save(net, tmp_path / "net.safetensors")
    tensors, values = checkpoint.load(tmp_path / "net.safetensors")
    checkpoint.save(tmp_path / "bad.safetensors", tensors, values | {"masked": [["7", "weight"]]})
    with pytest.raises(CheckpointError, match=r"no synapses 7\.weight"):
        sn.load(tmp_path / "bad.safetensors")


def test_a_compiled_network_keeps_the_zeros():
    net = spiking().eval()
    sparsify(net, 0.4, "magnitude")
    x = (torch.rand(20, 2, 6) < 0.3).float()
    torch.testing.assert_close(sn.compile(net)(x)[0], net(x)[0])


@pytest.mark.parametrize(
    ("wrong", "answer"),
    [({"what": "all"}, "what"), ({"per": "unit"}, "per"), ({"density": 0.0}, "density")],
)
def test_wrong_arguments_are_refused(wrong, answer):
    with pytest.raises(ConfigError, match=answer):
        sparsify(spiking(), **{"density": 0.5} | wrong)
