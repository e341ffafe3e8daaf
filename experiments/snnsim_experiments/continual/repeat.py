"""Repeated data: how a network does when a subset of its data is shown again and again.

A replay buffer is such a subset: a part of all that the network sees comes from it. With a buffer
of a middle size a network can do worse than with a smaller one, which it just learns by heart, or
a larger one. See :func:`snnsim.training.repeated`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from snnsim.errors import check_number
from snnsim.training import distributed, repeated
from snnsim_experiments import run_folder
from snnsim_experiments.build import load_split
from snnsim_experiments.comparison import compare
from snnsim_experiments.experiment import Experiment, plain
from snnsim_experiments.forecasts import NRMSE
from snnsim_experiments.place import HERE, Place

NAME = "size"  # of a run's folder, with the size of the subset behind it


def sweep(
    experiment: Experiment,
    sizes: Sequence[int],
    fraction: float = 0.5,
    seeds: Sequence[int] = (0,),
    place: Place = HERE,
    *,
    jobs: int = 1,
) -> list[dict[str, Any]]:
    """Train the same network with repeated subsets of several sizes, and return a row for each.

    All runs have the same length and the same data; only how often which sample is shown differs.
    Results are those after the last epoch. ``out/repeat.json`` gets the rows, ``out/repeat.png`` a
    plot, ``out/comparison.json`` the costs of the runs, and every size and seed a run folder. A
    finished run is not repeated with ``place.resume``.

    Args:
        experiment: an experiment on a data set.
        sizes: the numbers of samples of the subset; 0 repeats none of them more than others.
        fraction: the fraction of every epoch that is from the subset, from 0 to 1.
        seeds: the seeds of the runs, of the choice of the subset as well.
        place: where they run; its ``out`` is the folder of the sweep.
        jobs: how many runs are trained at a time, by processes of their own.

    Returns:
        The rows in the order of their ``size``: ``repeats``, how often a sample of the subset is
        shown in the whole training, and ``others``, how often the others are on average;
        ``validation_loss``, ``test_loss`` and ``test_accuracy`` (a fraction), or ``test_nrmse`` of
        forecasts (errors in units of the spread), as means over seeds, with their standard
        deviations under ``std`` and the values of each seed under ``each``; and ``over_none``, how
        much larger the test loss is than that of size 0 with the same seed.
        A size for which the data are too few has ``refused``, and a run that diverged ``failed``.
    """
    check_number("fraction", fraction, 0, 1)
    for size in sizes:
        check_number("a size", size, 0)
    out = Path(distributed.agree(str(place.out or Path("runs", run_folder.unique("repeat")))))
    data = load_split(experiment, "train", place.root)
    same = experiment.trained(repeat=0, repeat_fraction=fraction)

    def maker(size: int) -> Callable[[], Experiment]:
        def make() -> Experiment:
            if size:
                repeated(data, size, fraction)  # refuses a subset that is too large
            return same.trained(repeat=size)

        return make

    settings = {key: plain(value) for key, value in same.as_json().items() if key != "seed"}
    made = {f"{NAME}{size}": maker(size) for size in sizes}
    found = compare(made, seeds, replace(place, out=out), settings=settings, jobs=jobs)
    rows = rows_of(found, len(data), fraction, experiment.recipe.epochs)
    if distributed.rank() == 0:
        run_folder.write_json(out / "repeat.json", rows)
        if plotting := run_folder.plotting():
            plotting.save(plotting.repeated_data(rows), out / "repeat.png")
    return rows


def rows_of(
    found: Sequence[dict[str, Any]], samples: int, fraction: float, epochs: int
) -> list[dict[str, Any]]:
    """Return the rows of a sweep in the order of their sizes.

    Args:
        found: the rows of a comparison of sizes.
        samples: the number of training samples.
        fraction: the fraction of every epoch that is from the subset.
        epochs: the number of epochs.
    """
    by_size = {int(row["name"].removeprefix(NAME)): row for row in found}
    none = by_size.get(0, {}).get("last_losses")
    rows = []
    for size, row in sorted(by_size.items()):
        again = round(fraction * samples) if size else 0
        left = max(samples - size, 1)
        shown = {
            "size": size,
            "repeats": epochs * again / size if size else None,
            "others": epochs * (samples - again) / left,
        }
        rows.append(shown | _scores(row, none))
    return rows


def _scores(row: dict[str, Any], none: list[float] | None) -> dict[str, Any]:
    """Means of the scores over seeds, with their spread; or why there are none."""
    without: dict[str, Any] = {key: row[key] for key in ("refused", "failed") if key in row}
    if without:
        return without
    each = {"validation_loss": row["last_validation_losses"], "test_loss": row["last_losses"]}
    if row.get("metric") == NRMSE:
        each[f"test_{NRMSE}"] = row["last_tests"]
    else:
        each["test_accuracy"] = [accuracy / 100 for accuracy in row["last_tests"]]
    if none is not None:
        each["over_none"] = (np.array(each["test_loss"]) - np.array(none)).tolist()
    spread = {
        key: float(np.std(values, ddof=1)) if len(values) > 1 else None
        for key, values in each.items()
    }
    means = {key: float(np.mean(values)) for key, values in each.items()}
    return means | {"std": spread, "each": each, "seeds": row["seeds"]}


def worst(rows: Sequence[dict[str, Any]]) -> str:
    """Return a sentence that says which subset does the most harm, by the validation loss."""
    done = [row for row in rows if "validation_loss" in row]
    some = [row for row in done if row["size"]]  # to repeat none is the limit of large subsets
    if len(done) < 2 or not some:
        return "Compare several sizes to see which of them does harm."
    most = max(some, key=lambda row: row["validation_loss"])
    least = min(done, key=lambda row: row["validation_loss"])
    inside = most not in (some[0], some[-1])
    where = "" if inside else ", an end of what was tried"
    best = f"{least['size']} repeated samples" if least["size"] else "none repeated"
    return (
        f"The validation loss is largest with {most['size']} repeated samples{where}: "
        f"{most['validation_loss']:.3f}. It is smallest with {best}: "
        f"{least['validation_loss']:.3f}."
    )
