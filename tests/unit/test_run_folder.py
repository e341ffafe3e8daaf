"""A run folder is one run's: names, failed starts, what a kill leaves, durable JSON, roots."""

from __future__ import annotations

import json
import os
import urllib.request
from datetime import datetime
from pathlib import Path

import pytest
import snnsim_datasets
from command import assert_one_error
from small_runs import DIGITS, SHD, SOURCES, WRITERS, contents, interrupt_after, write_shd
from snnsim_experiments import options, run_folder

each_writer = pytest.mark.parametrize("kind", WRITERS)
RUNS = ("train", "continual run", "baselines train")  # that can be stopped and resumed


@pytest.fixture
def downloads(monkeypatch):
    """Addresses that were opened; none may be reached."""
    opened = []

    def open_address(request, *_, **__):
        opened.append(getattr(request, "full_url", request))
        raise OSError("no network in tests")

    monkeypatch.setattr(urllib.request, "urlopen", open_address)
    return opened


def start_and_interrupt(snnsim, monkeypatch, command, out: Path, steps: int = 4) -> None:
    with monkeypatch.context() as patch:
        interrupt_after(patch, steps)
        assert snnsim(*command, "--out", out).code == 130
    assert (out / "run.json").exists() and not (out / "summary.json").exists()


# --- names ------------------------------------------------------------------------------------


class Noon(datetime):
    """A clock that stands."""

    @classmethod
    def now(cls, tz=None):
        return cls(2026, 1, 1, 12, tzinfo=tz)


@each_writer
def test_runs_of_the_same_moment_get_folders_of_their_own(snnsim, tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    for module in (run_folder, options):
        monkeypatch.setattr(module, "datetime", Noon, raising=False)
    for _ in range(2):
        answer = snnsim(*WRITERS[kind])
        assert answer.code == 0, answer.err
    found = [p.parent for p in Path("runs").rglob("summary.json")]
    tables = [p.parent for p in Path("runs").rglob("comparison.json")]
    assert len(tables or [p for p in found if "seed0" not in p.name or kind != "continual run"]) > 1


def test_the_name_of_a_folder_says_data_set_and_configuration(snnsim, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert snnsim(*DIGITS, "--seed", 3).code == 0
    (path,) = Path("runs").rglob("summary.json")
    assert "spoken-digits" in str(path.parent)
    assert "none" in path.parent.name
    assert "seed3" in path.parent.name


# --- a start that fails -----------------------------------------------------------------------

FAILING = {
    "seed": (DIGITS, ("--seed", "-1")),
    "rate": (DIGITS, ("--set", "training.lr=nan")),
    "network": (DIGITS, ("--set", "network.tau_mem=nan")),
    "delay": (DIGITS, ("--set", "network.delays=fixed", "--set", "network.max_delay_ms=50")),
    "tensorboard": (DIGITS, ("--tensorboard",)),
    "data": (SHD, ("--root", "nowhere")),
    "width": (WRITERS["baselines train"], ("--width", "-3")),
    "budget": (WRITERS["baselines compare"], ("--budget", "nan")),
    "stream": (WRITERS["continual run"], ("--set", "stream.tasks=0")),
    "method": (WRITERS["continual run"], ("--set", "training.lr=inf")),
    "seeds": (WRITERS["continual run"], ("--seeds", "-1")),
    "sizes": (WRITERS["continual compare"], ("--set", "network.hidden=[0]")),
}


@pytest.mark.parametrize("case", FAILING)
def test_a_failed_start_leaves_nothing_and_the_next_may_have_the_folder(
    snnsim, tmp_path, monkeypatch, downloads, case
):
    command, wrong = FAILING[case]
    out = tmp_path / "out"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "torch.utils.tensorboard", None)
    answer = snnsim(*command, *wrong, "--out", out)
    if answer.code == 2:  # an option that the command line itself refuses
        assert "Invalid value" in answer.err and "Traceback" not in answer.err
    else:
        assert_one_error(answer)
    assert not out.exists() or contents(out) == {}
    if command is SHD:
        write_shd(tmp_path / "shd")
        command = (*SHD, "--root", tmp_path / "shd")
    answer = snnsim(*command, "--out", out)
    assert answer.code == 0, answer.err


# --- what a kill leaves -----------------------------------------------------------------------


@pytest.mark.parametrize("kind", RUNS)
def test_what_a_kill_leaves_is_removed_at_the_next_resume(snnsim, tmp_path, monkeypatch, kind):
    out = tmp_path / "out"
    start_and_interrupt(snnsim, monkeypatch, WRITERS[kind], out, steps=1)
    inner = next(iter(out.rglob("last.safetensors")), out / "x").parent
    for name in ("last.safetensorsab12.tmp", "metrics.jsonl.tmp", "summary.json.x9.tmp"):
        (inner / name).write_bytes(b"half")
    (out / "run.json.q7.tmp").write_bytes(b"half")
    answer = snnsim(*WRITERS[kind], "--out", out, "--resume")
    assert answer.code == 0, answer.err
    assert list(out.rglob("*.tmp")) == []


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("kind", RUNS)
def test_a_kill_before_the_run_was_described_is_no_obstacle(snnsim, tmp_path, kind, resume):
    out = tmp_path / "out"
    out.mkdir()
    (out / "initial.safetensorsab12.tmp").write_bytes(b"half")
    (out / "run.json.q7.tmp").write_bytes(b"half")
    answer = snnsim(*WRITERS[kind], "--out", out, *(["--resume"] if resume else []))
    assert answer.code == 0, answer.err
    assert list(out.rglob("*.tmp")) == []


@each_writer
def test_every_file_is_on_the_disk_before_it_gets_its_name(snnsim, tmp_path, monkeypatch, kind):
    synced, placed = set(), {}
    sync, replace = os.fsync, os.replace

    def recording_sync(file):
        synced.add(os.fstat(file if isinstance(file, int) else file.fileno()).st_ino)
        return sync(file)

    def recording_replace(source, target, **options):
        placed[Path(target).name] = Path(source).stat().st_ino in synced
        return replace(source, target, **options)

    monkeypatch.setattr(os, "fsync", recording_sync)
    monkeypatch.setattr(os, "replace", recording_replace)
    out = tmp_path / "out"
    assert snnsim(*WRITERS[kind], "--out", out).code == 0
    of_run = {name: safe for name, safe in placed.items() if (out / name).exists()}
    assert len(of_run) >= 1
    assert [name for name, safe in of_run.items() if not safe] == []


def test_temporary_names_differ_from_run_to_run(snnsim, tmp_path, monkeypatch):
    names, replace = {}, os.replace

    def recording(source, target, **options):
        names.setdefault(Path(target).name, []).append(Path(source).name)
        return replace(source, target, **options)

    monkeypatch.setattr(os, "replace", recording)
    for name in ("a", "b"):
        assert snnsim(*DIGITS, "--out", tmp_path / name).code == 0
    for target in ("run.json", "summary.json", "metrics.jsonl", "best.safetensors"):
        assert len(set(names[target])) == len(names[target]) >= 2, target


@pytest.mark.parametrize("ending", [".tmp", ".part", "~", ".new"])
def test_a_link_planted_at_a_temporary_name_is_not_followed(snnsim, tmp_path, monkeypatch, ending):
    out, victim = tmp_path / "out", tmp_path / "victim"
    start_and_interrupt(snnsim, monkeypatch, DIGITS, out)
    victim.write_text("years of work")
    for name in ("run.json", "summary.json", "metrics.jsonl", "last.safetensors"):
        (out / (name + ending)).symlink_to(victim)
    assert snnsim(*DIGITS, "--out", out, "--resume").code == 0
    assert victim.read_text() == "years of work"
    for name in ("run.json", "summary.json", "metrics.jsonl", "last.safetensors"):
        assert (out / name).is_file() and not (out / name).is_symlink()


# --- names mistyped ---------------------------------------------------------------------------


@each_writer
def test_resume_of_a_folder_without_a_run_says_so(snnsim, tmp_path, kind):
    out = tmp_path / "mistyped"
    answer = snnsim(*WRITERS[kind], "--out", out, "--resume")
    text = " ".join(answer.err.split())
    assert "there is no run in" in text or "there is no comparison in" in text
    assert str(out) in text.replace(" ", "")


WITH_ROOT = [name for name in snnsim_datasets.names() if name != "spoken-digits"]
ROOTED = {
    **{f"{name} train": (name, "train", *TINY) for name in WITH_ROOT for TINY in [("-q",)]},
    **{f"{name} info": (name, "info") for name in WITH_ROOT},
    "stream": SOURCES["stream of spikes"].command,
    "images": SOURCES["stream of images"].command,
    "five sets": ("continual", "run", "--stream", "5-datasets", "--method", "fine-tuning", "-q"),
    "compare": ("continual", "compare", "--stream", "pmnist", "--methods", "ewc", "-q"),
    "baseline": SOURCES["baseline"].command,
    "baselines": ("baselines", "compare", "--models", "gru", "--data", "shd", "-q"),
}


@pytest.mark.parametrize("case", ROOTED)
def test_a_mistyped_root_makes_no_folder_and_asks_no_server(
    snnsim, tmp_path, monkeypatch, downloads, case
):
    monkeypatch.setenv("SNNSIM_DATA", str(tmp_path / "default"))
    monkeypatch.chdir(tmp_path)
    answer = snnsim(*ROOTED[case], "--root", tmp_path / "typo" / "deep")
    assert_one_error(answer, str(tmp_path / "typo" / "deep"))
    assert downloads == []
    assert list(tmp_path.iterdir()) == []


# --- the root of a run ------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["spikes", "recordings", "camera", "baseline"])
def test_evaluate_remembers_the_root_of_its_run(snnsim, tmp_path, monkeypatch, downloads, kind):
    source = SOURCES[kind]
    monkeypatch.setenv("SNNSIM_DATA", str(tmp_path / "default"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    source.write(Path("data"))
    out = tmp_path / "out"
    assert snnsim(*source.command, "--root", "data", "--out", out).code == 0
    summary = json.loads((out / "summary.json").read_text())
    monkeypatch.chdir(tmp_path)  # a relative root still means the same folder
    name = json.loads((out / "run.json").read_text())["config"]["source"]
    answer = snnsim(name, "evaluate", out, "--json")
    assert answer.code == 0, answer.err
    assert json.loads(answer.out)["accuracy"] == summary["test_accuracy"]
    assert downloads == []
    (tmp_path / "here" / "data").rename(tmp_path / "moved")
    assert_one_error(snnsim(name, "evaluate", out), str(tmp_path / "here" / "data"))
    answer = snnsim(name, "evaluate", out, "--root", tmp_path / "moved", "--json")
    assert answer.code == 0, answer.err
    assert json.loads(answer.out)["accuracy"] == summary["test_accuracy"]
