"""What the commands print: titles, tables with their columns, JSON, errors and exit codes."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path

import pytest
import snnsim_datasets
import torch
from command import TEST_FILE, assert_one_error
from small_runs import DIGITS, write_fsdd, write_shd
from snnsim_experiments import Place, build, cli, options, predict, runs, similar
from snnsim_experiments.configuration import resolve
from snnsim_experiments.predicted import Predicted, Sample
from snnsim_experiments.train import train

from snnsim.errors import BackendError, ConfigError

CHANGES = ("network.hidden=[4]", "data.pool=50", "training.epochs=2")


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setattr(options.output, "_width", 300)  # it may have looked before


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    """A finished run of two epochs."""
    folder = tmp_path_factory.mktemp("runs") / "small"
    config = resolve("spoken-digits", config="none", changes=CHANGES)
    train(config, Place(out=folder, quiet=True))
    return folder


def rows_of(text: str, title: str) -> list[list[str]]:
    """The lines below a title: what stands first, and the rest."""
    first, *lines = text.splitlines()
    assert first == title
    return [[part.strip() for part in line.strip().split("  ", 1)] for line in lines if line]


# --- train --------------------------------------------------------------------------------------


def test_train_prints_its_folder_and_every_number_of_its_summary(snnsim, tmp_path):
    answer = snnsim(*DIGITS, "--out", tmp_path / "run")
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    wanted = [[k, f"{v:.4f}" if isinstance(v, float) else str(v)] for k, v in summary.items()]
    assert rows_of(answer.out, f"Run in {tmp_path / 'run'}") == wanted
    assert answer.err == ""  # it is quiet


def test_train_shows_its_progress_beside_what_it_prints(snnsim, tmp_path):
    loud = [word for word in DIGITS if word != "-q"]
    answer = snnsim(*loud, "--json", "--out", tmp_path / "run")
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert json.loads(answer.out) == {"out": str(tmp_path / "run"), **summary}
    said = answer.err.splitlines()
    assert [line[:11] for line in said[:2]] == ["epoch   1/2", "epoch   2/2"]


def test_train_hands_on_all_its_options(snnsim, monkeypatch):
    calls = []
    monkeypatch.setattr(runs, "run", lambda *a, **k: calls.append((a, k)) or {})
    plain = Place(
        None, None, device="cpu", resume=False, quiet=False, tensorboard=False,
        console=options.messages,
    )  # fmt: skip
    answer = snnsim("shd", "train")
    assert (answer.code, answer.out) == (0, "")
    assert calls.pop() == ((resolve("shd"), plain), {})
    changes = ("network.tau_mem=30", "data.dt=5")
    answer = snnsim(
        "shd", "train", "--root", "there", "--out", "here", "--config", "none", "--set", changes[0],
        "--set", changes[1], "--seed", 2, "--epochs", 7, "--device", "cuda", "--backend",
        "reference", "--resume", "--quiet", "--tensorboard", "--json",
    )  # fmt: skip
    assert (answer.code, answer.out) == (0, "")
    config = resolve("shd", config="none", changes=changes, seed=2, epochs=7, backend="reference")
    switched = Place(
        "there", Path("here"), device="cuda", resume=True, quiet=True, tensorboard=True,
        console=options.messages,
    )  # fmt: skip
    assert calls == [((config, switched), {})]


def test_train_without_a_folder_cannot_resume(snnsim):
    assert_one_error(snnsim(*DIGITS, "--resume"), "name the folder with --out")


# --- evaluate -----------------------------------------------------------------------------------


def test_evaluate_prints_its_split_its_scores_and_if_asked_how_soon(snnsim, small):
    plain = ("spoken-digits", "evaluate", small, "--split", "validation")
    scores = json.loads(snnsim(*plain, "--json").out)
    assert scores.pop("split") == "validation" and scores["samples"] == 100
    wanted = [[k, f"{v:.4f}" if isinstance(v, float) else str(v)] for k, v in scores.items()]
    title = f"{small} on validation"
    assert rows_of(snnsim(*plain).out, title) == wanted
    assert not snnsim(*plain).out.endswith("\n\n")
    assert [name for name, _ in wanted] == ["accuracy", "loss", "firing_rate", "samples"]
    assert not list(small.rglob("accuracy_over_time*"))
    soon = json.loads(snnsim(*plain, "--over-time", 50, "--json").out)["over_time"]
    rows = [[f"after {ms} ms", f"{share:.4f}"] for ms, share in soon.items()]
    assert rows_of(snnsim(*plain, "--over-time", 50).out, title) == wanted + rows
    assert next(iter(soon)) == "500"
    pytest.importorskip("matplotlib")
    (picture,) = small.rglob("accuracy_over_time*")
    assert picture == small / "plots" / "accuracy_over_time-validation.png"


def test_evaluate_reads_the_data_that_are_named_or_those_of_the_run(snnsim, small, monkeypatch):
    asked, load = [], build.load_split

    def noting(config, split, root):
        asked.append((split, root))
        return load(config, split, None)

    monkeypatch.setattr(build, "load_split", noting)
    facts = json.loads((small / "run.json").read_text())
    monkeypatch.setattr(
        "snnsim_experiments.run_folder.read_json", lambda path: {**facts, "root": "before"}
    )
    for given in ((), ("--root", "now"), ("--root", "")):
        assert snnsim("spoken-digits", "evaluate", small, *given).code == 0
    assert asked == [("test", "before"), ("test", "now"), ("test", "")]


def test_evaluate_takes_the_best_weights_unless_told_otherwise(snnsim, small, tmp_path):
    copy = shutil.copytree(small, tmp_path / "run")
    shutil.copy(small / "initial.safetensors", copy / "best.safetensors")
    plain, best, last = (
        json.loads(snnsim("spoken-digits", "evaluate", copy, "--json", *options).out)["loss"]
        for options in ((), ("--checkpoint", "best"), ("--checkpoint", "last"))
    )
    assert plain == best != last


def test_evaluate_of_another_data_set_is_told_its_command(snnsim, small):
    answer = snnsim("shd", "evaluate", small)
    assert_one_error(answer)
    assert answer.err.strip() == (
        f"error: ConfigError: {small} is a run on spoken-digits; evaluate it with: "
        "snnsim spoken-digits evaluate"
    )


# --- info ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", snnsim_datasets.names())
def test_info_says_what_the_data_set_says_of_itself(snnsim, name):
    info = snnsim_datasets.get(name).INFO
    facts = json.loads(snnsim(name, "info", "--json").out)
    counts = {k: facts.pop(k) for k in list(facts) if k.startswith("samples in ")}
    files = [remote.name for remote in info.remotes]
    configs = Path(cli.__file__).parent / name.replace("-", "_")
    assert facts == {
        "title": info.title, "kind": info.kind, "channels": info.channels,
        "classes": ", ".join(info.classes), "splits": ", ".join(info.splits),
        "licence": info.licence, "citation": info.citation,
        "files": ", ".join(files) if files else "none to download",
        "configurations": ", ".join(sorted(p.stem for p in configs.glob("*.toml"))),
        "note": info.note,
    }  # fmt: skip
    wanted = {f"samples in {split}" for split in info.splits} if name == "spoken-digits" else set()
    assert set(counts) == wanted  # others have to be found first
    first = snnsim(name, "info").out.splitlines()[:3]
    assert [line.split() for line in first] == [
        [name], ["title", *info.title.split()], ["kind", *info.kind.split()],
    ]  # fmt: skip


def test_info_counts_the_samples_of_a_folder_that_is_named(snnsim, tmp_path):
    for name, write in (("shd", write_shd), ("fsdd", write_fsdd)):
        write(tmp_path / name)
        facts = json.loads(snnsim(name, "info", "--root", tmp_path / name, "--json").out)
        for split in snnsim_datasets.get(name).INFO.splits:
            data = snnsim_datasets.load(name, split, tmp_path / name)
            assert facts[f"samples in {split}"] == len(data) > 0


# --- predict and similar ------------------------------------------------------------------------


def test_predict_prints_a_line_for_each_sample_with_the_classes_and_their_shares(
    snnsim, small, monkeypatch
):
    calls = []

    def found(*arguments):
        calls.append(arguments)
        samples = [Sample("a.h5", number, None) for number in (7, 8)]
        scores = torch.tensor([[0.91239, 0.05, 0.03761], [0.0004, 0.0, 0.9996]])
        return Predicted("a run", ["one", "[b]two", "three"], samples, scores, top=2)

    monkeypatch.setattr(predict, "predict_files", found)
    lines = snnsim("predict", small, TEST_FILE).out.splitlines()
    assert lines[0].split() == ["sample", "classes,", "best", "first"]
    assert [" ".join(line.split()) for line in lines[1:]] == [
        "7 one 91.2%, [b]two 5.0%", "8 three 100.0%, one 0.0%",
    ]  # fmt: skip
    snnsim("predict", small, "x.h5", "--index", 4, "--top", 2)
    assert calls == [(small, [TEST_FILE], None, 3, ""), (small, [Path("x.h5")], 4, 2, "")]
    assert json.loads(snnsim("predict", small, "x", "--json").out) == found().rows


def test_similar_prints_a_line_for_each_run_with_its_four_columns(snnsim, monkeypatch):
    calls = []

    def found(*arguments):
        calls.append(arguments)
        return [
            {"run": "a/b", "likeness": 0.98765, "result": 91.26,
             "differs": {"seed": 3, "network.delays": "none"}},
            {"run": "[c]", "likeness": 1.0, "result": None, "differs": {}},
        ]  # fmt: skip

    monkeypatch.setattr(similar, "similar", found)
    lines = snnsim("similar", "mine").out.splitlines()
    assert [" ".join(line.split()) for line in lines] == [
        "run likeness result % differs in",
        "a/b 0.988 91.3 seed=3, network.delays=none",
        "[c] 1.000 - nothing",
    ]
    snnsim("similar", "mine", "--among", "there", "--top", 2)
    assert calls == [(Path("mine"), Path("runs"), 5), (Path("mine"), Path("there"), 2)]
    assert json.loads(snnsim("similar", "x", "--json").out) == found()


# --- errors -------------------------------------------------------------------------------------


def ending(snnsim, monkeypatch, error: BaseException):
    """How the command ends if this is raised."""

    def fail():
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(cli, "app", fail)
        return snnsim("x")


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ConfigError("[red]x is 3"), "error: ConfigError: [red]x is 3\n"),
        (BackendError("no cuda"), "error: BackendError: no cuda\n"),
        (ConfigError("half \ud800."), "error: ConfigError: half \\ud800.\n"),
        (OSError(28, "No space left", "a/b"),
         "error: cannot read or write: [Errno 28] No space left: 'a/b'\n"),
        (FileNotFoundError(2, "No such file", "a"),
         "error: cannot read or write: [Errno 2] No such file: 'a'\n"),
        (MemoryError("no\n  room"), "error: not enough memory: no room; take smaller sizes\n"),
        (RuntimeError("cannot allocate 9 bytes"),
         "error: not enough memory: cannot allocate 9 bytes; take smaller sizes\n"),
        (torch.OutOfMemoryError("allocation failed"),
         "error: not enough memory: allocation failed; take smaller sizes\n"),
        (MemoryError("m" * 999), f"error: not enough memory: {'m' * 300}; take smaller sizes\n"),
        (ConfigError("w " * 999), f"error: ConfigError: {'w ' * 999}\n"),
    ],
    ids=range(10),
)  # fmt: skip
def test_an_error_is_one_line_that_says_its_kind_and_ends_with_1(snnsim, monkeypatch, error, text):
    answer = ending(snnsim, monkeypatch, error)
    assert (answer.code, answer.out, answer.err) == (1, "", text)


def test_an_interrupted_run_is_told_how_to_go_on_and_ends_with_130(snnsim, monkeypatch):
    answer = ending(snnsim, monkeypatch, KeyboardInterrupt())
    assert (answer.code, answer.out) == (130, "")
    assert answer.err == "interrupted; continue with --resume and the same --out\n"


@pytest.mark.parametrize("error", [RuntimeError("a fault"), ValueError("x"), KeyError("alloca")])
def test_a_fault_of_the_program_is_not_taken_for_a_wrong_input(monkeypatch, error):
    def fail():
        raise error

    monkeypatch.setattr(cli, "app", fail)
    with pytest.raises(type(error)) as caught:
        cli.main()
    assert caught.value is error


def test_a_warning_is_one_line_and_whoever_listened_before_listens_again(snnsim, monkeypatch):
    heard = []

    def warn():
        warnings.warn("[red]mind this", UserWarning, stacklevel=1)

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = lambda message, *_, **__: heard.append(str(message))
        monkeypatch.setattr(cli, "app", warn)
        cli.main()
        assert heard == []
        warnings.warn("afterwards", stacklevel=1)
    assert heard == ["afterwards"]


def test_a_warning_is_printed_beside_the_results(capsys, monkeypatch):
    monkeypatch.setattr(cli, "app", lambda: warnings.warn("[red]mind", stacklevel=1))
    cli.main()
    streams = capsys.readouterr()
    assert (streams.out, streams.err) == ("", "warning: [red]mind\n")


def test_without_arguments_the_command_shows_its_help(snnsim):
    for arguments in ((), ("shd",), ("continual",)):
        answer = snnsim(*arguments)
        assert "Usage: " in answer.out + answer.err and "--help" in answer.out + answer.err
