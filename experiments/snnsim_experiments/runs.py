"""Runs of experiments, whatever they are on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from snnsim_experiments.continual.run import run as run_stream
from snnsim_experiments.experiment import Experiment
from snnsim_experiments.place import HERE, Place
from snnsim_experiments.train import train


def run(
    experiment: Experiment, place: Place = HERE, seeds: Sequence[int] | None = None
) -> dict[str, Any]:
    """Run an experiment into the folder of a place, on a data set or a stream.

    Args:
        experiment: the experiment, as :func:`snnsim_experiments.resolve` makes it.
        place: where it runs, and whether to continue what is there.
        seeds: on a stream, the seeds over which means are taken; ``None`` for that of the
            experiment.

    Returns:
        The content of ``summary.json``, and ``out``, the folder.
    """
    if experiment.method:
        return run_stream(experiment, seeds or [experiment.seed], place)
    return train(experiment, place)
