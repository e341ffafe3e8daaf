"""Run folders with damaged files: every command ends in one sentence that names the file."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from command import TEST_FILE, assert_one_error
from small_runs import DIGITS, TEXTS, contents, interrupt_after

from snnsim.errors import CheckpointError
from snnsim.training import checkpoint

COMMAND = (*DIGITS, "--set", "training.checkpoint_steps=1")
READERS = {
    "evaluate": ("spoken-digits", "evaluate"),
    "predict": ("predict",),
    "resume": (*COMMAND, "--resume", "--out"),
}
AFTER = {"evaluate": (), "predict": (TEST_FILE, "--index", "0"), "resume": ()}
each_reader = pytest.mark.parametrize("reader", READERS)


def call(snnsim, reader: str, folder: Path):
    return snnsim(*READERS[reader], folder, *AFTER[reader])


@pytest.fixture(scope="module")
def stopped(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("stopped") / "run"


@pytest.fixture
def folder(snnsim, monkeypatch, tmp_path, stopped) -> Path:
    """A copy of a run that was stopped in its second epoch: all readers have something to read."""
    if not stopped.exists():
        with monkeypatch.context() as patch:
            interrupt_after(patch, 8)
            assert snnsim(*COMMAND, "--out", stopped).code == 130
        assert (stopped / "best.safetensors").exists()
    return Path(shutil.copytree(stopped, tmp_path / "run"))


def weights(reader: str) -> str:
    return "last.safetensors" if reader == "resume" else "best.safetensors"


@each_reader
def test_the_undamaged_run_is_read(snnsim, folder, reader):
    """So that the tests below can fail."""
    assert call(snnsim, reader, folder).code == 0


# --- weights ----------------------------------------------------------------


def flip(path: Path, place: int, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1 << bit
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["initial", "best", "last"])
def test_a_flipped_bit_anywhere_in_a_weight_file_is_noticed(folder, name):
    """Every byte of the header, and 200 of the rest drawn with seed 7."""
    path, random = folder / f"{name}.safetensors", np.random.default_rng(7)
    whole = path.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    places = [*range(0, header, 3), *random.integers(header, len(whole), 200), len(whole) - 1]
    taken = []
    for place in places:
        flip(path, int(place), int(random.integers(8)))
        try:
            checkpoint.load(path)
            taken.append(int(place))
        except CheckpointError as error:
            assert str(path) in str(error)
        path.write_bytes(whole)
    assert taken == []


@pytest.mark.parametrize("where", [0.3, 0.6, 0.999])
@each_reader
def test_a_flipped_bit_is_one_sentence_for_every_reader(snnsim, folder, reader, where):
    path = folder / weights(reader)
    flip(path, int(where * path.stat().st_size), 3)
    assert_one_error(call(snnsim, reader, folder), str(path))


@each_reader
def test_weights_with_something_behind_them_are_one_sentence(snnsim, folder, reader):
    path = folder / weights(reader)
    path.write_bytes(path.read_bytes() + b"\0")
    assert_one_error(call(snnsim, reader, folder), str(path))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@each_reader
def test_weights_that_are_not_finite_are_one_sentence_naming_the_tensor(
    snnsim, folder, reader, value
):
    path = folder / weights(reader)
    whole, (tensors, values) = path.read_bytes(), checkpoint.load(path)
    for name in [n for n, t in tensors.items() if t.is_floating_point()]:
        spoilt = {n: t.clone() for n, t in tensors.items()}
        spoilt[name].view(-1)[-1] = value
        with pytest.MonkeyPatch.context() as patch:  # as no version of the program writes it now
            patch.setattr(checkpoint, "first_not_finite", lambda named: None)
            checkpoint.save(path, spoilt, values)
        answer = call(snnsim, reader, folder)
        assert_one_error(answer, str(path), name.partition(".")[2])
        path.write_bytes(whole)


CHANGES = {
    "a tensor less": lambda t, v: t.pop(next(iter(t))),
    "another shape": lambda t, v: t.update({k: torch.zeros(3, 3) for k in list(t)[:1]}),
    "another type": lambda t, v: t.update({k: t[k].to(torch.int32) for k in list(t)[:1]}),
    "no position": lambda t, v: v.pop("position"),
    "no recipe": lambda t, v: v.pop("recipe"),
    "a position of another form": lambda t, v: v.update(position={"epoch": 1}),
    "a position that is a list": lambda t, v: v.update(position=[1]),
    "a negative epoch": lambda t, v: v["position"].update(epoch=-1),
    "an epoch that is a text": lambda t, v: v["position"].update(epoch="1"),
    "a step beyond the epoch": lambda t, v: v["position"].update(step=10**6),
    "no samples": lambda t, v: v["position"].update(samples=0, step=3),
    "no random state": lambda t, v: t.pop("random.cpu"),
    "a short random state": lambda t, v: t.update({"random.cpu": t["random.cpu"][:9]}),
    "an optimiser's name": lambda t, v: t.update({"optimizer0.x": torch.zeros(1)}),
    "an optimiser's number": lambda t, v: t.update({"optimizer0.99.exp_avg": torch.zeros(1)}),
    "no optimiser": lambda t, v: [t.pop(k) for k in list(t) if k.startswith("optimizer")],
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_checkpoint_of_another_form_is_one_sentence_at_resume(snnsim, folder, change):
    path = folder / "last.safetensors"
    tensors, values = checkpoint.load(path)
    CHANGES[change](tensors, values)
    checkpoint.save(path, tensors, values)
    assert_one_error(call(snnsim, "resume", folder), str(path))


@pytest.mark.parametrize("values", ["[]", "3", "null", '"x"', "NaN", "[" * 100_000, "9" * 5000])
@each_reader
def test_values_of_another_kind_are_one_sentence(snnsim, folder, reader, values):
    from safetensors.torch import save_file

    path = folder / weights(reader)
    tensors, _ = checkpoint.load(path)
    save_file(tensors, path, metadata={"format": checkpoint.FORMAT, "values": values})
    assert_one_error(call(snnsim, reader, folder), str(path))


# --- JSON ----------------------------------------------------------------

each_text = pytest.mark.parametrize("text", TEXTS)


@each_text
@each_reader
def test_a_damaged_run_json_is_one_sentence(snnsim, folder, reader, text):
    (folder / "run.json").write_bytes(TEXTS[text])
    before = contents(folder)
    assert_one_error(call(snnsim, reader, folder), str(folder / "run.json"))
    assert contents(folder) == before


WRONG = {
    "channels": [0, -1, 1.5, "14", None, [14], 10**30],
    "classes": [[], "zero", None, 20, [1, 2]],
    "dt": [0, -1, "ten", None, float("nan"), float("inf")],
    "steps": [-1, "many", None, 10**30, 1.5],
}


@pytest.mark.parametrize("key", WRONG)
@pytest.mark.parametrize("reader", ["evaluate", "predict"])
def test_facts_of_the_wrong_kind_in_run_json_are_one_sentence(snnsim, folder, reader, key):
    path = folder / "run.json"
    facts = json.loads(path.read_text())
    for wrong in WRONG[key]:
        path.write_text(json.dumps({**facts, key: wrong}))
        assert_one_error(call(snnsim, reader, folder), str(folder))
    del facts[key]
    path.write_text(json.dumps(facts))
    assert_one_error(call(snnsim, reader, folder), str(path))


@pytest.mark.parametrize("section", ["data", "network", "training"])
@each_reader
def test_a_configuration_of_the_wrong_kind_in_run_json_is_one_sentence(
    snnsim, folder, reader, section
):
    path = folder / "run.json"
    facts = json.loads(path.read_text())
    for wrong in (None, [], 3, "x", {"unknown": 1}, {"hidden": "x", "dt": [], "epochs": {}}):
        path.write_text(json.dumps({**facts, "config": {**facts["config"], section: wrong}}))
        assert_one_error(call(snnsim, reader, folder), str(folder))


@each_text
def test_a_damaged_summary_is_one_sentence(snnsim, folder, text):
    (folder / "summary.json").write_bytes(TEXTS[text])
    if text == "an object":  # which says nothing
        (folder / "summary.json").write_bytes(b'{"test_accuracy": "high"')
    assert_one_error(call(snnsim, "resume", folder), str(folder / "summary.json"))


@pytest.mark.parametrize("text", [t for t in TEXTS if t != "empty"])
def test_damaged_metrics_are_one_sentence(snnsim, folder, text):
    (folder / "metrics.jsonl").write_bytes(TEXTS[text])
    assert_one_error(call(snnsim, "resume", folder), str(folder / "metrics.jsonl"))


@pytest.mark.parametrize("loss", ["deleted", "empty", "shorter"])
def test_lost_lines_of_metrics_are_said(snnsim, folder, loss):
    """The weights do not depend on them, so training goes on; the first epoch's line is gone."""
    path = folder / "metrics.jsonl"
    path.unlink() if loss == "deleted" else path.write_text("" if loss == "empty" else "\n")
    answer = call(snnsim, "resume", folder)
    assert answer.code in (0, 1)
    assert "metrics.jsonl" in answer.err


@pytest.mark.parametrize("name", ["[red]run", "[bold]"])
def test_folders_with_brackets_are_printed_as_they_are(snnsim, tmp_path, folder, name):
    moved = folder.rename(tmp_path / name)
    assert name in snnsim("spoken-digits", "evaluate", moved).out
    answer = snnsim(*COMMAND, "--out", moved, "--resume")
    assert answer.code == 0 and name in answer.out
    answer = snnsim(*COMMAND, "--out", moved, "--resume")
    assert f"{name} is already complete" in " ".join(answer.err.split())
