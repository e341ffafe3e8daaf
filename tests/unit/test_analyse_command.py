"""``snnsim analyse`` on a run folder."""

from __future__ import annotations

import json
import shutil

import pytest
from small_runs import ON_PARITY

from snnsim.analysis import ANALYSES

QUICK = ("--samples", 12, "--nulls", 2)


def test_the_list_names_every_analysis(snnsim):
    done = snnsim("analyse", "list", "--json")
    assert done.code == 0, done.err
    rows = json.loads(done.out)
    assert set(rows) == set(ANALYSES)
    assert all(text.endswith((".", "?")) for text in rows.values())


@pytest.fixture
def copy(run, tmp_path):
    """A run of its own, to write into."""
    return shutil.copytree(run, tmp_path / "run")


# those that a spiking network of one layer, trained on classes, is no subject of
ELSEWHERE = ("chunks", "connectivity", "depth", "memory", "repetition")


@pytest.mark.parametrize("what", [each for each in ANALYSES if each not in ELSEWHERE])
def test_every_analysis_writes_figures_beside_their_null(snnsim, copy, what):
    done = snnsim("analyse", copy, what, *QUICK, "--json")
    assert done.code == 0, done.err
    stored = json.loads((copy / "analysis" / f"{what}.json").read_text())
    assert json.loads(done.out) == stored
    assert stored["what"] == what and stored["settings"]["nulls"] == 2
    assert stored["figures"]
    for name, figure in stored["figures"].items():
        assert isinstance(figure["value"], float) and figure["null"] is not None, name
    assert (copy / "analysis" / f"{what}.png").exists()


def test_what_a_baseline_with_chunks_looked_up_is_listed(snnsim, tmp_path):
    run = tmp_path / "chunks"
    changes = ("network.chunk=10", "network.chunk_query=3", "network.depth=1")
    sets = [part for change in changes for part in ("--set", change)]
    done = snnsim(
        "baselines", "train", "--data", "spoken-digits", "--model", "gru", "--width", 8,
        "--epochs", 1, *sets, "--out", run,
    )  # fmt: skip
    assert done.code == 0, done.err
    done = snnsim("analyse", run, "chunks", *QUICK, "--set", "shown=1")
    assert done.code == 0, done.err
    assert "sample 0, chunk 1: found 0 (" in done.out and "similarity" in done.out
    stored = json.loads((run / "analysis" / "chunks.json").read_text())
    assert all(figure["null"] is not None for figure in stored["figures"].values())
    assert (run / "analysis" / "chunks.png").exists()
    assert len(stored["arrays"]["ago"]) == 12


def test_a_table_for_people_names_the_null(snnsim, copy, tmp_path):
    done = snnsim("analyse", copy, "assemblies", *QUICK, "--out", tmp_path / "elsewhere")
    assert done.code == 0, done.err
    assert "modularity" in done.out and "(null " in done.out
    assert (tmp_path / "elsewhere" / "assemblies.json").exists()
    assert not (copy / "analysis").exists()


def test_the_same_seed_is_the_same_report(snnsim, copy):
    answers = [snnsim("analyse", copy, "assemblies", *QUICK, "--json").out for _ in range(2)]
    assert answers[0] == answers[1]


def test_options_are_set_by_name(snnsim, copy):
    change = ("--set", "rank=2", "--set", "smooth_ms=30")
    done = snnsim("analyse", copy, "assemblies", *QUICK, *change, "--json")
    assert done.code == 0, done.err
    stored = json.loads(done.out)
    assert stored["settings"]["rank"] == 2 and stored["settings"]["smooth_ms"] == 30.0
    assert len(stored["arrays"]["time"]) == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("assembly",), "assemblies"),
        (("assemblies", "--set", "rnk=2"), "did you mean 'rank'"),
        (("assemblies", "--set", "rank"), "cannot understand"),
        (("assemblies", "--set", "rank=-1"), "rank"),
        (("assemblies", "--null", "jitter"), "null"),
        (("assemblies", "--layer", "layers.99"), "no layer 'layers.99'"),
        (("assemblies", "--split", "nowhere"), "split"),
        (("operators", "--layer", "layers.1"), "no delayed connection"),
        (("connectivity",), "needs a run on a stream of tasks that kept its weights"),
        (("assemblies", "--by", "task"), "needs a run on a stream of tasks"),
        (("assemblies", "--by", "word"), "by is 'word'"),
        (("sparsity", "--by", "class"), "sparsity has no option 'by'"),
        (("assemblies", "--task", 1), "has no tasks to choose from"),
        (("assemblies", "--on", 1), "has no tasks to choose from"),
        (("depth",), "needs 2 or more hidden blocks of equal input and output width"),
        (("repetition",), "generates nothing; train one with training.target"),
        (("chunks",), "train a baseline with network.chunk"),
        ((), "what"),
    ],
)
def test_what_cannot_be_analysed_is_said_and_nothing_is_written(snnsim, copy, arguments, said):
    done = snnsim("analyse", copy, *arguments, *QUICK)
    assert done.code == 1 and said in done.err, done.err
    assert not (copy / "analysis").exists()


def test_a_run_of_a_stream_that_kept_no_weights_is_refused(snnsim, tmp_path):
    folder = tmp_path / "stream"
    done = snnsim("continual", "run", "--method", "fine-tuning", *ON_PARITY, "--out", folder)
    assert done.code == 0, done.err
    done = snnsim("analyse", folder, "assemblies")
    assert done.code == 1 and "stream" in done.err and "--keep-weights" in done.err
    assert not (folder / "analysis").exists()


def test_what_is_no_run_is_refused(snnsim, tmp_path):
    done = snnsim("analyse", tmp_path, "assemblies")
    assert done.code == 1 and "run folder" in done.err


def test_checks_have_a_verdict_and_an_exit_code(snnsim, monkeypatch):
    from snnsim_experiments import analysis_checks
    from snnsim_experiments.baselines.checks.outcome import Outcome

    asked = []

    class Check:
        @staticmethod
        def run(seed, short):
            asked.append((seed, short))
            return Outcome("it is found", seed == 3, {"nmi": 0.91}, {"nmi": 0.02}, "one step")

    monkeypatch.setattr(analysis_checks, "get", lambda name: Check)
    done = snnsim("analyse", "check", "assemblies", "--seed", 3)
    assert done.code == 0 and "met" in done.out and "0.91" in done.out and "0.02" in done.out
    assert snnsim("analyse", "check", "--seed", 4).code == 1  # all of them
    assert asked == [(3, False)] + [(4, False)] * len(analysis_checks.names())
    refused = snnsim("analyse", "check", "nothing")
    assert refused.code == 1 and "assemblies" in refused.err


def test_the_checks_run():
    from snnsim_experiments import analysis_checks

    for name in analysis_checks.names():
        outcome = analysis_checks.get(name).run(0, short=True)
        assert outcome.claim and outcome.figures and outcome.control, name


@pytest.mark.parametrize("name", ["operators", "timescales"])
def test_checks_that_take_seconds_are_met(name):
    from snnsim_experiments import analysis_checks

    outcome = analysis_checks.get(name).run(seed=1, short=name == "operators")
    assert outcome.passed, outcome
    assert outcome.figures.keys() == outcome.control.keys()
