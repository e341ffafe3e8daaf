"""Progress on the terminal and in TensorBoard."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from snnsim.errors import ConfigError
from snnsim.training import Watcher
from snnsim_experiments.lock import Held


class TerminalWatcher(Watcher):
    """A line per epoch, and on a terminal a bar over all steps; nothing when quiet."""

    def __init__(
        self, console: Console, epochs: int, quiet: bool = False, held: Held | None = None
    ):
        self.console, self.epochs, self.quiet, self.held = console, epochs, quiet, held
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=quiet or not console.is_terminal,
        )
        self.task: Any = None
        self.steps = 0

    def __enter__(self) -> TerminalWatcher:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def writing(self) -> None:
        if self.held is not None:
            self.held.check()

    def epoch_started(self, epoch: int, steps: int) -> None:
        self.steps = steps
        if self.task is None:
            total = steps * self.epochs
            self.task = self.bar.add_task("training", total=total, completed=epoch * steps)

    def step_done(self, epoch: int, step: int, loss: float) -> None:
        done = epoch * self.steps + step + 1  # not one more: a run may go on within an epoch
        text = f"epoch {epoch + 1}/{self.epochs} loss {loss:.3f}"
        self.bar.update(self.task, completed=done, description=text)

    def epoch_ended(self, row: dict[str, Any]) -> None:
        if not self.quiet:
            self.console.print(
                f"epoch {row['epoch'] + 1:>3}/{self.epochs}"
                f"  loss {row['train_loss']:.3f}  train {row['train_accuracy']:.1%}"
                f"  validation {row['validation_accuracy']:.1%}"
                f"  rate {row['firing_rate']:.1%}  {row['seconds']:.1f} s",
                highlight=False,
            )


class DownloadBar:
    """A bar over bytes, shown from the first call; ``bar(done, total)`` with total 0 if unknown."""

    def __init__(self, console: Console, quiet: bool = False):
        columns = (TextColumn("downloading"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
        off = quiet or not console.is_terminal
        self.bar = Progress(*columns, console=console, disable=off, transient=True)
        self.task: Any = None

    def __enter__(self) -> DownloadBar:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def __call__(self, done: int, total: int) -> None:
        if self.task is None:
            self.task = self.bar.add_task("", total=total or None)
        self.bar.update(self.task, completed=done, total=total or None)


class TensorBoardWatcher(Watcher):
    """Passes everything on and writes each epoch's numbers to TensorBoard."""

    def __init__(self, inner: Watcher, folder: Path):
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise ConfigError(
                "--tensorboard needs TensorBoard: pip install 'snnsim[tensorboard]'"
            ) from error
        self.inner, self.writer = inner, SummaryWriter(str(folder))

    def writing(self) -> None:
        self.inner.writing()

    def epoch_started(self, epoch: int, steps: int) -> None:
        self.inner.epoch_started(epoch, steps)

    def step_done(self, epoch: int, step: int, loss: float) -> None:
        self.inner.step_done(epoch, step, loss)

    def epoch_ended(self, row: dict[str, Any]) -> None:
        self.inner.epoch_ended(row)
        for name, value in row.items():
            if name != "epoch" and isinstance(value, (int, float)):
                self.writer.add_scalar(name, value, row["epoch"])
        self.writer.flush()
