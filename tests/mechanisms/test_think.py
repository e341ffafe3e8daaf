"""Adaptive computation time: equations 1 to 9 of Graves 2016, around an Elman network."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from models_by_hand import arrays, close, normal, randomised, sigmoid

from snnsim.baselines.models.elman import Elman
from snnsim.baselines.options.think import Think
from snnsim.layer import auxiliary_losses

pytestmark = pytest.mark.usefixtures("float64")


def make(steps, bias=-1.0, **options):
    net = randomised(Think(3, 4, Elman, steps=steps, **options))
    with torch.no_grad():
        net.halting.score.weight *= 5  # so that steps differ
        net.halting.score.bias.fill_(bias)
    return net


def by_hand(p, x, most, epsilon=0.01):
    """One sample: outputs, and the ponder cost of each step."""
    u, bias = p["inner.module.weight_hh_l0"], p["inner.module.bias_ih_l0"]
    bias = bias + p["inner.module.bias_hh_l0"]
    state, outputs, costs = np.zeros(len(u)), [], []
    for now in x:
        given, mixed, count = 0.0, np.zeros(len(u)), 0
        while True:
            count += 1
            flagged = np.append(now, 1.0 if count == 1 else 0.0)
            state = np.tanh(p["inner.module.weight_ih_l0"] @ flagged + u @ state + bias)
            score = sigmoid(p["halting.score.weight"][0] @ state + p["halting.score.bias"][0])
            if given + score >= 1 - epsilon or count == most:
                break
            given, mixed = given + score, mixed + score * state
        state = mixed + (1 - given) * state
        outputs.append(state)
        costs.append(count + 1 - given)
    return np.stack(outputs), costs


@pytest.mark.parametrize("steps", [1, 2, 6])
@pytest.mark.parametrize("bias", [-1.0, 1.0])
def test_thinking_is_its_equations(steps, bias):
    net, x = make(steps, bias, ponder=0.25), normal(7, 2, 3)
    with auxiliary_losses() as losses:
        y, _ = net(x)
    costs = []
    for b in range(2):
        expected, cost = by_hand(arrays(net), x[:, b].numpy(), steps)
        close(y[:, b], expected, 1e-12)
        costs += cost
    assert losses["ponder"].item() == pytest.approx(0.25 * np.mean(costs), abs=1e-12)


def test_the_flag_tells_a_new_step_from_thinking_on():
    """Without the weights from the flag the outputs are others."""
    net, x = make(4), normal(7, 2, 3)
    before = net(x)[0]
    with torch.no_grad():
        net.inner.module.weight_ih_l0[:, 3] = 0.0
    assert float((net(x)[0] - before).detach().abs().max()) > 1e-3


def test_steps_of_time_take_different_numbers_of_applications():
    x = normal(40, 1, 3)
    _, costs = by_hand(arrays(make(6)), x[:, 0].numpy(), 6)
    assert len({int(cost) for cost in costs}) >= 3


def test_one_application_is_the_model_itself():
    net, x = make(1), normal(7, 2, 3)
    flagged = torch.cat([x, torch.ones(7, 2, 1)], -1)
    close(net(x)[0], net.inner(flagged)[0].detach().numpy(), 1e-12)


def test_any_model_with_a_state_that_can_be_averaged_thinks():
    net = Think(3, 4, partial(Elman, nonlinearity="relu"), steps=3)
    assert tuple(net(normal(5, 2, 3))[0].shape) == (5, 2, 4)
