"""Figures of what analyses report."""

from __future__ import annotations

from typing import Any

import numpy as np

from snnsim.analysis import Report
from snnsim.plotting.figures import _figure


def report(found: Report) -> Any:
    """Plot what an analysis found."""
    drawn = {
        "assemblies": _assemblies,
        "depth": _depth,
        "dynamics": _dynamics,
        "operators": _operators,
        "recode": _recode,
        "sparsity": _sparsity,
        "timescales": _timescales,
    }
    return drawn[found.what](found)


def _times(found: Report, values: np.ndarray) -> tuple[np.ndarray, str]:
    """Return the times of the values of a curve, and their unit."""
    dt = found.settings.get("dt")
    return np.arange(len(values)) * (dt or 1.0), "ms" if dt else "time steps"


def _assemblies(found: Report) -> Any:
    """Affinities of the units in the order of their groups, and components over time and classes.

    Samples without classes are drawn one by one.
    """
    pairs, group = found.arrays["pairs"], found.arrays["group"]
    sizes = np.linalg.norm(found.arrays["trials"], axis=1)
    order = np.argsort(group, kind="stable")
    affinity = np.tensordot(sizes, pairs, 1)[np.ix_(order, order)]
    figure, axes = _figure(1, 3, 12, 3.6)
    left, middle, right = axes[0]
    left.imshow(affinity, cmap="magma")
    for edge in np.flatnonzero(np.diff(group[order])) + 0.5:
        left.axhline(edge, color="white", lw=0.5)
        left.axvline(edge, color="white", lw=0.5)
    left.set(title="affinity", xlabel="unit, by group", ylabel="unit, by group")
    for number, time in enumerate(found.arrays["time"]):
        times, unit = _times(found, time)
        middle.plot(times, time, label=f"component {number + 1}")
    middle.set(title="when", xlabel=f"time ({unit})")
    middle.legend(frameon=False)
    if "class" in found.arrays:
        _by_class(right, found)
    else:
        right.plot(found.arrays["trials"].T, lw=0.8)
        right.set(title="in which samples", xlabel="sample")
    return figure


def _by_class(axis: Any, found: Report) -> None:
    """Draw the mean size of every component in the samples of every class."""
    labels = found.arrays["class"]
    present = np.unique(labels)
    sizes = [found.arrays["trials"][:, labels == label].mean(1) for label in present]
    names = found.settings.get("classes") or ()
    shown = [str(names[label]) if label < len(names) else str(label) for label in present]
    image = axis.imshow(np.transpose(sizes), cmap="magma", aspect="auto")
    axis.figure.colorbar(image, ax=axis)
    axis.set(title="in which classes, on average", ylabel="component")
    axis.set_xticks(range(len(shown)), shown, rotation=90, fontsize=7)
    numbers = range(len(found.arrays["trials"]))
    axis.set_yticks(numbers, [str(number + 1) for number in numbers])


def _depth(found: Report) -> Any:
    """The similarity of blocks with the borders of phases, and the accuracy of paths."""
    S, phase = found.arrays["similarity"], found.arrays["phase"]
    figure, axes = _figure(1, 2, 9, 3.4)
    left, right = axes[0]
    extent = (0.5, len(S) + 0.5, len(S) + 0.5, 0.5)
    figure.colorbar(left.imshow(S, cmap="magma", extent=extent))
    for edge in np.flatnonzero(np.diff(phase)) + 1.5:
        left.axhline(edge, color="white", lw=0.8)
        left.axvline(edge, color="white", lw=0.8)
    left.set(title="similarity", xlabel="block", ylabel="block")
    if "paths" in found.arrays:
        counts, accuracy = found.arrays["paths"], found.arrays["accuracy of paths"]
        trained = (counts == 1).all(1)
        right.plot(counts.sum(1), accuracy, ".", alpha=0.4, label="path")
        right.plot(counts[trained].sum(1), accuracy[trained], "o", label="as trained")
        right.legend(frameon=False)
    right.set(title="paths", xlabel="blocks run", ylabel="accuracy")
    return figure


def _operators(found: Report) -> Any:
    """What shared delay lines leave, and how far back the last output depends on the input."""
    figure, axes = _figure(1, 2, 9, 3.4)
    left, right = axes[0]
    for name, values in found.arrays.items():
        axis = right if name.startswith("reach") else left
        style = "--" if name.endswith("null") else "-"
        where = _times(found, values)[0] if axis is right else np.arange(len(values))
        axis.plot(where, values, style, label=name.removeprefix("residual of "))
    left.set(title="delay lines", xlabel="shared lines", ylabel="residual")
    unit = _times(found, np.zeros(0))[1]
    right.set(title="reach", xlabel=f"lag ({unit})", ylabel="gradient")
    for axis in (left, right):
        axis.legend(frameon=False, fontsize=7)
    return figure


def _dynamics(found: Report) -> Any:
    """How far twins are apart, what remains of the activity, and how much units announce."""
    figure, axes = _figure(1, 3, 12, 3.4)
    left, middle, right = axes[0]
    for name, values in found.arrays.items():
        kind = name.removesuffix(", null")
        axis = left if kind == "distance" else middle
        if kind in ("distance", "off", "constant", "noise"):
            times, unit = _times(found, values)
            axis.plot(times, values, "-" if name == kind else "--", label=name)
            axis.set_xlabel(f"time ({unit})")
    right.plot(np.sort(found.arrays.get("kick", np.zeros(0)))[::-1], ".")
    left.set(title="twins: one spike more", ylabel="distance")
    middle.set(title="after the data", ylabel="activity")
    right.set(title="announcing a change of class", xlabel="unit, by rank", ylabel="kick index")
    for axis in (left, middle):
        axis.set_ylim(bottom=0)
        axis.legend(frameon=False, fontsize=7)
    return figure


def _timescales(found: Report) -> Any:
    """Autocorrelations with those of shuffled time steps, and the time constants of the units."""
    figure, axes = _figure(1, 2, 9, 3.4)
    left, right = axes[0]
    for name, values in found.arrays.items():
        if name not in ("lag", "tau"):
            style = "--" if name.endswith("null") else "-"
            left.plot(found.arrays["lag"], values, style, label=name)
    present = found.arrays["tau"][found.arrays["tau"] > 0]
    right.hist(present, bins=30)
    left.set(title="autocorrelation", xlabel="lag (ms)", ylabel="correlation")
    right.set(title=f"time constants of {len(present)} units", xlabel="ms", ylabel="units")
    left.legend(frameon=False, fontsize=7)
    return figure


def _sparsity(found: Report) -> Any:
    """Accuracy by the fraction of the synapses that is left."""
    figure, axes = _figure(1, 1, 4.6, 3.4)
    density = found.arrays["density"]
    for name, label, style in (("", "by magnitude", "o-"), (", null", "at random", "o--")):
        if f"accuracy{name}" in found.arrays:
            axes[0, 0].plot(density, found.arrays[f"accuracy{name}"], style, label=label)
    axes[0, 0].set(title="sparsity", xlabel="density", ylabel="accuracy", xscale="log")
    axes[0, 0].legend(frameon=False)
    return figure


def _recode(found: Report) -> Any:
    """Accuracy over time for each size of the step, and how much surer a move makes answers."""
    figure, axes = _figure(1, 2, 9, 3.4)
    left, right = axes[0]
    alpha = found.arrays["alpha"]
    for number, level in enumerate(alpha):
        (line,) = left.plot(found.arrays["accuracy"][number], label=f"alpha = {level:g}")
        if "accuracy, null" in found.arrays and level:
            null = found.arrays["accuracy, null"][number]
            left.plot(null, "--", color=line.get_color(), lw=0.8)
    for name, style in (("entropy change", "o-"), ("entropy change, null", "o--")):
        if name in found.arrays:
            right.plot(alpha, found.arrays[name], style, label=name)
    left.set(title="answers over time", xlabel="time step", ylabel="accuracy")
    right.set(title="one move", xlabel="alpha", ylabel="change of entropy (nats)")
    for axis in (left, right):
        axis.legend(frameon=False, fontsize=7)
    return figure
