"""The networks that are built for a stream: which parts, in which order, and how they start."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from snnsim_datasets.tools.images import Images
from snnsim_experiments.continual import networks

sys.path.insert(0, str(Path(__file__).parent))
from small import stream as of_blobs

import snnsim as sn
from snnsim.baselines import RateNetwork
from snnsim.continual import Stream, Task, View, split_by_class
from snnsim.errors import ConfigError
from snnsim.functional.readouts import READOUTS, mean
from snnsim.surrogate import Sigmoid
from snnsim.training import set_seed
from snnsim.training.rules import PlasticConnection as Plastic
from snnsim.training.rules.dsr import RateLIF, weighted_mean

FLAT, IMAGE = (1, 6, 6), (3, 13, 10)


def images(shape, samples=24, flat=False):
    pixels = np.random.default_rng(0).integers(0, 255, (samples, *shape)).astype(np.uint8)
    pixels = pixels[:, 0] if shape[0] == 1 else pixels
    names = tuple("abcd")
    channels = shape[0]
    data = Images(pixels, np.arange(samples) % 4, names, (0.5,) * channels, (0.2,) * channels,
                  flat=flat)  # fmt: skip
    return split_by_class("four", (data, None, data), 2, "task")


def build(stream, **options):
    """The learner, with its connections as they were before the rule of learning wrapped them."""
    set_seed(0)
    learner = networks.build(stream, **options)
    for part in [module for module in learner.modules() if not isinstance(module, Plastic)]:
        for name, child in list(part.named_children()):
            if isinstance(child, Plastic):
                setattr(part, name, child.connection)
    return learner


def kinds(net):
    return [type(layer).__name__ for layer in net]


def starts_within(weight, bound):
    """Uniform up to this bound, by its largest value and its spread."""
    weight = weight.detach()
    assert float(weight.abs().max()) <= bound
    if weight.numel() > 200:
        assert float(weight.abs().max()) > 0.95 * bound
        assert float(weight.std()) == pytest.approx(bound / math.sqrt(3), rel=0.1)


# --- fully connected ----------------------------------------------------------------------------


def test_a_network_has_two_layers_of_800_unless_told_otherwise():
    net = build(images(FLAT, flat=True))
    assert kinds(net.body) == ["Dense", "Repeat", "LIF", "Dense", "LIF"]
    sizes = [(layer.n_in, layer.n_out) for layer in net.body if isinstance(layer, sn.Dense)]
    assert sizes == [(36, 800), (800, 800)]
    assert [(head.n_in, head.n_out) for head in net.heads] == [(800, 2), (800, 2)]
    assert net.body[1].steps == 6 and net.readout is mean and net.learning == "bptt"


def test_neurons_are_subtracting_ones_with_a_steep_surrogate():
    net = build(of_blobs("task"), hidden=[20, 7], tau_mem=5.0)
    assert kinds(net.body) == ["Dense", "LIF", "Dense", "LIF"]
    for lif, n in ((net.body[1], 20), (net.body[3], 7)):
        assert lif.n == n and lif.dt == 1.0 and float(lif.tau_mem) == 5.0
        assert lif.discretization == "euler" and lif.reset.mode == "subtract"
        assert lif.surrogate == Sigmoid(alpha=4.0)
    usual = build(of_blobs("task"), hidden=[20])
    assert float(usual.body[1].tau_mem) == 2.0


@pytest.mark.parametrize("gain", [1.0, 2.5])
def test_weights_start_within_the_gain_over_the_root_of_their_number(gain):
    net = build(of_blobs("task"), hidden=[60, 50], gain=gain)
    for layer, n_in in ((net.body[0], 12), (net.body[2], 60)):
        starts_within(layer.weight, gain / math.sqrt(n_in))
    delayed = build(of_blobs("task"), hidden=[60], connections="axonal", gain=gain)
    starts_within(delayed.body[0].weight, gain / math.sqrt(12))


def test_normalisation_comes_before_the_image_is_repeated_and_before_the_neurons():
    net = build(images(FLAT, flat=True), hidden=[5, 4], norm=True, steps=3)
    assert kinds(net.body) == ["Dense", "BatchNorm", "Repeat", "LIF", "Dense", "BatchNorm", "LIF"]
    assert net.body[2].steps == 3
    assert [layer.n for layer in net.body if isinstance(layer, sn.BatchNorm)] == [5, 4]


def test_without_hidden_layers_there_is_but_a_head():
    assert kinds(build(of_blobs("task"), hidden=[]).body) == []


def test_recurrent_networks_have_recurrent_neurons():
    net = build(of_blobs("task"), hidden=[9], connections="recurrent")
    assert kinds(net.body) == ["Dense", "Recurrent"]
    assert type(net.body[1].neuron) is sn.LIF and net.body[1].neuron.n == 9


@pytest.mark.parametrize("connections", ["axonal", "dendritic", "synaptic"])
def test_delays_are_of_their_kind_and_reach_as_far_as_told(connections):
    net = build(of_blobs("task"), hidden=[9, 8], connections=connections, max_delay_steps=4)
    assert kinds(net.body) == ["Delayed", "LIF", "Delayed", "LIF"]
    for layer in net.body:
        if isinstance(layer, sn.Delayed):
            assert layer.granularity == connections
            assert (layer.dt, layer.length) == (1.0, 5)
    usual = build(of_blobs("task"), hidden=[9], connections=connections)
    assert usual.body[0].length == 25


@pytest.mark.parametrize("name", READOUTS)
def test_scores_are_the_read_out_that_was_named(name):
    assert build(of_blobs("task"), hidden=[4], readout=name).readout is READOUTS[name]


@pytest.mark.parametrize(("tau", "decay"), [(2.0, 0.5), (5.0, 0.8), (1.0, 0.0)])
def test_traces_of_online_training_decay_as_the_membranes(tau, decay, monkeypatch):
    made = {}
    learner = networks.Learner

    def noting(*arguments, **options):
        made.update(options)
        return learner(*arguments, **options)

    monkeypatch.setattr(networks, "Learner", noting)
    build(of_blobs("task"), hidden=[4], learning="ottt", tau_mem=tau, feedback="sign")
    assert made["trace_decay"] == pytest.approx(decay)
    assert (made["training"], made["feedback"]) == ("ottt", "sign")


def test_training_by_rates_has_neurons_and_a_weighted_mean_of_its_own():
    net = build(images(FLAT, flat=True), hidden=[5, 4], learning="dsr", readout="last")
    assert kinds(net.body) == ["Dense", "Repeat", "RateLIF", "Dense", "RateLIF"]
    assert net.learning == "dsr"
    y = torch.rand(6, 3, 2)
    torch.testing.assert_close(net.readout(y), weighted_mean(y, RateLIF(1).decay))
    torch.testing.assert_close(net.readout(y, torch.tensor([6] * 3)), net.readout(y))
    assert net.readout.decay == RateLIF(1).decay


# --- convolutions -------------------------------------------------------------------------------


def test_convolutions_of_3_by_3_have_neurons_and_a_mean_behind_each():
    net = build(images(IMAGE), convolutions=[7, 5], gain=2.0, steps=4)
    assert kinds(net.body) == ["OverTime", "Repeat", "LIF", "OverTime", "OverTime", "LIF",
                               "OverTime", "Flatten"]  # fmt: skip
    assert net.body[1].steps == 4
    assert [tuple(net.body[i].shape) for i in (2, 5)] == [(7, 13, 10), (5, 6, 5)]
    for i, n_in, n_out in ((0, 3, 7), (4, 7, 5)):
        convolution = net.body[i].module
        assert (convolution.in_channels, convolution.out_channels) == (n_in, n_out)
        assert (convolution.kernel_size, convolution.padding) == ((3, 3), (1, 1))
        assert convolution.stride == (1, 1) and convolution.bias is None
        starts_within(convolution.weight, 2.0 / math.sqrt(9 * n_in))
    for i in (3, 6):
        assert isinstance(net.body[i].module, torch.nn.AvgPool2d)
        assert net.body[i].module.kernel_size == 2
    assert net.heads[0].n_in == 5 * 3 * 2
    x = images(IMAGE).tasks[0].test.batch(range(3)).x
    assert net.outputs(x, 0).shape == (4, 3, 2)


def test_convolutions_may_be_normalised_and_have_hidden_layers_behind_them():
    net = build(images(IMAGE), convolutions=[4], norm=True, hidden=[6])
    assert kinds(net.body) == ["OverTime", "BatchNorm", "Repeat", "LIF", "OverTime", "Flatten",
                               "Dense", "BatchNorm", "LIF"]  # fmt: skip
    assert net.body[1].n == 4 and (net.body[6].n_in, net.body[6].n_out) == (4 * 6 * 5, 6)
    assert net.heads[0].n_in == 6


def test_images_that_are_not_flat_are_flattened_for_fully_connected_layers():
    net = build(images(IMAGE), hidden=[6])
    assert kinds(net.body) == ["Flatten", "Dense", "Repeat", "LIF"]
    assert net.body[1].n_in == 3 * 13 * 10


# --- residual stages ----------------------------------------------------------------------------


def test_residual_stages_halve_rows_and_columns_and_end_in_a_value_per_channel():
    net = build(images(IMAGE), residual=[4, 6, 6], steps=2, gain=1.5)
    assert kinds(net.body) == ["OverTime", "Repeat", *["Skip"] * 6, "BatchNorm", "LIF",
                               "OverTime", "Flatten"]  # fmt: skip
    stem = net.body[0].module
    assert (stem.kernel_size, stem.stride, stem.padding) == ((3, 3), (1, 1), (1, 1))
    starts_within(stem.weight, 1.5 / math.sqrt(9 * 3))
    sizes = [(13, 10), (13, 10), (13, 10), (7, 5), (7, 5), (4, 3), (4, 3)]
    channels = [4, 4, 4, 6, 6, 6, 6]
    for i, ((old, new), (n_in, n_out)) in enumerate(
        zip(pairwise(sizes), pairwise(channels), strict=True)
    ):
        skip = net.body[2 + i]
        inner = skip.layer
        assert kinds(inner) == ["BatchNorm", "LIF", "OverTime", "BatchNorm", "LIF", "OverTime"]
        assert (inner[0].n, inner[3].n) == (n_in, n_out)
        assert (tuple(inner[1].shape), tuple(inner[4].shape)) == ((n_in, *old), (n_out, *new))
        first, second = inner[2].module, inner[5].module
        stride = 1 if old == new else 2
        assert (first.stride, first.kernel_size, first.in_channels) == ((stride,) * 2, (3, 3), n_in)
        assert (second.stride, second.kernel_size) == ((1, 1), (3, 3))
        assert (second.in_channels, second.out_channels) == (n_out, n_out)
        for each in (first, second):
            starts_within(each.weight, 1.5 / math.sqrt(9 * each.in_channels))
        if stride == 1 and n_in == n_out:
            assert skip.project is None
        else:
            project = skip.project.module
            assert (project.kernel_size, project.stride) == ((1, 1), (stride,) * 2)
            assert project.padding == (0, 0)
            starts_within(project.weight, 1.5 / math.sqrt(n_in))
    assert net.body[8].n == 6 and tuple(net.body[9].shape) == (6, 4, 3)
    assert net.body[10].module.kernel_size == (4, 3)
    assert net.heads[0].n_in == 6
    assert net.outputs(images(IMAGE).tasks[0].test.batch(range(3)).x, 1).shape == (2, 3, 2)


def test_a_wider_stem_has_a_stride_of_2():
    net = build(images(IMAGE), residual=[4], stem=5, learning="dsr")
    stem = net.body[0].module
    assert (stem.kernel_size, stem.stride, stem.padding) == ((5, 5), (2, 2), (2, 2))
    assert stem.weight.abs().max() <= 1 / math.sqrt(25 * 3)
    assert net.body[6].module.kernel_size == (7, 5) and kinds(net.body)[4] == "BatchNorm"
    assert [type(m).__name__ for m in net.body[2].layer] == ["BatchNorm", "RateLIF", "OverTime"] * 2
    x = images(IMAGE).tasks[0].test.batch(range(3)).x
    assert net.outputs(x, 0).shape == (6, 3, 2)


def test_residual_stages_may_be_behind_convolutions():
    net = build(images(IMAGE), convolutions=[5], residual=[4, 8], hidden=[3])
    assert kinds(net.body) == ["OverTime", "Repeat", "LIF", "OverTime", "OverTime", *["Skip"] * 4,
                               "BatchNorm", "LIF", "OverTime", "Flatten", "Dense",
                               "LIF"]  # fmt: skip
    assert net.body[4].module.in_channels == 5
    assert net.body[11].module.kernel_size == (3, 3)  # of 6 x 5, halved once, rounded up
    assert net.body[13].n_in == 8


# --- baselines ----------------------------------------------------------------------------------


def test_a_baseline_gets_flat_steps_and_is_prepared_with_training_data(monkeypatch):
    seen = []
    monkeypatch.setattr(RateNetwork, "prepare", lambda self, x: seen.append(x))
    stream = images(IMAGE)
    net = build(stream, model="elman", width=6, depth=2, dropout=0.25, steps=3)
    assert kinds(net.body) == ["Flatten", "Repeat", "RateNetwork"]
    body = net.body[2]
    assert body.encoder.n_in == 390 and [layer.n_out for layer in body.layers] == [6, 6]
    assert {m.p for m in body.modules() if isinstance(m, sn.Dropout)} == {0.25}
    assert net.body[1].steps == 3 and net.heads[0].n_in == 6
    train = stream.tasks[0].train
    assert len(seen) == 1 and torch.equal(seen[0], train.batch(range(len(train))).x.flatten(2))
    assert net.outputs(train.batch(range(2)).x, 0).shape == (3, 2, 2)


def test_a_baseline_on_sequences_has_its_encoder_and_options():
    net = build(of_blobs("task"), model="fsmn", width=6, options={"order": 4}, readout="last",
                encoder={"clip": 2.0})  # fmt: skip
    assert kinds(net.body) == ["RateNetwork"] and net.readout is READOUTS["last"]
    assert net.body[0].encoder.clip == 2.0
    wider = build(of_blobs("task"), model="fsmn", width=6, options={"order": 5})
    sizes = [sum(p.numel() for p in each.parameters()) for each in (net, wider)]
    assert sizes[0] < sizes[1]


@pytest.mark.parametrize(("samples", "first"), [(300, 300), (700, 350), (5, 5)])
def test_at_most_some_hundred_samples_prepare_a_baseline(monkeypatch, samples, first):
    seen = []
    monkeypatch.setattr(RateNetwork, "prepare", lambda self, x: seen.append(x.shape[1]))
    blobs = of_blobs("domain").tasks[0].train
    train = View(blobs, np.arange(samples) % len(blobs))
    stream = Stream("one", "domain", (Task("one", train, None, train, 6),))
    build(stream, model="elman", width=4)
    assert seen == [first]


# --- what cannot be -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Short:
    """Of which but one sample has a single step."""

    data: object
    lengths: np.ndarray

    def __getattr__(self, name):
        return getattr(self.data, name)


def test_sequences_are_not_repeated_even_if_some_have_one_step():
    stream = of_blobs("task")
    lengths = np.ones(len(stream.tasks[0].test), dtype=int)
    lengths[3] = 6
    first = replace(stream.tasks[0], test=Short(stream.tasks[0].test, lengths))
    mixed = replace(stream, tasks=(first, *stream.tasks[1:]))
    assert kinds(build(mixed, hidden=[4]).body) == ["Dense", "LIF"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"connections": "dens"}, "connections"),
        ({"learning": "dsr", "connections": "axonal"}, "'dsr' works with rates only"),
        ({"learning": "dsr", "connections": "recurrent"}, "'dsr' works with rates only"),
        ({"hidden": [4, 0]}, "a layer's size is 0"),
        ({"convolutions": [0]}, "a layer's size is 0"),
        ({"residual": [4, -1]}, "a layer's size is -1"),
        ({"steps": 0}, "steps is 0"),
        ({"max_delay_steps": 0}, "max_delay_steps is 0"),
        ({"stem": 0}, "stem is 0"),
        ({"tau_mem": 0.5}, "tau_mem is 0.5"),
        ({"gain": 0.0}, "gain is 0"),
        ({"readout": "men"}, "readout"),
        ({"connections": "axonal"}, "delays need sequences"),
        ({"convolutions": [4], "connections": "recurrent"}, "and connections 'recurrent'"),
        ({"model": "gruu"}, "'gru'"),
    ],
    ids=str,
)
def test_what_no_network_of_images_can_be_is_refused(options, said):
    with pytest.raises(ConfigError, match=said):
        build(images(IMAGE), **options)


@pytest.mark.parametrize("kind", ["convolutions", "residual"])
def test_convolutions_need_images_with_rows_and_columns(kind):
    for stream in (images(FLAT, flat=True), of_blobs("task")):
        with pytest.raises(ConfigError, match=r"convolutions need images \[C, H, W\]"):
            build(stream, **{kind: [4]})


SPIKING = {"hidden", "convolutions", "residual", "stem", "connections", "norm", "tau_mem",
           "max_delay_steps", "gain"}  # fmt: skip
RATED = {"width", "depth", "dropout", "encoder", "options"}
BOTH = {"learning", "feedback", "readout", "model", "steps"}


@pytest.mark.parametrize(
    ("model", "options", "still", "unused"),
    [
        ("gru", {}, True, SPIKING),
        ("gru", {}, False, SPIKING | {"steps"}),
        ("spiking", {}, True, RATED | {"stem", "max_delay_steps"}),
        ("spiking", {}, False, RATED | {"stem", "max_delay_steps", "steps"}),
        ("spiking", {"residual": [4]}, True, RATED | {"max_delay_steps"}),
        ("spiking", {"connections": "recurrent"}, True, RATED | {"stem", "max_delay_steps"}),
        ("spiking", {"connections": "axonal"}, False, RATED | {"stem", "steps"}),
        (
            "spiking",
            {"learning": "dsr"},
            True,
            RATED | {"stem", "max_delay_steps", "readout", "tau_mem"},
        ),
        ("spiking", {"learning": "ottt"}, True, RATED | {"stem", "max_delay_steps"}),
    ],
    ids=lambda value: str(sorted(value)) if isinstance(value, set) else str(value),
)
def test_options_without_effect_are_these(model, options, still, unused):
    for name in SPIKING | RATED | BOTH:
        if name in unused:
            with pytest.raises(ConfigError, match=f"network.{name} has no effect"):
                networks.check_used(model, options, [name], still)
        else:
            networks.check_used(model, options, [name], still)
