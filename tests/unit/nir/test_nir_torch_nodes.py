"""NIR graphs that nirtorch puts together from our nodes compute what our networks compute."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from nir_networks import KINDS, make

nir = pytest.importorskip("nir")
nirtorch = pytest.importorskip("nirtorch")
from snnsim.errors import ConfigError
from snnsim.interop.nir import from_nir, node_map, simulate, to_nir

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def run(graph, x, **options):
    """The outputs of a graph as nirtorch puts it together, step by step.

    In float64: nirtorch adds what meets at a node in the order of a set, which is another one in
    every process, and in float32 a sum in another order could be another spike.
    """
    net = nirtorch.nir_to_torch(graph, node_map(**options)).double()
    outputs, state = [], None
    with torch.no_grad():
        for now in torch.as_tensor(x).double():
            y, state = net(now, state)
            outputs.append(y)
    return torch.stack(outputs).numpy()


@pytest.mark.parametrize("kind", KINDS)
def test_no_spike_of_any_network_is_wrong(kind):
    case = make(kind)
    graph = to_nir(case.net, shape=case.shape)
    wanted = simulate(graph, case.x.numpy())
    assert wanted.any()
    if kind == "LI":
        np.testing.assert_allclose(run(graph, case.x), wanted, rtol=1e-6)
    else:
        assert np.array_equal(run(graph, case.x), wanted)


def crossing():
    """A graph whose neurons ``two`` feed two nodes, one of which hears ``one`` as well."""
    random = np.random.default_rng(0)

    def affine():
        weight = random.normal(0, 1, (3, 3)).astype("f4")
        return nir.Affine(weight=weight, bias=np.full(3, 0.3, "f4"))

    def lif():
        full = np.full(3, 1e-3, "f4")
        return nir.LIF(tau=full, r=full * 1e4, v_leak=full * 0, v_threshold=full * 1e3)

    nodes = {
        "input": nir.Input(input_type={"input": np.array([3])}),
        **{name: affine() for name in ("a", "b", "c", "d")},
        **{name: lif() for name in ("one", "two", "three", "four", "five")},
        "output": nir.Output(output_type={"output": np.array([3])}),
    }
    edges = [
        ("input", "a"), ("a", "one"), ("input", "b"), ("b", "two"),
        ("one", "c"), ("two", "c"), ("c", "three"), ("two", "d"), ("d", "four"),
        ("three", "five"), ("four", "five"), ("five", "output"),
    ]  # fmt: skip
    return nir.NIRGraph(nodes, edges)


def test_paths_that_cross_can_be_run():
    graph = crossing()
    with pytest.raises(ConfigError, match="no parallel paths"):
        from_nir(graph)
    x = np.random.default_rng(1).normal(0.5, 1, (100, 2, 3))
    found = run(graph, x)
    assert found.any() and np.array_equal(found, simulate(graph, x))


def test_a_bias_that_nirtorch_loses_by_itself_is_kept():
    affine = nir.Affine(weight=np.eye(2, dtype="f4"), bias=np.array([5.0, 7.0], "f4"))
    graph = nir.NIRGraph.from_list(affine)
    x = torch.zeros(1, 1, 2)
    assert run(graph, x).flatten().tolist() == [5, 7]
    own, _ = nirtorch.nir_to_torch(graph, {})(x[0])
    assert own.flatten().tolist() != [5, 7]


def test_a_threshold_is_reached_above_it():
    graph = nir.NIRGraph.from_list(nir.Threshold(threshold=np.array([0.5, 0.5], "f4")))
    net = nirtorch.nir_to_torch(graph, node_map())
    assert net(torch.tensor([[0.5, 0.75]]))[0].tolist() == [[0, 1]]


def test_other_steps_can_be_given():
    tau, one = np.full(2, 0.02, "f4"), np.ones(2, "f4")
    graph = nir.NIRGraph.from_list(
        nir.LIF(tau=tau, r=one * 20, v_leak=one * 0, v_threshold=one, v_reset=one * 0)
    )
    x = np.random.default_rng(1).random((100, 2, 2))
    found = run(graph, x, dt=1e-3)
    assert found.any() and np.array_equal(found, simulate(graph, x, dt=1e-3))
    assert not np.array_equal(found, run(graph, x))
