"""Where an experiment runs and what it tells."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console


@dataclass(frozen=True)
class Place:
    """A place says where an experiment runs and what it shows.

    Attributes:
        root: the folder of the data set's files; ``None`` for embedded data.
        out: the folder to write; ``None`` for a new one below ``runs``.
        device: ``"cpu"`` or ``"cuda"``.
        resume: whether to continue what ``out`` holds.
        quiet: whether no progress is shown.
        console: where progress is shown; standard error unless given.
        beside: the run folders with which this one will be compared, so that they must have the
            same data.
        tensorboard: whether epochs are also logged to TensorBoard.
        after_epoch: what is called with the row of metrics of each epoch of a run on a data set,
            after its checkpoint is written; an error that it raises ends the run there.
    """

    root: str | None = None
    out: Path | None = None
    device: str = "cpu"
    resume: bool = False
    quiet: bool = False
    console: Console = field(default_factory=lambda: Console(stderr=True))
    beside: Sequence[Path] = ()
    tensorboard: bool = False
    after_epoch: Callable[[dict[str, Any]], None] | None = None


HERE = Place()
