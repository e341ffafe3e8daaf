"""Figures of what analyses report."""

from __future__ import annotations

from typing import Any

import numpy as np

from snnsim.analysis import Report
from snnsim.plotting.figures import _figure


def report(found: Report) -> Any:
    """Plot what an analysis found."""
    drawn = {"assemblies": _assemblies, "operators": _operators, "sparsity": _sparsity}
    return drawn[found.what](found)


def _assemblies(found: Report) -> Any:
    """Affinities of the units in the order of their groups, and components over time and trials."""
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
    for number, (time, trials) in enumerate(
        zip(found.arrays["time"], found.arrays["trials"], strict=True)
    ):
        middle.plot(time, label=f"component {number + 1}")
        right.plot(trials, lw=0.8)
    middle.set(title="when", xlabel="time step")
    middle.legend(frameon=False)
    right.set(title="in which samples", xlabel="sample")
    return figure


def _operators(found: Report) -> Any:
    """What shared delay lines leave, and how far back the last output depends on the input."""
    figure, axes = _figure(1, 2, 9, 3.4)
    left, right = axes[0]
    for name, values in found.arrays.items():
        axis = right if name.startswith("reach") else left
        style = "--" if name.endswith("null") else "-"
        axis.plot(values, style, label=name.removeprefix("residual of "))
    left.set(title="delay lines", xlabel="shared lines", ylabel="residual")
    right.set(title="reach", xlabel="lag in time steps", ylabel="gradient")
    for axis in (left, right):
        axis.legend(frameon=False, fontsize=7)
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
