"""What ``snnsim baselines`` prints, passes on and names: tables, verdicts, exit codes, folders."""

from __future__ import annotations

import inspect
import io
import json
from dataclasses import replace

import pytest
from rich.console import Console
from snnsim_experiments import comparison, options, runs
from snnsim_experiments.baselines import checks, cli
from snnsim_experiments.baselines.checks.outcome import Outcome
from snnsim_experiments.budget import Budget, fit, with_width
from snnsim_experiments.build import Facts, look_at
from snnsim_experiments.candidates import Choice
from snnsim_experiments.checking import print_check
from snnsim_experiments.configuration import resolve
from snnsim_experiments.place import Place
from snnsim_experiments.run_folder import default_folder

from snnsim.baselines import RateNetwork, cost_of, get, names
from snnsim.errors import ConfigError

ROW = {
    "name": "gru", "test": 50.04, "test_std": 1.26, "validation": 40.05, "parameters": 12345,
    "operations": 2345.6, "state": 1200, "seconds": 7.6, "causal": True, "left_out": "",
}  # fmt: skip


def printed(monkeypatch, show, *arguments):
    console = Console(file=io.StringIO(), width=200)
    monkeypatch.setattr(options, "output", console)
    show(*arguments)
    return [line.rstrip() for line in console.file.getvalue().splitlines() if line.strip()]


def sized(experiment, channels, classes, budget, by="parameters"):
    return fit(experiment, Budget(budget, by), Facts(channels, classes, 10.0))


# --- tables -------------------------------------------------------------------------------------


def test_a_comparison_is_printed_best_first_with_every_figure_in_its_column(monkeypatch):
    rows = [
        ROW,
        {"name": "wide", "refused": "too [small]"},
        ROW | {"name": "lstm", "test": 70.0, "test_std": None, "state": None, "causal": False,
               "left_out": "all [of] it"},
        {"name": "wild", "failed": "not finite"},
    ]  # fmt: skip
    lines = printed(monkeypatch, cli._print, rows)
    titles = "network test % valid % params ops/step state s causal"
    assert lines[0].split() == titles.split()
    assert lines[1].split() == ["lstm", "70.0", "40.0", "12,345", "2,346", "all", "8", "no"]
    assert lines[2].split() == ["gru", "50.0", "±", "1.3", "40.0", "12,345", "2,346", "1,200",
                                "8", "yes"]  # fmt: skip
    assert lines[3:] == ["wide: too [small]", "wild: not finite", "lstm leaves out all [of] it"]


def test_a_comparison_on_a_stream_is_printed_with_backward_transfer(monkeypatch):
    rows = [{"name": "x", "refused": "no"}, ROW | {"bwt": -3.26, "validation": 1.0}]
    lines = printed(monkeypatch, cli._print, rows)
    assert lines[0].split()[3:5] == ["BWT", "%"] and lines[1].split()[4] == "-3.3"


def test_the_list_of_models_has_a_line_for_each(snnsim):
    code, out, _ = snnsim("baselines", "list")
    lines = [line for line in out.splitlines() if line.strip()]
    assert code == 0 and lines[0].split()[:3] == ["model", "causal", "streams"]
    found = {line.split()[0]: line.split()[1:3] for line in lines if line.split()[0] in names()}
    assert found == {
        name: ["yes" if get(name).causal else "no", get(name).streaming] for name in names()
    }
    code, out, _ = snnsim("baselines", "list", "--json")
    for row in json.loads(out):
        model = get(row["name"])
        assert row["left_out"] == model.left_out and row["streaming"] == model.streaming
        assert row["source"] == model.source
        first = inspect.getmodule(model).__doc__.strip().splitlines()[0]
        assert row["about"] == first


def test_info_has_equations_options_and_the_cost_at_the_budget(snnsim):
    code, out, _ = snnsim("baselines", "info", "sasrec", "--json", "--budget", "9k")
    facts = json.loads(out)
    chosen = sized(resolve("spoken-digits", "sasrec"), 140, 10, 9000)
    cost = cost_of(RateNetwork(140, 10, "sasrec", **chosen.network), 140)
    assert code == 0 and facts["name"] == "sasrec"
    assert facts["equations"].startswith("SASRec: causal self-attention")
    assert facts["width"] == chosen.network["width"]
    for key, value in cost._asdict().items():
        assert facts[key] == pytest.approx(value)
    assert facts["options"] == {"blocks": 2, "heads": 1, "reach": 50}
    assert (facts["source"], facts["causal"], facts["streaming"]) == (
        get("sasrec").source, True, "exact",
    )  # fmt: skip
    assert facts["left out"] == get("sasrec").left_out
    code, out, _ = snnsim("baselines", "info", "gru", "--classes", "3")
    assert code == 0 and "left out" in out
    if not get("gru").left_out:
        (line,) = [line for line in out.splitlines() if line.startswith("left out")]
        assert line.split() == ["left", "out", "nothing"]
    chosen = sized(resolve("spoken-digits", "gru"), 140, 3, 200_000)
    (line,) = [line for line in out.splitlines() if line.startswith("width")]
    assert line.split() == ["width", str(chosen.network["width"])]
    code, out, _ = snnsim("baselines", "info", "fsmn", "--set", "options.order=5", "--json",
                          "--budget", "9k")  # fmt: skip
    changed = resolve("spoken-digits", "fsmn", changes=["options.order=5"])
    changed = sized(changed, 140, 10, 9000)
    assert json.loads(out)["width"] == changed.network["width"]


# --- what training is given ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "stream", "method", "on"),
    [("fsdd", None, None, ("fsdd", "")), (None, "parity", None, ("parity", "fine-tuning")),
     (None, "parity", "ewc", ("parity", "ewc")), (None, None, None, None),
     ("fsdd", "parity", None, None), ("fsdd", None, "ewc", None)],
)  # fmt: skip
def test_training_is_on_data_or_on_a_stream_by_a_method(data, stream, method, on):
    if on is None:
        with pytest.raises(ConfigError, match=f"got --data {data}, --stream {stream}"):
            cli._named(data, stream, method, "root")
    else:
        assert cli._named(data, stream, method, "root") == (*on, "root", [])


def test_training_on_data_passes_on_what_was_asked_for(snnsim, tmp_path, monkeypatch):
    asked = []

    def run(experiment, place):
        asked.append((experiment, place))
        return {"out": str(place.out or default_folder(experiment)), "test_accuracy": 0.5}

    monkeypatch.setattr(runs, "train", run)
    monkeypatch.chdir(tmp_path)
    command = ("baselines", "train", "--model", "gru", "--data", "spoken-digits")
    code, out, err = snnsim(*command, "--width", "9", "--seed", "3", "--epochs", "2", "--root",
                            "there", "-q", "--out", tmp_path / "r", "--resume",
                            "--json")  # fmt: skip
    assert code == 0, err
    config, place = asked.pop()
    assert json.loads(out) == {"out": str(place.out), "test_accuracy": 0.5}
    assert config == with_width(resolve("spoken-digits", "gru", seed=3, epochs=2), 9)
    assert (place.root, place.out) == ("there", tmp_path / "r")
    assert (place.device, place.resume, place.quiet) == ("cpu", True, True)
    code, out, _ = snnsim(*command, "--budget", "9k", "--by", "operations", "--seed", "4")
    config, place = asked.pop()
    expected = sized(resolve("spoken-digits", "gru", seed=4), 140, 20, 9000, "operations")
    assert config == expected and place.root is None
    folder = default_folder(config)
    assert place.out is None and folder.parts[:2] == ("runs", "spoken-digits")
    assert "gru-seed4" in folder.name
    assert (place.resume, place.quiet) == (False, False)
    assert "Run in runs/spoken-digits" in out.replace("\n", "") and "0.5000" in out
    snnsim(*command, "--set", "data.pool=50")
    config = asked.pop()[0]
    changed = resolve("spoken-digits", "gru", changes=["data.pool=50"])
    assert config == sized(changed, 14, 20, 200_000)


def test_training_on_a_stream_passes_on_what_was_asked_for(snnsim, tmp_path, monkeypatch):
    asked = []

    def run(experiment, seeds, place):
        asked.append((experiment, seeds, place))
        return {"out": str(default_folder(experiment)), "acc": 50.0, "bwt": 1.0, "fwt": 2.0,
                "forgetting": 3.0, "seconds_per_task": [1.0], "memory_bytes": 10**6,
                "method": experiment.method, "seeds": [0]}  # fmt: skip

    monkeypatch.setattr(runs, "run_stream", run)
    monkeypatch.chdir(tmp_path)
    command = ("baselines", "train", "--model", "gru", "--stream", "spoken-digits", "--set",
               "stream.per_task=10")  # fmt: skip
    code, out, err = snnsim(*command, "--method", "ewc", "--width", "7", "--seed", "5", "--epochs",
                            "2", "--root", "there", "-q")  # fmt: skip
    assert code == 0, err
    config, seeds, place = asked.pop()
    changes = ["stream.per_task=10"]
    expected = Choice("spoken-digits", "ewc", changes=changes, epochs=2).network("gru")
    assert config == replace(with_width(expected, 7), seed=5)
    assert seeds == [5] and place.root == "there"
    folder = default_folder(config)
    assert place.out is None and folder.parts[:3] == ("runs", "continual", "spoken-digits")
    assert "ewc-gru" in folder.name and place.quiet is True
    assert "Run in" in out and out.splitlines()[1].split()[:2] == ["ewc", "50.00"]
    snnsim(*command, "--budget", "3k", "--by", "operations", "-q")
    config = asked.pop()[0]
    base = Choice("spoken-digits", "fine-tuning", changes=changes).network("gru")
    tasks = look_at(base, Place(quiet=True))
    assert config == fit(base, Budget(3000, "operations"), tasks)


def test_a_comparison_passes_on_what_was_asked_for(snnsim, tmp_path, monkeypatch):
    asked = []

    def compare_networks(*arguments, rates, jobs):
        asked.append((*arguments, rates, jobs))
        return [ROW]

    monkeypatch.setattr(comparison, "compare_networks", compare_networks)
    monkeypatch.chdir(tmp_path)
    command = ("baselines", "compare", "--budget", "9k", "--by", "state", "--seeds", "2,3")
    same = ("--rates", "0.5,2", "--epochs", "4", "--root", "there", "--set", "data.pool=7", "-q")
    same += ("--jobs", "3")
    code, out, err = snnsim(*command, *same, "--data", "fsdd", "--models", "gru,snn-radlif")
    assert code == 0, err
    compared, choice, budget, seeds, place, rates, jobs = asked.pop()
    assert jobs == 3
    assert compared == ["gru", "snn-radlif"] and seeds == [2, 3] and rates == [0.5, 2.0]
    assert choice == Choice("fsdd", "", None, ["data.pool=7"], 4)
    assert budget == Budget(9000.0, "state") and place.root == "there"
    assert place.out.parts[:2] == ("runs", "fsdd") and "compare" in place.out.name
    assert (place.device, place.resume, place.quiet) == ("cpu", False, True)
    assert out.splitlines()[1].split()[0] == "gru" and "Written to" in out
    code, out, _ = snnsim(*command, "--stream", "parity", "--json", "--out", tmp_path / "c")
    compared, choice, budget, seeds, place, rates, jobs = asked.pop()
    assert jobs == 1
    assert json.loads(out) == [ROW]
    every = ["snn-none", "snn-recurrent", "snn-axonal", "snn-learned", *names()]
    assert (compared, seeds, rates) == (every, [2, 3], [1.0])
    assert (choice, budget) == (Choice("parity", "fine-tuning"), Budget(9000.0, "state"))
    assert (place.root, place.out) == (None, tmp_path / "c")
    snnsim("baselines", "compare", "--stream", "parity", "--method", "ewc")
    _, choice, budget, seeds, place, *_ = asked.pop()
    assert choice == Choice("parity", "ewc")
    assert (budget, seeds) == (Budget(200e3, "parameters"), [0])
    assert place.out.parts[:3] == ("runs", "continual", "parity")
    code, _, err = snnsim(*command, "--stream", "parity", "--models", "snn-adlif")
    assert code == 1 and "snn-adlif" in err


# --- checks -------------------------------------------------------------------------------------


def test_a_check_is_printed_with_its_verdict_figures_and_control(monkeypatch):
    row = {"name": "recall", "seconds": 61.6, "claim": "it remembers", "passed": True,
           "figures": {"lag 5": 99.96}, "control": {"elman": 40.0}}  # fmt: skip
    lines = printed(monkeypatch, print_check, row, False)
    assert lines[0] == "recall  met, 62 s: it remembers"
    assert [line.split() for line in lines[1:]] == [
        ["lag", "5", "100.0"], ["control:", "elman", "40.0"],
    ]  # fmt: skip
    lines = printed(monkeypatch, print_check, row | {"passed": False}, False)
    assert lines[0].startswith("recall  not met, 62 s")
    lines = printed(monkeypatch, print_check, row | {"passed": False}, True)
    assert lines[0].startswith("recall  runs, 62 s")
    lines = printed(monkeypatch, print_check, row | {"budget": "300 steps each"}, False)
    assert lines[1] == "  budget: 300 steps each" and len(lines) == 4


def test_all_checks_run_with_one_seed_and_fail_together(snnsim, tmp_path, monkeypatch):
    asked = []

    class Check:
        def __init__(self, name):
            self.name = name

        def run(self, seed, short):
            asked.append((self.name, seed, short))
            return Outcome("claim", self.name != "b", {"x": 1.0}, {"y": 2.0}, "one step")

    monkeypatch.setattr(checks, "names", lambda: ["a", "b", "c"])
    monkeypatch.setattr(checks, "get", Check)
    out = tmp_path / "checks.json"
    code, text, _ = snnsim("baselines", "check", "--seed", "7", "--out", out, "--json")
    assert code == 1 and asked == [(name, 7, False) for name in "abc"]
    rows = json.loads(text)
    assert rows == json.loads(out.read_text())
    assert [(row["name"], row["passed"]) for row in rows] == [("a", True), ("b", False),
                                                             ("c", True)]  # fmt: skip
    assert rows[0]["figures"] == {"x": 1.0} and rows[0]["control"] == {"y": 2.0}
    assert rows[0]["claim"] == "claim" and 0 <= rows[0]["seconds"] < 5
    assert snnsim("baselines", "check", "a,c")[0] == 0
    asked.clear()
    code, text, _ = snnsim("baselines", "check", "b", "--short")
    assert code == 0 and asked == [("b", 0, True)] and "b  runs" in text


def test_checks_are_found_by_their_file_and_helpers_are_none(snnsim):
    found = ["associative-recall", "counting", "events", "facts", "few-shot", "forecast", "fsmn",
             "lrcn", "parity", "ponder", "recall", "repeated-data", "rhn", "rrn", "sampler",
             "sasrec", "sparsity", "spoken-sums", "workspace"]  # fmt: skip
    assert checks.names() == found
    for name in checks.names():
        assert callable(checks.get(name).run)
    with pytest.raises(ConfigError, match="'few-shot'"):
        checks.get("few_shot")
