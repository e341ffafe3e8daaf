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
        "connectivity": _connectivity,
        "depth": _depth,
        "dynamics": _dynamics,
        "memory": _memory,
        "operators": _operators,
        "recode": _recode,
        "repetition": _repetition,
        "sparsity": _sparsity,
        "timescales": _timescales,
    }
    return drawn[found.what](found)


def _times(found: Report, values: np.ndarray) -> tuple[np.ndarray, str]:
    """Return the times of the values of a curve, and their unit."""
    dt = found.settings.get("dt")
    return np.arange(len(values)) * (dt or 1.0), "ms" if dt else "time steps"


def _assemblies(found: Report) -> Any:
    """Affinities of the units by group, and components over time and trials, classes or tasks."""
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
    if "recruitment" in found.arrays:
        _draw_recruitment(figure, right, found)
    else:
        for trials in found.arrays["trials"]:
            right.plot(trials, lw=0.8)
        right.set(title="in which samples", xlabel="sample")
    return figure


def _draw_recruitment(figure: Any, axis: Any, found: Report) -> None:
    """Which part of what each class or task recruits is which component."""
    recruited, by = found.arrays["recruitment"], found.settings.get("by", "task")
    parts = recruited / np.maximum(recruited.sum(0), 1e-300)
    count, groups = parts.shape
    extent = (0.5, groups + 0.5, count + 0.5, 0.5)
    figure.colorbar(axis.imshow(parts, cmap="magma", aspect="auto", extent=extent, vmin=0))
    overlap = f": overlap {found.figures['overlap']}" if "overlap" in found.figures else ""
    axis.set_title(f"recruited{overlap}", fontsize=9)
    axis.set(xlabel=by, ylabel="component")
    names = found.settings.get("classes") if by == "class" else ()
    shown = [names[of] if names else str(of + 1) for of in found.arrays[by]]
    axis.set_xticks(range(1, groups + 1), shown, rotation=90 if names else 0, fontsize=7)
    axis.set_yticks(range(1, count + 1))


def _connectivity(found: Report) -> Any:
    """Accuracy on each task along the lines between the weights after tasks."""
    position, accuracy = found.arrays["position"], found.arrays["accuracy"]
    figure, axes = _figure(1, 1, 2.5 + 0.8 * accuracy.shape[1], 3.4)
    axis = axes[0, 0]
    null = found.arrays.get("accuracy, null")
    lines = np.split(np.arange(len(position)), np.flatnonzero(np.diff(position) == 0) + 1)
    for task in range(accuracy.shape[1]):
        (drawn,) = axis.plot(position, accuracy[:, task], ".-", label=f"task {task + 1}")
        if null is not None:
            for line in lines:
                color = drawn.get_color()
                axis.plot(position[line], null[line, task], ":", lw=0.8, color=color)
    ends = np.unique(position[[line[place] for line in lines for place in (0, -1)]])
    for end in ends:
        axis.axvline(end, color="0.85", zorder=0)
    title = "between the weights after tasks (dotted: another direction)"
    axis.set(title=title, xlabel="weights after task", ylabel="accuracy", ylim=(0, 1.02))
    axis.set_xticks(ends, [f"{end:.0f}" for end in ends])
    axis.legend(frameon=False, fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
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
        where = _times(found, values)[0] if axis is right else np.arange(len(values))
        axis.plot(where, values, style, label=name.removeprefix("residual of "))
    left.set(title="delay lines", xlabel="shared lines", ylabel="residual")
    unit = _times(found, np.zeros(0))[1]
    right.set(title="reach", xlabel=f"lag ({unit})", ylabel="gradient")
    for axis in (left, right):
        axis.legend(frameon=False, fontsize=7)
    return figure


def _memory(found: Report) -> Any:
    """How long states remember, and how much the last output depends on the input of each lag."""
    figure, axes = _figure(1, 2, 9, 3.4)
    left, right = axes[0]
    for name, values in found.arrays.items():
        axis = left if name.startswith("memory") else right
        style = "--" if name.endswith("null") else "-"
        times, unit = _times(found, values)
        lags = times if axis is right else np.arange(len(values))
        axis.plot(lags, values, style, label=name.partition(" of ")[2])
        right.set_xlabel(f"lag ({unit})")
    left.set(title="memory", xlabel="state, by rank", ylabel="time steps", yscale="log")
    right.set(title="reach", ylabel="norm of the kernel")
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
        accuracy = found.arrays["accuracy"][number]
        times, unit = _times(found, accuracy)
        (line,) = left.plot(times, accuracy, label=f"alpha = {level:g}")
        left.set_xlabel(f"time ({unit})")
        if "accuracy, null" in found.arrays and level:
            null = found.arrays["accuracy, null"][number]
            left.plot(times, null, "--", color=line.get_color(), lw=0.8)
    for name, style in (("entropy change", "o-"), ("entropy change, null", "o--")):
        if name in found.arrays:
            right.plot(alpha, found.arrays[name], style, label=name)
    left.set(title="answers over time", ylabel="accuracy")
    right.set(title="one move", xlabel="alpha", ylabel="change of entropy (nats)")
    for axis in (left, right):
        axis.legend(frameon=False, fontsize=7)
    return figure


def _repetition(found: Report) -> Any:
    """The probability of a pattern by how often it was shown, and of one after another pattern."""
    figure, axes = _figure(1, 1, 4.6, 3.4)
    for name, label, style in (("", "repeated", "o-"), (", null", "after another", "o--")):
        values = found.arrays.get(f"probability{name}")
        if values is not None:
            axes[0, 0].plot(np.arange(1, len(values) + 1), values, style, label=label)
    axes[0, 0].set(title="repetition", xlabel="times in a row", ylabel="probability", ylim=(0, 1))
    axes[0, 0].legend(frameon=False)
    return figure
