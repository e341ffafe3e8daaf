"""What NIR has no form for is refused by name, and so is what graphs have that is unknown here."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import snnsim as sn
from snnsim.errors import ConfigError, NonFiniteError, ShapeError
from snnsim.synapses.over_time import OverTime

nir = pytest.importorskip("nir")
from snnsim.interop.nir import from_nir, simulate, to_nir

DENSE = (3, 4)


def after_dense(layer):
    return sn.Sequential(sn.Dense(*DENSE), layer)


def with_hook():
    layer = sn.Dense(*DENSE)
    layer.register_forward_hook(lambda *_: None)
    return sn.Sequential(layer)


class Steeper(sn.LIF):
    @staticmethod
    def step(x, v, *, decay_mem, v_threshold, v_reset, scale_input, reset):
        return sn.LIF.step(
            x * x, v, decay_mem=decay_mem, v_threshold=v_threshold, v_reset=v_reset,
            scale_input=scale_input, reset=reset,
        )  # fmt: skip


class Risen(sn.LIF):
    initial = {"v": 0.5}


REFUSED = {
    "AdLIF": (lambda: after_dense(sn.AdLIF(4, dt=1.0)), "layer1_AdLIF"),
    "SEAdLIF": (lambda: after_dense(sn.SEAdLIF(4, dt=1.0)), "layer1_SEAdLIF"),
    "BRF": (lambda: after_dense(sn.BRF(4, dt=1.0)), "layer1_BRF"),
    "Izhikevich": (lambda: after_dense(sn.Izhikevich(4, dt=1.0)), "layer1_Izhikevich"),
    "ALIF zero": (lambda: after_dense(sn.ALIF(4, dt=1.0, reset="zero")), "layer1_ALIF"),
    "own step": (lambda: after_dense(Steeper(4, dt=1.0)), "layer1_Steeper"),
    "own start": (lambda: after_dense(Risen(4, dt=1.0)), "layer1_Risen"),
    "recurrent Izhikevich": (
        lambda: after_dense(sn.Recurrent(sn.Izhikevich(4, dt=1.0))), "layer1_Recurrent_neuron"
    ),
    "endless": (lambda: after_dense(sn.LIF(4, dt=1e-6, tau_mem=1e6)), "layer1_LIF"),
    "GELU": (lambda: after_dense(nn.GELU()), r"layer1 \(GELU\)"),
    "LayerNorm": (lambda: after_dense(nn.LayerNorm(4)), r"layer1 \(LayerNorm\)"),
    "MaxPool1d": (
        lambda: sn.Sequential(sn.Conv1d(1, 1, 3), sn.MaxPool1d(2)), r"layer1 \(MaxPool1d\)"
    ),
    "AvgPool1d": (
        lambda: sn.Sequential(sn.Conv1d(1, 1, 3), sn.AvgPool1d(2)), r"layer1 \(AvgPool1d\)"
    ),
    "Repeat": (lambda: sn.Sequential(sn.Dense(3, 3), sn.Repeat(2)), "layer1"),
    "encoder": (lambda: sn.Sequential(sn.encoders.Delta(threshold=0.1)), "Delta"),
    "hook": (with_hook, "layer0"),
    "wide delays": (
        lambda: sn.Sequential(sn.Delayed(3, 4, dt=1.0, max_delay_ms=10)), "round=True"
    ),
    "norm without averages": (
        lambda: sn.Sequential(OverTime(nn.BatchNorm1d(3, track_running_stats=False))), "layer0"
    ),
    "time flattened": (lambda: sn.Sequential(nn.Flatten(1)), "layer0"),
    "circular": (
        lambda: sn.Sequential(sn.Conv1d(1, 1, 3, padding=1, padding_mode="circular")), "circular"
    ),
}  # fmt: skip
SHAPES = {"MaxPool1d": (1, 9), "AvgPool1d": (1, 9), "circular": (1, 9)}


@pytest.mark.parametrize("what", REFUSED)
def test_what_has_no_form_is_refused_by_name(what):
    make, name = REFUSED[what]
    with pytest.raises(ConfigError, match=name):
        to_nir(make(), shape=SHAPES.get(what, (3,)))


def test_pools_that_cut_their_windows_are_refused():
    for options in ({"ceil_mode": True}, {"padding": 1, "count_include_pad": False},
                    {"divisor_override": 3}):  # fmt: skip
        with pytest.raises(ConfigError, match=r"layer0 \(AvgPool2d\)"):
            to_nir(sn.Sequential(sn.AvgPool2d(2, **options)), shape=(1, 5, 5))


def test_wide_delays_are_rounded_if_asked():
    net = sn.Sequential(sn.Delayed(3, 4, dt=1.0, max_delay_ms=10), sn.LIF(4, dt=1.0)).eval()
    x = (torch.rand(30, 2, 3) < 0.5).float()
    found = simulate(to_nir(net, round=True), x.numpy())
    assert np.array_equal(found, net(x)[0].detach().numpy())


def test_weights_that_are_not_finite_are_refused():
    net = sn.Sequential(sn.Dense(*DENSE))
    with torch.no_grad():
        net[0].weight[0, 0] = float("nan")
    with pytest.raises(NonFiniteError, match="weight"):
        to_nir(net)


def test_a_network_that_does_not_tell_its_input_is_asked_for_it():
    with pytest.raises(ConfigError, match="shape="):
        to_nir(sn.Sequential(sn.Conv2d(2, 4, 3)))


# --- graphs that are not known here ---------------------------------------------------------------


def ones(*shape, value=1.0):
    return np.full(shape, value, np.float32)


def lif(n=3):
    return nir.LIF(
        tau=ones(n, value=0.01), r=ones(n), v_leak=ones(n, value=0), v_threshold=ones(n),
        v_reset=ones(n, value=0),
    )  # fmt: skip


def li(n=3):
    return nir.LI(tau=ones(n, value=0.01), r=ones(n), v_leak=ones(n, value=0))


def graph(nodes, edges, n=3):
    ends = {
        "input": nir.Input(input_type={"input": np.array([n])}),
        "output": nir.Output(output_type={"output": np.array([n])}),
    }
    return nir.NIRGraph(nodes=ends | nodes, edges=edges, type_check=False)


LINEAR = nir.Linear(weight=np.eye(3, dtype=np.float32))
UNKNOWN = {
    "an integrator": (
        {"sum": nir.I(r=ones(3))}, [("input", "sum"), ("sum", "output")], "sum"
    ),
    "a loop of two layers": (
        {"a": lif(), "w": LINEAR, "b": lif(), "back": LINEAR},
        [("input", "a"), ("a", "w"), ("w", "b"), ("b", "output"), ("b", "back"), ("back", "a")],
        "loop",
    ),
    "a delayed recurrence": (
        {"a": lif(), "late": nir.Delay(delay=ones(3, value=1e-4)), "w": LINEAR},
        [("input", "a"), ("a", "output"), ("a", "late"), ("late", "w"), ("w", "a")],
        "late",
    ),
    "a biased recurrence": (
        {"a": lif(), "w": nir.Affine(weight=np.eye(3, dtype=np.float32), bias=ones(3))},
        [("input", "a"), ("a", "output"), ("a", "w"), ("w", "a")],
        "w is a recurrent",
    ),
    "another subtraction": (
        {"v": li(), "z": nir.Threshold(threshold=ones(3)), "s": nir.Scale(scale=ones(3, value=-7))},
        [("input", "v"), ("v", "z"), ("z", "output"), ("z", "s"), ("s", "v")],
        "scale s",
    ),
    "half a step": (
        {"late": nir.Delay(delay=ones(3, value=1.5e-4)), "w": LINEAR},
        [("input", "late"), ("late", "w"), ("w", "output")],
        "node late",
    ),
    "a bias that is late": (
        {"w": nir.Affine(weight=np.eye(3, dtype=np.float32), bias=ones(3)),
         "late": nir.Delay(delay=ones(3, value=1e-4))},
        [("input", "w"), ("w", "late"), ("late", "output")],
        "node late",
    ),
    "a short time constant": (
        {"a": nir.LIF(tau=ones(3, value=1e-5), r=ones(3), v_leak=ones(3), v_threshold=ones(3),
                      v_reset=ones(3))},
        [("input", "a"), ("a", "output")],
        "node a",
    ),
    "no way to the output": (
        {"a": lif(), "b": lif()}, [("input", "a"), ("a", "output"), ("input", "b")], "node b"
    ),
    "no way from the input": (
        {"a": lif(), "b": lif()}, [("input", "a"), ("a", "output"), ("b", "a")], "node b"
    ),
    "crossing paths": (
        {"a": LINEAR, "b": LINEAR, "c": lif(), "d": lif()},
        [("input", "a"), ("input", "b"), ("a", "c"), ("b", "d"), ("a", "d"), ("c", "output"),
         ("d", "output")],
        "parallel",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", UNKNOWN)
def test_a_graph_that_has_no_form_here_is_refused_by_its_node(what):
    nodes, edges, name = UNKNOWN[what]
    with pytest.raises(ConfigError, match=name):
        from_nir(graph(nodes, edges))


def test_two_inputs_and_no_graph_are_refused():
    nodes = {"a": lif(), "second": nir.Input(input_type={"input": np.array([3])})}
    with pytest.raises(ConfigError, match="2 inputs"):
        from_nir(graph(nodes, [("input", "a"), ("second", "a"), ("a", "output")]))
    with pytest.raises(ConfigError, match="NIRGraph"):
        from_nir(lif())
    with pytest.raises(ConfigError, match="dt"):
        from_nir(graph({"a": lif()}, [("input", "a"), ("a", "output")]), dt=0)


def test_the_simulator_says_what_it_cannot_run():
    good = graph({"a": lif()}, [("input", "a"), ("a", "output")])
    with pytest.raises(ShapeError, match="T, B"):
        simulate(good, np.ones((5, 3)))
    nested = graph({"a": good}, [("input", "a"), ("a", "output")])
    assert simulate(nested, np.ones((2, 1, 3))).shape == (2, 1, 3)
