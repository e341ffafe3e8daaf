"""What networks cost, counted by plain loops over steps, samples and synapses."""

from __future__ import annotations

import itertools
import json
import random
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from costed_networks import FLAT, KINDS, NETWORKS, STEPS, drive, network
from torch import nn
from torch.nn.utils.parametrize import register_parametrization

import snnsim as sn
from snnsim.baselines import models
from snnsim.data import Arrays
from snnsim.errors import ConfigError

# --- the reference ------------------------------------------------------------------------------


def synapses(connection, shape):
    """Every synapse of a connection as ``(input, weight)``: also several for each pair."""
    if isinstance(connection, sn.Recurrent):
        matrix = (connection.w_rec * connection.mask).tolist()
        return [((i,), w) for row in matrix for i, w in enumerate(row)]
    weight = connection.weight.tolist()
    if isinstance(connection, (sn.Dense, nn.Linear)):
        return [((i,), w) for row in weight for i, w in enumerate(row)]
    if isinstance(connection, sn.Delayed):
        return [((i,), w) for row in weight for i, copies in enumerate(row) for w in copies]
    _, height, width = shape
    size, stride, margin = len(weight[0][0]), connection.stride, 0
    if isinstance(connection, nn.Conv2d):
        (stride, _), (margin, _) = connection.stride, connection.padding
    else:
        margin = connection.margin
    found = []
    rows = range(0, height + 2 * margin - size + 1, stride)
    columns = range(0, width + 2 * margin - size + 1, stride)
    for kernel, r, c in itertools.product(weight, rows, columns):
        for i, a, b in itertools.product(range(len(kernel)), range(size), range(size)):
            pixel = (i, r + a - margin, c + b - margin)
            if 0 <= pixel[1] < height and 0 <= pixel[2] < width:
                found.append((pixel, kernel[i][a][b]))
    return found


def counted(connection, x):
    """All counts of a connection whose input is ``x [T, B, ...]``."""
    found = dict.fromkeys(("events", "acs", "macs", "additions", "multiplications", "dense"), 0)
    all_synapses = synapses(connection, tuple(x.shape[2:]))
    for step in x:
        graded = any(value not in (-1.0, 0.0, 1.0) for value in step.flatten().tolist())
        for sample in step:
            values = {index: float(sample[index]) for index, _ in all_synapses}
            found["events"] += sum(value != 0 for value in sample.flatten().tolist())
            for index, weight in all_synapses:
                found["dense"] += 1
                if values[index] != 0 and weight != 0:
                    found["macs" if graded else "acs"] += 1
                    found["multiplications" if abs(values[index]) != 1 else "additions"] += 1
    return found


def inputs_of(net, x):
    """The connections of a sequence, with what arrives at each."""
    for layer in net:
        y = layer(x)[0] if isinstance(layer, sn.Layer) else layer(x)
        if isinstance(layer, sn.Recurrent):
            yield layer, y
        elif isinstance(layer, sn.OverTime) and isinstance(layer.module, nn.Conv2d):
            yield layer.module, x
        elif isinstance(layer, (sn.Dense, sn.Delayed, sn.DelayedConv2d, nn.Linear)):
            yield layer, x
        x = y


def assert_counted(net, x):
    cost = sn.cost(net, x)
    with torch.no_grad():
        expected = [(layer, counted(layer, arriving)) for layer, arriving in inputs_of(net, x)]
    assert len(cost.connections) == len(expected) and not cost.uncounted
    for found, (layer, counts) in zip(cost.connections, expected, strict=True):
        assert {name: getattr(found, name) for name in counts} == counts, layer
        assert found.bytes_read == 4 * (counts["acs"] + counts["macs"])
    return cost


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NETWORKS)
def test_every_operation_is_that_of_a_nonzero_input_and_a_nonzero_weight(name, kind):
    net = network(name)
    cost = assert_counted(net, drive(kind, name))
    first = cost.connections[0]
    assert first.zero_weights == (first.weights + 1) // 2
    if kind == "empty":
        assert first.operations == 0 < first.dense
        return
    assert all(0 < each.operations < each.dense for each in cost.connections)
    split = {"binary": (True, False), "signed": (True, False), "graded": (False, True)}
    assert (first.acs > 0, first.macs > 0) == split.get(kind, (True, True))
    if kind == "counts":  # ones among other counts: the two rules differ
        assert first.additions > first.acs and first.multiplications < first.macs


@pytest.mark.parametrize("seed", range(8))
def test_random_networks_and_inputs(seed):
    draw = random.Random(seed)
    torch.manual_seed(seed)
    n_in, n_out, copies = (draw.randint(1, 5) for _ in range(3))
    connection = draw.choice([
        sn.Dense(n_in, n_out, bias=True),
        nn.Linear(n_in, n_out),
        sn.Delayed(n_in, n_out, dt=1.0, max_delay_ms=2, kernel_count=copies, learn_delay=False),
        sn.Delayed(n_in, n_out, dt=1.0, max_delay_ms=2, kernel_count=copies, learn_delay=False,
                   granularity="dendritic"),
    ])  # fmt: skip
    neurons = sn.LIF(n_out, dt=1.0, v_threshold=0.2)
    layers = [connection, draw.choice([neurons, sn.Recurrent(neurons)])]
    with torch.no_grad():
        connection.weight[torch.rand(connection.weight.shape) < draw.random()] = 0.0
    x = torch.randint(-1, draw.randint(1, 3) + 1, (draw.randint(0, 6), draw.randint(1, 4), n_in))
    assert_counted(sn.Sequential(*layers).eval(), x.float())


# --- neurons, sparsity and memory ---------------------------------------------------------------


def test_sparsities_are_fractions_of_all_weights_and_all_outputs():
    net, x = network("dense"), drive("binary", "dense")
    cost = sn.cost(net, x)
    hidden = sn.Sequential(*list(net)[:2])(x)[0]
    end = net(x)[0]
    zeros = [sum(value == 0 for value in y.flatten().tolist()) for y in (hidden, end)]
    assert 0 < zeros[0] < hidden.numel()
    assert [each.outputs - each.nonzero for each in cost.neurons] == zeros
    assert cost.neurons[0].sparsity == zeros[0] / hidden.numel()
    assert cost.activation_sparsity == sum(zeros) / (hidden.numel() + end.numel())
    assert cost.connection_sparsity == 15 / (30 + 18)
    assert cost.footprint == 4 * (30 + 18 + 3) + sum(4 * b.numel() for b in net.buffers())


def changes_of_lif(x, decay, threshold):
    """How often the membrane of one neuron is another after a step than before it."""
    v, changes = torch.tensor(0.0, dtype=torch.float64), 0
    for value in x:
        u = decay * v + value
        after = u - threshold if u >= threshold else u
        changes += int(after != v)
        v = after
    return changes


def test_a_change_of_state_is_a_membrane_that_a_step_leaves_elsewhere():
    net = sn.Sequential(nn.Identity(), sn.IF(3, dt=1.0, v_threshold=1.0))
    x = torch.tensor([[0, 1, 0.5], [0.5, 1, 0], [0, 0, 0.5], [0.25, 1, 0.25]]).double()
    cost = sn.cost(net.double(), x.unsqueeze(1))
    by_hand = [2, 0, 3]  # a spike whose reset takes away what the input brought changes nothing
    assert [changes_of_lif(x[:, i], 1.0, 1.0) for i in range(3)] == by_hand
    assert cost.state_changes == 5 and cost.bytes_written == 5 * 8


def test_states_go_on_from_where_they_were_and_every_state_variable_counts():
    class Twice(sn.Layer):
        def __init__(self):
            super().__init__()
            self.neuron = sn.IF(1, dt=1.0, v_threshold=9.0)

        def forward(self, x, state=None):
            _, state = self.neuron(x, state)
            return self.neuron(0 * x, state)

    assert sn.cost(Twice(), torch.ones(3, 2, 1)).state_changes == 3 * 2  # none in the second run
    still = sn.cost(sn.CubaLIF(1, dt=1.0, v_threshold=9.0), torch.tensor([1.0, 0.0]).view(2, 1, 1))
    assert still.state_changes == 4  # current and membrane, at both steps


def test_activation_functions_have_outputs_and_no_state():
    net = sn.Sequential(nn.Linear(3, 4), nn.ReLU())
    cost = sn.cost(net, torch.randn(5, 2, 3))
    assert cost.neurons[0].outputs == 40 and cost.state_changes is None
    assert "unknown bytes of states written" in str(cost)


def test_what_cannot_be_counted_is_named():
    class Own(sn.Layer):
        def __init__(self):
            super().__init__()
            self.matrix = nn.Parameter(torch.ones(3, 3))
            self.unused = nn.Linear(3, 3)

        def forward(self, x, state=None):
            return x @ self.matrix, None

    cost = sn.cost(sn.Sequential(Own()), torch.ones(2, 1, 3))
    assert cost.uncounted == ("layers.0.unused", "layers.0.matrix")
    assert cost.neurobench()["ConnectionSparsity"] is None is cost.activation_sparsity
    assert "Not counted: layers.0.unused, layers.0.matrix." in str(cost)


def test_baselines_are_counted_as_far_as_they_consist_of_connections():
    x = torch.ones(4, 2, 6)
    gru = sn.cost(models.get("gru")(6, 8), x)
    assert gru.connections == ()
    assert gru.uncounted == ("module.weight_ih_l0", "module.weight_hh_l0")
    leaky = sn.cost(models.get("leaky")(6, 8), x)
    assert leaky.uncounted == () and leaky.total("dense") == 4 * 2 * 8 * (6 + 8)


def test_pruned_weights_are_zero_weights():
    net = network("dense")
    before = sn.cost(net, drive("binary", "dense")).connections[1]
    half = (torch.arange(18).view(3, 6) % 2).float()

    class Half(nn.Module):
        def forward(self, weight):
            return weight * half

    register_parametrization(net[2], "weight", Half())
    after = sn.cost(net, drive("binary", "dense")).connections[1]
    assert after.zero_weights == 9 and after.operations < before.operations


# --- batches, types, compiled networks ----------------------------------------------------------


def test_a_data_set_costs_what_its_samples_cost():
    x = drive("binary", "dense")
    data = Arrays(x.transpose(0, 1), torch.arange(x.shape[1]))
    net = network("dense")
    whole, parted = sn.cost(net, data), sn.cost(net, data, batch_size=2)
    assert whole == parted == sn.cost(net, x)


def test_spikes_may_be_stored_as_bool_or_whole_numbers():
    net, x = network("dense"), drive("binary", "dense")
    expected = sn.cost(net, x)
    assert sn.cost(net, x.bool()) == sn.cost(net, x.to(torch.uint8)) == expected


@pytest.mark.parametrize("samples", [3, 70])  # 64 run through a compiled network at a time
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", FLAT)
def test_a_compiled_network_reports_the_same(name, kind, samples):
    net, x = network(name), drive(kind, name, samples=samples)
    report, cost = sn.compile(net).report(x), sn.cost(net, x)
    assert report.neurobench() == cost.neurobench()
    assert sum(each.synaptic_operations for each in report.layers) == (
        cost.total("acs") + cost.total("macs")
    )
    assert report.cost.state_changes is None


def test_a_batch_is_a_mac_where_one_sample_is_graded_also_far_from_the_others():
    net, x = network("dense"), drive("binary", "dense", samples=70)
    x[0, 69, 0] = 0.5
    first = sn.compile(net).report(x).cost.connections[0]
    assert first.macs == counted(net[0], x)["macs"] > 0
    assert replace(first, name="layers.0") == sn.cost(net, x).connections[0]


def test_nothing_costs_nothing():
    net = network("dense")
    for x in (drive("binary", "dense", samples=0), drive("binary", "dense", steps=0)):
        found = sn.cost(net, x).neurobench()["SynapticOperations"]
        assert set(found.values()) == {0.0}


# --- what is shown ------------------------------------------------------------------------------


def test_a_cost_is_a_table_and_plain_values():
    net, x = network("dense"), drive("counts", "dense")
    cost = sn.cost(net, x)
    lines = str(cost).splitlines()
    assert [line.split()[0] for line in lines[:7]] == [
        "connection", "layers.0", "layers.2", "total", "neurons", "layers.1", "layers.3",
    ]  # fmt: skip
    total = cost.total("acs") / 5, cost.total("macs") / 5
    assert lines[3].split()[3:5] == [f"{each:,.1f}" for each in total]
    assert json.loads(json.dumps(cost.as_json()))["neurobench"] == cost.neurobench()


def test_the_columns_of_a_long_name_stay_below_each_other():
    name = "a_very_long_name_of_a_connection"
    first = sn.cost(network("dense"), drive("binary", "dense")).connections[0]
    lines = str(sn.report.Cost((replace(first, name=name),), (), 0, 1)).splitlines()
    assert len({len(line) for line in lines[:3]}) == 1 and lines[1].startswith(name)


def test_a_network_made_of_stages_alone_has_the_footprint_of_the_stages():
    fast, x = sn.compile(network("recurrent")), drive("binary", "recurrent")
    report = sn.CompiledNetwork(fast.stages).report(x)
    first, second = fast.stages
    sizes = [s.params.numel() + s.weight.numel() * 2 + s.bias.numel() for s in (first, second)]
    assert report.cost.footprint == 4 * (sum(sizes) + 6 * 6)
    assert report.cost.connections == fast.report(x).cost.connections


def test_a_compiled_network_is_sent_to_its_report():
    fast = sn.compile(network("dense"))
    with pytest.raises(ConfigError, match="takes a network, not a CompiledNetwork.*report"):
        sn.cost(fast, drive("binary", "dense"))


def test_a_report_made_by_hand_has_no_cost():
    with pytest.raises(ConfigError, match="no cost"):
        sn.report.Report((), STEPS, 1, 0.0).neurobench()


def test_the_page_prints_what_it_says(capsys):
    page = (Path(__file__).parents[2] / "docs" / "cost.md").read_text()
    code = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    (told,) = re.findall(r"^```text\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    exec("\n".join(code), {})
    assert capsys.readouterr().out == told
