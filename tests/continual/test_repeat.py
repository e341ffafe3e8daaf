"""``snnsim continual repeat``: a sweep over sizes of a repeated subset."""

from __future__ import annotations

import json

import numpy as np
import pytest
from command import snnsim
from snnsim_experiments import comparison
from snnsim_experiments.continual.repeat import rows_of, worst

from snnsim.errors import ConfigError, NonFiniteError

SMALL = ("--set", "network.hidden=[4]", "--set", "network.delays=none", "--set", "data.pool=50")
SWEEP = ("repeat", *SMALL, "--epochs", 2, "-q")


def row(size, losses, **more):
    made = {"name": f"size{size}", "last_losses": losses, "last_validation_losses": losses}
    return made | {"last_tests": [50.0, 60.0], "seeds": [0, 1]} | more


def test_rows_are_means_over_seeds_beside_the_same_seed_without_repeats():
    found = rows_of(
        [row(4, [2.0, 4.0]), row(0, [1.0, 2.0]), {"name": "size9", "refused": "why"}], 20, 0.5, 6
    )
    none, some, refused = found
    assert (none["size"], none["repeats"], none["others"]) == (0, None, 6)
    assert (some["size"], some["repeats"], some["others"]) == (4, 15, 3.75)
    assert some["test_loss"] == 3 and some["over_none"] == 1.5
    assert some["std"]["over_none"] == pytest.approx(np.std([1, 2], ddof=1))
    assert some["test_accuracy"] == pytest.approx(0.55) and some["each"]["test_loss"] == [2, 4]
    assert none["over_none"] == 0
    (forecasts,) = rows_of([row(4, [2.0, 4.0], metric="nrmse", last_tests=[0.2, 0.4])], 20, 0.5, 6)
    assert forecasts["test_nrmse"] == pytest.approx(0.3) and "test_accuracy" not in forecasts
    assert refused["size"] == 9 and refused["refused"] == "why" and "test_loss" not in refused


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ({0: 1.0, 4: 1.1, 8: 2.0, 16: 1.2}, "largest with 8 repeated samples: 2.000"),
        ({0: 1.0, 4: 2.0, 8: 1.5}, "largest with 4 repeated samples, an end of what was tried"),
        ({0: 3.0, 4: 1.5, 8: 2.0}, "smallest with 4 repeated samples"),
        ({0: 1.0}, "Compare several sizes"),
    ],
)
def test_a_sentence_says_which_size_does_harm(losses, expected):
    rows = [{"size": size, "validation_loss": loss} for size, loss in losses.items()]
    assert expected in worst(rows)


def test_a_sweep_prints_and_writes_what_it_promises_and_goes_on(rendered, tmp_path):
    out = tmp_path / "s"
    done = snnsim(*SWEEP, "--sizes", "0,16,256", "--share", 0.5, "--out", out, "--json")
    assert done.exit_code == 0, done.output
    rows = json.loads((out / "repeat.json").read_text())
    assert json.loads(done.stdout) == rows
    assert [each["size"] for each in rows] == [0, 16, 256]
    assert rows[1]["repeats"] == 2 * 190 / 16 and "only 190 of 380" in rows[2]["refused"]
    summary = json.loads((out / "size16" / "seed0" / "summary.json").read_text())
    assert rows[1]["test_loss"] == summary["last_test_loss"]
    assert rows[1]["over_none"] == rows[1]["test_loss"] - rows[0]["test_loss"]
    assert (out / "repeat.png").read_bytes()[:4] == b"\x89PNG"
    stored = json.loads((out / "size16" / "seed0" / "run.json").read_text())["config"]
    assert (stored["training"]["repeat"], stored["training"]["repeat_fraction"]) == (16, 0.5)

    again = snnsim(*SWEEP, "--sizes", "0,16", "--out", out)
    assert isinstance(again.exception, ConfigError) and "--resume" in str(again.exception)
    more = snnsim(*SWEEP, "--sizes", "4", "--out", out, "--resume")
    assert more.exit_code == 0, more.output
    longer = json.loads((out / "repeat.json").read_text())
    assert [each["size"] for each in longer] == [0, 4, 16, 256]
    assert [each for each in longer if each["size"] != 4] == rows
    assert "test loss over none" in more.output and "repeated samples" in more.output
    other = snnsim(*SWEEP, "--sizes", "4", "--fraction", 0.2, "--out", out, "--resume")
    assert "was run with training=" in str(other.exception)


def test_an_interrupted_sweep_keeps_what_is_done(tmp_path, monkeypatch):
    train, calls = comparison.train, []

    def interrupted(experiment, place):
        calls.append(place.out)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return train(experiment, place)

    monkeypatch.setattr(comparison, "train", interrupted)
    out = tmp_path / "s"
    assert snnsim(*SWEEP, "--sizes", "0,8", "--out", out).exit_code
    before = (out / "size0" / "seed0" / "summary.json").read_bytes()
    done = snnsim(*SWEEP, "--sizes", "0,8", "--out", out, "--resume")
    assert done.exit_code == 0, done.output
    assert (out / "size0" / "seed0" / "summary.json").read_bytes() == before
    assert [each["size"] for each in json.loads((out / "repeat.json").read_text())] == [0, 8]


def test_a_size_that_diverges_does_not_stop_the_others(tmp_path, monkeypatch):
    train = comparison.train

    def diverging(experiment, place):
        if experiment.recipe.repeat == 4:
            raise NonFiniteError("the loss is not finite")
        return train(experiment, place)

    monkeypatch.setattr(comparison, "train", diverging)
    done = snnsim(*SWEEP, "--sizes", "4,8", "--out", tmp_path / "s")
    assert done.exit_code == 1 and "4: the loss is not finite" in done.output
    rows = json.loads((tmp_path / "s" / "repeat.json").read_text())
    assert "failed" in rows[0] and "test_loss" in rows[1]


def test_a_baseline_has_the_width_that_is_given(tmp_path):
    done = snnsim(
        "repeat", "--model", "gru", "--width", 3, "--set", "data.pool=50", "--epochs", 1, "-q",
        "--sizes", "4", "--seeds", "0,1", "--out", tmp_path / "s", "--json",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    (found,) = json.loads(done.stdout)
    assert found["seeds"] == [0, 1] and found["std"]["test_loss"] is not None
    stored = json.loads((tmp_path / "s" / "size4" / "seed1" / "run.json").read_text())
    assert stored["config"]["model"] == "gru" and stored["config"]["network"]["width"] == 3


@pytest.mark.parametrize(
    ("given", "said"),
    [(("--sizes", "4,4"), "different values"), (("--sizes", "-1"), "a size of --sizes is -1"),
     (("--sizes", "a"), "different values"), (("--data", "nowhere"), "nowhere"),
     (("--model", "nobody"), "nobody")],
)  # fmt: skip
def test_mistakes_are_refused_before_anything_is_written(tmp_path, given, said):
    done = snnsim(*SWEEP, *given, "--out", tmp_path / "s")
    assert done.exit_code and said in str(done.exception)
    assert not (tmp_path / "s").exists()
