"""``snnsim baselines`` from end to end."""

from __future__ import annotations

import json

import pytest
from snnsim_experiments.baselines import checks
from snnsim_experiments.budget import Budget, fit
from snnsim_experiments.build import Facts
from snnsim_experiments.candidates import ON_DATA, ON_STREAMS, Choice
from snnsim_experiments.configuration import resolve
from snnsim_experiments.lists import parse_budget

from snnsim.baselines import RateNetwork, multiple_of, names, width_for
from snnsim.errors import ConfigError

SMALL = ("--budget", "4k", "--epochs", "1", "-q", "--set", "data.pool=50")


def test_the_list_for_machines_says_all_there_is_to_know(snnsim):
    code, out, _ = snnsim("baselines", "list", "--json")
    rows = json.loads(out)
    assert code == 0 and [row["name"] for row in rows] == names()
    assert all(row["source"] and row["about"].endswith((".", ":")) for row in rows)
    assert {row["name"] for row in rows if not row["causal"]} == {"bidirectional"}


@pytest.mark.parametrize("by", ["parameters", "state", "operations"])
def test_info_shows_the_network_that_fits_the_budget(snnsim, by):
    code, out, _ = snnsim("baselines", "info", "aaren", "--budget", "1500", "--by", by, "--json",
                          "--channels", "14")  # fmt: skip
    facts = json.loads(out)
    assert code == 0 and 0 < facts[by] <= 1500 and facts["width"] % 4 == 0
    assert "Feng et al. 2024" in facts["source"] and facts["options"] == {"heads": 4}


def test_a_run_of_a_baseline_is_a_run_like_any_other(snnsim, tmp_path):
    out_folder = tmp_path / "run"
    command = ("baselines", "train", "--model", "gru", "--data", "spoken-digits", "--out")
    code, out, _ = snnsim(*command, out_folder, *SMALL, "--json")
    assert code == 0
    summary = json.loads(out)
    assert summary["parameters"] <= 4000
    code, out, _ = snnsim("spoken-digits", "evaluate", out_folder, "--json")
    assert code == 0
    assert json.loads(out)["accuracy"] == pytest.approx(summary["test_accuracy"])
    code, out, err = snnsim(*command, out_folder, *SMALL)
    assert code == 1 and "--resume" in err
    code, _, _ = snnsim(*command, out_folder, *SMALL, "--resume")
    assert code == 0


def test_a_comparison_has_a_row_for_each_network_and_goes_on_where_it_stopped(snnsim, tmp_path):
    command = ("baselines", "compare", "--data", "spoken-digits", *SMALL, "--out", tmp_path)
    code, _, err = snnsim(*command, "--models", "elman,bidirectional,snn-none,snn-adlif")
    assert code == 0, err
    rows = json.loads((tmp_path / "comparison.json").read_text())
    assert [row["name"] for row in rows] == ["elman", "bidirectional", "snn-none", "snn-adlif"]
    for row in rows:
        assert row["parameters"] <= 4000 and row["operations"] > 100 and row["seeds"] == [0]
    assert [row["causal"] for row in rows] == [True, False, True, True]
    assert rows[0]["rate"] is None and rows[2]["rate"] is not None
    configs = [
        json.loads((tmp_path / name / "seed0" / "run.json").read_text())["config"]
        for name in ("elman", "snn-none")
    ]
    for key in ("epochs", "batch_size", "readout", "mask_padding"):
        assert configs[0]["training"][key] == configs[1]["training"][key]
    assert configs[0]["data"] == configs[1]["data"]
    assert configs[0]["network"]["dropout"] == configs[1]["network"]["dropout"]
    assert rows[1]["state"] is None and rows[3]["rate"] > 0
    for row in rows:
        assert len(row["last_tests"]) == 1 and 0 <= row["last_tests"][0] <= 100
    before = (tmp_path / "elman" / "seed0" / "summary.json").stat().st_mtime_ns
    code, out, _ = snnsim(*command, "--models", "elman", "--resume", "--json")
    again = {row["name"]: row["tests"] for row in json.loads(out)}
    assert code == 0 and again == {row["name"]: row["tests"] for row in rows}
    code, _, err = snnsim(*command, "--models", "gru")
    assert code == 1 and "--resume" in err
    code, _, err = snnsim(*command, "--models", "gru", "--resume", "--budget", "5k")
    assert code == 1 and "run with budget=" in err
    code, _, err = snnsim(*command, "--models", "gru", "--resume", "--set", "encoder.norm=log1p")
    assert code == 1 and "run with encoder=" in err
    code, _, err = snnsim(*command, "--models", "gru", "--resume", "--seeds", "1")
    assert code == 1 and "run with seeds=" in err
    assert len(json.loads((tmp_path / "comparison.json").read_text())) == 4
    assert (tmp_path / "elman" / "seed0" / "summary.json").stat().st_mtime_ns == before


def test_decibels_are_normalised_and_counts_are_not():
    assert resolve("gsc", "gru").network["encoder"]["norm"] == "layer"
    assert resolve("fsdd", "gru").network["encoder"]["norm"] == "sqrt"
    chosen = resolve("gsc", "gru", changes=["encoder.norm=log1p"])
    assert chosen.network["encoder"]["norm"] == "log1p"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("train", "--model", "gruu", "--data", "spoken-digits"), "'gru'"),
        (("train", "--model", "gru", "--data", "spoken-digit"), "'spoken-digits'"),
        (("train", "--model", "gru", "--data", "spoken-digits", "--budget", "x"), "such as 50k"),
        (("train", "--model", "gru", "--data", "spoken-digits", "--budget", "10"), "too small"),
        (
            ("train", "--model", "s6", "--data", "spoken-digits", "--set", "options.stats=4"),
            "'states'",
        ),
        (("compare", "--models", "gru,lstmm", "--data", "spoken-digits"), "'lstm'"),
        (("compare", "--models", ",", "--data", "spoken-digits"), "different names"),
        (("compare", "--models", "gru,gru", "--data", "spoken-digits"), "different names"),
        (("compare", "--rates", "1,1", "--data", "spoken-digits"), "different values"),
        (("compare", "--data", "spoken-digits", "--resume"), "--out"),
        (("train", "--model", "gru", "--data", "spoken-digits", "--resume"), "--out"),
        (("train", "--model", "gru", "--stream", "spoken-digits", "--resume"), "--out"),
        (("info", "gru", "--set", "options.x=1"), "options.x"),
        (("check", "recal"), "'recall'"),
    ],
)
def test_what_cannot_be_done_is_said(snnsim, arguments, says):
    code, _, err = snnsim("baselines", *arguments)
    assert code == 1 and says in " ".join(err.split())


def test_learning_rates_are_chosen_on_validation_data(snnsim, tmp_path):
    command = ("baselines", "compare", "--data", "spoken-digits", *SMALL, "--out", tmp_path)
    command = (*command, "--seeds", "0,1", "--rates", "0.001,1", "--epochs", "4")
    code, out, err = snnsim(*command, "--models", "elman,titans", "--json", "--budget", "1k")
    assert code == 0, err
    rows = {row["name"]: row for row in json.loads(out)}
    assert "too small" in rows["titans"]["refused"]
    row = rows["elman"]
    stored = {
        name: json.loads((tmp_path / "elman" / name / "summary.json").read_text())
        for name in ("seed0", "rate0.001-seed0")
    }
    tried = {3e-6: stored["rate0.001-seed0"], 0.003: stored["seed0"]}
    assert row["tried"] == {
        f"{lr:g}": pytest.approx(100 * s["validation_accuracy"]) for lr, s in tried.items()
    }
    best = max(tried, key=lambda lr: tried[lr]["validation_accuracy"])
    assert row["lr"] == pytest.approx(best)
    chosen = "seed" if best == 0.003 else "rate0.001-seed"
    assert sorted(p.name for p in (tmp_path / "elman").iterdir()) == sorted(
        {"seed0", "rate0.001-seed0", f"{chosen}0", f"{chosen}1"}
    )


def test_every_model_fits_a_common_budget():
    for name in names():
        width = width_for(
            lambda width, name=name: RateNetwork(14, 4, name, width=width, depth=2),
            14, 20_000, multiple=multiple_of(name),
        )  # fmt: skip
        assert width >= 2, name


def test_budgets_may_be_short():
    assert [parse_budget(t) for t in ("50k", "1.5M", "300")] == [50e3, 1.5e6, 300.0]
    for wrong in ("", "k", "-1", "0"):
        with pytest.raises(ConfigError, match="budget"):
            parse_budget(wrong)


def test_sections_of_one_model_are_for_it_alone(tmp_path):
    path = tmp_path / "c.toml"
    path.write_text("[training]\nlr = 0.5\n[training-gru]\nlr = 0.25\n")
    rates = [resolve("spoken-digits", m, config=str(path)).training["lr"] for m in ("gru", "lstm")]
    assert rates == [0.25, 0.5]


@pytest.mark.parametrize("name", checks.names())
def test_every_check_runs(name):
    outcome = checks.get(name).run(seed=1, short=True)
    assert outcome.claim and outcome.figures
    values = [*outcome.figures.values(), *outcome.control.values()]
    assert all(isinstance(v, float) and v == v for v in values)


def test_a_check_that_fails_has_an_exit_code(snnsim, monkeypatch, tmp_path):
    from snnsim_experiments.baselines.checks.outcome import Outcome

    module = checks.get("fsmn")
    for passed, expected in ((True, 0), (False, 1)):
        outcome = Outcome("claim", passed, {"a": 1.0}, {"b": 0.0}, "one step")
        monkeypatch.setattr(module, "run", lambda seed, short, outcome=outcome: outcome)
        code, out, _ = snnsim("baselines", "check", "fsmn", "--out", tmp_path / "c.json")
        assert code == expected and "claim" in out
        assert json.loads((tmp_path / "c.json").read_text())[0]["passed"] == passed


def test_spiking_networks_of_a_comparison_have_other_names_than_models():
    assert not {*ON_DATA, *ON_STREAMS} & set(names())


def test_a_comparison_refuses_data_or_training_for_one_model_alone(snnsim, tmp_path):
    file = tmp_path / "mine.toml"
    command = ("baselines", "compare", "--data", "spoken-digits", *SMALL, "--models", "elman")
    for text in (
        "[data-gru]\npool = 7\n",
        "[training-gru]\nepochs = 9\n",
        "[network-gru]\ndropout = 0.7\n",
    ):
        file.write_text(text)
        code, _, err = snnsim(*command, "--config", file, "--out", tmp_path / "out")
        assert code == 1 and "must be the same for all" in " ".join(err.split())
    code, _, err = snnsim(*command, "--config", tmp_path / "absent.toml", "--out", tmp_path / "out")
    assert code == 1 and "no configuration file" in " ".join(err.split())
    file.write_text("[training-elman]\nlr = 0.01\n")  # learning rates may differ
    code, _, err = snnsim(*command, "--config", file, "--out", tmp_path / "out")
    assert code == 0, err


def test_a_finished_row_is_not_lost_to_a_refusal(snnsim, tmp_path):
    command = ("baselines", "compare", "--data", "spoken-digits", *SMALL, "--models", "elman")
    assert snnsim(*command, "--out", tmp_path)[0] == 0
    before = (tmp_path / "comparison.json").read_text()
    code, _, err = snnsim(*command, "--out", tmp_path, "--resume", "--set", "options.order=3")
    assert code == 1 and "options.order" in err
    code, _, err = snnsim(*command, "--out", tmp_path, "--resume", "--set", "network.depth=1")
    assert code == 1 and "run with network=" in err
    assert (tmp_path / "comparison.json").read_text() == before


def test_what_spiking_networks_share_with_baselines_and_what_is_theirs_alone():
    changes = ["training.patience=3", "training.lr_delay=0.5", "training.lr=0.5"]
    chosen = Choice("spoken-digits", changes=changes).network("snn-learned")
    chosen = fit(chosen, Budget(4000, "parameters"), Facts(14, 4, 10.0))
    assert chosen.training["patience"] == 3 and chosen.training["lr_delay"] == 0.5
    assert chosen.training["lr"] != 0.5


def test_masked_weights_are_no_parameters_of_a_run(snnsim, tmp_path):
    command = ("baselines", "train", "--model", "elman", "--data", "spoken-digits", *SMALL)
    code, out, _ = snnsim(*command, "--set", "network.density=0.25", "--out", tmp_path, "--json")
    assert code == 0 and json.loads(out)["parameters"] <= 4000


def test_the_last_output_needs_masked_padding():
    with pytest.raises(ConfigError, match="mask_padding=true"):
        resolve(
            "spoken-digits", "gru", changes=["training.readout=last", "training.mask_padding=false"]
        )
    assert resolve("spoken-digits", "gru").training["mask_padding"] is True
