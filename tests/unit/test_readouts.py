"""Read-outs against plain numpy, with and without the lengths of the samples."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from snnsim.errors import ConfigError
from snnsim.functional.readouts import READOUTS, get_readout

STEPS, BATCH, CLASSES = 9, 4, 3
LENGTHS = torch.tensor([9, 1, 4, 7])


def softmax(v: np.ndarray) -> np.ndarray:
    e = np.exp(v - v.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


NUMPY = {
    "sum_softmax": lambda v: softmax(v).sum(0),
    "mean": lambda v: v.sum(0) / len(v),
    "max_over_time": lambda v: v.max(0),
    "last": lambda v: v[-1],
    "spike_count": lambda v: v.sum(0),
}


def scores(seed: int, steps: int = STEPS) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.randn(steps, BATCH, CLASSES, dtype=torch.float64, generator=generator) - 1


def test_every_readout_is_compared_here():
    assert set(NUMPY) == set(READOUTS)


@pytest.mark.parametrize("steps", [1, STEPS])
@pytest.mark.parametrize("name", NUMPY)
def test_readout_equals_numpy(name, steps):
    v = scores(seed=1, steps=steps)
    np.testing.assert_allclose(READOUTS[name](v), NUMPY[name](v.numpy()), rtol=1e-13)


@pytest.mark.parametrize("name", NUMPY)
def test_readout_with_lengths_equals_numpy_on_each_sample_cut_to_its_length(name):
    v = scores(seed=2)
    alone = [NUMPY[name](v[:n, i].numpy()) for i, n in enumerate(LENGTHS.tolist())]
    np.testing.assert_allclose(READOUTS[name](v, LENGTHS), np.stack(alone), rtol=1e-13)


@pytest.mark.parametrize("name", NUMPY)
def test_lengths_of_the_whole_sequence_change_nothing(name):
    v = scores(seed=3)
    whole = torch.full((BATCH,), STEPS)
    torch.testing.assert_close(READOUTS[name](v, whole), READOUTS[name](v), rtol=1e-14, atol=0)


@pytest.mark.parametrize("name", NUMPY)
def test_padding_has_no_influence_with_lengths(name):
    v = scores(seed=4).requires_grad_()
    padding = torch.arange(STEPS).unsqueeze(1) >= LENGTHS
    other = torch.where(padding.unsqueeze(-1), 1e3 * scores(seed=5), v.detach())
    y = READOUTS[name](v, LENGTHS)
    assert torch.equal(y, READOUTS[name](other, LENGTHS))
    y.square().sum().backward()
    assert not v.grad[padding].any()
    assert v.grad[~padding].any()


@pytest.mark.parametrize("name", NUMPY)
def test_padding_has_influence_without_lengths(name):
    v = scores(seed=6)
    longer = torch.cat([v, 5 * torch.ones(2, BATCH, CLASSES, dtype=v.dtype) + scores(seed=7)[:2]])
    assert not torch.allclose(READOUTS[name](longer), READOUTS[name](v))


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["whole", "lengths"])
@pytest.mark.parametrize("name", NUMPY)
def test_gradient_is_that_of_finite_differences(name, lengths):
    v = scores(seed=8).requires_grad_()
    assert torch.autograd.gradcheck(lambda a: READOUTS[name](a, lengths), v)


@pytest.mark.parametrize("name", NUMPY)
def test_readout_keeps_the_dtype(name):
    assert READOUTS[name](scores(seed=9).float(), LENGTHS).dtype is torch.float32


def test_sum_softmax_sums_to_the_number_of_steps():
    v = scores(seed=10)
    torch.testing.assert_close(READOUTS["sum_softmax"](v, LENGTHS).sum(1), LENGTHS.double())


def test_unknown_readout_is_refused_with_the_nearest_name():
    with pytest.raises(ConfigError, match="did you mean 'sum_softmax'"):
        get_readout("sum_softmx")
