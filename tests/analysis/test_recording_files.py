"""Recordings in files come back to the bit, and what is none is refused by its name."""

from __future__ import annotations

import pytest
import torch

import snnsim as sn
from snnsim import checkpoint
from snnsim.activity import Recording
from snnsim.analysis import load_recording, save_recording
from snnsim.errors import CheckpointError


def spikes(rate=0.1, **more):
    values = (torch.rand(50, 7, 33, generator=torch.Generator().manual_seed(0)) < rate).float()
    lengths = torch.tensor([50, 1, 0, 20, 50, 50, 3])
    return Recording(values, "spikes", "layers.2", "output", lengths, **more)


@pytest.mark.parametrize(
    "rec",
    [
        spikes(),
        spikes(dt=0.5, target=torch.arange(7)),
        spikes(task=torch.tensor([0, 0, 1, 1, 2, 2, 2])),
        Recording(torch.randn(4, 2, 3, 5).double(), "state", "a", "v", torch.tensor([4, 2])),
        Recording(2 * torch.ones(4, 2, 3), "spikes", "a", "output", torch.tensor([4, 4])),
        Recording(torch.zeros(0, 2, 3), "spikes", "", "output", torch.tensor([0, 0])),
    ],
)
def test_what_is_written_comes_back(rec, tmp_path):
    save_recording(rec, tmp_path / "a")
    found = load_recording(tmp_path / "a")
    assert torch.equal(found.values, rec.values) and found.values.dtype == rec.values.dtype
    assert torch.equal(found.lengths, rec.lengths)
    assert (found.kind, found.name, found.what, found.dt) == (rec.kind, rec.name, rec.what, rec.dt)
    assert (found.target is None) == (rec.target is None)
    assert rec.target is None or torch.equal(found.target, rec.target)
    assert (found.task is None) == (rec.task is None)
    assert rec.task is None or torch.equal(found.task, rec.task)


def test_spikes_take_a_bit_each_at_most(tmp_path):
    rec = spikes(0.5)
    save_recording(rec, tmp_path / "a")
    assert (tmp_path / "a").stat().st_size < rec.values.numel() / 8 + 3000


def test_what_is_no_recording_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="there is no"):
        load_recording(tmp_path / "a")
    (tmp_path / "b").write_bytes(b"PK not a recording")
    with pytest.raises(CheckpointError, match="b"):
        load_recording(tmp_path / "b")
    sn.save(sn.Dense(2, 2), tmp_path / "c")
    with pytest.raises(CheckpointError, match="c is no recording"):
        load_recording(tmp_path / "c")


@pytest.mark.parametrize(
    ("of", "change"),
    [
        ("told", {"shape": [50, 7, 34]}),
        ("told", {"shape": "wide"}),
        ("told", {"shape": [50]}),
        ("told", {"kind": None, "packed": False}),
        ("tensors", {"lengths": torch.full((7,), 51)}),
        ("tensors", {"lengths": torch.full((6,), 5)}),
        ("tensors", {"values": torch.zeros(5, dtype=torch.uint8)}),
    ],
)
def test_what_does_not_fit_together_is_refused(of, change, tmp_path):
    save_recording(spikes(), tmp_path / "a")
    tensors, told = checkpoint.load(tmp_path / "a")
    (tensors if of == "tensors" else told).update(change)
    checkpoint.save(tmp_path / "a", tensors, told)
    with pytest.raises(CheckpointError, match="is damaged"):
        load_recording(tmp_path / "a")


@pytest.mark.parametrize("cut", range(5))
def test_a_truncated_file_is_refused(cut, tmp_path):
    save_recording(spikes(), tmp_path / "a")
    whole = (tmp_path / "a").read_bytes()
    (tmp_path / "a").write_bytes(whole[: len(whole) * cut // 5])
    with pytest.raises(CheckpointError):
        load_recording(tmp_path / "a")
