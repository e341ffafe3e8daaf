"""Checkpoints: round trips, damaged and foreign files, saves that fail half way."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from snnsim.errors import CheckpointError
from snnsim.networks import delay_network
from snnsim.training import Optimizers, Recipe, checkpoint

TENSORS = {
    "float32": torch.randn(3, 4, generator=torch.Generator().manual_seed(1)),
    "float64": torch.randn(3, 4, generator=torch.Generator().manual_seed(2)).double(),
    "bfloat16": torch.randn(5, generator=torch.Generator().manual_seed(3)).bfloat16(),
    "float16": torch.randn(5, generator=torch.Generator().manual_seed(4)).half(),
    "int64": torch.tensor([-(2**62), 0, 2**62]),
    "int32": torch.tensor([-7, 7], dtype=torch.int32),
    "uint8 of a random generator": torch.get_rng_state(),
    "bool": torch.tensor([True, False]),
    "scalar": torch.tensor(3.5),
    "empty": torch.zeros(0, 3),
    "special": torch.tensor([-0.0, 1e-45, 3.4028235e38]),
}
VALUES = {
    "epoch": 3,
    "loss": 0.1 + 0.2,
    "best": float("inf"),
    "names": ["ä", "b"],
    "stopped": False,
}


def same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    same = a.dtype is b.dtype and a.shape == b.shape
    return same and a.contiguous().numpy(force=True).tobytes() == b.contiguous().numpy().tobytes()


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "run" / "last.safetensors"


@pytest.fixture
def saved(path) -> Path:
    checkpoint.save(path, {"a": torch.arange(100.0)}, {"epoch": 1})
    return path


@pytest.mark.parametrize("name", [n for n in TENSORS if n != "bfloat16"])
def test_tensor_comes_back_bit_for_bit(path, name):
    checkpoint.save(path, {"x.y": TENSORS[name]}, {})
    loaded, _ = checkpoint.load(path)
    assert list(loaded) == ["x.y"]
    assert same_bits(TENSORS[name], loaded["x.y"])


def test_bfloat16_comes_back_bit_for_bit(path):
    checkpoint.save(path, {"x": TENSORS["bfloat16"]}, {})
    loaded = checkpoint.load(path)[0]["x"]
    assert loaded.dtype is torch.bfloat16
    assert torch.equal(loaded.view(torch.int16), TENSORS["bfloat16"].view(torch.int16))


def test_values_come_back_equal(path):
    checkpoint.save(path, {"x": torch.zeros(1)}, VALUES)
    assert checkpoint.load(path)[1] == VALUES


def test_views_of_one_storage_and_transposed_tensors_come_back(path):
    base = torch.arange(12.0).view(3, 4)
    checkpoint.save(path, {"whole": base, "row": base[1], "transposed": base.t()}, {})
    loaded, _ = checkpoint.load(path)
    assert torch.equal(loaded["whole"], base)
    assert torch.equal(loaded["row"], base[1])
    assert torch.equal(loaded["transposed"], base.t())


def test_parameters_are_saved_without_their_graph(path):
    checkpoint.save(path, {"x": torch.nn.Parameter(torch.ones(2))}, {})
    assert not checkpoint.load(path)[0]["x"].requires_grad


def test_saving_again_replaces_the_checkpoint_and_leaves_one_file(saved):
    checkpoint.save(saved, {"a": torch.zeros(2)}, {"epoch": 2})
    tensors, values = checkpoint.load(saved)
    assert values == {"epoch": 2}
    assert torch.equal(tensors["a"], torch.zeros(2))
    assert list(saved.parent.iterdir()) == [saved]


def test_absent_checkpoint_is_named(path):
    with pytest.raises(CheckpointError, match=r"last\.safetensors"):
        checkpoint.load(path)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.05, 0.2, 0.5, 0.99])
def test_truncated_checkpoint_is_named(saved, share):
    content = saved.read_bytes()
    saved.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(CheckpointError, match=r"last\.safetensors"):
        checkpoint.load(saved)


def test_checkpoint_without_its_last_byte_is_named(saved):
    saved.write_bytes(saved.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=r"last\.safetensors"):
        checkpoint.load(saved)


@pytest.mark.parametrize("place", [0, 4, 9, 30])
def test_checkpoint_with_a_damaged_header_is_named(saved, place):
    content = bytearray(saved.read_bytes())
    content[place] ^= 0xFF
    saved.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"last\.safetensors"):
        checkpoint.load(saved)


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        {"format": "pt"},
        {"format": "snnsim-checkpoint-0", "values": "{}"},
        {"format": checkpoint.FORMAT},
        {"format": checkpoint.FORMAT, "values": "{half"},
    ],
    ids=["no metadata", "another program", "another version", "no values", "damaged values"],
)
def test_safetensors_of_another_format_is_named(path, metadata):
    path.parent.mkdir()
    save_file({"net.weight": torch.zeros(3)}, path, metadata=metadata)
    with pytest.raises(CheckpointError, match=r"last\.safetensors"):
        checkpoint.load(path)


class _Bomb:
    """Unpickling this creates a file."""

    def __init__(self, target: Path):
        self.target = target

    def __reduce__(self):
        return Path.touch, (self.target,)


@pytest.mark.parametrize("kind", ["pickle", "torch.save"])
def test_pickle_is_named_and_never_run(path, tmp_path, kind):
    path.parent.mkdir()
    bomb = {"weight": torch.zeros(3), "bomb": _Bomb(tmp_path / "exploded")}
    with path.open("wb") as file:
        pickle.dump(bomb, file) if kind == "pickle" else torch.save(bomb, file)
    with pytest.raises(CheckpointError, match=r"last\.safetensors"):
        checkpoint.load(path)
    assert not (tmp_path / "exploded").exists()


def _half_a_file(tensors, name, metadata=None):
    Path(name).write_bytes(b"half")
    raise OSError("no space left on device")


def _refuse(*_):
    raise OSError("input/output error")


@pytest.mark.parametrize(
    ("place", "failure"),
    [("save_file", _half_a_file), ("os.fsync", _refuse), ("os.replace", _refuse)],
    ids=["writing", "syncing", "renaming"],
)
def test_failing_save_leaves_the_previous_checkpoint_and_no_litter(
    saved, monkeypatch, place, failure
):
    before = saved.read_bytes()
    monkeypatch.setattr(f"snnsim.checkpoint.{place}", failure)
    with pytest.raises(OSError, match="no space|input/output"):
        checkpoint.save(saved, {"a": torch.zeros(5)}, {"epoch": 2})
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


def test_values_that_are_not_json_leave_the_previous_checkpoint_and_no_litter(saved):
    before = saved.read_bytes()
    with pytest.raises(TypeError):
        checkpoint.save(saved, {}, {"object": object()})
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


def _network(seed: int):
    torch.manual_seed(seed)
    return delay_network((4, 5, 3), dt=1.0, tau_mem=2.0, max_delay_ms=4, dropout=0.0)


def _step(net, optimizers: Optimizers, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.bernoulli(torch.full((7, 4, 4), 0.5), generator=generator)
    optimizers.zero_grad()
    net(x)[0].square().sum().backward()
    optimizers.step()


def test_optimizer_state_round_trip_continues_bit_for_bit(path):
    recipe = Recipe(epochs=8)
    net = _network(seed=1)
    optimizers = Optimizers(net, recipe)
    optimizers.start_epoch(2)
    for seed in range(3):
        _step(net, optimizers, seed)
    tensors = checkpoint.prefixed("net", net.state_dict())
    for i, optimizer in enumerate(optimizers.each):
        state = checkpoint.optimizer_tensors(optimizer)
        assert state
        tensors |= checkpoint.prefixed(f"optimizer{i}", state)
    checkpoint.save(path, tensors, {})

    loaded, _ = checkpoint.load(path)
    other = _network(seed=2)
    others = Optimizers(other, recipe)
    others.start_epoch(2)
    checkpoint.load_weights(other, checkpoint.without_prefix("net", loaded), path)
    for i, optimizer in enumerate(others.each):
        checkpoint.load_optimizer(optimizer, checkpoint.without_prefix(f"optimizer{i}", loaded))
    for seed in range(3, 6):
        _step(net, optimizers, seed)
        _step(other, others, seed)
    for name, tensor in net.state_dict().items():
        assert same_bits(tensor, other.state_dict()[name]), name
    for mine, theirs in zip(optimizers.each, others.each, strict=True):
        a, b = checkpoint.optimizer_tensors(mine), checkpoint.optimizer_tensors(theirs)
        assert a.keys() == b.keys()
        assert all(same_bits(a[name], b[name]) for name in a)


def test_prefixes_do_not_take_each_others_names():
    tensors = checkpoint.prefixed("net", {"a": torch.zeros(1)})
    tensors |= checkpoint.prefixed("network", {"b": torch.zeros(1)})
    assert list(checkpoint.without_prefix("net", tensors)) == ["a"]


def test_weights_of_another_network_are_refused_naming_file_and_tensor(tmp_path):
    torch.manual_seed(3)
    larger = delay_network((4, 6, 3), dt=1.0, tau_mem=2.0, max_delay_ms=4, dropout=0.0)
    with pytest.raises(CheckpointError, match=r"best\.safetensors(.|\n)*layers\.0\.weight"):
        checkpoint.load_weights(
            _network(seed=4), larger.state_dict(), tmp_path / "best.safetensors"
        )


def test_random_state_round_trip_repeats_the_numbers(path):
    device = torch.device("cpu")
    torch.manual_seed(5)
    torch.rand(10)
    checkpoint.save(path, checkpoint.random_state(device), {})
    first = torch.rand(20)
    checkpoint.set_random_state(checkpoint.load(path)[0], device)
    assert torch.equal(torch.rand(20), first)
