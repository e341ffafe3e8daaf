"""What a report finds by running the network of a run on its data again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from torch import nn

from snnsim.baselines.size import parameters_of
from snnsim.costing import cost
from snnsim.data import View
from snnsim.diagnosis import Diagnosis
from snnsim.errors import SnnsimError
from snnsim.report import Cost
from snnsim.training import checkpoint
from snnsim_experiments import diagnose, run_folder
from snnsim_experiments.answered import Answered
from snnsim_experiments.build import load_split
from snnsim_experiments.experiment import Experiment
from snnsim_experiments.predict import answers_on
from snnsim_experiments.predicted import Predicted
from snnsim_experiments.report.delays import Delays, delays_of
from snnsim_experiments.report.facts import Run
from snnsim_experiments.report.rasters import Raster, raster_of, samples_to_show

OF_COST = 200  # samples whose operations are counted, at most
SPLITS = ("train", "validation", "test")
T = TypeVar("T")


@dataclass(frozen=True)
class Limits:
    """``Limits`` say how much a report looks at.

    Attributes:
        samples: the number of test samples that are asked, at most.
        rasters: the number of samples whose activity is shown.
        root: the folder of the data; ``None`` for that of the run.
        device: where the networks run.
    """

    samples: int = 2000
    rasters: int = 4
    root: str | None = None
    device: str = "cpu"


@dataclass(frozen=True)
class Measured:
    """``Measured`` is what one run's network does; what is missing says why.

    Attributes:
        layers: a name and a description of each layer of the network.
        parameters: the number of its parameters.
        sizes: the number of samples of each split.
        answers: what it answers to test samples.
        asked, of: how many test samples were asked, and of how many.
        rasters: the activity in answer to some of them.
        delays: the delays of each delayed layer.
        cost: what it costs.
        diagnosis: what could be better in its training.
        missing: for each part that could not be had, the reason.
    """

    layers: list[tuple[str, str]]
    parameters: int
    sizes: dict[str, int]
    answers: Predicted | Answered | None
    asked: int
    of: int
    rasters: list[Raster]
    delays: list[Delays]
    cost: Cost | None
    diagnosis: Diagnosis | None
    missing: dict[str, str]


def measure(run: Run, limits: Limits, say: Callable[[str], None] = lambda _: None) -> Measured:
    """Look at the network of a run on a data set.

    Args:
        run: the run; its best weights are looked at.
        limits: how much is looked at.
        say: is told what is being done.

    Returns:
        What was found. What the data or the network do not allow is missing, and the others are
        there all the same.
    """
    missing: dict[str, str] = {}

    def attempt(part: str, make: Callable[[], T]) -> T | None:
        say(f"{run.name}: {part}")
        try:
            return make()
        except (SnnsimError, OSError) as error:
            missing[part] = str(error)
            return None

    net, experiment, facts = run_folder.load_network(run.folder)
    root = facts.get("root") if limits.root is None else limits.root
    start, _ = checkpoint.load(run.folder / "initial.safetensors")
    data = attempt("data", lambda: _checked(run, facts, load_split(experiment, "test", root)))
    sizes = attempt("sizes", lambda: _sizes(experiment, root, data))
    found = asked = answers = None
    if data is not None:
        chosen = _evenly(len(data), limits.samples)
        asked = View(data, chosen)
        answers = attempt(
            "answers", lambda: _numbered(answers_on(run.folder, "test", asked), chosen)
        )
        net.to(run_folder.device(limits.device))
        few = View(data, _evenly(len(data), OF_COST))
        found = attempt("cost", lambda: cost(net, few))
    rasters: list[Raster] = []
    if data is not None:
        rasters = attempt("rasters", lambda: _rasters(net, data, answers, limits.rasters)) or []
    diagnosis = attempt(
        "diagnosis", lambda: diagnose.of_run(run.folder, root, device=limits.device)
    )
    return Measured(
        _layers(net), parameters_of(net), sizes or {}, answers,
        0 if asked is None else len(asked), 0 if data is None else len(data), rasters,
        delays_of(net, checkpoint.without_prefix("net", start)), found, diagnosis, missing,
    )  # fmt: skip


def _sizes(experiment: Experiment, root: str | None, test: Any) -> dict[str, int]:
    """The number of samples of each split, of which the test data may be there already."""
    known = {} if test is None else {"test": test}
    return {s: len(known[s] if s in known else load_split(experiment, s, root)) for s in SPLITS}


def _checked(run: Run, facts: dict[str, Any], data: Any) -> Any:
    data = run_folder.in_order_of(facts, data)
    run_folder.check_fits(run.folder, facts, data)
    return data


def _evenly(size: int, count: int) -> np.ndarray:
    """The numbers of ``count`` samples that lie evenly among all, or of all."""
    return np.unique(np.linspace(0, size - 1, min(count, size)).round().astype(int))


def _numbered(found: Predicted | Answered, chosen: np.ndarray) -> Predicted | Answered:
    """The answers under the numbers that the samples have in their split."""
    if isinstance(found, Answered):
        return found
    pairs = zip(found.samples, chosen.tolist(), strict=True)
    return replace(found, samples=[sample._replace(number=n) for sample, n in pairs])


def _rasters(net: nn.Module, data: Any, answers: Any, count: int) -> list[Raster]:
    if not isinstance(answers, Predicted):
        numbers = _evenly(len(data), count)[:count]
        return [raster_of(net, data, int(n), f"test sample {n}") for n in numbers]
    rows = answers.rows
    shown = samples_to_show([row["right"] for row in rows], count)
    return [_raster(net, data, answers.classes, rows[i]) for i in shown]


def _raster(net: nn.Module, data: Any, classes: Sequence[str], row: dict[str, Any]) -> Raster:
    true, answer = classes.index(row["class"]), classes.index(row["classes"][0])
    return raster_of(net, data, row["index"], _title(row), true, answer)


def _title(row: dict[str, Any]) -> str:
    judged = "right" if row["right"] else "wrong"
    told = f"test sample {row['index']}, true class “{row['class']}”"
    return f"{told}, answer “{row['classes'][0]}” ({judged})"


def _layers(net: nn.Module) -> list[tuple[str, str]]:
    """The layers of a network as it shows them, without what is inside of them."""
    return [(name, str(part).splitlines()[0].rstrip("(")) for name, part in _outer(net)]


def _outer(net: nn.Module) -> list[tuple[str, nn.Module]]:
    """The parts of a network that are no containers of others."""
    found: list[tuple[str, nn.Module]] = []
    for name, part in net.named_children():
        inner = type(part) in (nn.ModuleList, nn.Sequential) or type(part).__name__ == "Sequential"
        below = [(f"{name}.{n}", p) for n, p in _outer(part)] if inner else []
        found += below or [(name, part)]
    return found
