"""NIR: what is written computes what the network does, and what is read is what was written."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
import torch
from nir_networks import KINDS, make

import snnsim as sn
from snnsim.functional.delays import round_delay

nir = pytest.importorskip("nir")
from snnsim.interop.nir import from_nir, simulate, to_nir


def through_a_file(graph, tmp_path):
    nir.write(tmp_path / "graph.nir", graph)
    return nir.read(tmp_path / "graph.nir", type_check=False)  # it takes kernels for square


def outputs(case):
    with torch.no_grad():
        return case.net.double()(case.x.double())[0].numpy()


def content(graph):
    """The kinds of all nodes and the bytes of their numbers, in an order that names do not make."""
    kinds = []
    for node in graph.nodes.values():
        fields = {k: v for k, v in vars(node).items() if not k.endswith("type") and k != "metadata"}
        numbers = [(key, np.asarray(value)) for key, value in sorted(fields.items())]
        kinds.append((type(node).__name__, [(k, n.shape, n.tobytes()) for k, n in numbers]))
    return sorted(kinds)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_computes_what_the_network_computes(kind, tmp_path):
    case = make(kind)
    graph = through_a_file(to_nir(case.net, shape=case.shape), tmp_path)
    found, wanted = simulate(graph, case.x.numpy()), outputs(case)
    if kind == "LI":
        assert np.allclose(found, wanted, atol=1e-4)
        return
    assert 0.005 < wanted.mean() < 0.9, "the case shows nothing"
    assert np.count_nonzero(found != wanted) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_written_is_read_to_the_bit(kind, tmp_path):
    case = make(kind)
    graph = through_a_file(to_nir(case.net, shape=case.shape), tmp_path)
    again = from_nir(graph)
    assert not again.training
    with torch.no_grad():
        assert torch.equal(again(case.x)[0], from_nir(to_nir(again, shape=case.shape))(case.x)[0])
    assert content(to_nir(again, shape=case.shape)) == content(graph)


@pytest.mark.parametrize(
    "kind", [kind for kind in KINDS if "delay" not in kind and "norm" not in kind]
)
def test_the_network_that_is_read_computes_the_same(kind, tmp_path):
    case = make(kind)
    again = from_nir(through_a_file(to_nir(case.net, shape=case.shape), tmp_path))
    with torch.no_grad():
        wanted, found = case.net(case.x)[0], again(case.x)[0]
    assert torch.equal(found, wanted)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "delay" in kind])
def test_delays_are_one_layer_again(kind):
    case = make(kind)
    again = from_nir(to_nir(case.net, shape=case.shape))
    layers = (sn.Delayed, sn.DelayedConv2d)
    (before,) = (m for m in case.net.modules() if isinstance(m, layers))
    (after,) = (m for m in again.modules() if isinstance(m, layers))
    for name in ("dt", "length", "padding"):
        assert getattr(after, name) == getattr(before, name)
    if before.weight.shape[-1] == 1 or isinstance(before, sn.DelayedConv2d):
        assert torch.equal(after.delay, round_delay(before.delay, before.length))


def test_the_step_of_the_network_is_advice_only():
    net = sn.Sequential(sn.Dense(3, 4), sn.LIF(4, dt=10.0, tau_mem=37.0))
    graph = to_nir(net)
    assert json.loads(graph.metadata["snnsim"])["layers"]["layer1"]["dt_ms"] == 10.0
    assert (from_nir(graph)[1].dt, float(from_nir(graph)[1].tau_mem)) == (10.0, 37.0)
    graph.metadata = {}
    alone = from_nir(graph, dt_ms=5.0)
    assert alone[1].dt == 5.0
    x = (torch.rand(50, 2, 3) < 0.5).float()
    assert torch.equal(alone(x)[0], net.eval()(x)[0])


def test_advice_that_contradicts_the_graph_is_not_taken():
    net = sn.Sequential(sn.Dense(3, 4), sn.LIF(4, dt=10.0, tau_mem=37.0))
    graph = to_nir(net)
    graph.nodes["layer1_LIF_v"].tau = graph.nodes["layer1_LIF_v"].tau * 1.5
    graph.nodes["layer1_LIF_reset"].scale = None
    decay = 1 - 1e-4 / float(graph.nodes["layer1_LIF_v"].tau[0])
    gain = 1e-4 / graph.nodes["layer1_LIF_v"].tau * graph.nodes["layer1_LIF_v"].r
    graph.nodes["layer1_LIF_reset"].scale = np.float32(-decay / gain)
    found = from_nir(graph)[-1]
    assert float(found.tau_mem) == pytest.approx(10.0 / (1 - decay), rel=1e-5)


@pytest.mark.parametrize("text", ["{", "[]", '{"layers": 3}', '{"layers": {"layer1": 7}}', "null"])
def test_advice_that_cannot_be_read_is_as_if_it_were_not_there(text):
    graph = to_nir(sn.Sequential(sn.Dense(3, 4), sn.LIF(4, dt=10.0)))
    graph.metadata = {"snnsim": text}
    assert from_nir(graph)[1].dt == pytest.approx(0.1)


def test_learnt_time_constants_can_be_learnt_further():
    net = sn.Sequential(sn.Dense(3, 4), sn.PLIF(4, dt=10.0, tau_mem=37.0))
    again = from_nir(to_nir(net))
    assert torch.equal(again[1].raw_tau_mem, net[1].raw_tau_mem)
    assert again[1].raw_tau_mem.requires_grad


@pytest.mark.parametrize("reset", ["zero", "subtract", "none"])
def test_an_input_of_exactly_the_threshold_fires(reset):
    taus = torch.linspace(1.1, 400.0, 997)
    for neuron in (sn.LIF(997, dt=1.0, reset=reset, tau_mem=taus), sn.IF(997, dt=1.0, reset=reset)):
        net = sn.Sequential(sn.Dense(1, 997), neuron)
        torch.nn.init.constant_(net[0].weight, 1.0)
        assert simulate(to_nir(net), np.ones((1, 1, 1))).all()


def test_quarters_reach_the_threshold_in_the_fourth_step():
    net = sn.Sequential(sn.Dense(1, 1), sn.IF(1, dt=1.0))
    torch.nn.init.constant_(net[0].weight, 0.25)
    x = np.ones((9, 1, 1))
    wanted = [0, 0, 0, 1, 0, 0, 0, 1, 0]
    assert simulate(to_nir(net), x).ravel().tolist() == wanted
    assert from_nir(to_nir(net))(torch.ones(9, 1, 1))[0].flatten().tolist() == wanted


def test_a_lengthening_connection_is_written_for_an_input_with_zeros_behind_it():
    torch.manual_seed(1)
    late = sn.Delayed(12, 16, dt=1.0, max_delay_ms=10, padding="lengthen", sigma=0.2)
    net = sn.Sequential(late, sn.LIF(16, dt=1.0)).eval()
    x = (torch.rand(60, 2, 12) < 0.3).float()
    wanted = net(x)[0].detach().numpy()
    padded = np.concatenate([x.numpy(), np.zeros((late.tail, 2, 12))])
    assert np.array_equal(simulate(to_nir(net), padded), wanted)
    assert from_nir(to_nir(net))[0].padding == "lengthen"


def test_a_masked_network_is_written_as_masked():
    torch.manual_seed(0)
    net = sn.Sequential(sn.Dense(12, 16, init="he"), sn.LIF(16, dt=1.0))
    from snnsim.sparsity import sparsify

    sparsify(net, 0.5, seed=0)
    assert np.count_nonzero(to_nir(net).nodes["layer0_Dense"].weight) == 96


def test_the_mode_of_the_network_stays():
    net = sn.Sequential(sn.Dense(3, 4), sn.BatchNorm(4), sn.LIF(4, dt=1.0), sn.Dropout(0.5)).train()
    before = [m.training for m in net.modules()]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        to_nir(net)
    assert [m.training for m in net.modules()] == before


def test_a_gain_belongs_to_what_comes_back_as_well():
    rng = np.random.default_rng(0)
    full = lambda value: np.full(8, value, np.float32)  # noqa: E731
    neuron = nir.LIF(
        tau=full(2e-3), r=full(7), v_leak=full(0.1), v_threshold=full(1), v_reset=full(0)
    )
    nodes = {
        "input": nir.Input(input_type={"input": np.array([8])}),
        "w": nir.Linear(weight=rng.normal(1.0, 1.0, (8, 8)).astype(np.float32)),
        "z": neuron,
        "back": nir.Linear(weight=rng.normal(0.3, 1.5, (8, 8)).astype(np.float32)),
        "output": nir.Output(output_type={"output": np.array([8])}),
    }
    edges = [("input", "w"), ("w", "z"), ("z", "back"), ("back", "z"), ("z", "output")]
    graph = nir.NIRGraph(nodes, edges)
    x = (rng.random((150, 3, 8)) < 0.4).astype(float)
    wanted = simulate(graph, x)
    with torch.no_grad():
        found = from_nir(graph).double()(torch.from_numpy(x))[0].numpy()
    assert 0.01 < wanted.mean() < 0.9
    assert (found != wanted).mean() < 1e-3
