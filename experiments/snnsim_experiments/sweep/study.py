"""The trials of a search as optuna has them: it proposes values, and is told what came of them.

Trial number n of a study belongs to one cell from the beginning, and only the worker that has
claimed the cell works on it. What a trial draws is kept beside the cell, so that whoever goes on
with the cell does so with the same values. Trials are told as ended by looking at the cells, so
that a worker that dies after its training, and before it has told, is made up for by the next.
"""

from __future__ import annotations

import json
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from snnsim.errors import ConfigError
from snnsim_experiments.run_folder import write_json
from snnsim_experiments.sweep.cells import CLAIMS, METRICS, PRUNED, TRIALS, state_of, values_of
from snnsim_experiments.sweep.claims import kept_young, try_claim
from snnsim_experiments.sweep.plan import Cell, Plan
from snnsim_experiments.sweep.search import Search, check_installed, is_whole

JOURNAL = "journal.log"
WAIT = 0.2  # s between looks at what another worker makes


class Pruned(Exception):
    """Raised after an epoch of a trial that is to be stopped."""


def figures(folder: Path, cell: Cell, objective: str) -> dict[int, float]:
    """Return the objective of a cell by the number of epochs trained.

    Raises:
        ConfigError: if epochs have no such figure.
    """
    try:
        lines = (folder / cell.name / METRICS).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return {}
    rows = [json.loads(line) for line in lines]
    if rows and objective not in rows[0]:
        there = ", ".join(name for name in rows[0] if name.startswith("validation_"))
        raise ConfigError(f"the objective is {objective}, but epochs of these data have {there}")
    return {row["epoch"] + 1: row[objective] for row in rows}


def best_figure(folder: Path, cell: Cell, search: Search) -> float | None:
    """Return the best value of the objective of all epochs of a cell; ``None`` if it has none."""
    found = figures(folder, cell, search.objective).values()
    return search.best(found) if found else None


class Trials:
    """Trials are what optuna knows of the cells of a sweep.

    Args:
        folder: the folder of the sweep.
        plan: its plan, which has a search.
    """

    def __init__(self, folder: Path, plan: Plan):
        assert plan.search is not None
        check_installed()
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.optuna: Any = optuna
        self.folder, self.plan, self.search = folder, plan, plan.search
        for name in (TRIALS, PRUNED):
            (folder / name).mkdir(exist_ok=True)
        try:
            self.storage = self._storage()
            self._begin()
        except Exception as error:  # of optuna, or of the driver of whichever database
            raise ConfigError(
                f"the storage of the search, {self.search.storage or folder / JOURNAL}, cannot be "
                f"used: {error}"
            ) from error

    def _storage(self) -> Any:
        storages = self.optuna.storages
        if self.search.storage:
            return storages.get_storage(self.search.storage)
        file = str(self.folder / JOURNAL)
        lock = storages.journal.JournalFileSymlinkLock(file)  # works on shared disks
        return storages.JournalStorage(storages.journal.JournalFileBackend(file, lock_obj=lock))

    def _begin(self) -> None:
        """Make a study for each search and a waiting trial for each cell, if nobody has."""
        last: dict[int, Cell] = {cell.study: cell for cell in self.plan.cells}
        claim = self.folder / CLAIMS / "studies"
        while not all(self._made(number) for number in last):
            token = try_claim(claim)
            if token is None:
                time.sleep(WAIT)
                continue
            with kept_young(claim, token):
                for number in last:
                    self._make(number)

    def _made(self, number: int) -> bool:
        names = {each.study_name for each in self.storage.get_all_studies()}
        return self._name(number) in names and (
            len(self._study(number).get_trials(deepcopy=False)) >= self.search.trials
        )

    def _make(self, number: int) -> None:
        study = self.optuna.create_study(
            storage=self.storage,
            study_name=self._name(number),
            direction=self.search.direction,
            load_if_exists=True,
        )
        waiting = self.optuna.trial.create_trial(state=self.optuna.trial.TrialState.WAITING)
        for _ in range(len(study.get_trials(deepcopy=False)), self.search.trials):
            study.add_trial(waiting)

    def _name(self, number: int) -> str:
        return f"{self.plan.name}-{number}"

    def _study(self, number: int, trial: int = 0) -> Any:
        """A study whose sampler draws what the given trial draws, whoever asks for it."""
        return self.optuna.load_study(
            study_name=self._name(number),
            storage=self.storage,
            sampler=self._sampler(trial),
            pruner=self._pruner(),
        )

    def _sampler(self, trial: int) -> Any:
        search, samplers = self.search, self.optuna.samplers
        seed = int(np.random.SeedSequence([search.seed, trial]).generate_state(1)[0])
        if search.sampler == "random":
            return samplers.RandomSampler(seed=seed)
        with warnings.catch_warnings():  # constant_liar was called experimental before optuna 5
            warnings.simplefilter("ignore")
            return samplers.TPESampler(
                n_startup_trials=search.startup, seed=seed, constant_liar=True
            )

    def _pruner(self) -> Any:
        search, pruners = self.search, self.optuna.pruners
        if search.prune == "median":
            return pruners.MedianPruner(search.startup, search.warmup)
        if search.prune == "halving":
            return pruners.SuccessiveHalvingPruner(min_resource=search.warmup)
        return pruners.NopPruner()

    def _trial(self, cell: Cell) -> tuple[Any, Any]:
        """The trial of a cell, and what is stored of it."""
        study = self._study(cell.study, cell.trial)
        of_study = self.storage.get_study_id_from_name(study.study_name)
        number = self.storage.get_trial_id_from_study_id_trial_number(of_study, cell.trial)
        state = self.optuna.trial.TrialState
        if self.storage.get_trial(number).state == state.WAITING:
            self.storage.set_trial_state_values(number, state.RUNNING)
        return self.optuna.trial.Trial(study, number), self.storage.get_trial(number)

    def draw(self, cell: Cell) -> Cell:
        """Return a cell with the values of its trial, which are drawn if they are not yet."""
        if values_of(self.folder, cell) is None:
            self.tell()
            trial, _ = self._trial(cell)
            drawn = {name: _drawn(trial, name, d) for name, d in self.search.space.items()}
            write_json(self.folder / TRIALS / f"{cell.file}.json", drawn)
        return cell.with_values(values_of(self.folder, cell) or {})

    def heed(self, cell: Cell, epochs: int) -> None:
        """Report the epochs of a cell, and stop it if it is worse than others.

        Args:
            cell: the cell.
            epochs: the number of epochs after which it ends by itself.

        Raises:
            Pruned: if it is to be stopped.
        """
        found = figures(self.folder, cell, self.search.objective)
        trial, stored = self._trial(cell)
        if not found or stored.state.is_finished():  # which it is if a failed one is tried again
            return
        for epoch in sorted(found.keys() - stored.intermediate_values.keys()):
            trial.report(found[epoch], epoch)
        if max(found) < epochs and trial.should_prune():
            raise Pruned

    def prune(self, cell: Cell) -> None:
        """Note that a cell was stopped."""
        best = best_figure(self.folder, cell, self.search)
        write_json(self.folder / PRUNED / f"{cell.file}.json", {self.search.objective: best})

    def tell(self) -> None:
        """Tell optuna of all trials that have ended and that it does not know to have."""
        running = (self.optuna.trial.TrialState.RUNNING,)
        studies = {cell.study: self._study(cell.study) for cell in self.plan.cells}
        left = {
            (number, trial.number)
            for number, study in studies.items()
            for trial in study.get_trials(deepcopy=False, states=running)
        }
        for cell in self.plan.cells:
            if (cell.study, cell.trial) in left:
                self._tell(studies[cell.study], cell)

    def _tell(self, study: Any, cell: Cell) -> None:
        state, states = state_of(self.folder, cell), self.optuna.trial.TrialState
        if state.left:
            return
        value, told = None, states.PRUNED
        if state.what == "done":
            value, told = best_figure(self.folder, cell, self.search), states.COMPLETE
        elif state.what == "failed" and not state.summary.get("diverged"):
            told = states.FAIL  # which says nothing of the values, unlike a loss that diverges
        study.tell(cell.trial, value, told, skip_if_finished=True)


def _drawn(trial: Any, name: str, drawn_from: Any) -> Any:
    """A value of a trial, drawn unless it has one."""
    if isinstance(drawn_from, list):  # of which optuna keeps texts, as it has no lists
        texts = {json.dumps(value): value for value in drawn_from}
        return texts[trial.suggest_categorical(name, list(texts))]
    low, high, step, log = (drawn_from[key] for key in ("low", "high", "step", "log"))
    if is_whole(drawn_from):
        return trial.suggest_int(name, low, high, step=step or 1, log=log)
    return trial.suggest_float(name, low, high, step=step, log=log)
