"""Every layer in snnsim/encoders: equal in pieces, saved as itself, and bad input refused."""

from __future__ import annotations

import importlib
import inspect
import itertools
import pkgutil
import subprocess
import sys

import pytest
import torch

import snnsim as sn
from snnsim.encoders import Delta
from snnsim.errors import ConfigError, NonFiniteError, ShapeError
from snnsim.layer import Layer


def encoder_classes() -> list[type[Layer]]:
    """Every layer defined in a file of ``snnsim/encoders``."""
    found = []
    for module in pkgutil.iter_modules(sn.encoders.__path__):
        loaded = importlib.import_module(f"snnsim.encoders.{module.name}")
        for _, cls in inspect.getmembers(loaded, inspect.isclass):
            if cls.__module__ == loaded.__name__ and issubclass(cls, Layer):
                found.append(cls)
    return found


OPTIONS = {
    "Delta": [{"threshold": 0.13}, {"threshold": 0.05, "max_spikes": 1, "start": 0.0}],
    "LevelCrossing": [{"levels": [0.2, 0.5, 0.8]}, {"levels": (0.4,), "start": 0.0}],
    "Rate": [{"seed": 3}, {"seed": 3, "max_probability": 0.4}],
    "Latency": [{"window": 7}, {"window": 5, "tau": 2.5, "threshold": 0.1}, {"window": 1}],
    "Population": [{"fields": 5}, {"fields": 3, "graded": False, "seed": 2, "beta": 2.0}],
}
CASES = [(cls, options) for cls in encoder_classes() for options in OPTIONS[cls.__name__]]
each = pytest.mark.parametrize(("cls", "options"), CASES)


def values(*shape: int, seed: int = 0, dtype=torch.float32) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def in_pieces(encoder: Layer, x: torch.Tensor, ends: list[int]) -> tuple[torch.Tensor, object]:
    state, parts = None, []
    for first, last in itertools.pairwise([0, *ends, len(x)]):
        y, state = encoder(x[first:last], state)
        parts.append(y)
    return torch.cat(parts), state


def leaves(state) -> list[torch.Tensor]:
    found: list[torch.Tensor] = []
    sn.map_state(found.append, state)
    return found


@each
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("shape", [(3,), (1,), (67,), (2, 3, 5)])
def test_a_sequence_in_pieces_gives_the_same_bits(cls, options, dtype, shape):
    encoder, x = cls(**options), values(23, 3, *shape).to(dtype)
    whole, after = encoder(x)
    assert whole.dtype == dtype and len(whole) == 23
    assert whole.count_nonzero() > 0
    for ends in ([1, 9, 9, 20], list(range(1, 23)), [0]):
        parts, state = in_pieces(encoder, x, ends)
        assert torch.equal(whole, parts)
        assert all(map(torch.equal, leaves(after), leaves(state)))


@each
def test_it_is_causal(cls, options):
    encoder, x = cls(**options), values(20, 2, 4)
    later = torch.cat([x[:11], values(9, 2, 4, seed=1)])
    assert torch.equal(encoder(x)[0][:11], encoder(later)[0][:11])
    assert not torch.equal(encoder(x)[0], encoder(later)[0])


@each
@pytest.mark.parametrize("shape", [(0, 2, 3), (4, 0, 3), (0, 0, 3), (4, 2, 0)])
def test_empty_input_has_an_answer_of_the_right_shape(cls, options, shape):
    encoder = cls(**options)
    wide = encoder(values(4, 2, 3))[0].shape[2] // 3
    y, state = encoder(torch.zeros(shape))
    assert y.shape == (*shape[:2], wide * shape[2])
    again, _ = encoder(torch.zeros(shape), state)
    assert again.shape == y.shape


@each
def test_samples_do_not_see_each_other(cls, options):
    encoder, x = cls(**options), values(12, 3, 4)
    other = x.clone()
    other[:, 0] = values(12, 4, seed=5)
    assert torch.equal(encoder(x)[0][:, 1:], encoder(other)[0][:, 1:])


@each
def test_whole_numbers_and_bool_are_values(cls, options):
    encoder, x = cls(**options), values(9, 2, 3) < 0.5
    expected, _ = encoder(x.float())
    for kind in (torch.bool, torch.uint8, torch.int64):
        assert torch.equal(encoder(x.to(kind))[0], expected)


@each
def test_it_is_saved_in_front_of_a_network_and_comes_back(cls, options, tmp_path):
    encoder = cls(**options)
    x = values(15, 2, 4)
    net = sn.Sequential(encoder, sn.Dense(encoder(x)[0].shape[2], 5), sn.LIF(5, dt=1.0)).eval()
    sn.save(net, tmp_path / "net.safetensors")
    again = sn.load(tmp_path / "net.safetensors")
    assert str(again) == str(net)
    assert torch.equal(again(x)[0], net(x)[0])
    first, state = again(x[:7])
    second, _ = again(x[7:], state)
    assert torch.equal(torch.cat([first, second]), net(x)[0])


@each
def test_a_trained_layer_behind_it_gets_its_gradient(cls, options):
    encoder, x = cls(**options), values(15, 2, 4).requires_grad_()
    layer = sn.Dense(encoder(x)[0].shape[2], 5)
    sn.Sequential(encoder, layer)(x)[0].sum().backward()
    assert layer.weight.grad.abs().sum() > 0 and x.grad is None


@each
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_value_that_is_no_number_is_refused(cls, options, bad):
    x = values(6, 2, 3)
    x[4, 1, 2] = bad
    with pytest.raises(NonFiniteError, match=f"NaN or infinite, which {cls.__name__}"):
        cls(**options)(x)


@each
@pytest.mark.parametrize(
    "bad", [torch.zeros(4), torch.zeros(3, 4), torch.zeros(2, 3, 4, dtype=torch.cfloat), [[[0.0]]]]
)
def test_what_is_no_sequence_is_refused(cls, options, bad):
    with pytest.raises(ShapeError, match=rf"{cls.__name__} needs real numbers \[T, B, C, ...\]"):
        cls(**options)(bad)


@pytest.mark.parametrize(
    ("cls", "options"), [(cls, options) for cls, options in CASES if options != {"fields": 5}]
)
def test_a_state_of_another_encoder_is_refused(cls, options):
    encoder, x = cls(**options), values(6, 2, 3)
    for bad in ({}, (), "state", torch.zeros(2)):
        with pytest.raises(ShapeError, match="pass the state that this encoder returned"):
            encoder(x, bad)


@pytest.mark.parametrize(
    ("cls", "options"),
    [case for case in CASES if case[1] not in ({"fields": 5}, {"window": 1})],
)
def test_a_state_of_another_batch_is_refused(cls, options):
    encoder = cls(**options)
    _, state = encoder(values(6, 2, 3))
    with pytest.raises(ShapeError, match="pass the state that this encoder returned"):
        encoder(values(6, 3, 3), state)


BAD = {
    "Delta": [{"threshold": v} for v in (0, -0.1, float("nan"), float("inf"), "1", None)]
    + [{"max_spikes": v} for v in (0, -1, 1.5, True, "2")]
    + [{"start": v} for v in (float("nan"), "0", True)],
    "LevelCrossing": [
        {"levels": v} for v in ([], [1, 1], [2, 1], "12", 3, [float("nan")], [0, None], [True])
    ]
    + [{"levels": [1.0], "start": float("inf")}],
    "Rate": [{"seed": v} for v in (-1, 1.5, 2**63, None)]
    + [{"max_probability": v} for v in (0, 1.1, -1, float("nan"), "1")],
    "Latency": [{"window": v} for v in (0, -3, 2.0, "4", True)]
    + [{"window": 4, "tau": v} for v in (0, -1, float("inf"), "3")]
    + [{"window": 4, "threshold": v} for v in (-0.1, 1, 1.5, float("nan"), None)]
    + [{"window": 4, "tau": 2.0, "threshold": 0}],
    "Population": [{"fields": v} for v in (2, 0, 4.0, "4")]
    + [{"low": 1.0}, {"low": 2, "high": 1}, {"low": float("nan")}, {"high": float("inf")}]
    + [{"beta": v} for v in (0, -1, float("nan"))]
    + [{"seed": -1}],
}


@pytest.mark.parametrize(
    ("cls", "options"), [(cls, bad) for cls in encoder_classes() for bad in BAD[cls.__name__]]
)
def test_arguments_out_of_range_are_refused(cls, options):
    with pytest.raises(ConfigError, match=next(reversed(options)).split("_")[0].rstrip("s")):
        cls(**options)


def test_a_saved_encoder_is_known_where_nothing_else_has_imported_it(tmp_path):
    path = tmp_path / "net.safetensors"
    sn.save(sn.Sequential(Delta(0.5), sn.Dense(4, 2)), path)
    program = f"import snnsim as sn; print(type(sn.load({str(path)!r})[0]).__name__)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "Delta\n"
