"""Running in checkpointed pieces of time: the same results, less memory."""

import pytest
import torch
from toolbox import assert_same, gradients

import snnsim as sn
from snnsim.errors import ConfigError


def network():
    torch.manual_seed(0)
    return sn.Sequential(
        sn.Delayed(3, 6, dt=1.0, max_delay_ms=4), sn.BatchNorm(6).eval(), sn.LIF(6, dt=1.0),
        sn.Dropout(0.3), sn.Recurrent(sn.LIF(6, dt=1.0)), sn.Dense(6, 2), sn.LI(2, dt=1.0),
    ).double()  # fmt: skip


@pytest.mark.parametrize("steps", [None, 1, 7, 100])
def test_same_outputs_state_and_gradients(steps):
    net = network()
    x = torch.rand(30, 2, 3, generator=torch.Generator().manual_seed(1)).double() * 3
    results = []
    for run in (net, lambda a: sn.run_checkpointed(net, a, steps=steps)):
        net.zero_grad()
        torch.manual_seed(2)  # the same dropout
        leaf = x.clone().requires_grad_()
        y, state = run(leaf)
        (y.square().sum() + state[-1]["v"].sum()).backward()
        results.append({"y": y, "x.grad": leaf.grad, **gradients(net)})
    assert_same(*results, rtol=1e-5, atol=1e-11)
    assert results[0]["x.grad"].count_nonzero() > 0


@pytest.mark.parametrize(("total", "pieces"), [(100, 10), (1600, 40)])
def test_pieces_are_the_square_root_long_and_computed_twice(total, pieces):
    lengths = []

    class Noting(sn.LIF):
        def forward(self, x, state=None):
            lengths.append(len(x))
            return super().forward(x, state)

    x = torch.rand(total, 2, 4, requires_grad=True)
    y, _ = sn.run_checkpointed(Noting(4, dt=1.0), x)
    assert lengths == [pieces] * pieces
    y.sum().backward()
    assert lengths == [pieces] * 2 * pieces


def test_what_would_not_be_the_same_is_refused():
    net = sn.Sequential(sn.BatchNorm(3), sn.LIF(3, dt=1.0))
    with pytest.raises(ConfigError, match="statistics"):
        sn.run_checkpointed(net, torch.rand(9, 2, 3))
    with pytest.raises(ConfigError, match="steps is 0"):
        sn.run_checkpointed(net.eval(), torch.rand(9, 2, 3), steps=0)
    assert sn.run_checkpointed(net, torch.rand(0, 2, 3))[0].shape == (0, 2, 3)
