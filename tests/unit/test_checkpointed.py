"""Running in checkpointed pieces of time: the same results, less memory."""

import pytest
import torch

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
        results.append([y, leaf.grad, *(p.grad for p in net.parameters())])
    for a, b in zip(*results, strict=True):
        assert torch.allclose(a, b, atol=1e-11)
    assert results[0][1].count_nonzero() > 0


def saved_bytes(run, x):
    """Bytes that stay alive for the backward pass."""
    storages = {}

    def keep(tensor):
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        y, _ = run(x)
    assert y.requires_grad
    return sum(storages.values())


def test_memory_grows_with_the_square_root():
    net = sn.Sequential(sn.Dense(8, 64), sn.LIF(64, dt=1.0), sn.Dense(64, 64), sn.LIF(64, dt=1.0))
    short, long = torch.rand(100, 4, 8), torch.rand(1600, 4, 8)
    plain = saved_bytes(net, long) / saved_bytes(net, short)
    assert plain > 12
    counts = []
    for x in (short, long):
        states = []
        inner = net.forward

        def noting(piece, state=None, inner=inner, states=states):
            states.append(piece.shape[0])
            return inner(piece, state)

        net.forward = noting
        y, _ = sn.run_checkpointed(net, x)
        net.forward = inner
        counts.append((len(states), max(states)))
        assert y.requires_grad
    assert counts == [(10, 10), (40, 40)]


def test_what_would_not_be_the_same_is_refused():
    net = sn.Sequential(sn.BatchNorm(3), sn.LIF(3, dt=1.0))
    with pytest.raises(ConfigError, match="statistics"):
        sn.run_checkpointed(net, torch.rand(9, 2, 3))
    with pytest.raises(ConfigError, match="steps is 0"):
        sn.run_checkpointed(net.eval(), torch.rand(9, 2, 3), steps=0)
    assert sn.run_checkpointed(net, torch.rand(0, 2, 3))[0].shape == (0, 2, 3)
