"""What a run shows while it works: a bar, a line per epoch, a download, TensorBoard."""

from __future__ import annotations

import io
import shutil
import sys

import pytest
from rich.console import Console
from snnsim_experiments.lock import claim
from snnsim_experiments.progress import DownloadBar, TensorBoardWatcher, TerminalWatcher

from snnsim.errors import CheckpointError, ConfigError
from snnsim.training import Watcher

ROW = {
    "epoch": 4, "train_loss": 1.23449, "train_accuracy": 0.5, "validation_accuracy": 0.2514,
    "firing_rate": 0.0626, "seconds": 12.345,
}  # fmt: skip


def screen(terminal: bool = True) -> Console:
    system = "truecolor" if terminal else None
    return Console(
        file=io.StringIO(), force_terminal=terminal, width=120, color_system=system, no_color=False
    )


def shown(bar, width: int = 120) -> str:
    """A bar as it is drawn, without colours."""
    console = Console(file=io.StringIO(), width=width)
    console.print(bar.get_renderable())
    return console.file.getvalue()


# --- training -----------------------------------------------------------------------------------


def test_the_line_of_an_epoch_has_its_six_numbers_each_with_its_name():
    console = screen(terminal=False)
    TerminalWatcher(console, epochs=150).epoch_ended(ROW)
    assert console.file.getvalue() == (
        "epoch   5/150  loss 1.234  train 50.0%  validation 25.1%  rate 6.3%  12.3 s\n"
    )


def test_the_line_of_an_epoch_has_no_colours_on_a_terminal_either():
    console = screen()
    TerminalWatcher(console, epochs=150).epoch_ended(ROW)
    assert console.file.getvalue().startswith("epoch   5/150")
    assert "\x1b" not in console.file.getvalue()


def test_a_quiet_run_shows_neither_lines_nor_a_bar():
    console = screen()
    with TerminalWatcher(console, epochs=2, quiet=True) as watcher:
        watcher.epoch_started(0, 3)
        watcher.step_done(0, 0, 1.0)
        watcher.epoch_ended(ROW)
    assert console.file.getvalue() == ""


@pytest.mark.parametrize(
    ("terminal", "quiet", "off"), [(True, False, False), (True, True, True), (False, False, True)]
)
def test_a_bar_is_drawn_on_a_terminal_only_and_not_if_quiet(terminal, quiet, off):
    console = screen(terminal)
    assert TerminalWatcher(console, epochs=2, quiet=quiet).bar.disable is off
    assert DownloadBar(console, quiet=quiet).bar.disable is off


def test_the_bar_says_the_epoch_the_loss_and_the_steps_of_all_epochs():
    watcher = TerminalWatcher(screen(), epochs=3)
    watcher.epoch_started(0, 10)
    (task,) = watcher.bar.tasks
    assert (task.description, task.total, task.completed) == ("training", 30, 0)
    for step in range(10):
        watcher.step_done(0, step, 9.0)
    watcher.epoch_started(1, 10)
    watcher.step_done(1, 0, 0.12345)
    text = shown(watcher.bar)
    assert text.startswith("epoch 2/3 loss 0.123 ") and "11/30" in text


def test_the_bar_of_a_run_that_goes_on_within_an_epoch_gets_full():
    watcher = TerminalWatcher(screen(), epochs=2)
    watcher.epoch_started(1, 10)
    for step in range(6, 10):
        watcher.step_done(1, step, 1.0)
    (task,) = watcher.bar.tasks
    assert (task.completed, task.total) == (20, 20)


def test_a_bar_is_on_the_screen_within_its_context_only():
    watcher = TerminalWatcher(screen(), epochs=1)
    with watcher as entered:
        assert entered is watcher and watcher.bar.live.is_started
    assert not watcher.bar.live.is_started
    download = DownloadBar(screen())
    with download as entered:
        assert entered is download and download.bar.live.is_started
    assert not download.bar.live.is_started


def test_a_run_whose_folder_was_taken_away_is_stopped_before_it_writes(tmp_path):
    TerminalWatcher(screen(), epochs=1).writing()  # nothing is held
    with claim(tmp_path / "run") as held:
        watcher = TerminalWatcher(screen(), epochs=1, held=held)
        watcher.writing()
        shutil.rmtree(tmp_path / "run")
        with pytest.raises(CheckpointError, match="removed or moved"):
            watcher.writing()


# --- a download ---------------------------------------------------------------------------------


def test_a_download_is_shown_from_its_first_byte_with_what_is_done_of_what():
    download = DownloadBar(screen())
    assert download.bar.tasks == []
    download(0, 4_000_000)
    download(1_000_000, 4_000_000)
    (task,) = download.bar.tasks
    assert (task.completed, task.total) == (1_000_000, 4_000_000)
    assert shown(download.bar).startswith("downloading ") and "1.0/4.0 MB" in shown(download.bar)


def test_a_download_of_unknown_size_has_no_end_until_it_is_known():
    download = DownloadBar(screen())
    download(500, 0)
    (task,) = download.bar.tasks
    assert (task.completed, task.total) == (500, None)
    download(600, 0)
    assert (task.completed, task.total, task.finished) == (600, None, False)
    download(700, 900)
    assert (task.completed, task.total) == (700, 900)


def test_a_download_leaves_nothing_on_the_screen():
    download = DownloadBar(screen())
    assert download.bar.live.transient
    assert not TerminalWatcher(screen(), epochs=1).bar.live.transient


# --- TensorBoard --------------------------------------------------------------------------------


class Noting(Watcher):
    def __init__(self):
        self.calls = []

    def writing(self):
        self.calls.append(("writing",))

    def epoch_started(self, epoch, steps):
        self.calls.append(("started", epoch, steps))

    def step_done(self, epoch, step, loss):
        self.calls.append(("step", epoch, step, loss))

    def epoch_ended(self, row):
        self.calls.append(("ended", row))


def test_everything_is_passed_on_beside_tensorboard(tmp_path):
    pytest.importorskip("tensorboard")
    inner = Noting()
    watcher = TensorBoardWatcher(inner, tmp_path)
    watcher.epoch_started(3, 7)
    watcher.step_done(3, 2, 0.5)
    watcher.writing()
    watcher.epoch_ended(ROW)
    assert inner.calls == [("started", 3, 7), ("step", 3, 2, 0.5), ("writing",), ("ended", ROW)]


def test_tensorboard_has_every_number_of_an_epoch_as_soon_as_it_ends(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    watcher = TensorBoardWatcher(Watcher(), tmp_path)
    for epoch, loss in ((4, 1.5), (5, 1.25)):
        watcher.epoch_ended({"epoch": epoch, "train_loss": loss, "samples": 7, "note": "a text"})
        events = EventAccumulator(str(tmp_path)).Reload()
        assert sorted(events.Tags()["scalars"]) == ["samples", "train_loss"]
        found = events.Scalars("train_loss")
        assert (found[-1].step, found[-1].value) == (epoch, loss)
    assert [(e.step, e.value) for e in events.Scalars("samples")] == [(4, 7.0), (5, 7.0)]


def test_without_tensorboard_the_option_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ConfigError, match=r"--tensorboard needs .*'snnsim\[tensorboard\]'"):
        TensorBoardWatcher(Watcher(), tmp_path)
