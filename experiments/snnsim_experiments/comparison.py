"""Experiments side by side: networks or methods, on a data set or a stream of tasks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from snnsim.baselines import get
from snnsim.continual import Stream, methods
from snnsim.data import Augmentation
from snnsim.errors import ConfigError, NonFiniteError
from snnsim.training import MultiLabel, Recipe, distributed, set_seed
from snnsim.training.recipe import CLASS, complete
from snnsim_experiments import run_folder
from snnsim_experiments.budget import Budget, cost, fit, width_of
from snnsim_experiments.build import Facts, build_network, look_at
from snnsim_experiments.candidates import Choice
from snnsim_experiments.continual.run import Refused
from snnsim_experiments.continual.run import run as run_stream
from snnsim_experiments.experiment import SPIKING, Experiment, plain, task_base
from snnsim_experiments.forecasts import NRMSE, PERSISTENCE
from snnsim_experiments.lock import claim, ours_alone
from snnsim_experiments.place import HERE, Place
from snnsim_experiments.sweep.ahead import Run, queue_in, remove_queue, train_ahead
from snnsim_experiments.train import train

TABLE = "comparison.json"
FIGURES = ("repeat.json", "repeat.png")  # what is made of a comparison
Rows = list[dict[str, Any]]
Made = Callable[[], Experiment] | Experiment
# the best factor of the learning rate, the accuracy at each, and a row
Measured = tuple[float, dict[float, float], dict[str, Any]]


def compare(
    experiments: Mapping[str, Made],
    seeds: Sequence[int] = (0,),
    place: Place = HERE,
    *,
    rates: Sequence[float] | None = None,
    settings: dict[str, Any] | None = None,
    jobs: int = 1,
) -> Rows:
    """Run every experiment with every seed into ``out/<name>``; return a row for each.

    ``out/comparison.json`` is rewritten after each. A finished run is not repeated with
    ``place.resume``, and rows of others are kept. An experiment that is refused, or diverges, has
    a row that says so, and the others go on.

    Args:
        experiments: the experiments by name; a function where making one may be refused.
        seeds: the seeds of the runs.
        place: where they run; its ``out`` is the folder of the comparison.
        rates: the factors of each experiment's own learning rate from which one is chosen for all
            seeds: that with the best accuracy (of forecasts: the smallest error) of the first seed
            on validation data (of a stream: on the part held out). ``None`` keeps the learning
            rate.
        settings: what all rows have in common; rows that are there already must have the same.
        jobs: how many runs are trained at a time, by processes of their own. The results are the
            same, bit for bit; the table is written when all are done.

    Returns:
        The rows, means over seeds: of a data set with ``test`` and ``validation`` (accuracies in
        percent; of forecasts, whose rows have the ``metric`` ``"nrmse"``, errors in units of the
        spread, and that of ``persistence``), cost and width, of a stream with ``test`` and the
        measures of its summary (and, at a budget, cost and width).
    """
    out = Path(distributed.agree(str(place.out or Path("runs", run_folder.unique("compare")))))
    settings = (settings or {}) | {"seeds": list(seeds)}
    settings |= {} if rates is None else {"rates": list(rates)}
    distributed.start(run_folder.device(place.device))
    if jobs > 1 and distributed.size() > 1:
        raise ConfigError(f"--jobs is {jobs}, but torchrun has started several processes already")
    with claim(out):
        comparison = _Comparison(out, place, list(seeds), rates, settings, jobs)
        return comparison.run(experiments)


def compare_networks(
    names: Sequence[str],
    choice: Choice,
    budget: Budget,
    seeds: Sequence[int] = (0,),
    place: Place = HERE,
    *,
    rates: Sequence[float] = (1.0,),
    jobs: int = 1,
) -> Rows:
    """Compare baselines and spiking networks at one budget: same data, recipe and read-out.

    Args:
        names: the names of models, or of spiking networks in
            :mod:`snnsim_experiments.candidates`.
        choice: the data set or stream, and what all have in common.
        budget: the largest size of each; a network that does not fit has a row that says so.
        seeds, place, rates, jobs: as in :func:`compare`.
    """
    choice.check_same_for_all()
    settings = choice.settings() | {"budget": budget.amount, "by": budget.by}
    data = look_at(choice.base(), place)

    def maker(name: str) -> Callable[[], Experiment]:
        def make() -> Experiment:
            chosen = choice.network(name)
            set_seed(seeds[0])
            return fit(chosen, budget, data)

        return make

    made = {name: maker(name) for name in names}
    return compare(made, seeds, place, rates=rates, settings=settings, jobs=jobs)


@dataclass(frozen=True)
class _Comparison:
    """A comparison under way."""

    out: Path
    place: Place
    seeds: list[int]
    rates: Sequence[float] | None
    settings: dict[str, Any]
    jobs: int = 1

    def run(self, experiments: Mapping[str, Made]) -> Rows:
        rows, first, place = self._rows_before(experiments), distributed.rank() == 0, self.place
        if place.resume and not rows and first and not queue_in(self.out):
            text = f"there is no comparison in {self.out}; starting one"
            place.console.print(text, markup=False)
        distributed.barrier()
        if self.jobs > 1:
            self._train_ahead(experiments)
        for name, made in experiments.items():
            if not place.quiet and self.jobs == 1:
                place.console.print(name, style="bold")
            before = next((r for r in rows if r["name"] == name and "test" in r), None)
            row = {"name": name} | self._row(name, made, before) | self._common()
            rows = [*(r for r in rows if r["name"] != name), row]
            if first:
                run_folder.write_json(self.out / TABLE, rows)
        if first:
            _plot([row for row in rows if "test" in row and "budget" in row], self.out)
            if queue_in(self.out):
                remove_queue(self.out)
        return rows

    def _train_ahead(self, experiments: Mapping[str, Made]) -> None:
        """Let workers train what rows are made of, so that it is done when a row is made."""
        made = {}
        for name, each in experiments.items():
            with suppress(ConfigError):  # which its row will say
                made[name] = each if isinstance(each, Experiment) else each()
        for experiment in made.values():
            _check_target(experiment)
        first = [run for name, each in made.items() for run in self._first(self.out / name, each)]
        train_ahead(first, self.out, self.place, self.jobs)
        then = [run for name, each in made.items() for run in self._then(self.out / name, each)]
        train_ahead([*first, *then], self.out, self.place, self.jobs)

    def _first(self, folder: Path, experiment: Experiment) -> list[Run]:
        """The runs by which the learning rate is chosen, or all where there is only one."""
        rates = self.rates or (1.0,)
        if experiment.method:
            if rates[1:]:
                return [self._on_stream(folder, experiment, rate, True) for rate in rates]
            return [self._on_stream(folder, experiment, rates[0], False)]
        seeds = self.seeds[:1] if rates[1:] else self.seeds
        return [self._on_data(folder, experiment, s, rate) for rate in rates for s in seeds]

    def _then(self, folder: Path, experiment: Experiment) -> list[Run]:
        """The runs with the learning rate that was chosen."""
        rates = self.rates or (1.0,)
        found = {
            rate: run_folder.read_object(run.folder / "summary.json")
            for rate, run in zip(rates, self._first(folder, experiment), strict=False)
            if (run.folder / "summary.json").exists()
        }
        if not rates[1:] or not found:
            return []
        if experiment.method:
            return [self._on_stream(folder, experiment, best_of_stream(found)[0], False)]
        best = best_of_data(found)[0]
        return [self._on_data(folder, experiment, seed, best) for seed in self.seeds[1:]]

    def _common(self) -> dict[str, Any]:
        sizes = {key: self.settings[key] for key in ("budget", "by") if key in self.settings}
        return sizes | {"settings": self.settings}

    def _row(self, name: str, made: Made, before: Any) -> dict[str, Any]:
        try:
            experiment = made if isinstance(made, Experiment) else made()
        except ConfigError as error:
            if before is not None:
                raise  # rather than lose what is there
            return {"refused": str(error)}
        _check_target(experiment)
        try:
            return self._measured(name, experiment)
        except Refused as error:
            return {"refused": str(error)}
        except NonFiniteError as error:
            return {"failed": str(error)}

    def _measured(self, name: str, experiment: Experiment) -> dict[str, Any]:
        """The best learning rate on held-out data, then all seeds with it."""
        measure = self._of_stream if experiment.method else self._of_data
        best, tried, row = measure(self.out / name, experiment)
        lr = experiment.recipe.lr
        return row | {"lr": best * lr, "tried": {f"{f * lr:g}": v for f, v in tried.items()}}

    def _place(self, folder: Path) -> Place:
        again, others = (folder / "run.json").exists(), run_folder.runs_below(self.out)
        place = replace(self.place, out=folder, resume=again, beside=others)
        if self.jobs > 1 and (folder / "summary.json").exists():  # which the workers have shown
            place = replace(place, quiet=True, console=Console(quiet=True))
        return place

    def _on_data(self, folder: Path, experiment: Experiment, seed: int, factor: float) -> Run:
        part = f"seed{seed}" if factor == 1 else f"rate{factor:g}-seed{seed}"
        each = replace(experiment, seed=seed).trained(lr=factor * experiment.recipe.lr)
        return Run(folder / part, each)

    def _on_stream(
        self, folder: Path, experiment: Experiment, factor: float, choosing: bool
    ) -> Run:
        at = folder / (f"rate{factor:g}" + ("-validation" if choosing else ""))
        part = {"evaluate": "validation"} if choosing else {}
        each = replace(experiment, data=experiment.data | part)
        each = each.trained(lr=factor * experiment.recipe.lr)
        seeds = self.seeds[:1] if choosing else self.seeds
        return Run(folder if self.rates is None else at, each, tuple(seeds))

    def _of_data(self, folder: Path, experiment: Experiment) -> Measured:
        def run(seed: int, factor: float) -> dict[str, Any]:
            each = self._on_data(folder, experiment, seed, factor)
            return train(each.experiment, self._place(each.folder))

        first = runs_at(self.rates or (1.0,), lambda factor: run(self.seeds[0], factor))
        best, tried = best_of_data(first)
        summaries = [first[best], *(run(seed, best) for seed in self.seeds[1:])]
        data = look_at(experiment, self.place)
        assert isinstance(data, Facts)
        return best, tried, row_of_data(experiment, summaries, data)

    def _of_stream(self, folder: Path, experiment: Experiment) -> Measured:
        def run(factor: float, choosing: bool) -> dict[str, Any]:
            each = self._on_stream(folder, experiment, factor, choosing)
            return run_stream(each.experiment, list(each.seeds or ()), self._place(each.folder))

        rates = self.rates or (1.0,)
        first = runs_at(rates, lambda factor: run(factor, True)) if rates[1:] else {}
        best, tried = best_of_stream(first) if first else (rates[0], {})
        summary = run(best, False)
        if not summary:  # the first process has it
            return best, tried, {}
        data: Any = None
        if "budget" in self.settings:  # which fits flat layers; others have no cost here
            data = look_at(experiment, self.place)
        return best, tried, row_of_stream(experiment, summary, data)

    def _rows_before(self, names: Mapping[str, Any]) -> Rows:
        """The rows that a comparison in this folder has already; they are kept."""
        out, stored = self.out, self.out / TABLE
        found = ours_alone(out)
        if stored.exists() and not self.place.resume:
            raise ConfigError(
                f"{out} already holds a comparison; continue it with --resume or choose another "
                "--out"
            )
        if found and not self.place.resume:
            raise ConfigError(
                f"{out} is not empty; continue it with --resume or choose another --out"
            )
        ours = {TABLE, "comparison.png", *FIGURES, *queue_in(out)}
        if any(p.name not in ours and not any(p.rglob("run.json")) for p in found):
            raise ConfigError(f"{out} is not empty and not a comparison; choose another --out")
        rows = run_folder.read_json(stored) if stored.exists() else []
        for row in rows:
            row.setdefault("name", row.get("method"))  # as methods were once compared
            self._check_like(row, again=row["name"] in names)
        return list(rows)

    def _check_like(self, row: dict[str, Any], again: bool) -> None:
        """Refuse a table of which some rows would have other settings than the rest."""
        name, now = row["name"], plain(self.settings)
        before = row.get("settings")
        if before is None:  # as methods were once compared
            before = {"seeds": row.get("seeds", now["seeds"])}
            now = {"seeds": now["seeds"]}
        if "training" in before:
            base = task_base() if "stream" in before else plain(Recipe().as_json())
            known = {key: base[key] for key in now.get("training", {})}
            before = before | {"training": complete(before["training"], known)}
        if "augmentation" in now:
            whole = Augmentation().as_json() | before.get("augmentation", {})
            before = before | {"augmentation": whole}
        if isinstance(before.get("options"), list) and before.get("method") in methods.names():
            former, (data, options) = methods.get(before["method"]).former, before["options"]
            options = {former.get(key, key): value for key, value in options.items()}
            before = before | {"options": [data, options]}
        other = [key for key in now if before.get(key) != now[key]]
        if other and (not again or other != ["seeds"]):
            raise ConfigError(
                f"{name} in {self.out} was run with {other[0]}={before.get(other[0])} and not "
                f"{now[other[0]]}; give the same, or choose another --out"
            )


def _check_target(experiment: Experiment) -> None:
    """Refuse what is not compared by accuracies."""
    if experiment.recipe.target != CLASS:
        raise ConfigError(
            f"training.target is {experiment.recipe.target}, but a comparison is one of "
            "accuracies on classes; leave training.target out"
        )


def best_of_data(found: dict[float, dict[str, Any]]) -> tuple[float, dict[float, float]]:
    """Return the best factor of the learning rate by validation data, and the score of each.

    Args:
        found: the summary of a run at each factor.
    """
    tried = {factor: score_of(each, "validation") for factor, each in found.items()}
    errors = any(f"test_{NRMSE}" in each for each in found.values())
    return (min if errors else max)(tried, key=lambda factor: tried[factor]), tried


def best_of_stream(found: dict[float, dict[str, Any]]) -> tuple[float, dict[float, float]]:
    """Return what :func:`best_of_data` does, of runs on a stream."""
    tried = {factor: each["acc"] for factor, each in found.items()}
    return max(tried, key=lambda factor: tried[factor]), tried


def runs_at(
    rates: Sequence[float], run: Callable[[float], dict[str, Any]]
) -> dict[float, dict[str, Any]]:
    """Return the result of a run at each learning rate, without those that diverge.

    Raises:
        NonFiniteError: all of them diverge.
    """
    found, failure = {}, NonFiniteError("no learning rate to try")
    for factor in rates:
        try:
            found[factor] = run(factor)
        except NonFiniteError as error:
            failure = error
    if not found:
        raise failure
    return found


def row_of_data(
    experiment: Experiment, summaries: list[dict[str, Any]], data: Facts
) -> dict[str, Any]:
    """Return the row of a network on a data set: means over seeds, cost, and what is left out."""
    tests, validation = (
        [score_of(summary, part) for summary in summaries] for part in ("test", "validation")
    )
    spiking = experiment.model == SPIKING
    rate = float(np.mean([s["mean_firing_rate"] for s in summaries])) if spiking else None
    causal: Any = True if spiking else getattr(build_network(experiment, *data), "causal", True)
    return {
        "test": float(np.mean(tests)),
        "test_std": float(np.std(tests, ddof=1)) if len(tests) > 1 else None,
        "tests": tests,
        "last_tests": [score_of(summary, "last_test") for summary in summaries],
        "last_losses": [s.get("last_test_loss") for s in summaries],
        "last_validation_losses": [s.get("last_validation_loss") for s in summaries],
        "validation": float(np.mean(validation)),
        **_of_network(experiment, data),
        "seconds": float(np.mean([s["seconds"] for s in summaries])),
        "causal": causal,
        "rate": rate,
        "seeds": [s["seed"] for s in summaries],
        **_of_forecasts(summaries[0]),
    }


def score_of(summary: dict[str, Any], part: str) -> float:
    """Return the accuracy or F1 of a run in percent, or its error in units of the spread."""
    if (error := summary.get(f"{part}_{NRMSE}")) is not None:
        return float(error)
    metric = MultiLabel.metric if f"{part}_{MultiLabel.metric}" in summary else "accuracy"
    return 100 * float(summary[f"{part}_{metric}"])


def _of_forecasts(summary: dict[str, Any]) -> dict[str, Any]:
    """What a row of forecasts has beside its error, of which a smaller one is better."""
    if f"test_{NRMSE}" not in summary:
        return {}
    return {"metric": NRMSE, "persistence": summary.get(f"test_{PERSISTENCE}")}


def row_of_stream(
    experiment: Experiment, summary: dict[str, Any], data: Stream | None
) -> dict[str, Any]:
    """Return the row of a network or method on a stream: its summary, and the cost on data."""
    spread = len(summary["seeds"]) > 1
    return summary | {
        "test": summary["acc"],
        "test_std": summary["std"]["acc"] if spread else None,
        "bwt_std": summary["std"]["bwt"] if spread else None,
        **({} if data is None else _of_network(experiment, data)),
        "seconds": sum(summary["seconds_per_task"]),
        "causal": True,  # streams refuse others
    }


def _of_network(experiment: Experiment, data: Facts | Stream) -> dict[str, Any]:
    spiking = experiment.model == SPIKING
    return {
        **cost(experiment, data)._asdict(),
        "width": width_of(experiment),
        "spiking": spiking,
        "left_out": "" if spiking else get(experiment.model).left_out,
    }


def _plot(rows: Rows, out: Path) -> None:
    if plotting := run_folder.plotting():
        plotting.save(plotting.accuracy_by_cost(rows), out / "comparison.png")
