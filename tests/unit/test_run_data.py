"""A run says which data it came from, and goes on with no other."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
import snnsim_datasets
from command import assert_one_error
from image_cases import sha256
from small_runs import SOURCES, contents, interrupt_after

each_source = pytest.mark.parametrize("kind", SOURCES)


def interrupted(snnsim, monkeypatch, command, root: Path, out: Path) -> None:
    with monkeypatch.context() as patch:
        interrupt_after(patch, 1)
        assert snnsim(*command, "--root", root, "--out", out).code == 130


def described(out: Path) -> dict[str, str]:
    return json.loads((out / "run.json").read_text())["data_checksums"]


@each_source
def test_resume_with_other_data_is_refused_naming_them_and_both_checksums(
    snnsim, tmp_path, monkeypatch, kind
):
    source = SOURCES[kind]
    source.write(tmp_path / "a")
    source.write(tmp_path / "b")
    source.other(tmp_path / "b")
    out = tmp_path / "out"
    interrupted(snnsim, monkeypatch, source.command, tmp_path / "a", out)
    before = contents(out)
    answer = snnsim(*source.command, "--root", tmp_path / "b", "--out", out, "--resume")
    assert_one_error(answer)
    name = source.change if kind != "recordings" else "recordings"
    assert name in answer.err or source.change in answer.err
    assert len(set(re.findall(r"\b[0-9a-f]{8,64}\b", answer.err))) >= 2
    if kind != "recordings":
        for root in ("a", "b"):
            assert sha256(tmp_path / root / source.change)[:8] in answer.err
    assert contents(out) == before


@each_source
def test_resume_with_the_same_data_elsewhere_goes_on(snnsim, tmp_path, monkeypatch, kind):
    source = SOURCES[kind]
    for name in ("a", "b"):
        source.write(tmp_path / name)
    for path in (tmp_path / "a").rglob("*.h5"):  # HDF5 files hold no two alike by themselves
        (tmp_path / "b" / path.name).write_bytes(path.read_bytes())
    out = tmp_path / "out"
    interrupted(snnsim, monkeypatch, source.command, tmp_path / "a", out)
    answer = snnsim(*source.command, "--root", tmp_path / "b", "--out", out, "--resume")
    assert answer.code == 0, answer.err


@each_source
def test_a_run_has_a_checksum_of_every_file_it_read(snnsim, tmp_path, monkeypatch, kind):
    source = SOURCES[kind]
    source.write(tmp_path / "a")
    out = tmp_path / "out"
    interrupted(snnsim, monkeypatch, source.command, tmp_path / "a", out)
    found = described(out)
    files = [p for p in (tmp_path / "a").rglob("*") if p.is_file()]
    if kind == "recordings":  # one of all, or one of each
        assert found and all(re.fullmatch("[0-9a-f]{32,128}", c) for c in found.values())
    else:
        assert sorted(found.values()) == sorted(map(sha256, files))
        assert set(found) == {p.name for p in files}


@each_source
def test_a_checksum_follows_the_content_not_the_time_of_a_file(snnsim, tmp_path, monkeypatch, kind):
    source = SOURCES[kind]
    root = tmp_path / "a"
    source.write(root)
    interrupted(snnsim, monkeypatch, source.command, root, tmp_path / "one")
    changed = next(root.rglob(source.change))
    before = changed.stat()
    os.utime(changed, (1, 1))
    interrupted(snnsim, monkeypatch, source.command, root, tmp_path / "two")
    assert described(tmp_path / "two") == described(tmp_path / "one")
    source.other(root)
    os.utime(changed, ns=(before.st_atime_ns, before.st_mtime_ns))
    interrupted(snnsim, monkeypatch, source.command, root, tmp_path / "three")
    assert described(tmp_path / "three") != described(tmp_path / "one")


@pytest.mark.parametrize("command", ["train", "continual"])
def test_embedded_data_have_checksums_too(snnsim, tmp_path, monkeypatch, command):
    small = ("--set", "network.hidden=[4]", "-q", "--out", tmp_path / "out")
    options = {
        "train": ("spoken-digits", "train", "--config", "none"),
        "continual": (
            "continual", "run", "--stream", "spoken-digits", "--method", "fine-tuning",
            "--set", "stream.per_task=10",
        ),
    }  # fmt: skip
    interrupt_after(monkeypatch, 0)
    assert snnsim(*options[command], *small).code == 130
    folder = Path(snnsim_datasets.__file__).parent / "data"
    wanted = {f"spoken_digits_{part}.h5.gz" for part in ("train", "test")}
    assert described(tmp_path / "out") == {name: sha256(folder / name) for name in wanted}


@pytest.mark.parametrize("kind", ["spikes", "camera"])
def test_damage_of_a_converted_cache_is_not_taken_for_the_data(snnsim, tmp_path, monkeypatch, kind):
    """The checksums are of the files themselves, whatever lies in the cache."""
    source = SOURCES[kind]
    monkeypatch.setenv("SNNSIM_CACHE_DIR", str(tmp_path / "cache"))
    source.write(tmp_path / "a")
    interrupted(snnsim, monkeypatch, source.command, tmp_path / "a", tmp_path / "one")
    for path in (tmp_path / "cache").rglob("*.npz"):
        path.write_bytes(path.read_bytes()[:-9])
    interrupted(snnsim, monkeypatch, source.command, tmp_path / "a", tmp_path / "two")
    assert described(tmp_path / "one") == described(tmp_path / "two")


def test_a_comparison_does_not_mix_runs_on_different_data(snnsim, tmp_path):
    source = SOURCES["spikes"]
    source.write(tmp_path / "a")
    source.write(tmp_path / "b")
    source.other(tmp_path / "b")
    out = tmp_path / "out"
    command = (
        "baselines", "compare", "--data", "shd", "--budget", "2k", "--epochs", "1", "-q",
        "--set", "data.pool=50", "--out", out, "--resume",
    )  # fmt: skip
    assert snnsim(*command, "--models", "gru", "--root", tmp_path / "a").code == 0
    before = (out / "comparison.json").read_bytes()
    answer = snnsim(*command, "--models", "elman", "--root", tmp_path / "b")
    assert_one_error(answer, "shd_test.h5")
    assert (out / "comparison.json").read_bytes() == before


@each_source
def test_a_complete_run_is_not_taken_for_one_on_other_data(snnsim, tmp_path, kind):
    source, out = SOURCES[kind], tmp_path / "out"
    for name in ("a", "b", "c"):
        source.write(tmp_path / name)
    for path in (tmp_path / "a").rglob("*.h5"):  # HDF5 files hold no two alike by themselves
        (tmp_path / "b" / path.name).write_bytes(path.read_bytes())
    source.other(tmp_path / "c")
    assert snnsim(*source.command, "--root", tmp_path / "a", "--out", out).code == 0
    before = contents(out)
    for root in ("a", "b"):
        answer = snnsim(*source.command, "--root", tmp_path / root, "--out", out, "--resume")
        assert answer.code == 0, answer.err
    answer = snnsim(*source.command, "--root", tmp_path / "c", "--out", out, "--resume")
    assert_one_error(answer, "started with other data")
    assert {k: v for k, v in contents(out).items() if "plots" not in k} == {
        k: v for k, v in before.items() if "plots" not in k
    }
