"""What ``snnsim baselines`` prints, passes on and names: tables, verdicts, exit codes, folders."""

from __future__ import annotations

import inspect
import io
import json

import pytest
import snnsim_experiments.baselines.compare as on_data
import snnsim_experiments.continual.run as on_stream
import snnsim_experiments.train as training
from rich.console import Console
from snnsim_experiments.baselines import checks, cli, streams
from snnsim_experiments.baselines.checks.outcome import Outcome
from snnsim_experiments.baselines.config import fit_budget, resolve

from snnsim.baselines import RateNetwork, cost_of, get, names
from snnsim.errors import ConfigError

ROW = {
    "name": "gru", "test": 50.04, "test_std": 1.26, "validation": 40.05, "parameters": 12345,
    "operations": 2345.6, "state": 1200, "seconds": 7.6, "causal": True, "left_out": "",
}  # fmt: skip


def printed(monkeypatch, show, *arguments):
    console = Console(file=io.StringIO(), width=200)
    monkeypatch.setattr(cli, "output", console)
    show(*arguments)
    return [line.rstrip() for line in console.file.getvalue().splitlines() if line.strip()]


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
    chosen = fit_budget(resolve("sasrec", "spoken-digits"), 140, 10, 9000, "parameters")
    cost = cost_of(RateNetwork(140, 10, **chosen.network), 140)
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
    chosen = fit_budget(resolve("gru", "spoken-digits"), 140, 3, 200_000, "parameters")
    (line,) = [line for line in out.splitlines() if line.startswith("width")]
    assert line.split() == ["width", str(chosen.network["width"])]
    code, out, _ = snnsim("baselines", "info", "fsmn", "--set", "options.order=5", "--json",
                          "--budget", "9k")  # fmt: skip
    changed = fit_budget(resolve("fsmn", "spoken-digits", changes=["options.order=5"]), 140, 10,
                         9000, "parameters")  # fmt: skip
    assert json.loads(out)["width"] == changed.network["width"]


# --- what training is given ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "stream", "method", "on"),
    [("fsdd", None, None, "fsdd"), (None, "parity", None, "fine-tuning"),
     (None, "parity", "ewc", "ewc"), (None, None, None, None), ("fsdd", "parity", None, None),
     ("fsdd", None, "ewc", None)],
)  # fmt: skip
def test_training_is_on_data_or_on_a_stream_by_a_method(data, stream, method, on):
    if on is None:
        with pytest.raises(ConfigError, match=f"got --data {data}, --stream {stream}"):
            cli._named(data, stream, method)
    else:
        assert cli._named(data, stream, method) == on


def test_training_on_data_passes_on_what_was_asked_for(snnsim, tmp_path, monkeypatch):
    asked = []

    def run(config, root, folder, **options):
        asked.append((config, root, folder, options))
        return {"out": str(folder), "test_accuracy": 0.5}

    monkeypatch.setattr(training, "train", run)
    monkeypatch.chdir(tmp_path)
    command = ("baselines", "train", "--model", "gru", "--data", "spoken-digits")
    code, out, err = snnsim(*command, "--width", "9", "--seed", "3", "--epochs", "2", "--root",
                            "there", "-q", "--out", tmp_path / "r", "--resume",
                            "--json")  # fmt: skip
    assert code == 0, err
    config, root, folder, options = asked.pop()
    assert json.loads(out) == {"out": str(folder), "test_accuracy": 0.5}
    assert config == resolve("gru", "spoken-digits", seed=3, epochs=2, width=9)
    assert (root, folder) == ("there", tmp_path / "r")
    assert (options["device"], options["resume"], options["quiet"]) == ("cpu", True, True)
    code, out, _ = snnsim(*command, "--budget", "9k", "--by", "operations", "--seed", "4")
    config, root, folder, options = asked.pop()
    expected = fit_budget(resolve("gru", "spoken-digits", seed=4), 140, 20, 9000, "operations")
    assert config == expected and root is None
    assert folder.parts[:2] == ("runs", "spoken-digits") and "gru-seed4" in folder.name
    assert (options["resume"], options["quiet"]) == (False, False)
    assert "Run in runs/spoken-digits" in out.replace("\n", "") and "0.5000" in out
    snnsim(*command, "--set", "data.pool=50")
    config = asked.pop()[0]
    changed = resolve("gru", "spoken-digits", changes=["data.pool=50"])
    assert config == fit_budget(changed, 14, 20, 200_000, "parameters")


def test_training_on_a_stream_passes_on_what_was_asked_for(snnsim, tmp_path, monkeypatch):
    asked = []

    def run(config, seeds, root, folder, **options):
        asked.append((config, seeds, root, folder, options))
        return {"out": str(folder), "acc": 50.0, "bwt": 1.0, "fwt": 2.0, "forgetting": 3.0,
                "seconds_per_task": [1.0], "memory_bytes": 10**6, "method": config.method_name,
                "seeds": [0]}  # fmt: skip

    monkeypatch.setattr(on_stream, "run", run)
    monkeypatch.chdir(tmp_path)
    command = ("baselines", "train", "--model", "gru", "--stream", "spoken-digits", "--set",
               "stream.per_task=10")  # fmt: skip
    code, out, err = snnsim(*command, "--method", "ewc", "--width", "7", "--seed", "5", "--epochs",
                            "2", "--root", "there", "-q")  # fmt: skip
    assert code == 0, err
    config, seeds, root, folder, options = asked.pop()
    expected = streams.configure("gru", "spoken-digits", "ewc", changes=["stream.per_task=10"],
                                 epochs=2)  # fmt: skip
    assert config == streams.with_width(expected, 7) and seeds == [5] and root == "there"
    assert folder.parts[:3] == ("runs", "continual", "spoken-digits")
    assert "ewc-gru" in folder.name and options["quiet"] is True
    assert "Run in" in out and out.splitlines()[1].split()[:2] == ["ewc", "50.00"]
    snnsim(*command, "--budget", "3k", "--by", "operations", "-q")
    config = asked.pop()[0]
    base = streams.configure("gru", "spoken-digits", "fine-tuning",
                             changes=["stream.per_task=10"])  # fmt: skip
    tasks = streams.load(base, None, Console(quiet=True), True)
    assert config == streams.fit_budget(base, tasks, 3000, "operations")[0]


def test_a_comparison_passes_on_what_was_asked_for(snnsim, tmp_path, monkeypatch):
    asked = []

    def compare(*arguments, **options):
        asked.append((arguments, options))
        return [ROW]

    monkeypatch.setattr(on_data, "compare", compare)
    monkeypatch.setattr(streams, "compare", compare)
    monkeypatch.chdir(tmp_path)
    command = ("baselines", "compare", "--budget", "9k", "--by", "state", "--seeds", "2,3")
    same = ("--rates", "0.5,2", "--epochs", "4", "--root", "there", "--set", "data.pool=7", "-q")
    code, out, err = snnsim(*command, *same, "--data", "fsdd", "--models", "gru,snn-radlif")
    assert code == 0, err
    arguments, options = asked.pop()
    assert arguments[:7] == (["gru", "snn-radlif"], "fsdd", 9000.0, "state", [2, 3], "there",
                             arguments[6])  # fmt: skip
    assert arguments[6].parts[:2] == ("runs", "fsdd") and "compare" in arguments[6].name
    assert options["epochs"] == 4 and options["rates"] == [0.5, 2.0]
    assert options["changes"] == ["data.pool=7"] and options["config"] is None
    assert (options["device"], options["resume"], options["quiet"]) == ("cpu", False, True)
    assert out.splitlines()[1].split()[0] == "gru" and "Written to" in out
    code, out, _ = snnsim(*command, "--stream", "parity", "--json", "--out", tmp_path / "c")
    arguments, options = asked.pop()
    assert json.loads(out) == [ROW]
    every = ["snn-none", "snn-recurrent", "snn-axonal", "snn-learned", *names()]
    assert arguments == (every, "parity", "fine-tuning", 9000.0, "state", [2, 3], None,
                         tmp_path / "c")  # fmt: skip
    assert options["rates"] == [1.0]
    snnsim("baselines", "compare", "--stream", "parity", "--method", "ewc")
    arguments, _ = asked.pop()
    assert arguments[2] == "ewc" and arguments[3:6] == (200e3, "parameters", [0])
    assert arguments[7].parts[:3] == ("runs", "continual", "parity")
    code, _, err = snnsim(*command, "--stream", "parity", "--models", "snn-adlif")
    assert code == 1 and "snn-adlif" in err


# --- checks -------------------------------------------------------------------------------------


def test_a_check_is_printed_with_its_verdict_figures_and_control(monkeypatch):
    row = {"name": "recall", "seconds": 61.6, "claim": "it remembers", "passed": True,
           "figures": {"lag 5": 99.96}, "control": {"elman": 40.0}}  # fmt: skip
    lines = printed(monkeypatch, cli._print_check, row, False)
    assert lines[0] == "recall  met, 62 s: it remembers"
    assert [line.split() for line in lines[1:]] == [
        ["lag", "5", "100.0"], ["control:", "elman", "40.0"],
    ]  # fmt: skip
    lines = printed(monkeypatch, cli._print_check, row | {"passed": False}, False)
    assert lines[0].startswith("recall  not met, 62 s")
    lines = printed(monkeypatch, cli._print_check, row | {"passed": False}, True)
    assert lines[0].startswith("recall  runs, 62 s")


def test_all_checks_run_with_one_seed_and_fail_together(snnsim, tmp_path, monkeypatch):
    asked = []

    class Check:
        def __init__(self, name):
            self.name = name

        def run(self, seed, short):
            asked.append((self.name, seed, short))
            return Outcome("claim", self.name != "b", {"x": 1.0}, {"y": 2.0})

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
    found = ["associative-recall", "counting", "events", "few-shot", "forecast", "fsmn", "lrcn",
             "parity", "ponder", "recall", "rhn", "rrn", "sampler", "sasrec", "spoken-sums",
             "workspace"]  # fmt: skip
    assert checks.names() == found
    for name in checks.names():
        assert callable(checks.get(name).run)
    with pytest.raises(ConfigError, match="'few-shot'"):
        checks.get("few_shot")
