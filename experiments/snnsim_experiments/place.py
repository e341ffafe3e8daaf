"""Where an experiment runs and what it tells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console


def to_stderr() -> Console:
    """Where progress is shown."""
    return Console(stderr=True)


@dataclass(frozen=True)
class Place:
    """Where an experiment runs.

    Attributes:
        root: folder of the data set's files; ``None`` for embedded data.
        out: folder to write; ``None`` for a new one below ``runs``.
        device: ``"cpu"`` or ``"cuda"``.
        resume: whether to go on with what ``out`` holds.
        quiet: whether progress is kept back.
        console: on which it is shown.
        beside: run folders with which this one will be compared, and so must share its data.
        tensorboard: whether epochs are logged there as well.
    """

    root: str | None = None
    out: Path | None = None
    device: str = "cpu"
    resume: bool = False
    quiet: bool = False
    console: Console = field(default_factory=to_stderr)
    beside: Sequence[Path] = ()
    tensorboard: bool = False


HERE = Place()
