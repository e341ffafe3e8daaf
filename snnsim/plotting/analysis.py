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
        "chunks": _chunks,
        "depth": _depth,
        "dynamics": _dynamics,
        "operators": _operators,
        "recode": _recode,
        "sparsity": _sparsity,
        "timescales": _timescales,
    }
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


def _chunks(found: Report) -> Any:
    """The similarity of what was found, by chunk, and how many chunks ago it lies."""
    figure, axes = _figure(1, 2, 9, 3.4)
    left, right = axes[0]
    chunk, ago, near = (found.arrays[name] for name in ("chunk", "ago", "similarity"))
    for rank in range(ago.shape[2]):
        used = ago[:, :, rank] > 0
        mean = np.where(used, near[:, :, rank], 0).sum(0) / np.maximum(used.sum(0), 1)
        left.plot(chunk, mean, "o-", label=f"found {rank + 1}")
    if ago.any():
        right.hist(ago[ago > 0], bins=np.arange(0.5, ago.max() + 1))
    left.set(title="what was found", xlabel="chunk", ylabel="similarity")
    right.set(title="how long ago", xlabel="chunks before its use", ylabel="times")
    left.legend(frameon=False, fontsize=7)
    return figure


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
        axis.plot(values, style, label=name.removeprefix("residual of "))
    left.set(title="delay lines", xlabel="shared lines", ylabel="residual")
    right.set(title="reach", xlabel="lag in time steps", ylabel="gradient")
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
            axis.plot(values, "-" if name == kind else "--", label=name)
    right.plot(np.sort(found.arrays.get("kick", np.zeros(0)))[::-1], ".")
    left.set(title="twins", xlabel="time steps since the spike", ylabel="distance")
    middle.set(title="after the data", xlabel="time step", ylabel="activity")
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
