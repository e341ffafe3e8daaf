"""The loss against repetition is its equation, and it lowers what is too likely."""

from __future__ import annotations

import math

import pytest
import torch

from snnsim.functional.losses import repetition_loss


def test_it_is_its_equation():
    generator = torch.Generator().manual_seed(0)
    now, before = torch.rand(2, 5, 7, generator=generator, dtype=torch.float64)
    expected = 0.0
    for a, b in zip(now.flatten().tolist(), before.flatten().tolist(), strict=True):
        expected -= math.log(1 - abs(a - 0.3 * b)) / 35
    assert float(repetition_loss(now, before, 0.3)) == pytest.approx(expected, rel=1e-12)


def test_its_gradient_points_to_the_scaled_probability_and_none_flows_to_the_past():
    now = torch.tensor([0.9, 0.1], requires_grad=True)
    before = torch.tensor([0.9, 0.9], requires_grad=True)
    repetition_loss(now, before).backward()
    assert now.grad[0] > 0 > now.grad[1] and before.grad is None


def test_a_certain_token_is_finite():
    now = torch.tensor([1.0, 0.0], requires_grad=True)
    loss = repetition_loss(now, torch.tensor([0.0, 1.0]), 1.0)
    loss.backward()
    assert torch.isfinite(loss)
