"""Generated data sets from the command line: train, evaluate, compare, analyse and predict."""

from __future__ import annotations

import json

import numpy as np
import pytest
from snnsim_datasets import generated
from snnsim_experiments import resolve
from snnsim_experiments.configuration import with_data
from snnsim_experiments.forecasts import beside_persistence
from snnsim_experiments.run_folder import stored_experiment

from snnsim.data import Arrays
from snnsim.errors import ConfigError, DataError

TRAIN = ("baselines", "train", "--model", "gru", "--budget", "2k", "--epochs", "1", "-q", "--json")
OF_SPIKING = ("--epochs", "1", "-q", "--json", "--set", "network.hidden=[4]")
FEW = ("--set", "data.samples=16")


@pytest.fixture
def run(snnsim, tmp_path):
    """A function that trains a GRU on generated data; gives the folder and the summary."""

    def trained(name, *more):
        folder = tmp_path / name
        code, out, err = snnsim(*TRAIN, "--data", name, "--out", folder, *FEW, *more)
        assert code == 0, err
        return folder, json.loads(out)

    return trained


@pytest.mark.parametrize("name", [n for n in generated.names() if n != "series"])
def test_a_baseline_trains_on_each_and_evaluate_gives_its_score_again(snnsim, run, name):
    folder, summary = run(name)
    code, out, err = snnsim(name, "evaluate", folder, "--json")
    assert code == 0, err
    scores = json.loads(out)
    metric = next(name for name in ("nrmse", "f1", "accuracy") if name in scores)
    assert scores[metric] == pytest.approx(summary[f"test_{metric}"])
    assert stored_experiment(folder).data["samples"] == 16
    assert (folder / "plots" / "curves.png").is_file()


@pytest.mark.parametrize("name", ["counting", "moving-bar", "hidden-states", "lorenz96"])
def test_a_spiking_network_trains_on_them_as_well(snnsim, tmp_path, name):
    command = (name, "train", *OF_SPIKING, *FEW, "--out", tmp_path / "run")
    code, _, err = snnsim(*command)
    assert code == 0, err
    code, _, err = snnsim(*command, "--resume", "--set", "data.seed=1")
    assert code == 1 and "data.seed" in err


def test_longer_samples_than_in_training_are_evaluated(snnsim, run):
    folder, _ = run("counting")
    longer = ("--set", "data.shortest=30", "--set", "data.longest=40")
    code, out, err = snnsim("counting", "evaluate", folder, "--json", *longer)
    assert code == 0, err
    assert json.loads(out)["samples"] == 4
    code, _, err = snnsim("counting", "evaluate", folder, "--set", "data.chunk=2")
    assert code == 1 and "trained on data with the channels 2, and these have 4" in err
    code, _, err = snnsim("counting", "evaluate", folder, "--set", "data.most=5")
    assert code == 1 and "classes" in err
    code, _, err = snnsim("counting", "evaluate", folder, "--set", "training.lr=1")
    assert code == 1 and "section of data" in err


def test_what_has_an_answer_for_every_step_has_no_accuracy_over_time(snnsim, run):
    folder, _ = run("hidden-states")
    code, _, err = snnsim("hidden-states", "evaluate", folder, "--over-time", "10")
    assert code == 1 and "remove --over-time" in err


def test_forecasts_are_compared_by_their_error_and_the_smallest_is_first(snnsim, tmp_path):
    command = ("baselines", "compare", "--data", "lorenz96", "--models", "gru,bidirectional,elman")
    small = ("--budget", "2k", "--epochs", "2", "-q", *FEW, "--rates", "1,1000", "--out", tmp_path)
    code, out, err = snnsim(*command, *small)
    assert code == 0, err
    rows = {row["name"]: row for row in json.loads((tmp_path / "comparison.json").read_text())}
    assert "refused" in rows["bidirectional"] and "causal" in rows["bidirectional"]["refused"]
    assert rows["gru"]["metric"] == "nrmse" and rows["gru"]["persistence"] > 0
    assert rows["gru"]["validation"] == pytest.approx(min(rows["gru"]["tried"].values()))
    assert "NRMSE" in out and "Persistence" in out
    order = sorted(("gru", "elman"), key=lambda name: rows[name]["test"])
    assert out.index(order[0]) < out.index(order[1])


def test_predict_says_that_such_a_run_takes_no_files(snnsim, run, tmp_path):
    folder, _ = run("counting")
    file = tmp_path / "spikes.npz"
    np.savez(file, times=np.zeros(1), units=np.zeros(1, int))
    code, _, err = snnsim("predict", folder, file)
    assert code == 1 and "trained on counting, not on cochlea spikes" in err


def test_analyses_look_at_such_runs_or_say_why_not(snnsim, run, tmp_path):
    folder, _ = run("hidden-states")
    code, _, err = snnsim("analyse", folder, "sparsity", "--samples", "4", "--nulls", "1")
    assert code == 0, err
    folder, _ = run("lorenz96")
    code, _, err = snnsim("analyse", folder, "sparsity", "--samples", "4")
    assert code == 1 and "forecasts values, so it has no accuracy" in err


def test_lists_and_help_name_them(snnsim):
    out = snnsim("baselines", "list").out
    for name in generated.names():
        assert name in out and name in snnsim("--help").out
    code, _, err = snnsim(*TRAIN, "--data", "countin")
    assert code == 1 and "did you mean 'counting'" in err


def test_options_are_checked_before_anything_is_made():
    chosen = resolve("recall", "gru", changes={"data.lag": 5})
    assert chosen.data["lag"] == 5 and chosen.recipe.readout == "last"
    with pytest.raises(ConfigError, match=r"unknown key data\.lagg.*did you mean 'lag'"):
        with_data(chosen, ["data.lagg=3"])
    with pytest.raises(ConfigError, match=r"data\.lag is 'x'"):
        resolve("recall", "gru", changes={"data.lag": "x"})


def test_the_error_of_forecasts_is_in_units_of_the_spread_beside_persistence():
    random = np.random.default_rng(0)
    x, y = random.normal(size=(2, 5, 7, 3))
    lengths = np.array([7, 7, 7, 4, 2])
    found = beside_persistence(0.5, Arrays(x, y, lengths, per_step=True))
    inside = np.concatenate([y[i, :n] for i, n in enumerate(lengths)])
    before = np.concatenate([x[i, :n] for i, n in enumerate(lengths)])
    variance = np.mean((inside - inside.mean(0)) ** 2)
    assert found["nrmse"] == pytest.approx((0.5 / variance) ** 0.5, rel=1e-5)
    wanted = np.mean((before - inside) ** 2) / variance
    assert found["persistence_nrmse"] == pytest.approx(wanted**0.5, rel=1e-5)
    with pytest.raises(DataError, match="do not vary"):
        beside_persistence(0.5, Arrays(x, np.ones_like(y), per_step=True))


def test_the_memory_of_a_linear_model_is_analysed(snnsim, run, tmp_path):
    folder, _ = run("recall", "--model", "s6")
    done = snnsim("analyse", folder, "memory", "--samples", "4", "--nulls", "2")
    assert done.code == 0, done.err
    assert "memory of layers.0" in done.out
    assert (folder / "analysis" / "memory.png").is_file()
    folder, _ = run("parity")
    code, _, err = snnsim("analyse", folder, "memory")
    assert code == 1 and "models that have are lightnet" in err


def test_a_series_of_ones_own_is_forecast_and_the_run_knows_its_file(snnsim, run, tmp_path):
    values = np.sin(0.2 * np.arange(400))
    np.savetxt(tmp_path / "values.csv", values)
    more = ("--root", tmp_path, "--set", "data.file=values.csv", "--set", "data.dt=5")
    folder, summary = run("series", *more, "--set", "data.horizon=2")
    still = np.sqrt(np.mean((values[342:] - values[340:-2]) ** 2) / values[342:].var())
    assert summary["test_persistence_nrmse"] == pytest.approx(still, rel=0.1)
    code, out, err = snnsim("series", "evaluate", folder, "--json")
    assert code == 0, err
    assert json.loads(out)["nrmse"] == pytest.approx(summary["test_nrmse"])
    np.savetxt(tmp_path / "values.csv", 2 * values)
    command = (*TRAIN, "--data", "series", "--out", folder, "--resume", *more, *FEW)
    code, _, err = snnsim(*command, "--set", "data.horizon=2", "--epochs", "2")
    assert code == 1 and "was started with other data" in err
    assert snnsim("series", "info").code == 0
