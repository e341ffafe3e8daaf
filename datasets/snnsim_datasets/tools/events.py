"""The former place of :mod:`snnsim.data`, for one release."""

import warnings

from snnsim.data.events import *  # noqa: F403
from snnsim.data.events import BINNINGS, MOST_EVENTS, Batch, in_range, whole_numbers

__all__ = ["BINNINGS", "MOST_EVENTS", "Batch", "in_range", "whole_numbers"]

warnings.warn(
    "snnsim_datasets.tools.events is snnsim.data now; import from there",
    FutureWarning,
    stacklevel=2,
)
