"""Epochs and learning rates are chosen on validation data; test data stay unread till the end."""

from __future__ import annotations

import json

import pytest
import snnsim_experiments.train as command_train
from command import TRAIN
from snnsim_experiments import comparison
from snnsim_experiments.budget import Budget, with_width
from snnsim_experiments.build import Facts
from snnsim_experiments.candidates import Choice
from snnsim_experiments.configuration import resolve
from snnsim_experiments.place import Place
from snnsim_experiments.run_folder import read_json

from snnsim.training import Scores, Trainer, checkpoint, trainer

# --- the best epoch, not the last ---------------------------------------------------------------

THREE = (*TRAIN[:2], "--epochs", "4", *TRAIN[4:], "--set", "training.lr=0.05")


def test_a_summary_is_of_the_best_weights_and_says_what_the_last_ones_do(
    tmp_path, snnsim, monkeypatch
):
    validations = iter([(0.2, 2.0), (0.5, 1.0), (0.4, 0.5), (0.3, 0.1)])
    monkeypatch.setattr(trainer, "evaluate", lambda *_, **__: Scores(*next(validations), 0.1, 100))
    made = {}
    score = command_train.score

    def noting(net, config, data, steps):
        found = score(net, config, data, steps)
        made.update(net=net, config=config, data=data, steps=steps)
        return found

    monkeypatch.setattr(command_train, "score", noting)
    code, _, err = snnsim(*THREE, "--out", tmp_path / "run")
    assert code == 0, err
    summary = read_json(tmp_path / "run" / "summary.json")
    found = {}
    for name in ("best", "last"):
        tensors, _ = checkpoint.load(tmp_path / "run" / f"{name}.safetensors")
        made["net"].load_state_dict(checkpoint.without_prefix("net", tensors))
        found[name] = score(*made.values())
    assert summary["best_epoch"] == 1 and summary["epochs"] == 4
    assert summary["validation_accuracy"] == 0.5
    assert found["best"].loss != found["last"].loss
    assert found["best"].accuracy != found["last"].accuracy
    assert summary["test_accuracy"] == found["best"].accuracy
    assert summary["test_loss"] == found["best"].loss
    assert summary["mean_firing_rate"] == found["best"].firing_rate
    assert summary["last_test_accuracy"] == found["last"].accuracy


# --- test data stay unread -----------------------------------------------------------------------


class Locked:
    """Stands for test data: touching it is an error until it is opened."""

    def __init__(self, data):
        vars(self).update(_data=data, _open=False)

    def __getattr__(self, name):
        if not self._open and name != "checksums":  # which say of which file they are
            raise AssertionError(f"test data were asked for {name!r}")
        return getattr(self._data, name)

    def __len__(self):
        return self.__getattr__("__len__")()


@pytest.mark.parametrize(
    "command",
    [TRAIN, ("baselines", "train", "--model", "gru", "--data", "spoken-digits", "--budget", "4k",
             "--epochs", "2", "-q", "--set", "data.pool=50")],
    ids=["spiking", "baseline"],
)  # fmt: skip
def test_test_data_are_not_touched_before_training_has_ended(
    tmp_path, snnsim, monkeypatch, command
):
    locked = []
    load, run = command_train.load_split, Trainer.run

    def guarded(config, split, *arguments):
        data = load(config, split, *arguments)
        if split != "test":
            return data
        locked.append(Locked(data))
        return locked[-1]

    def open_afterwards(self):
        rows = run(self)
        for data in locked:
            vars(data)["_open"] = True
        return rows

    monkeypatch.setattr(command_train, "load_split", guarded)
    monkeypatch.setattr(Trainer, "run", open_afterwards)
    code, out, err = snnsim(*command, "--out", tmp_path / "run", "--json")
    assert code == 0, err
    assert len(locked) == 1
    assert json.loads(out)["test_samples"] == 120


def test_a_baselines_learning_rate_is_the_best_on_validation_data(monkeypatch, tmp_path):
    found = {0.3: (0.6, 0.9), 1.0: (0.7, 1.0), 3.0: (0.8, 0.5)}  # validation, test
    calls = []

    def train(experiment, place):
        factor = round(experiment.training["lr"] / 0.01, 3)
        calls.append((experiment.seed, factor))
        validation, test = found[factor]
        return {"validation_accuracy": validation, "test_accuracy": test, "factor": factor}

    monkeypatch.setattr(comparison, "train", train)
    monkeypatch.setattr(comparison, "look_at", lambda experiment, place: Facts(1, 2, 1.0))
    monkeypatch.setattr(
        comparison, "row_of_data", lambda experiment, summaries, facts: {"of": summaries}
    )
    config = with_width(resolve("spoken-digits", "gru"), 4).trained(lr=0.01)
    place = Place(out=tmp_path, quiet=True)
    (row,) = comparison.compare({"gru": config}, [4, 5, 6], place, rates=list(found))
    assert [summary["factor"] for summary in row["of"]] == [3.0] * 3
    assert row["lr"] == pytest.approx(0.03)
    assert row["tried"] == pytest.approx({"0.003": 60.0, "0.01": 70.0, "0.03": 80.0})
    assert calls == [(4, 0.3), (4, 1.0), (4, 3.0), (5, 3.0), (6, 3.0)]


def test_a_learning_rate_on_a_stream_is_the_best_on_what_is_held_out(monkeypatch, tmp_path):
    calls = []

    def run(experiment, seeds, place):
        evaluated, lr = experiment.data["evaluate"], experiment.training["lr"]
        calls.append((evaluated, round(lr / base, 3), tuple(seeds)))
        on_test = {1.0: 10.0, 3.0: 20.0, 9.0: 90.0}
        held_out = {1.0: 50.0, 3.0: 70.0, 9.0: 60.0}
        return {"acc": (held_out if evaluated == "validation" else on_test)[calls[-1][1]]}

    choice = Choice("spoken-digits", "fine-tuning")
    base = choice.network("gru").training["lr"]
    monkeypatch.setattr(comparison, "run_stream", run)
    monkeypatch.setattr(comparison, "row_of_stream", lambda *_: {})
    (row,) = comparison.compare_networks(
        ["gru"], choice, Budget(20_000, "parameters"), [2, 3], Place(out=tmp_path, quiet=True),
        rates=[1.0, 3.0, 9.0],
    )  # fmt: skip
    assert calls == [*(("validation", f, (2,)) for f in (1.0, 3.0, 9.0)), ("test", 3.0, (2, 3))]
    assert row["lr"] == pytest.approx(3 * base)
