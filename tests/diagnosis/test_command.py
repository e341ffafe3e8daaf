"""``snnsim diagnose`` and what a training at chance says by itself."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
import torch
from rich.console import Console
from snnsim_experiments import Place, resolve, run
from snnsim_experiments.advice import Advice
from snnsim_experiments.cli import app
from snnsim_experiments.progress import TerminalWatcher
from typer.testing import CliRunner

import snnsim as sn
from snnsim import checkpoint
from snnsim.data import Arrays
from snnsim.diagnosis.of_training import PATIENCE
from snnsim.training import Recipe, Trainer, set_seed

SMALL = ("network.hidden=[12]", "network.delays=none")
SET = [part for change in SMALL for part in ("--set", change)]


def command(*arguments):
    return CliRunner().invoke(app, ["diagnose", *map(str, arguments)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run of two epochs."""
    out = tmp_path_factory.mktemp("runs") / "a"
    run(resolve("spoken-digits", changes=SMALL, epochs=2), Place(out=out, quiet=True))
    return out


def test_data_are_diagnosed_before_training():
    answer = command("spoken-digits", *SET)
    assert answer.exit_code == 0, answer.output
    assert answer.output.startswith("healthy: ")


def test_a_problem_is_the_exit_code_1_and_json_has_all_of_it():
    answer = command("spoken-digits", *SET, "--set", "training.lr=0", "--json")
    assert answer.exit_code == 1
    told = json.loads(answer.stdout)
    assert told["healthy"] is False
    assert told["findings"][0]["what"] == "learning rate zero"
    assert set(told["findings"][0]) == {
        "what", "where", "severity", "sentence", "advice", "figures"
    }  # fmt: skip
    assert [row["kind"] for row in told["layers"]] == ["LIF", "LI"]


@pytest.mark.parametrize("name", ["best", "last"])
def test_a_run_is_compared_with_its_start(folder, name):
    before = {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}
    answer = command(folder, "--checkpoint", name, "--json")
    assert answer.exit_code == 0, answer.output
    told = json.loads(answer.stdout)
    assert "weights do not move" not in {f["what"] for f in told["findings"]}
    assert {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()} == before


def test_a_run_whose_weights_do_not_move_is_told_so(folder, tmp_path):
    still = tmp_path / "still"
    still.mkdir()
    for path in folder.glob("*.json"):
        (still / path.name).write_bytes(path.read_bytes())
    for name in ("initial", "best"):
        (still / f"{name}.safetensors").write_bytes((folder / "best.safetensors").read_bytes())
    answer = command(still, "--json")
    assert answer.exit_code == 1
    assert "weights do not move" in {f["what"] for f in json.loads(answer.stdout)["findings"]}


@pytest.mark.parametrize(
    ("more", "said"),
    [(["--set", "training.lr=1"], "remove --config"), (["--checkpoint", "worst"], "worst")],
)
def test_options_that_do_not_fit_a_run_are_refused(folder, more, said):
    answer = command(folder, *more)
    assert answer.exit_code == 1
    assert said in f"{answer.output}{answer.exception}"


def test_data_have_no_checkpoints():
    answer = command("spoken-digits", "--checkpoint", "last")
    assert answer.exit_code == 1
    assert "not a run" in str(answer.exception)


# --- while training -------------------------------------------------------------------------------


def told(epochs, quiet=False, lr=0.0):
    """What a training of an experiment prints."""
    console = Console(file=io.StringIO(), width=500)
    changes = (*SMALL, f"training.lr={lr}")
    return console, resolve("spoken-digits", changes=changes, epochs=epochs), quiet


def printed(tmp_path, epochs, quiet=False, lr=0.0):
    console, experiment, quiet = told(epochs, quiet, lr)
    run(experiment, Place(out=tmp_path / "run", quiet=quiet, console=console))
    return console.file.getvalue()


def test_a_training_at_chance_says_once_what_is_wrong(tmp_path):
    said = printed(tmp_path, PATIENCE + 2)
    assert said.count("still at chance") == 1
    assert f"still at chance after {PATIENCE} epochs. problem: learning rate zero" in said
    assert f"snnsim diagnose {tmp_path / 'run'}" in said


def test_neither_a_quiet_training_nor_one_that_learns_says_so(tmp_path):
    assert "still at chance" not in printed(tmp_path / "a", PATIENCE, quiet=True)
    assert "still at chance" not in printed(tmp_path / "b", PATIENCE + 3, lr=0.005)


ROW = {
    "epoch": 9, "train_loss": 1.0, "train_accuracy": 0.1, "validation_accuracy": 0.1,
    "firing_rate": 0.1, "seconds": 1.0,
}  # fmt: skip


def test_a_quiet_training_does_not_even_ask():
    def advise(row):
        raise AssertionError("asked")

    console = Console(file=io.StringIO())
    TerminalWatcher(console, 10, quiet=True, advise=advise).epoch_ended(ROW)


def test_advice_is_shown_as_it_is():
    console = Console(file=io.StringIO())
    TerminalWatcher(console, 10, advise=lambda row: "give x as [red] or [/]").epoch_ended(ROW)
    assert "give x as [red] or [/]" in console.file.getvalue()


def test_a_diagnosis_that_fails_does_not_end_a_training():
    def ask():
        raise RuntimeError("CUDA out of memory")

    data = Arrays(np.zeros((40, 5, 2), np.float32), np.arange(40) % 4)
    row = {"epoch": PATIENCE, "train_accuracy": 0.25, "validation_accuracy": 0.25}
    advice = Advice(data, ask, "runs/a")
    said = advice(row)
    assert said.startswith("still at chance")
    assert "snnsim diagnose runs/a" in said
    assert advice(row) is None


def small_training(advise):
    """The weights after a training at chance, and its rows."""
    set_seed(3)
    rng = np.random.default_rng(0)
    data = Arrays(rng.random((40, 10, 6)).astype(np.float32), rng.integers(0, 4, 40))
    net = sn.Sequential(
        sn.Dense(6, 8), sn.BatchNorm(8), sn.LIF(8, dt=1.0), sn.Dropout(0.5),
        sn.Dense(8, 4), sn.LI(4, dt=1.0),
    )  # fmt: skip
    recipe = Recipe(epochs=PATIENCE + 2, batch_size=10, lr=1e-5)
    asked = []

    def ask():
        asked.append(1)
        return sn.diagnose(net, data, recipe=recipe)

    console = Console(file=io.StringIO())
    advice = Advice(data, ask, "run") if advise else None
    watcher = TerminalWatcher(console, recipe.epochs, advise=advice)
    rows = Trainer(net, data, data, recipe, watcher=watcher, seed=1).run()
    return net.state_dict(), [{k: v for k, v in r.items() if k != "seconds"} for r in rows], asked


def test_saying_so_changes_no_number_of_the_training():
    weights, rows, asked = small_training(advise=True)
    same, as_before, _ = small_training(advise=False)
    assert len(asked) == 1
    assert rows == as_before
    assert all(torch.equal(weights[name], same[name]) for name in same)


def test_checkpoints_of_a_run_are_the_same_with_and_without_advice(tmp_path):
    printed(tmp_path / "a", PATIENCE + 1, lr=1e-7)
    printed(tmp_path / "b", PATIENCE + 1, lr=1e-7, quiet=True)
    one, two = (checkpoint.load(tmp_path / f / "run" / "last.safetensors")[0] for f in "ab")
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)
