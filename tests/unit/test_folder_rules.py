"""A run folder function by function: JSON, locks, what is left behind, what run.json says."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib import metadata
from pathlib import Path

import pytest
import torch
from snnsim_experiments import run_folder
from snnsim_experiments.build import build_network
from snnsim_experiments.configuration import resolve
from snnsim_experiments.lock import Held, claim, ours_alone
from toolbox import refusal

from snnsim.errors import BackendError, CheckpointError, ConfigError
from snnsim.training import checkpoint, distributed

NAME = "spoken-digits"
CONFIG = resolve(NAME, config="none", changes=["network.hidden=[4]"], seed=3)
FACTS = {"channels": 5, "classes": ["a", "b", "c"], "dt": 10.0, "steps": 7}


def described(folder: Path, config=CONFIG, **facts) -> Path:
    """A folder with a run.json."""
    folder.mkdir(parents=True, exist_ok=True)
    content = run_folder.describe(config, FACTS | facts)
    run_folder.write_json(folder / "run.json", content)
    return folder


# --- JSON ---------------------------------------------------------------------------------------


def test_json_is_written_in_lines_that_end_and_read_as_it_was(tmp_path):
    path = tmp_path / "a.json"
    run_folder.write_json(path, {"a": [1, "ü"], "b": None})
    assert path.read_text().splitlines()[:3] == ["{", '  "a": [', "    1,"]
    assert path.read_text().endswith("}\n")
    assert run_folder.read_json(path) == {"a": [1, "ü"], "b": None}


def test_json_that_is_not_there_or_not_right_is_said_so(tmp_path):
    path, read = tmp_path / "run" / "a.json", run_folder.read_json
    absent = f"{path} does not exist; is {path.parent} a run folder?"
    assert refusal(CheckpointError, read, path) == absent
    path.parent.write_text("")
    assert refusal(CheckpointError, read, path) == absent
    path.parent.unlink()
    path.parent.mkdir()
    path.write_text('{"a": -Infinity}')
    assert refusal(CheckpointError, read, path) == f"{path} is damaged: -Infinity is not a number"
    for empty in ("{}", "[]", "[1]", "3", "null", '"a"'):
        path.write_text(empty)
        text = refusal(CheckpointError, run_folder.read_object, path)
        assert text == f"{path} is damaged: it holds no results"
    path.write_text('{"a": 1}')
    assert run_folder.read_object(path) == {"a": 1}


# --- names --------------------------------------------------------------------------------------


def test_a_name_of_now_begins_with_the_time_in_greenwich():
    before = datetime.now(UTC).replace(microsecond=0)
    name = run_folder.unique("a-b")
    found = re.fullmatch(r"(\d{8}-\d{6})-a-b-[0-9a-f]{6}", name)
    then = datetime.strptime(found[1], "%Y%m%d-%H%M%S").replace(tzinfo=UTC)
    assert timedelta(0) <= then - before < timedelta(minutes=1)
    assert len({run_folder.unique("a") for _ in range(50)}) == 50


@pytest.mark.parametrize(
    ("model", "network", "kind"),
    [("spiking", {"delays": "none"}, "delays-none"),
     ("spiking", {"delays": "learned"}, "delays-learned"),
     ("gru", {"width": 3}, "gru"), ("lmu", {"delays": "none"}, "lmu")],
)  # fmt: skip
def test_a_run_without_a_folder_gets_one_named_by_its_network_and_seed(model, network, kind):
    found = run_folder.default_folder(replace(CONFIG, model=model, network=network))
    assert found.parent == Path("runs/spoken-digits")
    assert re.fullmatch(rf"\d{{8}}-\d{{6}}-{kind}-seed3-[0-9a-f]{{6}}", found.name)


def test_the_runs_below_a_folder_are_found_in_order_itself_included(tmp_path):
    folders = [tmp_path, tmp_path / "b", tmp_path / "a" / "c", tmp_path / "a"]
    for folder in folders:
        described(folder)
    (tmp_path / "empty").mkdir()
    assert run_folder.runs_below(tmp_path) == sorted(folders)
    assert run_folder.runs_below(tmp_path / "nowhere") == []


# --- holding a folder ---------------------------------------------------------------------------


def test_what_a_killed_run_leaves_and_the_lock_do_not_count_as_content(tmp_path):
    assert ours_alone(tmp_path / "nowhere") == []
    for name in ("run.lock", "run.json.x.tmp", "notes.txt", "a.lock"):
        (tmp_path / name).write_text("")
    assert {p.name for p in ours_alone(tmp_path)} == {"notes.txt", "a.lock"}


def test_a_folder_is_held_until_it_is_another_one(tmp_path):
    folder = tmp_path / "run"
    with claim(folder) as held:
        assert (held.folder, held.still()) == (folder, True)
        held.check()
        folder.rename(tmp_path / "moved")
        assert not held.still()
        text = refusal(CheckpointError, held.check)
        assert text.startswith(f"{folder} was removed or moved while this run was using it")
        folder.mkdir()
        (folder / "run.lock").write_text("")  # of another run
        assert not held.still()
    assert (folder / "run.lock").exists()  # it is not this run's to remove
    assert Held(tmp_path / "nowhere", None).still()  # another process holds it


def test_a_held_folder_loses_its_lock_and_the_folders_that_stay_empty(tmp_path):
    (tmp_path / "here").mkdir()
    with claim(tmp_path / "here" / "a" / "b") as held:
        assert (held.folder / "run.lock").is_file()
    with pytest.raises(OSError, match="descriptor"):
        os.fstat(held.lock)
    assert list(tmp_path.rglob("*")) == [tmp_path / "here"]
    with claim(tmp_path / "here" / "a" / "b") as held:
        (held.folder / "run.json").write_text("")
    assert sorted(p.name for p in (tmp_path / "here").rglob("*")) == ["a", "b", "run.json"]
    empty = tmp_path / "empty"
    empty.mkdir()
    with claim(empty):
        pass
    assert empty.is_dir()  # it was there before


def test_what_a_killed_run_left_is_removed_when_its_folder_is_held(tmp_path):
    (tmp_path / "plots").mkdir()
    for name in ("a.tmp", "plots/b.tmp", "plots/c.png", "tmp"):
        (tmp_path / name).write_text("")
    with claim(tmp_path):
        left = {p.name for p in tmp_path.rglob("*") if p.is_file()}
    assert left == {"run.lock", "c.png", "tmp"}


@pytest.mark.parametrize("started", [False, True])
def test_a_start_that_fails_takes_its_first_weights_with_it_unless_it_was_described(
    tmp_path, started
):
    with suppress(KeyboardInterrupt), claim(tmp_path / "run") as held:
        (held.folder / "initial.safetensors").write_text("")
        if started:
            (held.folder / "run.json").write_text("")
        raise KeyboardInterrupt
    assert (tmp_path / "run" / "initial.safetensors").exists() is started
    assert (tmp_path / "run").exists() is started


def test_a_run_that_ends_well_keeps_its_first_weights(tmp_path):
    with claim(tmp_path) as held:
        (held.folder / "initial.safetensors").write_text("")
    assert (tmp_path / "initial.safetensors").exists()


def test_a_failure_touches_nothing_in_a_folder_that_is_not_held_any_more(tmp_path):
    with suppress(KeyError), claim(tmp_path / "run"):
        shutil.rmtree(tmp_path / "run")
        (tmp_path / "run").mkdir()
        for name in ("initial.safetensors", "run.lock"):
            (tmp_path / "run" / name).write_text("another's")
        raise KeyError
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == [
        "initial.safetensors", "run.lock",
    ]  # fmt: skip


def test_processes_but_the_first_hold_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(distributed, "rank", lambda: 1)
    with claim(tmp_path / "run") as held:
        assert (held.folder, held.lock) == (tmp_path / "run", None)
        assert not held.folder.exists()


def test_a_held_folder_is_refused_until_it_is_let_go(tmp_path):
    for _ in range(2):
        with claim(tmp_path / "run"):
            text = refusal(ConfigError, lambda: claim(tmp_path / "run").__enter__())
            assert "is in use by another run" in text
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    text = refusal(ConfigError, lambda: claim(tmp_path / "link" / "run").__enter__())
    assert f"{tmp_path / 'link'} is a broken link; choose another --out" in text
    (tmp_path / "file").write_text("")
    for name, reason in (("file", "is a file"), ("file/below", "lies below a file")):
        text = refusal(ConfigError, lambda n=name: claim(tmp_path / n).__enter__())
        assert text == f"{tmp_path / name} {reason}; choose another --out"


# --- the data of a run --------------------------------------------------------------------------


def test_data_are_elsewhere_if_another_folder_is_named_than_before(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = described(tmp_path / "run", root=str(tmp_path / "data"))
    assert not run_folder.is_elsewhere(run, None)
    assert not run_folder.is_elsewhere(run, "data")
    assert not run_folder.is_elsewhere(run, str(tmp_path / "data"))
    assert run_folder.is_elsewhere(run, "other")
    assert run_folder.is_elsewhere(described(tmp_path / "own", root=None), "data")


def test_data_are_the_same_if_the_files_of_both_are(tmp_path):
    run = described(tmp_path / "run", data_checksums={"a": "1", "b": "2"})
    for now in ({}, {"c": "9"}, {"b": "2"}, {"a": "1", "b": "2", "c": "9"}):
        run_folder.check_same_data(run, now)
    assert refusal(ConfigError, run_folder.check_same_data, run, {"a": "1", "b": "3"}) == (
        f"{run} was started with other data: b had the checksum 2 and now has 3; "
        "give the same --root, or choose another --out"
    )
    for nothing in (None, {}):
        run_folder.check_same_data(described(tmp_path / "run", data_checksums=nothing), {"a": "1"})
    run = described(tmp_path / "run", data_checksums=["a"])
    text = refusal(CheckpointError, run_folder.check_same_data, run, {"a": "1"})
    assert text == f"{run / 'run.json'} is damaged: its data_checksums are not an object"


# --- where a run may be written -----------------------------------------------------------------


def test_a_run_may_be_written_where_nothing_is_or_the_start_of_one_that_was_killed(tmp_path):
    assert run_folder.prepare(tmp_path / "new", CONFIG, False) is False
    for name in ("run.lock", "initial.safetensors", "initial.safetensorsx.tmp", "run.jsonx"):
        (tmp_path / name).write_text("")
    for resume in (False, True):
        assert run_folder.prepare(tmp_path, CONFIG, resume) is False
    (tmp_path / "best.safetensors").write_text("")
    text = refusal(ConfigError, run_folder.prepare, tmp_path, CONFIG, True)
    assert text == f"{tmp_path} is not empty and not a run; choose another --out"
    text = refusal(ConfigError, run_folder.prepare, tmp_path / "run.lock", CONFIG, False)
    assert text == f"{tmp_path / 'run.lock'} is a file; choose another --out"


def test_a_run_goes_on_with_its_own_configuration_only(tmp_path):
    run = described(tmp_path)
    assert run_folder.prepare(run, CONFIG, True) is True
    assert run_folder.stored_experiment(run) == CONFIG
    text = refusal(ConfigError, run_folder.prepare, run, CONFIG, False)
    assert text == (f"{run} already holds a run; continue it with --resume or choose another --out")
    other = replace(
        CONFIG, seed=4, backend="cpu", data=CONFIG.data | {"pool": 7},
        network={k: v for k, v in CONFIG.network.items() if k != "dropout"},
    ).trained(epochs=2, batch_size=3)  # fmt: skip
    names = "backend, data.pool, network.dropout, seed, training.batch_size, training.epochs"
    text = refusal(ConfigError, run_folder.prepare, run, other, True)
    assert text == (
        f"{run} was started with another configuration (differs in {names}); "
        "resume with the same options or choose another --out"
    )
    other = replace(CONFIG, source="shd", data=resolve("shd").data)
    assert "(differs in source)" in refusal(ConfigError, run_folder.prepare, run, other, True)


def test_a_run_goes_on_to_more_epochs_and_then_has_them_in_its_configuration(tmp_path):
    run, longer = described(tmp_path), CONFIG.trained(epochs=CONFIG.recipe.epochs + 1)
    assert run_folder.is_longer(longer, CONFIG) and not run_folder.is_longer(CONFIG, CONFIG)
    assert run_folder.prepare(run, longer, True) is True
    other = longer.trained(batch_size=3)
    text = refusal(ConfigError, run_folder.prepare, run, other, True)
    assert "(differs in training.batch_size)" in text
    before = json.loads((run / "run.json").read_text())
    assert before["config"] == CONFIG.as_json()  # nothing is written by a look
    (run / "summary.json").write_text("{}")
    run_folder.lengthen(run, longer)
    assert json.loads((run / "run.json").read_text()) == before | {"config": longer.as_json()}
    assert not (run / "summary.json").exists()
    assert "(differs in training.epochs)" in refusal(
        ConfigError, run_folder.prepare, run, CONFIG, True
    )


# --- what run.json says -------------------------------------------------------------------------


def test_run_json_says_with_what_and_where_a_run_was_made(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/usr/bin/snnsim", "shd", "train"])
    before = datetime.now(UTC).replace(microsecond=0)
    found = run_folder.describe(CONFIG, {"steps": 3, "root": None})
    assert found["command"] == ["snnsim", "shd", "train"]
    assert (found["seed"], found["steps"], found["root"]) == (3, 3, None)
    assert found["config"]["network"]["hidden"] == [4] and found["config"]["seed"] == 3
    started = datetime.fromisoformat(found["started"])
    assert started.tzinfo == UTC and started.microsecond == 0
    assert timedelta(0) <= started - before < timedelta(minutes=1)
    packages = ["snnsim", "torch", "numpy", "numba", "sympy", "h5py", "safetensors"]
    versions = {name: metadata.version(name) for name in packages}
    assert found["versions"] == {"python": sys.version.split()[0], **versions}
    assert found["machine"] == {
        "system": os.uname().sysname, "processor": platform.machine(),
        "threads": torch.get_num_threads(), "portable": False,
    }  # fmt: skip


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_the_commit_of_a_run_is_that_of_the_source_it_ran_from(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # wherever it is started
    here = Path(run_folder.__file__).parent
    asked = subprocess.run(
        ["git", "-C", str(here), "log", "-1", "--format=%H"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    expected = asked.stdout.strip() or None
    assert run_folder.describe(CONFIG, {})["commit"] == expected
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "none"))
    assert run_folder.describe(CONFIG, {})["commit"] is None
    monkeypatch.setenv("PATH", str(tmp_path))  # no git at all
    assert run_folder.describe(CONFIG, {})["commit"] is None


FITS = [
    {"channels": 1}, {"channels": 2**31 - 1}, {"steps": 1}, {"steps": 2**31 - 1},
    {"dt": 1}, {"dt": 1e-3}, {"dt": 0.999e9}, {"classes": ["a"]},
]  # fmt: skip
FAULTS = [
    {"channels": 2**31}, {"channels": True}, {"channels": 0}, {"channels": 5.0},
    {"steps": 2**31}, {"steps": 0}, {"steps": True}, {"dt": 0.0}, {"dt": True}, {"dt": 1e9},
    {"dt": "10"}, {"classes": []}, {"classes": ["a", 1]}, {"classes": "abc"},
]  # fmt: skip


@pytest.mark.parametrize("changed", FITS, ids=str)
def test_facts_of_any_possible_size_are_taken(changed):
    run_folder._check_facts(Path("x"), FACTS | changed)


@pytest.mark.parametrize("changed", FAULTS, ids=str)
def test_facts_just_beyond_what_is_possible_are_refused(changed):
    text = refusal(CheckpointError, run_folder._check_facts, Path("x"), FACTS | changed)
    assert text.startswith("x/run.json is damaged: channels, classes, dt or steps ")


def test_a_network_is_read_back_with_the_weights_that_are_asked_for(tmp_path):
    described(tmp_path)
    nets = {name: build_network(replace(CONFIG, seed=i), 5, 3, 10.0)
            for i, name in enumerate(("initial", "best"))}  # fmt: skip
    for name, net in nets.items():
        tensors = checkpoint.prefixed("net", net.state_dict())
        checkpoint.save(tmp_path / f"{name}.safetensors", tensors, {})
    for arguments, name in (((), "best"), (("initial",), "initial"), (("best",), "best")):
        net, config, facts = run_folder.load_network(tmp_path, *arguments)
        assert config == CONFIG and facts == json.loads((tmp_path / "run.json").read_text())
        assert not any(module.training for module in net.modules())
        for key, value in net.state_dict().items():
            assert torch.equal(value, nets[name].state_dict()[key]), key
    with pytest.raises(CheckpointError, match=r"last\.safetensors"):
        run_folder.load_network(tmp_path, "last")


def test_a_network_that_cannot_be_built_is_said_to_be_of_its_file(tmp_path):
    described(tmp_path, replace(CONFIG, network={"hidden": [4], "delays": "nun"}))
    text = refusal(CheckpointError, run_folder.load_network, tmp_path)
    assert text.startswith(f"{tmp_path / 'run.json'} describes no network that can be built (")


def test_a_stored_configuration_is_checked_as_one_that_is_given(tmp_path):
    assert run_folder.stored_experiment(described(tmp_path)) == CONFIG
    for wrong in (
        {"data": {"pool": "many"}}, {"network": []}, {"training": {"epochs": 0}},
        {"training": {"epoch": 1}}, {"source": "no-such"}, {"more": 1},
    ):  # fmt: skip
        facts = json.loads((described(tmp_path) / "run.json").read_text())
        facts["config"] |= wrong
        run_folder.write_json(tmp_path / "run.json", facts)
        text = refusal(CheckpointError, run_folder.stored_experiment, tmp_path)
        assert text.startswith(f"{tmp_path / 'run.json'} does not describe a run ("), wrong


# --- devices ------------------------------------------------------------------------------------


def test_a_device_is_one_that_is_there_and_holds_values():
    assert run_folder.device("cpu") == torch.device("cpu")
    assert refusal(BackendError, run_folder.device, "meta") == (
        "device 'meta' holds no values; use cpu or cuda"
    )
    for name in ("gpu", "vulkan"):  # one that is none, one of which torch says a lot
        text = refusal(BackendError, run_folder.device, name)
        assert text.startswith(f"device {name!r} cannot be used here (") and "\n" not in text
