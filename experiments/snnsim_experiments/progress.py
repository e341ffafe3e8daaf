"""Progress on the terminal and in TensorBoard."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from snnsim.continual import ContinualWatcher
from snnsim.errors import ConfigError
from snnsim.training import Watcher
from snnsim_experiments.lock import Held


class _Bar:
    """A bar that is drawn within its context, on a terminal only, and not when quiet."""

    def __init__(self, console: Console, quiet: bool, *columns: ProgressColumn, **options: Any):
        self.console, self.quiet = console, quiet
        self.task: Any = None
        off = quiet or not console.is_terminal
        columns = (*columns, TimeRemainingColumn())
        self.bar = Progress(*columns, console=console, disable=off, **options)

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()


class CountBar(_Bar):
    """A bar over things that are done one by one; it is called with how many are, and of how many.

    Args:
        what: what is done, shown before the bar.
    """

    def __init__(self, console: Console, what: str, quiet: bool = False):
        columns = (TextColumn("{task.description}"), BarColumn(bar_width=None))
        super().__init__(console, quiet, *columns, MofNCompleteColumn())
        self.what = what

    def __call__(self, done: int, total: int) -> None:
        if self.task is None:
            self.task = self.bar.add_task(self.what, total=total)
        self.bar.update(self.task, completed=done)


class _StepsBar(_Bar):
    """A bar over steps of training, with a line of text at times, for a run in its folder."""

    def __init__(self, console: Console, quiet: bool, held: Held | None):
        columns = (TextColumn("{task.description}"), BarColumn(bar_width=None))
        super().__init__(console, quiet, *columns, MofNCompleteColumn())
        self.held = held

    def writing(self) -> None:
        if self.held is not None:
            self.held.check()

    def line(self, text: str) -> None:
        if not self.quiet:
            self.console.print(text, highlight=False)


class TerminalWatcher(_StepsBar, Watcher):
    """Show a line per epoch, and on a terminal a bar over all steps; nothing when quiet.

    ``advise`` is asked after each epoch, with its row, for a further line, unless quiet.
    """

    def __init__(
        self,
        console: Console,
        epochs: int,
        quiet: bool = False,
        held: Held | None = None,
        advise: Callable[[dict[str, Any]], str | None] | None = None,
    ):
        super().__init__(console, quiet, held)
        self.epochs, self.steps, self.advise = epochs, 0, advise

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
        parts = {part: _score(row, part) for part in ("train", "validation")}
        self.line(
            f"epoch {row['epoch'] + 1:>3}/{self.epochs}"
            f"  loss {row['train_loss']:.3f}  train {parts['train']}"
            f"  validation {parts['validation']}"
            f"  rate {row['firing_rate']:.1%}  {row['seconds']:.1f} s"
        )
        advice = self.advise(row) if self.advise is not None and not self.quiet else None
        if advice is not None:
            self.line(escape(advice))


def _score(row: dict[str, Any], part: str) -> str:
    """The score of an epoch, in the format of its metric."""
    formats = {"accuracy": ".1%", "f1": ".3f", "nats": ".3f", "mse": ".4f"}
    name = next(name for name in formats if f"{part}_{name}" in row)
    return format(row[f"{part}_{name}"], formats[name])


class StreamWatcher(_StepsBar, ContinualWatcher):
    """Show a line per task, and on a terminal a bar over the steps of a task."""

    def __init__(self, console: Console, tasks: int, quiet: bool, held: Held | None):
        super().__init__(console, quiet, held)
        self.tasks = tasks

    def task_started(self, task: int, steps: int) -> None:
        if self.task is not None:
            self.bar.remove_task(self.task)
        self.task = self.bar.add_task(f"task {task + 1}/{self.tasks}", total=steps)

    def step_done(self, task: int, step: int, loss: float) -> None:
        title = f"task {task + 1}/{self.tasks} loss {loss:.3f}"
        self.bar.update(self.task, completed=step, description=title)

    def tested(self, task: int, row: list[float]) -> None:
        past = "  ".join(f"{100 * a:.1f}" for a in row[: task + 1])
        self.line(f"task {task + 1:>2}/{self.tasks}  {past} %")


class DownloadBar(_Bar):
    """Show a bar over bytes from the first call on: ``bar(done, total)``, total 0 if unknown."""

    def __init__(self, console: Console, quiet: bool = False):
        columns = (TextColumn("downloading"), BarColumn(), DownloadColumn())
        super().__init__(console, quiet, *columns, transient=True)

    def __call__(self, done: int, total: int) -> None:
        if self.task is None:
            self.task = self.bar.add_task("", total=total or None)
        self.bar.update(self.task, completed=done, total=total or None)


class RecordingsBar(_Bar):
    """Show a bar over recordings: ``bar(done, total)``."""

    def __init__(self, console: Console, quiet: bool = False):
        columns = (TextColumn("encoding"), BarColumn(bar_width=None), MofNCompleteColumn())
        super().__init__(console, quiet, *columns)

    def __call__(self, done: int, total: int) -> None:
        if self.task is None:
            self.task = self.bar.add_task("", total=total)
        self.bar.update(self.task, completed=done)


class _PassingOn(Watcher):
    """Everything is passed on to another watcher."""

    def __init__(self, inner: Watcher):
        self.inner = inner

    def writing(self) -> None:
        self.inner.writing()

    def epoch_started(self, epoch: int, steps: int) -> None:
        self.inner.epoch_started(epoch, steps)

    def step_done(self, epoch: int, step: int, loss: float) -> None:
        self.inner.step_done(epoch, step, loss)

    def epoch_ended(self, row: dict[str, Any]) -> None:
        self.inner.epoch_ended(row)


class EpochWatcher(_PassingOn):
    """Pass everything on to another watcher, and the row of each epoch to a function as well."""

    def __init__(self, inner: Watcher, after_epoch: Callable[[dict[str, Any]], None]):
        super().__init__(inner)
        self.after_epoch = after_epoch

    def epoch_ended(self, row: dict[str, Any]) -> None:
        super().epoch_ended(row)
        self.after_epoch(row)


class TensorBoardWatcher(_PassingOn):
    """Pass everything on to another watcher, and write the numbers of epochs to TensorBoard."""

    def __init__(self, inner: Watcher, folder: Path):
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise ConfigError(
                "--tensorboard needs TensorBoard: pip install 'snnsim[tensorboard]'"
            ) from error
        super().__init__(inner)
        self.writer = SummaryWriter(str(folder))

    def epoch_ended(self, row: dict[str, Any]) -> None:
        super().epoch_ended(row)
        for name, value in row.items():
            if name != "epoch" and isinstance(value, (int, float)):
                self.writer.add_scalar(name, value, row["epoch"])
        self.writer.flush()
