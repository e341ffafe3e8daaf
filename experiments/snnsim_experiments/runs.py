"""Running an experiment, whatever it is on."""

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
        experiment: as of :func:`snnsim_experiments.resolve`.
        place: where, and whether to go on with what is there.
        seeds: of a stream: means over these; ``None``: that of the experiment.

    Returns:
        The content of ``summary.json``, and ``out``, the folder.
    """
    if experiment.method:
        return run_stream(experiment, seeds or [experiment.seed], place)
    return train(experiment, place)
