"""``snnsim baselines train | compare --stream``: networks of one size on tasks in turn."""

from __future__ import annotations

import json

import pytest
from small import stream
from snnsim_experiments import budget as sizes
from snnsim_experiments import comparison
from snnsim_experiments.budget import Budget, cost, fit, width_of, with_width
from snnsim_experiments.build import look_at
from snnsim_experiments.candidates import Choice
from snnsim_experiments.comparison import row_of_stream
from snnsim_experiments.configuration import resolve
from snnsim_experiments.continual import networks
from snnsim_experiments.place import HERE, Place

import snnsim as sn
from snnsim.baselines import Cost, cost_of, get
from snnsim.continual import Learner, dense_head
from snnsim.errors import ConfigError

SMALL = ("--stream", "spoken-digits", "--budget", "4k", "--epochs", "1", "-q", "--set",
         "stream.per_task=10")  # fmt: skip


def configure(name, source, method="fine-tuning", **common):
    return Choice(source, method, **common).network(name)


def test_a_baseline_is_trained_on_a_stream_within_its_budget(snnsim, tmp_path):
    command = ("baselines", "train", "--model", "gru", *SMALL, "--method", "replay", "--out")
    code, out, err = snnsim(*command, tmp_path / "run", "--json", "--set", "options.x=1")
    assert code == 1 and "options.x" in err
    code, out, err = snnsim(*command, tmp_path / "run", "--json", "--set", "encoder.clip=3")
    assert code == 0, err
    summary = json.loads(out)
    assert summary["method"] == "replay" and 3000 < summary["parameters"] <= 4000
    config = json.loads((tmp_path / "run" / "run.json").read_text())["config"]
    assert config["model"] == "gru" and config["network"]["depth"] == 2
    assert config["network"]["encoder"] == {"bins": 1, "clip": 3.0, "norm": "sqrt", "pool": 1}


def test_networks_on_a_stream_have_rows_of_one_budget_and_learning_rates_of_their_own(
    snnsim, tmp_path
):
    command = ("baselines", "compare", *SMALL, "--method", "hlop", "--out", tmp_path)
    names = "aaren,snn-none,snn-recurrent,snn-learned,bidirectional"
    code, out, err = snnsim(*command, "--rates", "1,10", "--models", names, "--json")
    assert code == 0, err
    rows = {row["name"]: row for row in json.loads(out)}
    for name in ("aaren", "snn-none", "snn-recurrent"):
        row = rows[name]
        assert row["parameters"] <= 4000 and row["operations"] > 1000 and row["state"] > 10
        assert 0 <= row["test"] <= 100 and row["spiking"] == name.startswith("snn")
        held_out = json.loads((tmp_path / name / "rate10-validation" / "summary.json").read_text())
        assert row["tried"]["0.01"] == held_out["acc"] and row["lr"] in (0.001, 0.01)
        best = max(row["tried"], key=lambda lr: row["tried"][lr])
        assert row["lr"] == pytest.approx(float(best))
        final = json.loads((tmp_path / name / f"rate{row['lr'] / 0.001:g}/run.json").read_text())
        assert final["config"]["data"]["evaluate"] == "test"
    assert "one subspace" in rows["snn-learned"]["refused"]
    assert "looks ahead" in rows["bidirectional"]["refused"]
    stored = tmp_path / "aaren" / "rate1-validation" / "seed0" / "summary.json"
    before = stored.stat().st_mtime_ns
    code, _, err = snnsim(*command, "--rates", "1,10", "--models", "fsmn", "--resume", "--set",
                          "options.order=3")  # fmt: skip
    assert code == 0, err
    again = (*command, "--rates", "1,10", "--models", "aaren", "--resume", "--json")
    code, out, _ = snnsim(*again)
    found = {row["name"]: row.get("test") for row in json.loads(out)}
    assert code == 0 and 0 <= found.pop("fsmn") <= 100
    assert found == {name: row.get("test") for name, row in rows.items()}
    assert stored.stat().st_mtime_ns == before
    code, _, err = snnsim(*command, "--models", "aaren", "--resume")
    assert code == 1 and "run with rates=" in err


@pytest.mark.parametrize("by", ["parameters", "state", "operations"])
@pytest.mark.parametrize("name", ["gru", "snn-none"])
@pytest.mark.parametrize("stream", ["spoken-digits", "parity"])
def test_a_network_of_a_stream_fits_any_budget(stream, name, by):
    config = configure(name, stream)
    tasks = look_at(config, HERE)
    chosen = fit(config, Budget(700, by), tasks)
    assert 0 < getattr(cost(chosen, tasks), by) <= 700
    wider = with_width(chosen, 2 * width_of(chosen))
    twice = fit(wider, Budget(1400, by), tasks)
    assert getattr(cost(twice, tasks), by) > getattr(cost(chosen, tasks), by)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--model", "gru"), "--data, or a stream"),
        (("--model", "gru", "--data", "fsdd", "--stream", "parity"), "--data, or a stream"),
        (("--model", "gru", "--data", "fsdd", "--method", "hlop"), "--data, or a stream"),
        (("--model", "gru", "--stream", "spoken"), "'spoken-digits'"),
        (("--model", "gru", "--stream", "parity", "--method", "hlopp"), "'hlop'"),
        (("--model", "gruu", "--stream", "parity"), "'gru'"),
        (("--model", "gru", "--stream", "parity", "--set", "encoder.bins=2"), "leave it at 1"),
    ],
)
def test_what_cannot_be_trained_is_said(snnsim, arguments, says):
    code, _, err = snnsim("baselines", "train", *arguments)
    assert code == 1 and says in " ".join(err.split())


def test_only_fully_connected_layers_are_sized():
    config = configure("snn-none", "split-cifar100")
    with pytest.raises(ConfigError, match="compare baselines alone"):
        with_width(config, 8)


def test_encoder_and_options_belong_to_a_baseline():
    chosen = resolve("spoken-digits", "fsmn", "ewc", changes=["options.order=5"])
    assert chosen.network["options"]["order"] == 5
    with pytest.raises(ConfigError, match="only on a baseline"):
        resolve("spoken-digits", method="ewc", changes=["options.order=5"])
    assert resolve("spoken-digits", method="ewc").network["options"] is None
    decibels = resolve("split-gsc", "gru", "ewc").network["encoder"]
    assert decibels["norm"] == "layer"
    changes = ["network.baseline=fsmn", "options.order=5"]  # as it was once written
    assert resolve("spoken-digits", method="ewc", changes=changes) == chosen


def test_learning_rates_are_tried_with_the_first_seed_and_the_best_has_them_all(
    tmp_path, monkeypatch
):
    asked = []

    def run(config, seeds, place):
        folder, lr = place.out, config.training["lr"]
        asked.append((lr, config.data["evaluate"], list(seeds), folder.name))
        acc = 50.0 + 10 * lr
        return {
            "acc": acc, "bwt": 0.0, "std": {"acc": 1.0, "bwt": 0.0}, "memory_bytes": 0,
            "seconds_per_task": [1.0, 2.0], "seeds": list(seeds),
        }  # fmt: skip

    monkeypatch.setattr(comparison, "run_stream", run)
    changes = ["stream.tasks=2", "stream.samples=8", "training.lr=0.1"]
    (row,) = comparison.compare_networks(
        ["snn-none"], Choice("parity", "fine-tuning", changes=changes),
        Budget(2000, "parameters"), [4, 7], Place(out=tmp_path, quiet=True), rates=[1.0, 3.0],
    )  # fmt: skip
    tried = [(0.1, "validation", [4]), (0.3, "validation", [4]), (0.3, "test", [4, 7])]
    found = [(pytest.approx(lr), part, seeds) for lr, part, seeds, _ in asked]
    assert found == tried
    assert [name for *_, name in asked] == ["rate1-validation", "rate3-validation", "rate3"]
    assert row["lr"] == pytest.approx(0.3) and row["seeds"] == [4, 7] and row["seconds"] == 3.0


@pytest.mark.parametrize("by", ["parameters", "operations"])
def test_the_parameters_of_a_network_on_a_stream_are_those_of_all_heads(by):
    changes = ["stream.tasks=3", "stream.samples=8", "network.connections=dense"]
    config = resolve("parity", method="fine-tuning", changes=changes)
    tasks = look_at(config, HERE)
    chosen = fit(config, Budget(3000, by), tasks)
    found = cost(chosen, tasks)
    learner = networks.build(tasks, model=chosen.model, **chosen.network)
    assert len(learner.heads) == 3
    assert found.parameters == sum(p.numel() for p in learner.parameters())
    assert getattr(found, by) <= 3000


@pytest.mark.parametrize("seeds", [[3], [3, 5]])
@pytest.mark.parametrize("name", ["snn-none", "fsmn"])
def test_a_row_says_what_a_stream_gave_and_the_network_costs(name, seeds, monkeypatch):
    config = configure(name, "parity", changes=["stream.tasks=2"], epochs=6)
    assert config.training["epochs"] == 6 and config.data["tasks"] == 2
    config = with_width(config, 12)
    costs = Cost(parameters=10, operations=20, state=30)
    monkeypatch.setattr(comparison, "cost", lambda experiment, data: costs)
    summary = {
        "acc": 61.0, "bwt": -7.0, "std": {"acc": 1.5, "bwt": 2.5}, "memory_bytes": 99,
        "seconds_per_task": [1.0, 2.5], "seeds": seeds,
    }  # fmt: skip
    several, spiking = len(seeds) > 1, name == "snn-none"
    assert row_of_stream(config, summary, stream("task")) == summary | {
        "test": 61.0, "test_std": 1.5 if several else None, "bwt": -7.0,
        "bwt_std": 2.5 if several else None, "parameters": 10, "operations": 20, "state": 30,
        "width": 12, "memory_bytes": 99, "seconds": 3.5, "causal": True, "spiking": spiking,
        "left_out": "" if spiking else get(name).left_out, "seeds": seeds,
    }  # fmt: skip


def test_a_spiking_network_gets_of_the_changes_what_is_for_all():
    changes = ["training.lr=0.25", "options.order=3", "network.depth=4", "stream.tasks=2"]
    chosen = configure("snn-recurrent", "parity", changes=changes)
    assert (chosen.training["lr"], chosen.data["tasks"]) == (0.25, 2)
    assert chosen.network["connections"] == "recurrent" and chosen.model == "spiking"
    assert with_width(chosen, 9).network["hidden"] == [9] * len(chosen.network["hidden"])
    rated = configure("fsmn", "parity", changes=changes)
    assert rated.model == "fsmn" and rated.network["depth"] == 4
    assert rated.network["options"]["order"] == 3
    assert width_of(with_width(rated, 9)) == 9
    pictures = configure("snn-none", "split-cifar100")
    with pytest.raises(ConfigError, match="a budget sizes fully connected layers"):
        with_width(pictures, 9)


def test_a_network_that_repeats_still_images_costs_what_it_does_at_one_step():
    costs = []
    for times in (2, 7):
        body = sn.Sequential(sn.Dense(12, 6), sn.Repeat(times), sn.LIF(6, dt=1.0), sn.Dense(6, 5))
        learner = Learner(body, dense_head(5), stream("task"))
        costs.append(cost_of(sizes._OfOneTask(learner), 12))
    assert costs[0] == costs[1]
    plain = sn.Sequential(sn.Dense(12, 6), sn.LIF(6, dt=1.0), sn.Dense(6, 5), learner.head(0))
    assert costs[0] == cost_of(plain, 12)
