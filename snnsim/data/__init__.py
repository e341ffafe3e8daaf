"""Data as training, evaluation and streams take them, and adapters for what people have."""

from snnsim.data.arrays import Arrays
from snnsim.data.augmentation import Augmentation, Augmented
from snnsim.data.concatenated import Concatenated
from snnsim.data.events import (
    BinnedEvents,
    Events,
    bin_all,
    bin_events,
    from_events,
    from_tonic,
)
from snnsim.data.protocol import About, Batch, DataSet, Sequences, describe, fetch
from snnsim.data.targets import kind_of, outputs_of
from snnsim.data.torch_data import collate, from_torch
from snnsim.data.view import View

__all__ = [
    "About",
    "Arrays",
    "Augmentation",
    "Augmented",
    "Batch",
    "BinnedEvents",
    "Concatenated",
    "DataSet",
    "Events",
    "Sequences",
    "View",
    "bin_all",
    "bin_events",
    "collate",
    "describe",
    "fetch",
    "from_events",
    "from_tonic",
    "from_torch",
    "kind_of",
    "outputs_of",
]
