"""What is said of programs that read NIR: against the table's graphs, and against the programs."""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from nir_networks import make

import snnsim as sn

nir = pytest.importorskip("nir")
from snnsim.interop.nir import check, from_nir, simulate, to_nir
from snnsim.interop.nir.fidelity import PROGRAMS, TABLE, VERDICTS

sys.path.insert(0, str(Path(__file__).parents[3] / "scripts"))
from nir_features import FEATURES, best_neuron
from nir_table import PROGRAMS as READERS

PEERS = ("spikingjelly", "snntorch")


def graph_and_input(feature, program):
    graph = FEATURES[feature](best_neuron(program))
    shape = tuple(graph.nodes["input"].input_type["input"])
    return graph, (np.random.default_rng(1).random((200, 4, *shape)) < 0.3).astype(float)


def read_by(program, graph, x, tmp_path):
    pytest.importorskip(program)
    if importlib.metadata.version(program) != PROGRAMS[program]:
        pytest.skip(f"the table is of {program} {PROGRAMS[program]}")
    nir.write(tmp_path / "net.nir", graph)
    with torch.no_grad():
        steps = list(READERS[program](tmp_path / "net.nir", torch.from_numpy(x).float()))
    return torch.stack(steps).double().numpy()


def test_every_feature_has_a_graph_and_every_verdict_a_meaning():
    assert FEATURES.keys() == TABLE.keys()
    assert all(len(row) == len(PROGRAMS) and set(row) <= VERDICTS.keys() for row in TABLE.values())
    assert READERS.keys() == PROGRAMS.keys()


@pytest.mark.parametrize("feature", FEATURES)
def test_the_graph_of_a_feature_has_it(feature):
    graph, x = graph_and_input(feature, "spikingjelly")
    assert feature in [finding.feature for finding in check(graph)]
    assert simulate(graph, x).any()


@pytest.mark.parametrize("program", PEERS)
@pytest.mark.parametrize("feature", FEATURES)
def test_the_verdict_is_what_the_program_does(feature, program, tmp_path, capfd):
    graph, x = graph_and_input(feature, program)
    verdict = TABLE[feature][list(PROGRAMS).index(program)]
    if verdict == "x":
        with pytest.raises((ValueError, AssertionError, RuntimeError)):
            read_by(program, graph, x, tmp_path)
        return
    found = read_by(program, graph, x, tmp_path)
    assert np.array_equal(found, simulate(graph, x)) == (verdict == "=")


@pytest.mark.parametrize("kind", ["LIF zero", "CubaLIF zero", "PLIF zero", "recurrent LIF zero"])
@pytest.mark.parametrize("program", PEERS)
def test_what_a_program_reads_as_meant_has_no_wrong_spike(kind, program, tmp_path, capfd):
    case = make(kind)
    graph = to_nir(case.net)
    row = list(PROGRAMS).index(program)
    if any(TABLE[finding.feature][row] != "=" for finding in check(graph)):
        pytest.skip("it does not")
    with torch.no_grad():
        wanted = case.net(case.x)[0].numpy()
    assert np.array_equal(read_by(program, graph, case.x.numpy(), tmp_path), wanted)


def test_a_delayed_network_is_said_to_be_read_by_nobody():
    late = sn.Delayed(3, 4, dt=1.0, max_delay_ms=10, sigma=0.2)
    findings = {f.feature: f for f in check(to_nir(sn.Sequential(late, sn.LIF(4, dt=1.0))))}
    assert set(findings["Delay"].verdicts.values()) == {"x", "-"}
    assert len(findings["Delay"].nodes) == len(
        [d for d in late.delay.detach().round().unique() if d]
    )
    assert "a loop through Scale" in findings


def test_what_was_not_measured_is_not_guessed():
    one = np.ones(2, np.float32)
    neuron = nir.IF(r=one * 1e4, v_threshold=one, v_reset=one * 0.1)
    graph = nir.NIRGraph.from_list(nir.Input({"input": np.array([2])}), neuron)
    verdicts = {f.feature: set(f.verdicts.values()) for f in check(graph)}
    assert verdicts["IF, v_reset"] == {"?"}


def written_by_spikingjelly(folder):
    pytest.importorskip("spikingjelly")
    from spikingjelly.activation_based import layer, neuron, nir_exchange

    net = torch.nn.Sequential(
        layer.Linear(10, 12),
        neuron.LIFNode(tau=3.0, decay_input=False, v_reset=0.0, v_threshold=0.4),
        layer.Linear(12, 5, bias=False),
        neuron.IFNode(v_reset=0.0, v_threshold=0.3),
    )
    nir_exchange.export_to_nir(net, torch.zeros(1, 10), save_path=str(folder / "net.nir"))
    return net, nir.read(folder / "net.nir")


def written_by_snntorch(folder):
    snn = pytest.importorskip("snntorch")
    from snntorch import utils
    from snntorch.export_nir import export_to_nir

    def leaky(n, beta, threshold, **options):
        full = {"beta": torch.full((n,), beta), "threshold": torch.full((n,), threshold)}
        return snn.Leaky(**full, init_hidden=True, reset_mechanism="zero", **options)

    net = torch.nn.Sequential(
        torch.nn.Linear(10, 12), leaky(12, 0.9, 0.5),
        torch.nn.Linear(12, 5), leaky(5, 0.8, 0.3, output=True),
    )  # fmt: skip
    for connection in net[::2]:
        torch.nn.init.uniform_(connection.weight, -0.2, 0.4)
    nir.write(folder / "net.nir", export_to_nir(net, torch.zeros(10)))
    utils.reset(net)
    return net, nir.read(folder / "net.nir")


@pytest.mark.parametrize("write", [written_by_spikingjelly, written_by_snntorch])
def test_files_of_other_programs_are_read_without_a_wrong_spike(write, tmp_path, capfd):
    torch.manual_seed(0)
    net, graph = write(tmp_path)
    x = (torch.rand(100, 3, 10) < 0.4).float()
    with torch.no_grad():
        outputs = [net(step) for step in x]
        wanted = torch.stack([y[0] if isinstance(y, tuple) else y for y in outputs])
        found = from_nir(graph)(x)[0]
    assert 0.01 < float(wanted.mean()) < 0.9
    assert torch.equal(found, wanted)
