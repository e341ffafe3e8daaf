"""Rows of a comparison, kept in a file from one network to the next, and its runs by folder."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
from rich.console import Console
from snnsim_experiments import comparison
from snnsim_experiments.budget import Budget, cost, fit, width_of, with_width
from snnsim_experiments.build import Facts, look_at
from snnsim_experiments.candidates import Choice
from snnsim_experiments.comparison import row_of_data, row_of_stream, runs_at
from snnsim_experiments.configuration import resolve
from snnsim_experiments.continual.run import Refused
from snnsim_experiments.experiment import Experiment
from snnsim_experiments.place import HERE, Place

from snnsim import plotting
from snnsim.baselines import Cost, RateNetwork, cost_of, get
from snnsim.errors import ConfigError, NonFiniteError

SETTINGS = {"budget": 5000.0, "by": "state", "seeds": [0, 1], "rates": [1.0]}
COST = {"parameters": 10, "operations": 20.0, "state": 3, "test": 50.0, "test_std": None}
FACTS = Facts(14, 20, 10.0)


def console():
    return Console(file=io.StringIO(), width=200)


def rows_of(names, out, *, make=str, measure=None, settings=SETTINGS, resume=False, quiet=False,
            told=None):  # fmt: skip
    """The rows of runs that give what ``measure`` says, of experiments whose model ``make`` names.

    A row is what the run with the first seed gave.
    """
    measure = measure or (lambda name, chosen: COST | {"of": chosen})

    def train(experiment, place):
        return {"validation_accuracy": 0.5, "row": measure(place.out.parent.name, experiment.model)}

    def maker(name):
        return lambda: Experiment("spoken-digits", make(name))

    common = {key: settings[key] for key in settings if key not in ("seeds", "rates")}
    place = Place(None, out, "cpu", resume, quiet, told or console())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comparison, "train", train)
        patch.setattr(comparison, "look_at", lambda experiment, place: FACTS)
        patch.setattr(comparison, "row_of_data", lambda experiment, runs, data: runs[0]["row"])
        return comparison.compare(
            {name: maker(name) for name in names}, settings["seeds"], place,
            rates=settings["rates"], settings=common,
        )  # fmt: skip


def stored(out):
    return json.loads((out / "comparison.json").read_text())


def diverges(name, chosen):
    raise NonFiniteError(f"{name} is not finite")


# --- one row after the other --------------------------------------------------------------------


def test_a_row_says_what_it_was_measured_with(rendered, tmp_path):
    told = console()
    found = rows_of(["b", "a"], tmp_path / "c", make=str.upper, told=told)
    assert [(row["name"], row["of"]) for row in found] == [("b", "B"), ("a", "A")]
    for row in found:
        assert (row["budget"], row["by"], row["settings"]) == (5000.0, "state", SETTINGS)
    assert stored(tmp_path / "c") == found
    assert told.file.getvalue().split() == ["b", "a"]
    assert (tmp_path / "c" / "comparison.png").read_bytes()[:4] == b"\x89PNG"


def test_the_file_is_written_after_every_network(tmp_path):
    seen = []

    def measure(name, chosen):
        path = tmp_path / "comparison.json"
        seen.append([row["name"] for row in json.loads(path.read_text())] if path.exists() else [])
        return COST

    rows_of(["a", "b", "c"], tmp_path, measure=measure, settings=SETTINGS | {"seeds": [0]})
    assert seen == [[], ["a"], ["a", "b"]]


def test_what_has_no_place_is_refused_what_diverges_has_failed_and_the_rest_goes_on(tmp_path):
    def make(name):
        if name == "wide":
            raise ConfigError("too small")
        return name

    def measure(name, chosen):
        return diverges(name, chosen) if name == "wild" else COST

    told = console()
    found = rows_of(["wide", "wild", "tame"], tmp_path, make=make, measure=measure, quiet=True,
                    told=told)  # fmt: skip
    assert found[0]["refused"] == "too small" and "failed" not in found[0]
    assert found[1]["failed"] == "wild is not finite" and "refused" not in found[1]
    assert found[2]["test"] == 50.0 and all("settings" in row for row in found)
    assert told.file.getvalue() == ""


def test_the_picture_is_of_the_rows_with_results(rendered, tmp_path, monkeypatch):
    drawn, draw = [], plotting.accuracy_by_cost
    monkeypatch.setattr(plotting, "accuracy_by_cost", lambda rows: drawn.append(rows) or draw(rows))
    rows_of(["a"], tmp_path, measure=diverges)
    found = rows_of(["b", "c"], tmp_path, resume=True)
    assert drawn == [[], found[1:]] and [row["name"] for row in found] == ["a", "b", "c"]


def test_only_a_network_that_does_not_fit_is_a_row_and_another_error_in_its_run_is_raised(tmp_path):
    def measure(name, chosen):
        raise ConfigError("another data set")

    with pytest.raises(ConfigError, match="another data set"):
        rows_of(["a"], tmp_path, measure=measure)


def test_rows_of_other_networks_are_kept_and_a_row_measured_again_comes_last(tmp_path):
    rows_of(["a", "b"], tmp_path)
    found = rows_of(["a", "c"], tmp_path, resume=True, make=str.upper)
    assert [row["name"] for row in found] == ["b", "a", "c"]
    assert [row["of"] for row in found] == ["b", "A", "C"]


def test_a_row_that_failed_may_be_refused_later_but_one_with_results_is_not_lost(tmp_path):
    def refuse(name):
        raise ConfigError("no place")

    rows_of(["a"], tmp_path, measure=diverges)
    assert rows_of(["a"], tmp_path, make=refuse, resume=True)[0]["refused"] == "no place"
    rows_of(["a"], tmp_path, resume=True)
    with pytest.raises(ConfigError, match="no place"):
        rows_of(["a"], tmp_path, make=refuse, resume=True)
    assert stored(tmp_path)[0]["test"] == 50.0


def test_going_on_without_rows_says_so_even_if_quiet(tmp_path):
    told = console()
    rows_of(["a"], tmp_path / "c", resume=True, quiet=True, told=told)
    assert f"there is no comparison in {tmp_path / 'c'}; starting one" in told.file.getvalue()
    again = console()
    rows_of(["b"], tmp_path / "c", resume=True, quiet=True, told=again)
    assert again.file.getvalue() == ""


@pytest.mark.parametrize(
    ("change", "names", "said"),
    [
        ({"budget": 6.0}, ["a"], r"a in .* was run with budget=5000.0 and not 6.0"),
        ({"by": "parameters"}, ["b"], "run with by=state and not parameters"),
        ({"seeds": [0]}, ["b"], r"run with seeds=\[0, 1\] and not \[0\]"),
        ({"seeds": [0], "rates": [2.0]}, ["a"], "run with seeds="),
        ({"new": 1}, ["a"], "run with new=None and not 1"),
    ],
)
def test_rows_of_other_settings_are_not_put_side_by_side(tmp_path, change, names, said):
    rows_of(["a"], tmp_path)
    before = stored(tmp_path)
    with pytest.raises(ConfigError, match=said):
        rows_of(names, tmp_path, settings=SETTINGS | change, resume=True)
    assert stored(tmp_path) == before


def test_other_seeds_may_be_asked_for_where_all_rows_will_have_them(tmp_path):
    rows_of(["a"], tmp_path)
    assert rows_of(["a"], tmp_path, settings=SETTINGS | {"seeds": [0]}, resume=True)


def test_a_comparison_that_is_there_is_gone_on_with_only_if_asked(tmp_path):
    rows_of(["a"], tmp_path)
    with pytest.raises(ConfigError, match="already holds a comparison; continue it with --resume"):
        rows_of(["b"], tmp_path)


def test_rates_at_which_training_diverges_are_left_out():
    def run(factor):
        if factor > 1:
            raise NonFiniteError(f"at {factor}")
        return {"factor": factor}

    assert runs_at([0.3, 3.0, 1.0], run) == {0.3: {"factor": 0.3}, 1.0: {"factor": 1.0}}
    with pytest.raises(NonFiniteError, match="at 9"):
        runs_at([3.0, 9.0], run)
    with pytest.raises(NonFiniteError, match="no learning rate"):
        runs_at([], run)


# --- runs of a comparison on a data set ---------------------------------------------------------


def test_every_run_has_the_seed_and_rate_of_its_folder(tmp_path, monkeypatch):
    calls, found = [], {}

    def train(experiment, place):
        folder, lr = place.out, round(experiment.training["lr"], 9)
        calls.append((folder.relative_to(tmp_path).as_posix(), experiment.seed, lr, place.resume,
                      place.root))  # fmt: skip
        assert place.device == "cpu" and place.quiet is True
        accuracy = {0.0003: 0.5, 0.003: 0.4, 0.03: 0.2}[lr]
        if (folder.name, found.get("stop")) == ("seed0", True):
            raise NonFiniteError("far off")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "run.json").write_text("{}")
        return {"validation_accuracy": accuracy, "test_accuracy": accuracy / 2, "seconds": 4.0,
                "last_test_accuracy": 0.25, "seed": experiment.seed}  # fmt: skip

    monkeypatch.setattr(comparison, "train", train)
    monkeypatch.setattr(comparison, "look_at", lambda experiment, place: FACTS)
    place = Place("there", tmp_path, quiet=True)
    choice = Choice("spoken-digits", changes=["data.pool=50"], epochs=1)
    arguments = (["elman"], choice, Budget(2000, "parameters"), [3, 5])
    options = {"rates": (0.1, 1.0, 10.0)}
    (row,) = comparison.compare_networks(*arguments, place, **options)
    names = ["rate0.1-seed3", "seed3", "rate10-seed3", "rate0.1-seed5"]
    rates, seeds = [0.0003, 0.003, 0.03, 0.0003], [3, 3, 3, 5]
    assert calls == [(f"elman/{name}", seed, rate, False, "there")
                     for name, seed, rate in zip(names, seeds, rates, strict=True)]  # fmt: skip
    assert row["lr"] == pytest.approx(0.0003)
    assert row["tried"] == {"0.0003": 50.0, "0.003": 40.0, "0.03": 20.0}
    assert (row["test"], row["validation"], row["seconds"]) == (25.0, 50.0, 4.0)
    assert row["seeds"] == [3, 5] and row["test_std"] == 0.0 and row["rate"] is None
    network = fit(resolve("spoken-digits", "elman"), Budget(2000, "parameters"), FACTS).network
    costs = cost_of(RateNetwork(14, 20, "elman", **network), 14)
    assert (row["parameters"], row["operations"], row["state"]) == tuple(
        getattr(costs, key) for key in ("parameters", "operations", "state")
    )
    assert (
        row["causal"] is True
        and row["width"] == network["width"]
        and row["left_out"] == get("elman").left_out
    )
    calls.clear()
    comparison.compare_networks(*arguments, replace(place, resume=True), **options)
    assert [resume for *_, resume, _ in calls] == [True] * 4


def test_a_row_of_what_leaves_something_out_says_so():
    config = fit(resolve("spoken-digits", "sasrec"), Budget(9000, "parameters"), FACTS)
    summary = {"test_accuracy": 0.5, "validation_accuracy": 0.5, "last_test_accuracy": 0.5,
               "seconds": 1.0, "seed": 0, "mean_firing_rate": None}  # fmt: skip
    row = row_of_data(config, [summary], FACTS)
    assert "sampled negatives" in row["left_out"] and row["test_std"] is None


# --- runs of a comparison on a stream -----------------------------------------------------------

SUMMARY = {"acc": 60.0, "bwt": -5.0, "std": {"acc": 2.0, "bwt": 1.0}, "memory_bytes": 77,
           "seconds_per_task": [1.0, 2.5], "seeds": [4, 5]}  # fmt: skip


def on_stream(name, source="spoken-digits", method="ewc", **common):
    return Choice(source, method, **common).network(name)


def test_a_row_of_a_stream_has_its_averages_spread_and_cost(monkeypatch):
    tasks, asked = object(), []

    def cost(*arguments):
        asked.append(arguments)
        return Cost(11, 12, 13.0)

    monkeypatch.setattr(comparison, "cost", cost)
    chosen = with_width(on_stream("gru"), 9)
    row = row_of_stream(chosen, SUMMARY, tasks)
    assert row == SUMMARY | {
        "test": 60.0, "test_std": 2.0, "bwt": -5.0, "bwt_std": 1.0, "parameters": 11, "state": 12,
        "operations": 13.0, "width": 9, "memory_bytes": 77, "seconds": 3.5, "causal": True,
        "spiking": False, "left_out": get("gru").left_out, "seeds": [4, 5],
    }  # fmt: skip
    assert asked == [(chosen, tasks)]
    other = with_width(on_stream("sasrec"), 9)
    assert "sampled negatives" in row_of_stream(other, SUMMARY, tasks)["left_out"]
    alone = row_of_stream(chosen, SUMMARY | {"seeds": [4]}, tasks)
    assert (alone["test_std"], alone["bwt_std"]) == (None, None)
    row = row_of_stream(with_width(on_stream("snn-axonal"), 6), SUMMARY, tasks)
    assert row["spiking"] is True and row["left_out"] == "" and row["width"] == 6


def test_what_networks_of_a_stream_are_configured_with():
    changes = ["stream.per_task=10", "training.lr=0.5", "method.strength=7", "network.depth=1",
               "encoder.clip=2"]  # fmt: skip
    theirs = on_stream("gru", changes=changes, epochs=3)
    ours = on_stream("snn-recurrent", changes=changes, epochs=3)
    for chosen in (theirs, ours):
        assert chosen.data["per_task"] == 10 and chosen.training["lr"] == 0.5
        assert chosen.method_options["strength"] == 7 and chosen.training["epochs"] == 3
    assert theirs.network["depth"] == 1 and theirs.network["encoder"]["clip"] == 2.0
    assert (theirs.model, ours.model) == ("gru", "spiking") and ours.network["encoder"] is None
    for name, depth in (("gru", 2), ("lrcn", 1)):
        assert on_stream(name).network["depth"] == depth
    assert on_stream("gru").training["epochs"] == 20
    assert changes[-1] == "encoder.clip=2"  # what was given is not written to


def test_a_width_is_that_of_all_hidden_layers():
    ours = with_width(on_stream("snn-none"), 7)
    assert ours.network["hidden"] == [7, 7] and width_of(ours) == 7
    theirs = with_width(on_stream("gru"), 8)
    assert theirs.network["width"] == 8 and width_of(theirs) == 8
    assert theirs.network["hidden"] == [256, 256]  # of which a baseline takes no notice


def test_a_rate_on_a_stream_is_a_factor_of_its_own(tmp_path, monkeypatch):
    config, asked = on_stream("gru"), []

    def run(experiment, seeds, place):
        asked.append(experiment)
        return SUMMARY | {"acc": 100 * experiment.recipe.lr}

    monkeypatch.setattr(comparison, "run_stream", run)
    monkeypatch.setattr(comparison, "row_of_stream", lambda experiment, summary, data: {})
    comparison.compare({"gru": config}, [0], Place(out=tmp_path, quiet=True), rates=[1.0, 3.0])
    _, tried, final = asked
    assert tried.training == final.training == config.training | {"lr": 0.003}
    assert tried.data == config.data | {"evaluate": "validation"}
    assert final.data == config.data and tried.network == config.network


def test_a_stream_is_compared_without_choosing_where_there_is_one_rate(tmp_path, monkeypatch):
    calls = []

    def run(config, seeds, place):
        calls.append((place.out.relative_to(tmp_path).as_posix(), config.training["lr"], seeds,
                      config.data["evaluate"], place.root, place.resume))  # fmt: skip
        return SUMMARY

    monkeypatch.setattr(comparison, "run_stream", run)
    changes = ["stream.per_task=10", "network.dropout=0.1", "method.strength=7"]
    choice = Choice("spoken-digits", "ewc", changes=changes, epochs=2)
    arguments = (["gru"], choice, Budget(4000, "parameters"), [4, 5])
    (row,) = comparison.compare_networks(*arguments, Place(out=tmp_path, quiet=True))
    assert calls == [("gru/rate1", 0.001, [4, 5], "test", None, False)]
    assert (row["lr"], row["tried"], row["test"], row["bwt"]) == (0.001, {}, 60.0, -5.0)
    settings = row["settings"]
    base = choice.network("gru")
    assert settings == {
        "stream": "spoken-digits", "method": "ewc", "options": [base.data, base.method_options],
        "training": base.training, "budget": 4000, "by": "parameters", "seeds": [4, 5],
        "rates": [1.0], "encoder": base.network["encoder"], "network": ["network.dropout=0.1"],
        "augmentation": base.augmentation.as_json(),
    }  # fmt: skip
    calls.clear()
    (tmp_path / "gru" / "rate3").mkdir(parents=True)
    other = Place(out=tmp_path / "other", quiet=True)
    found = comparison.compare_networks(*arguments, other, rates=[3.0])
    assert found[0]["lr"] == pytest.approx(0.003) and found[0]["tried"] == {}
    assert len(calls) == 1 and calls[0][0].endswith("other/gru/rate3")


def test_a_network_that_a_method_refuses_has_a_row_that_says_so(tmp_path, monkeypatch):
    def run(*_, **__):
        raise Refused("not this one")

    monkeypatch.setattr(comparison, "run_stream", run)
    found = comparison.compare_networks(
        ["gru"], Choice("spoken-digits", "ewc", changes=["stream.per_task=10"]),
        Budget(4000, "parameters"), [0], Place(out=tmp_path, quiet=True),
    )  # fmt: skip
    assert found[0]["refused"] == "not this one" and "test" not in found[0]


def test_the_cost_on_a_stream_is_of_all_heads_in_parameters_and_of_one_in_the_rest():
    config = on_stream("elman", changes=["network.depth=1"])
    tasks = look_at(config, HERE)
    chosen = fit(config, Budget(5000, "parameters"), tasks)
    found, width = cost(chosen, tasks), width_of(chosen)
    heads = 10 * 2 * width
    one = cost_of(RateNetwork(140, 2, "elman", width=width, depth=1), 140)
    assert found.state == one.state == width
    assert found.parameters <= 5000 < found.parameters + 2 * (160 + 2 * width) + heads
    operations = 140 * width + width * width + 2 * width
    assert operations <= found.operations <= 1.1 * operations
    kinds = SimpleNamespace(heads=heads, body=found.parameters - heads)
    assert kinds.body >= 140 * width + width * width


def test_methods_on_layers_that_take_no_flat_input_have_rows_without_cost(monkeypatch, tmp_path):
    monkeypatch.setattr(comparison, "run_stream", lambda *_: SUMMARY)
    changes = {"network.convolutions": [2]}
    chosen = {"ewc": resolve("split-mnist", method="ewc", changes=changes)}
    (row,) = comparison.compare(chosen, [4, 5], Place(out=tmp_path / "c", quiet=True))
    assert row["acc"] == row["test"] == 60.0 and "parameters" not in row


def test_options_of_a_method_under_their_former_names_are_the_same(tmp_path):
    now = SETTINGS | {"stream": "s", "method": "hlop", "options": [{}, {"fraction": 0.1}]}
    rows_of(["a"], tmp_path, settings=now)
    table = tmp_path / "comparison.json"
    before = table.read_text()
    table.write_text(before.replace('"fraction"', '"share"'))
    assert [row["name"] for row in rows_of(["b"], tmp_path, settings=now, resume=True)] == [
        "a",
        "b",
    ]
    table.write_text(before.replace('"fraction": 0.1', '"share": 0.2'))
    with pytest.raises(ConfigError, match=r"run with options=\[{}, {'fraction': 0.2}\]"):
        rows_of(["b"], tmp_path, settings=now, resume=True)
