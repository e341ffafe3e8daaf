"""Figures draw the numbers that they are given."""

import numpy as np
import pytest
import torch

import snnsim as sn
from snnsim import plotting

pytest.importorskip("matplotlib")

PARTS = (
    ("train", "loss"), ("validation", "loss"), ("train", "accuracy"), ("validation", "accuracy"),
)  # fmt: skip


def test_curves_draw_both_parts_over_epochs_from_one():
    rows = [{f"{p}_{w}": e + k for k, (p, w) in enumerate(PARTS)} | {"epoch": e} for e in range(3)]
    loss, accuracy = plotting.curves(rows).axes
    lines = [line for axis in (loss, accuracy) for line in axis.lines]
    for k, line in enumerate(lines):
        np.testing.assert_array_equal(line.get_xdata(), [1, 2, 3])
        np.testing.assert_array_equal(line.get_ydata(), [k, k + 1, k + 2])


def test_raster_draws_each_spike_of_the_first_sample_and_leaves_the_network_in_training():
    net = sn.Sequential(sn.Dense(3, 2), sn.LIF(2, dt=10.0, tau_mem=20.0))
    x = torch.zeros(5, 2, 3)
    x[1, 0, 2] = x[4, 0, 0] = x[2, 1, 1] = 1
    figure = plotting.raster(net.train(), x, dt=10.0, title="two spikes")
    drawn = figure.axes[0].collections[0].get_offsets()
    np.testing.assert_array_equal(drawn, [[10, 2], [40, 0]])
    assert net.training
    assert len(figure.axes) == 2


def test_delay_histogram_counts_all_synapses_before_and_after():
    net = sn.Sequential(sn.Delayed(4, 3, dt=10.0, max_delay_ms=60.0))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    figure = plotting.delay_histogram(net, before)
    bars = figure.axes[0].patches
    assert sum(bar.get_height() for bar in bars if bar.get_facecolor()[3]) == 12


def test_no_delays_no_histogram():
    assert plotting.delay_histogram(sn.Sequential(sn.Dense(3, 2)), {}) is None


def test_matrix_and_curves_of_tasks():
    matrix = [[90.0, 12.0], [70.0, 80.0]]
    heat = plotting.accuracy_matrix(matrix).axes[0]
    assert [text.get_text() for text in heat.texts] == ["90", "12", "70", "80"]
    first, second, mean = plotting.accuracy_curves(matrix).axes[0].lines
    np.testing.assert_array_equal(first.get_ydata(), [90, 70])
    np.testing.assert_array_equal(second.get_ydata(), [80])
    np.testing.assert_array_equal(mean.get_ydata(), [90, 75])


def test_accuracy_by_cost_orders_names_by_the_largest_budget():
    def row(name, test, budget, rate=None):
        return {
            "name": name, "test": test, "test_std": None, "operations": 2 * budget,
            "budget": budget, "rate": rate,
        }  # fmt: skip

    rows = [
        row("a", 90, 1),
        row("b", 50, 1),
        row("a", 60, 4),
        row("b", 70, 4, 0.1),
        row("c", 99, 1),
    ]
    named, spread = plotting.accuracy_by_cost(rows).axes
    assert [label.get_text() for label in named.get_yticklabels()] == ["c", "a", "b"]
    places = {line.get_xdata()[0]: line.get_ydata()[0] for line in named.lines}
    rounded = {test: round(place) for test, place in places.items()}
    assert rounded == {90: 1, 50: 2, 60: 1, 70: 2, 99: 0}
    assert places[60] > places[90]  # the budgets of a network do not hide each other
    assert {line.get_xdata()[0] for line in spread.lines} == {2, 8}
    filled = {line.get_xdata()[0] for line in named.lines if line.get_markerfacecolor() != "white"}
    assert filled == {60, 70}


def test_save_makes_the_folder(rendered, tmp_path):
    path = tmp_path / "a" / "b.png"
    plotting.save(plotting.accuracy_curves([[50.0]]), path)
    assert path.read_bytes().startswith(b"\x89PNG")


def test_a_layer_alone_has_a_delay_histogram():
    layer = sn.Delayed(3, 4, dt=1.0, max_delay_ms=6.0)
    figure = plotting.delay_histogram(layer, layer.state_dict())
    assert len(figure.axes) == 1
