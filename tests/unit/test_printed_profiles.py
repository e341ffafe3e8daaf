"""Delay profiles stand once, as equations; what the kernels compute is printed from them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from snnsim.elementary import where
from snnsim.functional import delays
from snnsim.kernels.compile import compile_numba
from snnsim.kernels.delay_conv import profiles

PRINTED = {name: compile_numba(profiles.source(name), "float64") for name in delays.SPREAD}
DISTANCES = [-7.0, -1.3, -0.5, 0.0, 0.2, 1.0, 2.7, 30.0]


@pytest.mark.parametrize("profile", delays.SPREAD)
@pytest.mark.parametrize("scale", [0.27, 0.5, 1.0, 12.27])
def test_printed_values_and_slopes_are_those_of_the_equation(profile, scale):
    distance = torch.tensor(DISTANCES, dtype=torch.float64, requires_grad=True)
    width = torch.full_like(distance, scale, requires_grad=True)
    value = delays.SPREAD[profile](distance, width)
    of_distance, of_scale = torch.autograd.grad(value.sum(), (distance, width))
    for i, d in enumerate(DISTANCES):
        found = PRINTED[profile].value(d, scale)
        assert found == pytest.approx(value[i].item(), rel=1e-13, abs=1e-300)
        slopes = PRINTED[profile].slopes(found, d, scale, 1 / scale)
        expected = (-of_distance[i].item(), of_scale[i].item())
        assert slopes == pytest.approx(expected, rel=1e-13, abs=1e-300)


@pytest.mark.parametrize("scale", [0.27, 0.5, 3.0, 12.27])
@pytest.mark.parametrize("delay", [0.0, 3.5, 11.3, 24.0])
def test_the_ratios_of_neighbours_give_the_gaussian(delay, scale):
    row = np.zeros(25)
    profiles._gaussian(row, delay, scale, 0, 25)
    expected = [PRINTED["gauss"].value(d - delay, scale) for d in range(25)]
    np.testing.assert_allclose(row, expected, rtol=1e-11, atol=1e-290)


def test_another_equation_is_another_kernel(monkeypatch):
    def box(distance, scale):
        return where(distance * distance < scale * scale, 2.0 * scale, 0.0)

    monkeypatch.setitem(delays.SPREAD, "triangle", box)
    printed = compile_numba(profiles.source("triangle"), "float64")
    assert [printed.value(d, 1.5) for d in (-1.0, 0.0, 2.0)] == [3.0, 3.0, 0.0]
    assert printed.slopes(3.0, 1.0, 1.5, 1 / 1.5) == (0.0, 2.0)
    assert printed.slopes(0.0, 2.0, 1.5, 1 / 1.5) == (0.0, 0.0)
