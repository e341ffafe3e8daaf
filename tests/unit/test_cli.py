"""The command line: help, a small run from end to end, refusals and their exit codes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import snnsim_datasets
import torch
import typer
from command import TEST_FILE, TRAIN, Answer, assert_one_error, command
from snnsim_datasets import generated
from snnsim_experiments import cli

from snnsim.training import checkpoint


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


# --- help -------------------------------------------------------------------------------------


def commands(group=None, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The path of every command and group of commands."""
    group = group or typer.main.get_command(cli.app)
    found = [path]
    for name, sub in getattr(group, "commands", {}).items():
        found += commands(sub, (*path, name))
    return found


def test_there_are_three_commands_for_every_data_set_and_those_of_all():
    expected = {(), ("predict",), ("similar",), ("analyse",), ("continual",), ("baselines",)}
    expected |= {("train",), ("evaluate",), ("diagnose",), ("data",)}
    expected |= {("data", name) for name in ("info", "check", "split")}
    expected |= {("encode",), ("listen",), ("nir",), ("sweep",), ("cost",), ("report",), ("share",)}
    expected |= {("nir", name) for name in ("export", "import", "check")}
    expected |= {
        ("baselines", name) for name in ("list", "info", "train", "generate", "compare", "check")
    }
    expected |= {("continual", name) for name in ("run", "compare", "list", "repeat")}
    for name in [*snnsim_datasets.names(), *generated.names()]:
        expected |= {(name,), (name, "train"), (name, "evaluate"), (name, "info")}
    assert set(commands()) == expected


@pytest.mark.parametrize("path", commands(), ids=" ".join)
def test_help_fits_80_columns(snnsim, monkeypatch, path):
    monkeypatch.setenv("COLUMNS", "80")
    answer = snnsim(*path, "--help")
    assert answer.code == 0
    assert answer.err == ""
    usage = next(line for line in answer.out.splitlines() if "Usage: " in line)
    assert " ".join(path) in usage
    assert max(map(len, answer.out.splitlines())) <= 80
    assert "…" not in answer.out  # nothing cut off


def test_help_follows_the_width_of_the_terminal(snnsim, monkeypatch):
    """So that the test above can fail."""
    monkeypatch.setenv("COLUMNS", "120")
    assert max(map(len, snnsim("--help").out.splitlines())) > 80


def test_help_in_a_process_of_its_own_exits_with_0():
    done = command("spoken-digits", "train", "--help", COLUMNS="80")
    assert done.returncode == 0
    assert done.stderr == ""
    assert max(map(len, done.stdout.splitlines())) <= 80


@pytest.mark.parametrize("name", [*snnsim_datasets.names(), *generated.names()])
def test_info_names_classes_licence_and_citation(snnsim, name):
    answer = snnsim(name, "info", "--json")
    facts, info = json.loads(answer.out), snnsim_datasets.get(name).INFO
    assert answer.code == 0
    assert facts["licence"] == info.licence
    assert facts["citation"] == info.citation
    assert facts["classes"] == ", ".join(info.classes)


def test_info_counts_embedded_data(snnsim):
    facts = json.loads(snnsim("spoken-digits", "info", "--json").out)
    assert [facts[f"samples in {s}"] for s in ("train", "validation", "test")] == [380, 100, 120]


# --- a run from end to end --------------------------------------------------------------------


def test_run_folder_has_all_its_files(rendered, run):
    assert set(contents(run)) == {
        "run.json",
        "metrics.jsonl",
        "summary.json",
        "initial.safetensors",
        "best.safetensors",
        "last.safetensors",
        "plots/curves.png",
        "plots/raster.png",
        "plots/delays.png",
    }


def test_summary_has_what_is_reported(run):
    summary = json.loads((run / "summary.json").read_text())
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [0, 1]
    assert summary["parameters"] == 2 * (140 * 16 + 16 * 20) + 2 * 16
    assert summary["test_samples"] == 120
    assert summary["test_accuracy"] * 120 == pytest.approx(round(summary["test_accuracy"] * 120))
    assert summary["validation_accuracy"] == max(row["validation_accuracy"] for row in rows)
    assert summary["seconds"] == pytest.approx(sum(row["seconds"] for row in rows))
    assert 0 < summary["mean_firing_rate"] < 1
    assert rows[summary["best_epoch"]]["validation_accuracy"] == summary["validation_accuracy"]


def test_run_json_tells_how_to_repeat_the_run(run):
    facts = json.loads((run / "run.json").read_text())
    assert facts["command"][1:] == [*TRAIN, "--out", str(run), "--json"]
    assert facts["config"]["network"]["hidden"] == [16]
    assert facts["config"]["training"]["epochs"] == 2
    assert facts["seed"] == 0
    assert facts["versions"]["torch"] == torch.__version__
    assert facts["data_checksums"]
    assert (facts["channels"], len(facts["classes"])) == (140, 20)


def test_plots_are_pictures(rendered, run):
    for path in (run / "plots").iterdir():
        assert path.read_bytes().startswith(b"\x89PNG")


def test_checkpoints_hold_three_moments_of_the_same_network(run):
    initial, best, last = (
        checkpoint.without_prefix("net", checkpoint.load(run / f"{n}.safetensors")[0])
        for n in ("initial", "best", "last")
    )
    assert initial.keys() == best.keys() == last.keys()
    assert not torch.equal(initial["layers.0.weight"], last["layers.0.weight"])


def test_evaluate_reproduces_the_summary(snnsim, run):
    summary = json.loads((run / "summary.json").read_text())
    scores = json.loads(snnsim("spoken-digits", "evaluate", run, "--json").out)
    assert scores == {
        "split": "test",
        "accuracy": summary["test_accuracy"],
        "loss": summary["test_loss"],
        "firing_rate": summary["mean_firing_rate"],
        "samples": 120,
    }


def test_evaluate_on_validation_reproduces_the_metrics(snnsim, run):
    summary = json.loads((run / "summary.json").read_text())
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    row = rows[summary["best_epoch"]]
    answer = snnsim("spoken-digits", "evaluate", run, "--split", "validation", "--json")
    scores = json.loads(answer.out)
    assert scores["accuracy"] == row["validation_accuracy"]
    assert scores["loss"] == pytest.approx(row["validation_loss"], rel=1e-6)


def test_evaluate_can_take_other_checkpoints(snnsim, run):
    losses = [
        json.loads(snnsim("spoken-digits", "evaluate", run, "--checkpoint", n, "--json").out)[
            "loss"
        ]
        for n in ("initial", "best")
    ]
    assert losses[0] != losses[1]


def test_run_without_delays_works_and_has_no_histogram(snnsim, tmp_path):
    out = tmp_path / "none"
    answer = snnsim(
        *TRAIN, "--epochs", 1, "--config", "none", "--out", out, "--seed", 3, "--json"
    )  # fmt: skip
    assert json.loads(answer.out)["parameters"] == 140 * 16 + 16 * 20 + 2 * 16
    assert json.loads(answer.out)["seed"] == 3
    assert not (out / "plots" / "delays.png").exists()


def test_default_folder_is_below_runs(snnsim, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    answer = snnsim(*TRAIN, "--epochs", 1, "--json")
    (folder,) = Path("runs/spoken-digits").iterdir()
    assert json.loads(answer.out)["out"] == str(folder)
    assert "-delays-learned-seed0-" in folder.name or "-delays-none-seed0-" in folder.name


# --- existing runs ----------------------------------------------------------------------------


def test_existing_run_is_refused_without_resume_and_unchanged(snnsim, run):
    before = contents(run)
    assert_one_error(snnsim(*TRAIN, "--out", run), str(run), "already holds a run", "--resume")
    assert contents(run) == before


@pytest.mark.parametrize(
    ("options", "name"),
    [
        (("--set", "network.dropout=0.1"), "network.dropout"),
        (("--set", "data.dt=5"), "data.dt"),
        (("--epochs", "1"), "training.epochs"),
        (("--seed", "1"), "seed"),
        (("--backend", "reference"), "backend"),
    ],
)
def test_resume_with_other_options_is_refused_naming_them(snnsim, run, options, name):
    before = contents(run)
    answer = snnsim(*TRAIN, *options, "--out", run, "--resume")
    assert_one_error(answer, str(run), f"(differs in {name})")
    assert contents(run) == before


def test_resume_of_a_complete_run_changes_nothing(snnsim, run):
    before = contents(run)
    answer = snnsim(*TRAIN, "--out", run, "--resume", "--json")
    assert answer.code == 0
    summary = json.loads(answer.out)
    assert summary.pop("out") == str(run)
    assert summary == json.loads((run / "summary.json").read_text())
    assert "already complete" in answer.err
    assert contents(run) == before


def test_a_complete_run_goes_on_to_more_epochs(snnsim, run, tmp_path):
    out = tmp_path / "copy"
    shutil.copytree(run, out)
    before = (out / "metrics.jsonl").read_text().splitlines()
    assert snnsim(*TRAIN, "--out", out, "--resume", "--epochs", 4).code == 0
    after = (out / "metrics.jsonl").read_text().splitlines()
    assert after[: len(before)] == before and len(after) == 4
    assert json.loads((out / "summary.json").read_text())["epochs"] == 4
    stored = json.loads((out / "run.json").read_text())
    assert stored["config"]["training"]["epochs"] == 4
    answer = snnsim(*TRAIN, "--out", out, "--resume", "--epochs", 4)
    assert answer.code == 0 and "already complete" in answer.err
    assert_one_error(
        snnsim(*TRAIN, "--out", out, "--resume"), str(out), "(differs in training.epochs)"
    )


def test_resume_into_an_absent_folder_starts_a_run(snnsim, tmp_path):
    out = tmp_path / "new"
    assert snnsim(*TRAIN, "--epochs", 1, "--out", out, "--resume").code == 0
    assert (out / "summary.json").exists()


def test_resume_after_the_last_epoch_only_writes_the_summary(snnsim, run, tmp_path):
    out = tmp_path / "copy"
    for name, content in contents(run).items():
        if name != "summary.json":
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            (out / name).write_bytes(content)
    assert snnsim(*TRAIN, "--out", out, "--resume").code == 0
    for name in ("summary.json", "metrics.jsonl", "best.safetensors", "last.safetensors"):
        assert (out / name).read_bytes() == (run / name).read_bytes()


def test_folder_with_other_files_is_refused_and_unchanged(snnsim, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    assert_one_error(snnsim(*TRAIN, "--out", tmp_path), str(tmp_path), "not a run")
    assert_one_error(snnsim(*TRAIN, "--out", tmp_path, "--resume"), str(tmp_path), "not a run")
    assert contents(tmp_path) == {"thesis.txt": b"years of work"}


# --- refusals ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--set", "training.epoch=3"), "did you mean 'epochs'"),
        (("--set", "network.hidden=16"), "network.hidden"),
        (("--set", "network.max_delay_ms=50"), "odd"),
        (("--config", "nothing"), "default, fixed, none, none_tau55"),
        (("--root", "."), "takes no root"),
        (("--epochs", "0"), "epochs is 0"),
        (("--backend", "gpu"), "backend"),
    ],
)
def test_what_cannot_be_is_one_line_and_starts_no_run(snnsim, tmp_path, options, text):
    out = tmp_path / "out"
    assert_one_error(snnsim(*TRAIN, *options, "--out", out), text)
    assert not (out / "run.json").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("option", [("--device", "cuda"), ("--device", "gpu")], ids=" ".join)
def test_device_that_is_not_there_is_one_line(snnsim, tmp_path, run, option):
    assert_one_error(snnsim(*TRAIN, *option, "--out", tmp_path / "out"), option[1])
    assert_one_error(snnsim("spoken-digits", "evaluate", run, *option), option[1])


def test_backend_that_cannot_run_on_the_device_is_one_line(snnsim, tmp_path):
    answer = snnsim(*TRAIN, "--backend", "cuda", "--out", tmp_path / "out")
    assert_one_error(answer, "backend 'cuda'")


def test_out_that_is_a_file_is_one_line(snnsim, tmp_path):
    (tmp_path / "file").write_text("x")
    assert_one_error(snnsim(*TRAIN, "--out", tmp_path / "file"), str(tmp_path / "file"))
    assert (tmp_path / "file").read_text() == "x"


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--split", "tset"), "did you mean 'test'"),
        (("--checkpoint", "middle"), "middle.safetensors"),
        (("--root", "."), "takes no root"),
    ],
)
def test_evaluate_refuses_in_one_line(snnsim, run, options, text):
    assert_one_error(snnsim("spoken-digits", "evaluate", run, *options), text)


def test_evaluate_by_another_data_sets_command_is_refused(snnsim, run):
    assert_one_error(snnsim("shd", "evaluate", run), "spoken-digits")


@pytest.mark.parametrize(
    "arguments", [("spoken-digits", "evaluate"), ("predict",)], ids=["evaluate", "predict"]
)
def test_folder_without_a_run_is_one_line(snnsim, tmp_path, arguments):
    file = [TEST_FILE] if arguments == ("predict",) else []
    assert_one_error(snnsim(*arguments, tmp_path, *file), "run.json", "run folder")


@pytest.mark.parametrize("text", ["", "{half", "{}", "[]", '{"config": {}}'])
def test_damaged_run_json_is_one_line(snnsim, tmp_path, run, text):
    for name, content in contents(run).items():
        if name.endswith(".safetensors"):
            (tmp_path / name).write_bytes(content)
    (tmp_path / "run.json").write_text(text)
    assert_one_error(snnsim("spoken-digits", "evaluate", tmp_path), "run.json")
    assert_one_error(snnsim(*TRAIN, "--out", tmp_path, "--resume"), "run.json")


def test_damaged_checkpoint_is_one_line(snnsim, tmp_path, run):
    (tmp_path / "run.json").write_bytes((run / "run.json").read_bytes())
    (tmp_path / "best.safetensors").write_bytes((run / "best.safetensors").read_bytes()[:-1])
    assert_one_error(snnsim("spoken-digits", "evaluate", tmp_path), "best.safetensors")


def test_checkpoint_of_another_network_is_one_line(snnsim, tmp_path, run):
    facts = json.loads((run / "run.json").read_text())
    facts["config"]["network"]["hidden"] = [17]
    (tmp_path / "run.json").write_text(json.dumps(facts))
    (tmp_path / "best.safetensors").write_bytes((run / "best.safetensors").read_bytes())
    assert_one_error(snnsim("spoken-digits", "evaluate", tmp_path), "best.safetensors", "fit")


def test_errors_in_a_process_of_its_own_are_one_line_and_exit_with_1(tmp_path):
    done = command(*TRAIN, "--set", "training.epoch=3", "--out", tmp_path / "out")
    answer = Answer(done.returncode, done.stdout, done.stderr)
    assert_one_error(answer, "error: ConfigError:", "did you mean 'epochs'")


@pytest.mark.parametrize(
    "arguments",
    [
        ("spoken-digits", "trian"),
        ("spoken-digit",),
        ("spoken-digits", "train", "--epoch", "3"),
        ("spoken-digits", "train", "--epochs", "many"),
        ("spoken-digits", "evaluate"),
        ("predict", "run"),
        ("predict", "run", "file", "--index", "one"),
    ],
    ids=" ".join,
)
def test_wrong_usage_exits_with_2(snnsim, arguments):
    answer = snnsim(*arguments)
    assert answer.code == 2
    assert answer.out == ""
    assert "Usage: " in answer.err


def test_whoever_interrupts_a_command_is_told_how_to_go_on(monkeypatch, capfd):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(snnsim_datasets, "recognise", interrupt)
    monkeypatch.setattr("sys.argv", ["snnsim", "train", "spoken-digits"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 130
    assert capfd.readouterr().err.count("interrupted; continue with --resume") == 1
