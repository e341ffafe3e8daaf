"""Plots of training, spikes, delays and tasks. Needs matplotlib: ``pip install 'snnsim[viz]'``."""

from snnsim.plotting.analysis import report
from snnsim.plotting.answers import ANSWERS, answers, confusion_matrix
from snnsim.plotting.figures import (
    accuracy_by_cost,
    accuracy_curves,
    accuracy_matrix,
    accuracy_over_time,
    curves,
    delay_histogram,
    literal,
    raster,
    repeated_data,
    save,
)

__all__ = [
    "ANSWERS",
    "accuracy_by_cost",
    "accuracy_curves",
    "accuracy_matrix",
    "accuracy_over_time",
    "answers",
    "confusion_matrix",
    "curves",
    "delay_histogram",
    "literal",
    "raster",
    "repeated_data",
    "report",
    "save",
]
