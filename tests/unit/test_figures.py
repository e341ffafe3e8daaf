"""Where figures draw what, and what they say beside it."""

from __future__ import annotations

import itertools
import sys

import numpy as np
import pytest
import torch

import snnsim as sn
from snnsim import plotting
from snnsim.errors import ConfigError, SnnsimError
from snnsim.plotting import figures

pytest.importorskip("matplotlib")
from matplotlib.colors import to_rgba


def labels(axis):
    return axis.get_xlabel(), axis.get_ylabel()


def legend(axis):
    return [text.get_text() for text in axis.get_legend().get_texts()]


def test_curves_are_labelled():
    parts = ("train_loss", "validation_loss", "train_accuracy", "validation_accuracy")
    figure = plotting.curves([dict.fromkeys(parts, 0.5) | {"epoch": 0}])
    assert [labels(axis) for axis in figure.axes] == [("epoch", "loss"), ("epoch", "accuracy")]
    assert [legend(axis) for axis in figure.axes] == [["train", "validation"]] * 2


def test_the_best_epoch_has_a_line_of_its_own():
    parts = ("train_loss", "validation_loss", "train_accuracy", "validation_accuracy")
    rows = [dict.fromkeys(parts, 0.5) | {"epoch": epoch} for epoch in range(4)]
    for axis in plotting.curves(rows, best_epoch=2).axes:
        assert axis.lines[-1].get_xdata() == [3, 3]
        assert legend(axis)[-1] == "best epoch"


def readout(kind, **options):
    torch.manual_seed(0)
    net = sn.Sequential(sn.Dense(3, 3), kind(3, dt=2.0, **options))
    return net, (torch.rand(8, 2, 3) < 0.6).float()


def test_the_true_class_and_the_highest_are_named_among_values():
    net, x = readout(sn.LI)
    y = net.eval()(x)[0][:, 0].mean(0)
    best, other = int(y.argmax()), int(y.argmin())
    names = ["<a>", "b", "$c$"]
    axis = plotting.raster(net, x, 2.0, classes=names, target=other).axes[-1]
    assert set(legend(axis)) == {f"true class {names[other]!r}", f"highest: {names[best]!r}"}
    axis = plotting.raster(net, x, 2.0, classes=names, target=best).axes[-1]
    assert legend(axis) == [f"true class {names[best]!r}"]


def test_spiking_outputs_have_the_names_of_the_classes_beside_them():
    net, x = readout(sn.LIF)
    axis = plotting.raster(net, x, 2.0, classes=["a", "b", "c"], target=1).axes[-1]
    assert [text.get_text() for text in axis.get_yticklabels()] == ["a", "b", "c"]
    assert [text.get_color() == "tab:red" for text in axis.get_yticklabels()] == [0, 1, 0]
    axis = plotting.raster(net, x, 2.0, classes=["a", "b"]).axes[-1]  # of other units
    assert "a" not in [text.get_text() for text in axis.get_yticklabels()]


# --- rasters ------------------------------------------------------------------------------------


def test_raster_draws_every_layer_of_the_first_sample_over_time():
    torch.manual_seed(0)
    net = sn.Sequential(
        sn.Delayed(3, 4, dt=2.0, max_delay_ms=8, padding="lengthen"),
        sn.LIF(4, dt=2.0, v_threshold=0.2), sn.Dropout(0.5), sn.Dense(4, 2), sn.LI(2, dt=2.0),
    )  # fmt: skip
    x = (torch.rand(6, 2, 3, generator=torch.Generator().manual_seed(1)) < 0.6).float()
    figure = plotting.raster(net.train(), x, dt=2.0, title="a title")
    assert [axis.get_ylabel() for axis in figure.axes] == ["input", "layer 1: LIF", "layer 2: LI"]
    assert [axis.get_title() for axis in figure.axes] == ["a title", "", ""]
    assert [axis.get_xlabel() for axis in figure.axes] == ["", "", "time in ms"]
    assert {axis.get_xlim() for axis in figure.axes} == {(0, 16)}  # as long as the longest layer
    hidden = sn.Sequential(*list(net)[:2]).eval()(x)[0][:, 0]
    step, neuron = hidden.nonzero(as_tuple=True)
    drawn = figure.axes[1].collections[0].get_offsets()
    assert len(step) > 0
    np.testing.assert_array_equal(drawn, torch.stack([2.0 * step, neuron], 1))
    out = net.eval()(x)[0][:, 0].detach()
    for n, line in enumerate(figure.axes[2].lines):
        np.testing.assert_array_equal(line.get_xdata(), 2.0 * np.arange(8))
        np.testing.assert_allclose(line.get_ydata(), out[:, n], atol=1e-6)
    assert len(figure.axes[2].lines) == 2 and not figure.axes[2].collections


def test_raster_draws_neurons_in_the_order_and_the_colours_of_their_groups():
    net = sn.Sequential(sn.Dense(3, 4), sn.LIF(4, dt=1.0, v_threshold=0.1))
    with torch.no_grad():
        net[0].weight.fill_(5.0)
    x = torch.zeros(3, 1, 3)
    x[1] = 1
    figure = plotting.raster(net, x, 1.0, groups={"layers.1": [1, 0, 1, 0]})
    (spikes,) = figure.axes[1].collections
    drawn = zip(spikes.get_offsets(), spikes.get_facecolor(), strict=True)
    rows = {int(row): tuple(colour) for (_, row), colour in drawn}
    assert sorted(rows) == [0, 1, 2, 3]  # from the bottom: neurons 1 and 3, then 0 and 2
    assert rows[0] == rows[1] != rows[2] == rows[3]


@pytest.mark.parametrize(
    ("groups", "said"),
    [
        ({"layers.1": [0, 1]}, "for 4 neurons"),
        ({"layers.2": [0] * 4}, "layers.2"),
        ({"layers.0": [0] * 4}, "layers.0"),
    ],
)
def test_groups_that_fit_no_layer_are_refused(groups, said):
    net = sn.Sequential(sn.Dense(3, 4), sn.LIF(4, dt=1.0))
    with pytest.raises(ConfigError, match=said):
        plotting.raster(net, torch.zeros(3, 1, 3), 1.0, groups=groups)


def test_raster_leaves_no_hook_even_where_the_network_fails():
    net = sn.Sequential(sn.Dense(3, 2), sn.LIF(2, dt=1.0))
    plotting.raster(net, torch.zeros(4, 1, 3), 1.0)
    assert not net[1]._forward_hooks and net.training
    with pytest.raises(SnnsimError):
        plotting.raster(net, torch.zeros(4, 1, 7), 1.0)
    assert not net[1]._forward_hooks and net.training


def test_raster_lays_images_out_as_rows():
    x = torch.zeros(3, 2, 2, 2)
    x[1, 0, 1, 0] = 1
    net = torch.nn.Flatten(2)
    figure = plotting.raster(net, x, dt=5.0)
    np.testing.assert_array_equal(figure.axes[0].collections[0].get_offsets(), [[5, 2]])
    assert figure.axes[0].get_xlim() == (0, 15)


# --- delays -------------------------------------------------------------------------------------


def test_bars_of_delays_stand_on_whole_steps_and_count_before_and_after():
    layer = sn.Delayed(3, 2, dt=10.0, max_delay_ms=40)
    with torch.no_grad():
        layer.delay.copy_(torch.tensor([0, 0.4, 1, 1, 2, 4]).view(2, 3, 1))
    net = sn.Sequential(layer)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with torch.no_grad():
        layer.delay.copy_(torch.tensor([4, 4, 4, 3, 3, 0.0]).view(2, 3, 1))
    (axis,) = plotting.delay_histogram(net, before).axes
    bars = [p for p in axis.patches if hasattr(p, "get_height")]
    assert [(bar.get_x(), bar.get_x() + bar.get_width()) for bar in bars] == [
        (-5, 5), (5, 15), (15, 25), (25, 35), (35, 45),
    ]  # fmt: skip
    assert [bar.get_height() for bar in bars] == [2, 2, 1, 0, 1]
    (outline,) = (p for p in axis.patches if not hasattr(p, "get_height"))
    corners = outline.get_xy()
    tops = {(a, b): y for (a, y), (b, z) in itertools.pairwise(corners) if y == z}
    assert [tops[a, a + 10] for a in (-5, 5, 15, 25, 35)] == [1, 0, 0, 2, 3]
    assert labels(axis) == ("delay in ms", "synapses")
    assert axis.get_title() == "layers.0"
    assert legend(axis) == ["before", "after"]


def test_every_delayed_layer_has_a_histogram_with_its_own_step():
    net = sn.Sequential(
        sn.Delayed(2, 2, dt=1.0, max_delay_ms=2), sn.LIF(2, dt=1.0),
        sn.Delayed(2, 1, dt=5.0, max_delay_ms=20),
    )  # fmt: skip
    figure = plotting.delay_histogram(net, net.state_dict())
    assert [axis.get_title() for axis in figure.axes] == ["layers.0", "layers.2"]
    ends = [[bar.get_x() for bar in axis.patches if hasattr(bar, "get_x")][-1]
            for axis in figure.axes]  # fmt: skip
    assert ends == [1.5, 17.5]
    assert [axis.get_ylabel() for axis in figure.axes] == ["synapses", ""]
    assert [axis.get_legend() is not None for axis in figure.axes] == [True, False]


# --- accuracies ---------------------------------------------------------------------------------


def test_accuracy_over_time_is_drawn_in_percent():
    (axis,) = plotting.accuracy_over_time([10, 20, 30], [0.1, 0.25, 1.0]).axes
    np.testing.assert_array_equal(axis.lines[0].get_xdata(), [10, 20, 30])
    np.testing.assert_allclose(axis.lines[0].get_ydata(), [10, 25, 100])
    assert labels(axis) == ("time seen (ms)", "accuracy (%)")


def test_numbers_of_a_matrix_stand_in_their_cells():
    matrix = [[90.0, 12.0, 60.0], [70.4, 80.0, 61.0]]
    heat, bar = plotting.accuracy_matrix(matrix).axes
    found = {text.get_position(): text.get_text() for text in heat.texts}
    assert found == {
        (0, 0): "90", (1, 0): "12", (2, 0): "60", (0, 1): "70", (1, 1): "80", (2, 1): "61",
    }  # fmt: skip
    colours = {text.get_text(): text.get_color() for text in heat.texts}
    assert colours == {
        "90": "black", "12": "white", "60": "white", "70": "black", "80": "black", "61": "black",
    }  # fmt: skip
    assert {(t.get_ha(), t.get_va()) for t in heat.texts} == {("center", "center")}
    (image,) = heat.images
    np.testing.assert_array_equal(image.get_array(), matrix)
    assert image.get_clim() == (0, 100)
    assert labels(heat) == ("tested on task", "after task")
    assert [t.get_text() for t in heat.get_xticklabels()] == ["1", "2", "3"]
    assert [t.get_text() for t in heat.get_yticklabels()] == ["1", "2"]
    assert list(heat.get_xticks()) == [0, 1, 2] and list(heat.get_yticks()) == [0, 1]
    assert bar.get_ylabel() == "accuracy (%)"


def test_curves_of_tasks_begin_with_their_own_training_and_the_mean_is_of_those_so_far():
    matrix = [[90.0, 1.0, 2.0], [60.0, 80.0, 3.0], [30.0, 40.0, 95.0]]
    (axis,) = plotting.accuracy_curves(matrix).axes
    lines = [(list(line.get_xdata()), list(line.get_ydata())) for line in axis.lines]
    assert lines == [
        ([1, 2, 3], [90, 60, 30]), ([2, 3], [80, 40]), ([3], [95]), ([1, 2, 3], [90, 70, 55]),
    ]  # fmt: skip
    assert axis.get_ylim() == (0, 102)
    assert labels(axis) == ("after task", "accuracy (%)")
    assert legend(axis) == ["mean of tasks so far"]


def test_costs_show_spread_kind_and_budget():
    def row(name, test, std=None, **more):
        return {"name": name, "test": test, "test_std": std, "operations": 100.0, **more}

    rows = [
        row("a", 70.0, 2.0, rate=0.1, operations=1000.0),
        row("b", 80.0, rate=None),
        row("c", 60.0, spiking=True, rate=None),
        row("d", 50.0, spiking=False, rate=0.1),
    ]
    rows = [{**r, "operations": r["operations"]} for r in rows]
    named, spread = plotting.accuracy_by_cost(rows).axes
    assert [label.get_text() for label in named.get_yticklabels()] == ["d", "c", "a", "b"]
    drawn = {
        float(c.lines[0].get_xdata()[0]): (
            float(c.lines[0].get_ydata()[0]), c.lines[0].get_marker(), c.lines[0].get_color(),
            c.lines[0].get_markerfacecolor(),
        )
        for c in named.containers
    }  # fmt: skip
    assert drawn == {
        70.0: (2.0, "s", "tab:red", "tab:red"), 80.0: (3.0, "o", "tab:blue", "tab:blue"),
        60.0: (1.0, "s", "tab:red", "tab:red"), 50.0: (0.0, "o", "tab:blue", "tab:blue"),
    }  # fmt: skip
    bars = named.containers[0].lines[2][0].get_segments()[0]
    np.testing.assert_allclose(bars, [[68, 2], [72, 2]])
    tall = spread.containers[0].lines[2][0].get_segments()[0]
    np.testing.assert_allclose(tall, [[1000, 68], [1000, 72]])
    points = [(c.lines[0].get_xdata()[0], c.lines[0].get_ydata()[0]) for c in spread.containers]
    assert points == [(1000, 70), (100, 80), (100, 60), (100, 50)]
    assert spread.get_xscale() == "log" and named.get_xscale() == "linear"
    assert named.get_xlabel() == "test accuracy (%)" and spread.get_ylabel() == "test accuracy (%)"
    assert spread.get_xlabel() == "operations per step and sample, dense"


def test_smaller_budgets_stand_open_below_the_largest():
    rows = [
        {"name": "a", "test": t, "test_std": None, "operations": 1.0, "budget": b}
        for t, b in ((50.0, 1), (60.0, 4))
    ]
    named, _ = plotting.accuracy_by_cost(rows).axes
    places = [float(c.lines[0].get_ydata()[0]) for c in named.containers]
    assert places == pytest.approx([-0.15, 0.15])
    faces = [to_rgba(c.lines[0].get_markerfacecolor()) for c in named.containers]
    assert faces == [to_rgba("white"), to_rgba("tab:blue")]


def test_a_picture_of_no_networks_is_empty():
    named, _ = plotting.accuracy_by_cost([]).axes
    assert not named.containers


# --- files --------------------------------------------------------------------------------------


def test_a_picture_is_saved_in_a_fixed_resolution(rendered, tmp_path):
    from matplotlib.image import imread

    figure, axes = figures._figure(2, 3, 4, 2)
    assert axes.shape == (2, 3)
    plotting.save(figure, tmp_path / "a" / "b" / "c.png")
    plotting.save(figure, str(tmp_path / "a" / "b" / "c.png"))  # again, over it
    assert imread(tmp_path / "a" / "b" / "c.png").shape[:2] == (240, 480)


def test_without_matplotlib_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(SnnsimError, match=r"pip install 'snnsim\[viz\]'"):
        plotting.accuracy_curves([[50.0]])


def test_names_with_dollar_signs_are_drawn_as_they_are(tmp_path, rendered):
    net, x = readout(sn.LI)
    names = ["$\\frac$", "a$b_$", "$$"]
    plotting.save(
        plotting.raster(net, x, 2.0, "$\\nothing$", classes=names, target=0), tmp_path / "a.png"
    )
    plotting.save(plotting.confusion_matrix([[1, 0, 0]] * 3, names), tmp_path / "b.png")
    assert min((tmp_path / name).stat().st_size for name in ("a.png", "b.png")) > 1000
