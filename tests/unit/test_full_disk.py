"""Disks that are full and folders that cannot be written: one sentence, and nothing is lost."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from command import assert_one_error
from small_runs import (
    DIGITS,
    WRITERS,
    contents,
    files_of_at_most,
    interrupt_after,
    write_clip,
    write_shd,
)

from snnsim.training import checkpoint

RUNS = ("train", "continual run", "baselines train")
each_run = pytest.mark.parametrize("kind", RUNS)


def without_seconds(summary: dict) -> dict:
    return {k: v for k, v in summary.items() if not k.startswith("seconds")}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> dict[str, Path]:
    """A finished run of each kind, that the disturbed ones are compared with."""
    return {kind: tmp_path_factory.mktemp("whole") / kind for kind in RUNS}


def whole_run(snnsim, undisturbed, kind: str) -> Path:
    folder = undisturbed[kind]
    if not folder.exists():
        assert snnsim(*WRITERS[kind], "--out", folder).code == 0
    return folder


def assert_ends_like(folder: Path, whole: Path) -> None:
    a, b = (json.loads((f / "summary.json").read_text()) for f in (folder, whole))
    assert without_seconds(a) == without_seconds(b)
    for name in ("best", "last", "initial"):
        if not (whole / f"{name}.safetensors").exists():
            continue
        before, now = (checkpoint.load(f / f"{name}.safetensors")[0] for f in (whole, folder))
        assert before.keys() == now.keys()
        assert [n for n in before if not torch.equal(before[n], now[n])] == []


# bytes: nothing, less than run.json, less than a checkpoint
@pytest.mark.parametrize("size", [0, 600, 2500, 8000])
@each_run
def test_a_run_that_met_a_full_disk_says_so_and_goes_on_later(
    snnsim, tmp_path, undisturbed, kind, size
):
    assert_said_and_gone_on(snnsim, tmp_path, undisturbed, kind, size)


@each_run
def test_a_run_whose_picture_did_not_fit_says_so_and_goes_on_later(
    snnsim, rendered, tmp_path, undisturbed, kind
):
    assert_said_and_gone_on(snnsim, tmp_path, undisturbed, kind, 12_000)


def assert_said_and_gone_on(snnsim, tmp_path, undisturbed, kind, size):
    whole, out = whole_run(snnsim, undisturbed, kind), tmp_path / "out"
    with files_of_at_most(size):
        answer = snnsim(*WRITERS[kind], "--out", out)
    assert_one_error(answer, str(out))
    assert list(tmp_path.rglob("*.tmp")) == []
    answer = snnsim(*WRITERS[kind], "--out", out, "--resume")
    assert answer.code == 0, answer.err
    assert_ends_like(out, whole)


@each_run
def test_a_resumption_that_meets_a_full_disk_keeps_what_there_was(
    snnsim, tmp_path, monkeypatch, undisturbed, kind
):
    whole, out = whole_run(snnsim, undisturbed, kind), tmp_path / "out"
    command = (*WRITERS[kind], "--set", "training.checkpoint_steps=1", "--out", out)
    with monkeypatch.context() as patch:
        interrupt_after(patch, 1)
        assert snnsim(*command).code == 130
    before = contents(out)
    assert any(name.endswith("last.safetensors") for name in before)
    with files_of_at_most(100):
        answer = snnsim(*command, "--resume")
    assert_one_error(answer, str(out))
    assert contents(out) == before
    assert snnsim(*command, "--resume").code == 0
    assert_ends_like(out, whole)


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS])
def test_every_failure_of_a_disk_is_one_sentence(
    snnsim, tmp_path, monkeypatch, undisturbed, call, code
):
    whole, out = whole_run(snnsim, undisturbed, "train"), tmp_path / "out"
    original, calls = getattr(os, call), []

    def fail(*arguments, **options):
        calls.append(arguments)
        if len(calls) > 2:
            raise OSError(code, os.strerror(code), str(out / "last.safetensors"))
        return original(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        answer = snnsim(*DIGITS, "--out", out)
    assert_one_error(answer, str(out), os.strerror(code))
    assert list(out.rglob("*.tmp")) == []
    assert snnsim(*DIGITS, "--out", out, "--resume").code == 0
    assert_ends_like(out, whole)


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("deep", [1, 3])
def test_a_path_below_a_file_is_one_sentence(snnsim, tmp_path, kind, deep):
    (tmp_path / "file").write_text("x")
    out = tmp_path / "file" / "/".join("abc"[:deep])
    for resume in ([], ["--resume"]):
        assert_one_error(snnsim(*WRITERS[kind], "--out", out, *resume), str(tmp_path / "file"))
    assert (tmp_path / "file").read_text() == "x"


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("out", ["/proc/snnsim/run", "x" * 300])
def test_a_folder_that_cannot_be_made_is_one_sentence(snnsim, tmp_path, monkeypatch, kind, out):
    monkeypatch.chdir(tmp_path)
    assert_one_error(snnsim(*WRITERS[kind], "--out", out))
    assert list(tmp_path.iterdir()) == []


@each_run
def test_a_folder_that_may_not_be_written_is_one_sentence(snnsim, tmp_path, monkeypatch, kind):
    out, make, opened = tmp_path / "out", os.mkdir, os.open

    def refuse(original):
        def call(path, *arguments, **options):
            if str(path).startswith(str(out)) and (original is make or arguments[0] & os.O_CREAT):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
            return original(path, *arguments, **options)

        return call

    monkeypatch.setattr(os, "mkdir", refuse(make))
    monkeypatch.setattr(os, "open", refuse(opened))
    assert_one_error(snnsim(*WRITERS[kind], "--out", out), str(out))


@each_run
def test_a_folder_removed_during_a_run_is_said_and_blocks_nothing(
    snnsim, tmp_path, monkeypatch, kind
):
    out, backward = tmp_path / "out", torch.Tensor.backward

    def remove(self, *arguments, **options):
        shutil.rmtree(out, ignore_errors=True)
        return backward(self, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(torch.Tensor, "backward", remove)
        answer = snnsim(*WRITERS[kind], "--out", out)
    assert_one_error(answer, str(out))
    assert "initial.safetensors" not in answer.err  # which is not what went wrong
    answer = snnsim(*WRITERS[kind], "--out", out)
    assert answer.code == 0, answer.err


# --- no home ------------------------------------------------------------------------------------


def write_archives(root: Path) -> None:
    """N-MNIST's own archives, which are converted and cached."""
    root.mkdir()
    for part in ("Train", "Test"):
        with zipfile.ZipFile(root / f"{part}.zip", "w") as archive:
            for i in range(30):
                archive.writestr(f"{part}/{i % 10}/{i:05d}.bin", bytes([i, 7, 0, 0, i]) * 3)


def write_commands(root: Path) -> None:
    """Speech Commands with a clip of a word for each split, which are packed and cached."""
    for speaker in range(3):
        write_clip(root / "yes" / f"{speaker:08x}_nohash_0.wav", 400, value=speaker + 1)
    for speaker, part in ((0, "testing"), (1, "validation")):
        (root / f"{part}_list.txt").write_text(f"yes/{speaker:08x}_nohash_0.wav\n")


LOADS = {"shd": write_shd, "nmnist": write_archives, "gsc": write_commands}
HOMES = {"absent": None, "below a file": "file/home", "in proc": "/proc/snnsim/home"}


@pytest.mark.parametrize("home", HOMES)
@pytest.mark.parametrize("name", LOADS)
def test_data_load_without_a_home(snnsim, tmp_path, monkeypatch, recwarn, name, home):
    monkeypatch.delenv("SNNSIM_CACHE_DIR", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    LOADS[name](tmp_path / "data")
    (tmp_path / "file").write_text("x")
    if home == "absent":

        def no_home(cls=Path):
            raise RuntimeError("Could not determine home directory.")

        monkeypatch.setattr(Path, "home", classmethod(no_home))
        monkeypatch.delenv("HOME", raising=False)
    else:
        monkeypatch.setenv("HOME", str(tmp_path / HOMES[home]))
    answer = snnsim(name, "info", "--root", tmp_path / "data", "--json")
    assert answer.code == 0, answer.err
    assert json.loads(answer.out)["samples in test"] > 0
    said = [str(w.message) for w in recwarn if "cache" in str(w.message)]
    said += [line for line in answer.err.splitlines() if "cache" in line]
    assert len(said) <= 1


def test_an_absent_home_is_warned_of_once(tmp_path):
    """In a process of its own, because a warning is given once in each."""
    write_shd(tmp_path / "data")
    (tmp_path / "file").write_text("x")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("SNNSIM", "XDG"))}
    done = subprocess.run(
        [sys.executable, "-m", "snnsim_experiments", "shd", "info", "--root", tmp_path / "data"],
        env={**environment, "HOME": str(tmp_path / "file" / "home")},
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert sum("cache" in line for line in done.stderr.splitlines()) == 1
