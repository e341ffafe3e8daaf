"""Figures; each function returns a matplotlib ``Figure`` and shows nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from snnsim.activity import layer_titles, neurons_of, record
from snnsim.errors import ConfigError, SnnsimError, check_choice, naming
from snnsim.synapses.delayed import DelayedConnection
from snnsim.units import steps_to_ms

NAMED = 40  # classes that have their names beside a raster, at most


def _figure(rows: int, columns: int, width: float, height: float) -> tuple[Any, Any]:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise SnnsimError("plots need matplotlib: pip install 'snnsim[viz]'") from error
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False)


def save(figure: Any, path: str | Path) -> None:
    """Write a figure to ``path``, whose folder is made if it is missing."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with naming(path):
        literal(figure).savefig(path, dpi=120)


def literal(figure: Any) -> Any:
    """Return a figure whose texts are drawn as they are: names from data may have dollar signs."""
    for text in figure.findobj(lambda part: hasattr(part, "set_parse_math")):
        text.set_parse_math(False)
    return figure


def curves(
    rows: Sequence[Mapping[str, Any]], metric: str = "accuracy", best_epoch: int | None = None
) -> Any:
    """Plot loss and score over epochs from the rows of ``metrics.jsonl``.

    Args:
        rows: the rows.
        metric: the name of the score.
        best_epoch: the number of the best epoch, from 0, which is marked; ``None`` for no mark.
    """
    figure, axes = _figure(1, 2, 9, 3.2)
    epochs = [row["epoch"] + 1 for row in rows]
    for axis, what in zip(axes[0], ("loss", metric), strict=True):
        for part in ("train", "validation"):
            axis.plot(epochs, [row[f"{part}_{what}"] for row in rows], label=part)
        if best_epoch is not None:
            axis.axvline(best_epoch + 1, color="0.6", lw=0.8, ls=":", label="best epoch")
        axis.set(xlabel="epoch", ylabel=what)
        axis.legend(frameon=False)
    return figure


@torch.no_grad()
def raster(
    net: nn.Module,
    x: Tensor,
    dt: float,
    title: str = "",
    groups: Mapping[str, Sequence[int]] | None = None,
    classes: Sequence[str] = (),
    target: int | None = None,
) -> Any:
    """Plot the spikes of the first sample of an input and of all layers of neurons.

    Outputs that are not spikes, such as those of leaky integrators, are drawn as values. Where the
    last layer has a neuron for each class, it says which is which.

    Args:
        net: network whose layers are recorded.
        x: input ``[T, B, N]``.
        dt: time step in ms.
        title: title of the figure.
        groups: by the name of a layer, the group of each of its neurons: these are drawn in the
            order of their groups, each group in a colour.
        classes: the names of the classes.
        target: the number of the true class, which is drawn in a colour.
    """
    recorded = record(net, x) if neurons_of(net) else {}
    for name in groups or {}:
        check_choice("a layer of groups", name, tuple(recorded))
    figure, axes = _figure(1 + len(recorded), 1, 8, 3.0 + 1.8 * len(recorded))
    shown = x[:, 0].flatten(1)
    _spikes(axes[0, 0], shown, dt)
    axes[0, 0].set_ylabel("input")
    end = len(shown)
    titles = layer_titles(net) if recorded else {}
    for axis, (name, each) in zip(axes[1:, 0], recorded.items(), strict=True):
        y = each.of(0).flatten(1)
        if each.kind == "spikes":
            _spikes(axis, y, dt, (groups or {}).get(name))
        else:
            axis.plot(torch.arange(len(y)) * dt, y.cpu(), lw=0.8)
        axis.set_ylabel(titles[name])
        end = max(end, len(y))
    if recorded and y.shape[1] == len(classes):
        _name_classes(axis, each.kind == "spikes", classes, target)
    for axis in axes[:, 0]:
        axis.set_xlim(0, end * dt)
    axes[0, 0].set_title(title)
    axes[-1, 0].set_xlabel("time in ms")
    return figure


def _name_classes(axis: Any, spiking: bool, classes: Sequence[str], target: int | None) -> None:
    """Say which neuron or line of the last layer is which class; colour that of the true one."""
    if spiking and len(classes) <= NAMED:
        axis.set_yticks(range(len(classes)), classes, fontsize=6)
        if target is not None:
            axis.get_yticklabels()[target].set_color("tab:red")
        return
    for number, line in enumerate(axis.lines):
        true = number == target
        line.set(color="tab:red" if true else "0.75", lw=1.6 if true else 0.8)
        line.set(zorder=3 if true else 2, label=f"true class {classes[number]!r}" if true else "")
    best = _highest(axis)
    if best is not None and best != target:
        line = axis.lines[best]
        line.set(color="tab:blue", lw=1.6, zorder=3, label=f"highest: {classes[best]!r}")
    if any(not line.get_label().startswith("_") for line in axis.lines if line.get_label()):
        axis.legend(frameon=False, fontsize=7)


def _highest(axis: Any) -> int | None:
    """The number of the line with the largest mean."""
    means = [float(line.get_ydata().mean()) for line in axis.lines]
    return means.index(max(means)) if means else None


def _spikes(axis: Any, y: Tensor, dt: float, group: Sequence[int] | None = None) -> None:
    """Draw the spikes ``[T, N]``; with groups, neurons in their order and colours."""
    step, neuron = y.cpu().nonzero(as_tuple=True)
    if group is None:
        axis.scatter(step * dt, neuron, s=1.5, c="black", linewidths=0)
        return
    given = torch.as_tensor(group)
    if given.shape != y.shape[1:]:
        raise ConfigError(
            f"groups of shape {tuple(given.shape)} were given for {y.shape[1]} neurons: give one "
            "group for each neuron"
        )
    rank = given.argsort(stable=True).argsort()
    colours = [f"C{int(each) % 10}" for each in given[neuron]]
    axis.scatter(step * dt, rank[neuron], s=3, c=colours, linewidths=0)


def delay_histogram(net: nn.Module, before: Mapping[str, Tensor]) -> Any | None:
    """Plot the delays of every delayed layer, as they are and as they were.

    Args:
        net: network with delays; without any there is no figure, and ``None`` is returned.
        before: its ``state_dict`` before training.
    """
    layers = [(n, m) for n, m in net.named_modules() if isinstance(m, DelayedConnection)]
    if not layers:
        return None
    figure, axes = _figure(1, len(layers), 3.4 * len(layers), 3)
    for axis, (name, layer) in zip(axes[0], layers, strict=True):
        edges = [steps_to_ms(d - 0.5, layer.dt) for d in range(layer.length + 1)]
        start = steps_to_ms(before[f"{name}.delay".removeprefix(".")].flatten(), layer.dt)
        axis.hist(start.cpu(), edges, label="before", color="0.8")
        axis.hist(layer.delay_ms().flatten().cpu(), edges, label="after", histtype="step")
        axis.set(xlabel="delay in ms", title=name)
    axes[0, 0].set_ylabel("synapses")
    axes[0, 0].legend(frameon=False)
    return figure


def accuracy_over_time(ms: Sequence[float], accuracy: Sequence[float]) -> Any:
    """Plot how soon a network knows: its accuracy by the time that it has seen of a sample.

    Args:
        ms: times in ms.
        accuracy: fractions of right answers at these times.
    """
    figure, axes = _figure(1, 1, 5, 3)
    plot = axes[0, 0]
    plot.plot(ms, [100 * fraction for fraction in accuracy])
    plot.set(xlabel="time seen (ms)", ylabel="accuracy (%)")
    plot.grid(alpha=0.3)
    return figure


def accuracy_matrix(matrix: Sequence[Sequence[float]]) -> Any:
    """Plot accuracies in percent as a heat map: a row after each task, a column for each task."""
    size = len(matrix[0])
    figure, axes = _figure(1, 1, 1.8 + 0.45 * size, 1.4 + 0.4 * len(matrix))
    axis = axes[0][0]
    image = axis.imshow(matrix, vmin=0, vmax=100, cmap="viridis", aspect="auto")
    for i, row in enumerate(matrix):
        for j, value in enumerate(row):
            colour = "black" if value > 60 else "white"
            axis.text(j, i, f"{value:.0f}", ha="center", va="center", color=colour, fontsize=7)
    axis.set(xlabel="tested on task", ylabel="after task")
    axis.set_xticks(range(size), [str(j + 1) for j in range(size)])
    axis.set_yticks(range(len(matrix)), [str(i + 1) for i in range(len(matrix))])
    figure.colorbar(image, label="accuracy (%)")
    return figure


def accuracy_curves(matrix: Sequence[Sequence[float]]) -> Any:
    """Plot accuracy in percent on each task from its own training on, and their mean so far."""
    figure, axes = _figure(1, 1, 6, 3.4)
    axis, count = axes[0][0], len(matrix)
    steps = list(range(1, count + 1))
    for task in range(count):
        values = [matrix[i][task] for i in range(task, count)]
        axis.plot(steps[task:], values, marker=".", linewidth=1, alpha=0.7)
    means = [sum(matrix[i][: i + 1]) / (i + 1) for i in range(count)]
    axis.plot(steps, means, color="black", linewidth=2, label="mean of tasks so far")
    axis.set(xlabel="after task", ylabel="accuracy (%)", ylim=(0, 102))
    axis.legend(frameon=False)
    return figure


def accuracy_by_cost(rows: Sequence[Mapping[str, Any]]) -> Any:
    """Plot the test accuracy of networks, in order, and over their operations per step.

    Args:
        rows: rows with ``name``, ``test``, ``test_std`` (or ``None``), ``operations`` and, for
            spiking networks, a firing ``rate`` or a true ``spiking``. Markers of the largest
            ``budget`` are filled, those of others are open. Rows of forecasts have a ``metric``.
    """
    largest = max((row.get("budget", 0) for row in rows), default=0)
    several = any(row.get("budget", 0) != largest for row in rows)
    by_test = sorted(rows, key=lambda row: (row.get("budget", 0) == largest, row["test"]))
    names = list(dict.fromkeys(row["name"] for row in reversed(by_test)))[::-1]
    figure, axes = _figure(1, 2, 10, max(2.5, 1 + 0.22 * len(names)))
    import matplotlib.ticker

    named, spread = axes[0]
    for row in rows:
        spiking = row.get("spiking", row.get("rate") is not None)
        color, marker = ("tab:red", "s") if spiking else ("tab:blue", "o")
        filled = row.get("budget", 0) == largest
        style = {"fmt": marker, "color": color, "markerfacecolor": color if filled else "white"}
        place = names.index(row["name"]) + (0.15 if filled else -0.15) * several
        named.errorbar(row["test"], place, xerr=row["test_std"], **style)
        spread.errorbar(row["operations"], row["test"], yerr=row["test_std"], **style)
    named.set_yticks(range(len(names)), names, fontsize=8)
    scored = "test NRMSE" if any("metric" in row for row in rows) else "test accuracy (%)"
    named.set(xlabel=scored, title="spiking networks are red squares")
    named.grid(axis="x", alpha=0.3)
    spread.set(xscale="log", xlabel="operations per step and sample, dense", ylabel=scored)
    spread.xaxis.set_minor_formatter("")
    spread.xaxis.set_major_locator(matplotlib.ticker.LogLocator(subs=(1, 2, 5)))
    spread.xaxis.set_major_formatter("{x:,.0f}")
    return figure


def repeated_data(rows: Sequence[Mapping[str, Any]]) -> Any:
    """Plot loss and accuracy on test data over the number of samples that are repeated.

    Args:
        rows: rows with a ``size`` and, where there are results, ``test_loss`` and
            ``test_accuracy`` (a fraction) or, of forecasts, ``test_nrmse``, and the standard
            deviations of both under ``std``. A size of 0 is a line.
    """
    figure, axes = _figure(1, 2, 9, 3.2)
    done = [row for row in rows if "test_loss" in row]
    second = ("test_accuracy", 100, "test accuracy (%)")
    if any("test_nrmse" in row for row in done):
        second = ("test_nrmse", 1, "test NRMSE")
    for axis, (key, scale, label) in zip(
        axes[0], (("test_loss", 1, "test loss"), second), strict=True
    ):
        some = [row for row in done if row["size"]]
        spread = [scale * (row["std"][key] or 0.0) for row in some]
        values = [scale * row[key] for row in some]
        axis.errorbar([row["size"] for row in some], values, yerr=spread, marker="o", capsize=3)
        for row in done:
            if not row["size"]:
                axis.axhline(scale * row[key], color="0.5", linestyle="--", label="none repeated")
                axis.legend(frameon=False)
        axis.set(xscale="log", xlabel="repeated samples", ylabel=label)
    return figure
