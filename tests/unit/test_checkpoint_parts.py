"""What a checkpoint is made of, and which contents are refused with what reason."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import nn

from snnsim.checkpoint import digest, load_optimizer, optimizer_tensors, record
from snnsim.errors import CheckpointError, ConfigError, NonFiniteError
from snnsim.training import checkpoint


@pytest.fixture
def path(tmp_path):
    return tmp_path / "last.safetensors"


def written(path, tensors, **metadata):
    save_file(tensors, path, metadata=metadata)
    return path


def test_a_digest_is_of_names_types_shapes_bytes_and_text():
    tensors = {"a": torch.tensor([[1.0, 2.0]]), "b": torch.tensor([3], dtype=torch.int32)}
    first = digest(tensors, "text")
    assert first == digest(dict(reversed(tensors.items())), "text") and len(first) == 64
    b = tensors["b"]
    others = [
        digest(tensors, "texts"),
        digest({"c": tensors["a"], "b": b}, "text"),
        digest({"a": tensors["a"].view(2, 1), "b": b}, "text"),
        digest({"a": tensors["a"].view(torch.int32), "b": b}, "text"),
        digest({"a": torch.tensor([[1.0, 2.5]]), "b": b}, "text"),
        digest({"a": tensors["a"]}, "text"),
    ]
    assert len({first, *others}) == 7
    strided = torch.tensor([[1.0, 9.0], [2.0, 9.0]])[:, 0].unsqueeze(0)
    assert digest({"a": strided, "b": b}, "text") == first


def test_files_of_before_there_was_a_sum_are_read(path):
    tensors = {"a": torch.ones(2)}
    written(path, tensors, format="snnsim-checkpoint-1", values='{"epoch": 3}')
    found, values = checkpoint.load(path)
    assert torch.equal(found["a"], tensors["a"]) and values == {"epoch": 3}
    text = '{"epoch": 3}'
    wrong = digest(tensors, "other")
    written(path, tensors, format="snnsim-checkpoint-1", values=text, sha256=wrong)
    with pytest.raises(CheckpointError, match="its content is not what was written"):
        checkpoint.load(path)
    written(path, tensors, format="snnsim-checkpoint-2", values=text)
    with pytest.raises(CheckpointError, match="its content is not what was written"):
        checkpoint.load(path)
    written(path, tensors, format="snnsim-checkpoint-2", values=text, sha256=digest(tensors, text))
    assert checkpoint.load(path)[1] == {"epoch": 3}


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ({"format": "pt"}, r"is not a checkpoint of this program \(its format is 'pt'"),
        ({"other": "pt"}, "its format is None, expected 'snnsim-checkpoint-2'"),
        ({"format": "snnsim-checkpoint-1", "values": "[1]"}, "its values are no table"),
        ({"format": "snnsim-checkpoint-1", "values": "{"}, "its values cannot be read"),
        ({"format": "snnsim-checkpoint-1"}, "its values cannot be read"),
        ({"format": "snnsim-checkpoint-1", "values": "[" * 99999}, "its values cannot be read"),
    ],
)
def test_each_reason_against_a_file_is_said(path, metadata, reason):
    written(path, {"a": torch.ones(2)}, **metadata)
    with pytest.raises(CheckpointError, match=reason):
        checkpoint.load(path)


def test_numbers_that_are_not_finite_are_neither_read_nor_written(path):
    bad = {"a": torch.ones(2), "b": torch.tensor([1.0, torch.nan])}
    written(path, bad, format="snnsim-checkpoint-1", values="{}")
    with pytest.raises(CheckpointError, match=r"holds NaN or infinity in b: "):
        checkpoint.load(path)
    before = path.read_bytes()
    with pytest.raises(NonFiniteError, match="b is not finite, so .* is left as it was"):
        checkpoint.save(path, bad, {})
    assert path.read_bytes() == before and list(path.parent.iterdir()) == [path]


def test_what_is_no_file_is_no_checkpoint(tmp_path):
    with pytest.raises(CheckpointError, match="there is no checkpoint"):
        checkpoint.load(tmp_path)


def test_a_writer_that_fails_is_an_error_of_the_disk(path, monkeypatch):
    def fail(*_, **__):
        raise SafetensorError("No space left")

    monkeypatch.setattr(checkpoint, "save_file", fail)
    with pytest.raises(OSError, match=r"last\.safetensors cannot be written \(No space left\)"):
        checkpoint.save(path, {}, {})
    assert list(path.parent.iterdir()) == []


def test_a_checkpoint_is_a_copy_of_its_tensors(path, monkeypatch):
    kept = {}
    original = save_file
    monkeypatch.setattr(
        checkpoint, "save_file", lambda t, n, **k: kept.update(t) or original(t, n, **k)
    )
    a = torch.ones(3)
    checkpoint.save(path, {"a": a, "again": a}, {})
    assert kept["a"].data_ptr() != a.data_ptr() != kept["again"].data_ptr()


def test_texts_are_written_beside_their_name_and_moved(tmp_path):
    path = tmp_path / "deep" / "metrics.jsonl"
    checkpoint.write_text(path, "ä\n")
    checkpoint.write_text(path, "ö\n")
    assert path.read_bytes() == "ö\n".encode() and list(path.parent.iterdir()) == [path]


def test_files_are_synchronised_before_they_are_moved(tmp_path, monkeypatch):
    log = []
    sync, move = checkpoint.os.fsync, checkpoint.os.replace
    monkeypatch.setattr(checkpoint.os, "fsync", lambda f: log.append("sync") or sync(f))
    monkeypatch.setattr(checkpoint.os, "replace", lambda a, b: log.append("move") or move(a, b))
    checkpoint.write_text(tmp_path / "a", "text")
    checkpoint.save(tmp_path / "b", {}, {})
    assert log == ["sync", "move"] * 2


@pytest.mark.parametrize("kind", [KeyError, TypeError, ValueError, AttributeError, IndexError,
                                  RuntimeError])  # fmt: skip
def test_whatever_goes_wrong_with_a_content_names_the_file(path, kind):
    text = r"a\\n b" if kind is KeyError else "a b"  # whose text is a quotation
    said = rf"last\.safetensors is damaged or of another version: {kind.__name__} \(\'?{text}"
    with pytest.raises(CheckpointError, match=said) as caught, checkpoint.reading(path):
        raise kind("a\n   b" + "x" * 300)
    assert str(caught.value).endswith("x)") and len(str(caught.value)) < len(str(path)) + 280


def test_errors_that_are_said_already_and_others_pass(path):
    with pytest.raises(ConfigError, match="^as it is$"), checkpoint.reading(path):
        raise ConfigError("as it is")
    with pytest.raises(ZeroDivisionError), checkpoint.reading(path):
        raise ZeroDivisionError


@dataclass(frozen=True)
class Plain:
    count: int = 0
    share: float = 0.0
    done: bool = False


def test_records_are_of_the_types_of_their_defaults():
    good = {"count": 3, "share": 0.5, "done": True}
    assert record(Plain, good) == Plain(3, 0.5, True)
    assert record(Plain, {**good, "share": 2}) == Plain(3, 2, True)
    for name, value in (("count", 3.0), ("count", True), ("share", "1"), ("share", True),
                        ("done", 1), ("done", None)):  # fmt: skip
        with pytest.raises(ValueError, match=f"{name} is {value!r}"):
            record(Plain, {**good, name: value})
    for name in good:
        with pytest.raises(ValueError, match=f"it has no {name}"):
            record(Plain, {k: v for k, v in good.items() if k != name})
    with pytest.raises(TypeError):
        record(Plain, {**good, "more": 1})


def optimiser(lr=0.1, steps=0):
    torch.manual_seed(0)
    a, b = nn.Parameter(torch.ones(2, 3)), nn.Parameter(torch.ones(4))
    made = torch.optim.Adam([{"params": [a]}, {"params": [b], "weight_decay": 0.3}], lr=lr)
    for _ in range(steps):
        a.grad, b.grad = torch.randn(2, 3), torch.randn(4)
        made.step()
    return made


def test_the_state_of_an_optimiser_comes_back_and_its_rates_do_not():
    tensors = optimizer_tensors(optimiser(steps=3))
    assert sorted(tensors) == [
        f"{i}.{k}" for i in (0, 1) for k in ("exp_avg", "exp_avg_sq", "step")
    ]
    other = optimiser(lr=0.7)
    assert optimizer_tensors(other) == {}
    load_optimizer(other, tensors)
    found = optimizer_tensors(other)
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)
    assert [(g["lr"], g["weight_decay"]) for g in other.param_groups] == [(0.7, 0), (0.7, 0.3)]


def test_the_state_of_another_optimiser_is_refused():
    tensors = optimizer_tensors(optimiser(steps=1))
    with pytest.raises(ValueError, match="there is no parameter 2"):
        load_optimizer(optimiser(), {**tensors, "2.step": torch.tensor(1.0)})
    with pytest.raises(ValueError, match="exp_avg of parameter 1 has another shape"):
        load_optimizer(optimiser(), {**tensors, "1.exp_avg": torch.ones(2, 3)})
    swapped = {("1" if n[0] == "0" else "0") + n[1:]: t for n, t in tensors.items()}
    with pytest.raises(ValueError, match="another shape"):
        load_optimizer(optimiser(), swapped)


def test_weights_of_another_kind_or_name_are_refused(path):
    net = nn.BatchNorm1d(2)
    good = {n: t.clone() for n, t in net.state_dict().items()}
    for name, other in (
        ("weight", torch.ones(2).long()),
        ("num_batches_tracked", torch.tensor(1.0)),
    ):
        with pytest.raises(CheckpointError, match=f"does not fit: {name} is torch"):
            checkpoint.load_weights(net, {**good, name: other}, path)
    with pytest.raises(CheckpointError, match="does not fit this network: .*bias"):
        checkpoint.load_weights(net, {n: t for n, t in good.items() if n != "bias"}, path)
    with pytest.raises(CheckpointError, match="does not fit this network: .*more"):
        checkpoint.load_weights(net, {**good, "more": torch.ones(1)}, path)
    checkpoint.load_weights(net, {**good, "weight": 3 * torch.ones(2).double()}, path)
    assert net.weight.tolist() == [3, 3]


def test_prefixes_are_taken_off_once():
    tensors = {"net.net.a": torch.zeros(1), "net.b": torch.ones(1), "c.net.d": torch.ones(1)}
    assert list(checkpoint.without_prefix("net", tensors)) == ["net.a", "b"]
    assert list(checkpoint.prefixed("net", {"net.a": torch.zeros(1)})) == ["net.net.a"]


def test_random_numbers_of_a_device_that_is_not_there_are_none():
    state = checkpoint.random_state(torch.device("cpu"))
    assert list(state) == ["cpu"]
    first = torch.rand(2)
    checkpoint.set_random_state({**state, "cuda": torch.zeros(1)}, torch.device("cpu"))
    assert torch.equal(torch.rand(2), first)


def test_values_are_kept_as_json(path):
    checkpoint.save(path, {}, {"a": [1, 2.5, None]})
    assert checkpoint.load(path) == ({}, {"a": [1, 2.5, None]})
    head = path.read_bytes()[8:]
    metadata = json.loads(head.decode())["__metadata__"]
    assert metadata["format"] == checkpoint.FORMAT == "snnsim-checkpoint-2"
    assert metadata["sha256"] == digest({}, metadata["values"])
