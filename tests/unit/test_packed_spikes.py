"""Sums of the weights of what spikes, from spikes packed as bits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from toolbox import random

import snnsim as sn
from snnsim.kernels import plain_vector
from snnsim.kernels.delay_conv import masks, one_tap, packed
from snnsim.kernels.plain_vector import LANES

INPUTS = {  # name: what inputs are multiples of, and the largest multiple
    "spikes": (1.0, 1), "after dropout": (1 / (1 - 0.4), 1), "numbers of spikes": (1.0, 3),
    "many spikes": (0.25, 15),
}  # fmt: skip
OTHERS = ("graded", "negative", "sixteen", "graded later")


@pytest.fixture(autouse=True)
def everywhere(monkeypatch):
    """Packed on every processor, also where it is not fast."""
    monkeypatch.setattr(packed, "masks_are_fast", lambda: True)


def spikes(name: str, steps: int, samples: int, channels: int, rate: float = 0.3) -> torch.Tensor:
    rng = np.random.default_rng(steps + samples)
    x = (rng.random((steps, samples, channels)) < rate).astype(np.float32)
    if name in INPUTS:
        unit, most = INPUTS[name]
        x *= rng.integers(1, most + 1, x.shape) * np.float32(unit)
    elif name == "graded":
        x *= rng.random(x.shape, dtype=np.float32)
    elif name == "negative":
        x[0, 0, 0] = -1
    elif name == "sixteen":
        x[0, 0, 0] = 16
    elif name == "graded later":
        x[-1, -1, -1] = 0.37
    return torch.from_numpy(x)


def connection(outputs: int, inputs: int, copies: int, length: int, seed: int = 0):
    weight = random(outputs, inputs, copies, seed=seed).float() - 0.5
    delay = (random(outputs, inputs, copies, seed=seed + 1) * (length - 1)).round().float()
    return weight, delay


def by_hand(x, weight, delay, length, frames, bias=None):
    """Every synapse by itself, in float64."""
    x, weight = x.double().numpy(), weight.double().numpy()
    y = np.zeros((frames + len(x) + length, x.shape[1], len(weight)))
    for o, i, k in np.ndindex(*weight.shape):
        d = int(delay[o, i, k])
        y[d : d + len(x), :, o] += weight[o, i, k] * x[:, :, i]
    return y[:frames] + (0 if bias is None else bias.double().numpy())


SHAPES = [  # steps, samples, inputs, outputs, copies, length, frames
    (7, 1, 3, 2, 1, 3, 9), (16, 16, 5, 4, 1, 1, 16), (33, 17, 6, 5, 2, 25, 40),
    (50, 40, 4, 19, 1, 9, 20), (5, 3, 2, 3, 3, 31, 35), (1, 33, 1, 1, 1, 3, 1),
]  # fmt: skip


@pytest.mark.parametrize("name", [*INPUTS, *OTHERS])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_sums_are_those_of_every_synapse(name, shape):
    steps, samples, inputs, outputs, copies, length, frames = shape
    x = spikes(name, steps, samples, inputs + 1)
    weight, delay = connection(outputs, inputs + 1, copies, length)
    bias = random(outputs, seed=5).float()
    shifts = one_tap.forward_shifts(weight, delay, length)
    for start in (None, bias):
        y = one_tap.accumulate(x, length - 1, shifts, length, frames, start)
        expected = by_hand(x, weight, delay, length, frames, start)
        np.testing.assert_allclose(y.numpy(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", INPUTS)
def test_what_can_be_packed_is_there_bit_by_bit(name):
    unit, most = INPUTS[name]
    x = spikes(name, 21, 37, 3)
    found = packed.pack(x, 4, 48)
    assert found.unit == pytest.approx(unit) and found.words.shape[1] == most.bit_length()
    bits = found.words[..., None] >> np.arange(LANES, dtype=np.uint16) & 1  # [G, P, C, steps, 16]
    powers = 2 ** np.arange(bits.shape[1])
    whole = np.einsum("gpcsj,p->sgjc", bits, powers).reshape(48, -1, 3)
    np.testing.assert_allclose(whole[4:25, :37] * found.unit, x.numpy())
    assert not whole[:4].any() and not whole[25:].any() and not whole[:, 37:].any()
    np.testing.assert_array_equal(found.used != 0, (bits != 0).any((1, 2, 4)))


@pytest.mark.parametrize(
    ("values", "unit", "planes"),
    [((2, 3), 1.0, 2), ((4, 6), 2.0, 2), ((0.5, 0.75), 0.25, 2), ((6, 10, 15), 1.0, 4)],
)
def test_the_value_that_inputs_are_multiples_of_is_found(values, unit, planes):
    x = torch.tensor(values).float().view(-1, 1, 1)
    found = packed.pack(x, 0, 16)
    assert found.unit == unit and found.words.shape[1] == planes


def test_more_spikes_in_a_later_sample_have_more_bits():
    x = torch.ones(3, 20, 2)
    x[1, 18, 1] = 5
    found = packed.pack(x, 0, 16)
    assert found.words.shape[1] == 3
    assert found.words[1, :, 1, 1].tolist() == [0b1111, 0, 0b0100]


@pytest.mark.parametrize("name", OTHERS)
def test_what_cannot_be_packed_is_not(name):
    x = spikes(name, 9, 5, 3)
    assert packed.pack(x, 0, 16) is None


def test_no_spikes_and_no_samples():
    assert not packed.pack(torch.zeros(5, 3, 2), 0, 16).words.any()
    assert packed.pack(torch.zeros(5, 0, 2), 0, 16).words.shape == (0, 1, 2, 16)


def test_a_sample_does_not_depend_on_the_others_or_on_threads():
    x = spikes("numbers of spikes", 40, 50, 6, rate=0.1)
    x[:, 7] = (x[:, 7] != 0).float()  # one plane of bits would do for it alone
    shifts = one_tap.forward_shifts(*connection(9, 6, 1, 11), 11)

    def run(part):
        return one_tap.accumulate(part.contiguous(), 10, shifts, 11, 45)

    whole = run(x)
    for sample in (0, 7, 49):
        assert torch.equal(run(x[:, sample : sample + 1]), whole[:, sample : sample + 1])
    torch.set_num_threads(3)
    try:
        assert torch.equal(run(x), whole)
    finally:
        torch.set_num_threads(1)


def test_a_network_in_evaluation_answers_as_without_packing(monkeypatch):
    torch.manual_seed(0)
    net = sn.delay_network((20, 30, 5), dt=1.0, tau_mem=5.0, max_delay_ms=12.0, dropout=0.2).eval()
    x = spikes("spikes", 40, 21, 20, rate=0.1)
    found = [net(x)[0], sn.compile(net)(x)[0]]
    monkeypatch.setattr(packed, "masks_are_fast", lambda: False)
    for y, expected in zip(found, (net(x)[0], sn.compile(net)(x)[0]), strict=True):
        torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-4)


def test_the_operations_are_those_of_numpy():
    """The compiled ones, through a kernel, against their meaning."""
    rng = np.random.default_rng(3)
    words = rng.integers(0, 2**16, 64, dtype=np.uint16)
    sums = plain_vector.spread(np.float32(0.5))
    sums = plain_vector.add_where(words, 5, np.float32(2), sums)
    plain = np.zeros(LANES * 20, np.float32)
    plain_vector.store_steps(plain, 3, 20, sums[: LANES * LANES])
    y = np.zeros((LANES, LANES, 1), np.float32)
    synapses = (np.full((1, 1), 2, np.float32), np.full((1, 1), 5, np.int32), np.zeros(1, np.int64))
    used = np.ones((1, 64), np.uint8)
    start = np.full(1, 0.5, np.float32)
    masks.accumulate(words.reshape(1, 1, 1, 64), used, synapses, start, 9, y, 0, 1)
    np.testing.assert_array_equal(sums.reshape(LANES, LANES), y[:, :, 0])
    for step in range(LANES):
        begin = 3 + 20 * step
        np.testing.assert_array_equal(plain[begin : begin + LANES], y[step, :, 0])
