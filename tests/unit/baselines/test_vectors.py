"""Vectors that hold records, and the orthogonal reservoir."""

from __future__ import annotations

import pytest
import torch

from snnsim.baselines.models.mbat import MBAT
from snnsim.errors import ConfigError
from snnsim.functional.vectors import RecordEncoder, nearest, random_orthogonal


def test_orthogonal_binding_keeps_norms_and_angles_at_any_depth():
    D, depth = 64, 24
    generator = torch.Generator().manual_seed(1)
    a, b = torch.randn(2, D, generator=generator)
    changes = {}
    for kind in ("orthogonal", "gaussian"):
        x, y = a / a.norm(), b / b.norm()
        for _ in range(depth):
            if kind == "orthogonal":
                M = random_orthogonal(D, generator)
            else:
                M = torch.randn(D, D, generator=generator) / D**0.5
            x, y = M @ x, M @ y
        before = float(a @ b / a.norm() / b.norm())
        changes[kind] = (abs(float(x.norm()) - 1), abs(float(x @ y / x.norm() / y.norm()) - before))
    assert max(changes["orthogonal"]) < 1e-10
    assert max(changes["gaussian"]) > 0.1


def test_twelve_pairs_are_taken_apart_again_among_a_hundred_fillers():
    encoder = RecordEncoder(512)
    fillers = torch.stack([encoder.encode(f"filler {i}") for i in range(100)])
    record = {f"role {i}": f"filler {7 * i}" for i in range(12)}
    vector = encoder.encode(record)
    for i in range(12):
        ((found, _),) = nearest(encoder.unbind(vector, f"role {i}"), fillers, 1)
        assert found == 7 * i


def test_records_that_differ_little_are_near():
    encoder = RecordEncoder(256)
    run = {"model": "gru", "width": 128, "lr": 1e-3, "layers": [1, 2, 3], "none": None}
    others = [
        {**run, "width": 136},
        {**run, "model": "lstm", "lr": 1.0},
        {"a": 1},
        {**run, "layers": [3, 2, 1]},
    ]
    vectors = torch.stack([encoder.encode(o) for o in others])
    assert nearest(encoder.encode(run), vectors, 1)[0][0] == 0
    assert float(encoder.encode(run) @ vectors[3]) < 0.99  # order counts
    with pytest.raises(ConfigError, match="set"):
        encoder.encode({"x": {1, 2}})


def test_the_reservoir_can_be_run_backwards():
    net = MBAT(3, 4, states=32)
    x = torch.rand(20, 1, 3)
    _, h = net(x)
    for frame in x.flip(0):
        h = (h - frame @ net.entry.t()) @ net.transition
    assert h.abs().max() < 1e-10


def test_numbers_of_other_signs_are_others_and_those_near_zero_are_near():
    encoder = RecordEncoder(1024)

    def like(a, b):
        return float(encoder.encode(a) @ encoder.encode(b))

    assert like(5.0, -5.0) < 0.3 < 0.9 < like(5.0, 5.2)
    assert like(1e-6, -1e-6) > 0.99
    assert like(-1000.0, -1e-3) < 0.3 and like(-7, -7.0) > 0.999
