"""The recurrent-depth transformer: Geiping et al. 2025, and each of its parts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from models_by_hand import arrays, block, close, dense, layer_norm, normal, randomised

from snnsim.baselines.models.recurrent_depth import RecurrentDepth

pytestmark = pytest.mark.usefixtures("float64")

HEADS, REACH = 2, 3


def make(iterations=3, **options):
    given = {"iterations": iterations, "heads": HEADS, "reach": REACH, **options}
    return randomised(RecurrentDepth(3, 4, **given)).eval()


def by_hand(p, x, iterations):
    """Prelude, the core on state and input, coda; every depth attends to its own past."""
    e = block(p, "prelude", dense(p, "enter", x), HEADS, REACH)
    s = np.zeros_like(e)
    for _ in range(iterations):
        together = np.concatenate([s, e], -1) @ p["adapter.weight"].T
        s = block(p, "core", together, HEADS, REACH)
    return layer_norm(p, "norm", block(p, "coda", s, HEADS, REACH))


@pytest.mark.parametrize("iterations", [1, 2, 4])
def test_recurrent_depth_is_its_equations(iterations):
    net, x = make(iterations), normal(7, 2, 3)
    close(net(x)[0], by_hand(arrays(net), x.numpy(), iterations), 1e-12)


def without_blocks(net):
    """All blocks pass their input on."""
    with torch.no_grad():
        for each in (net.prelude, net.core, net.coda):
            each.attention.out.weight.zero_()
            each.down.weight.zero_()
            each.down.bias.zero_()
    return net


@pytest.mark.parametrize("iterations", [1, 2, 5])
def test_the_input_is_injected_again_at_every_iteration(iterations):
    """What is left is ``s = A s + C e``, a sum of one term for every iteration."""
    net, x = without_blocks(make(iterations)), normal(7, 2, 3)
    p = arrays(net)
    old, new = p["adapter.weight"][:, :4], p["adapter.weight"][:, 4:]
    e = dense(p, "enter", x.numpy())
    gain = sum(np.linalg.matrix_power(old, i) @ new for i in range(iterations))
    close(net(x)[0], layer_norm(p, "norm", e @ gain.T), 1e-12)


def test_the_state_goes_from_iteration_to_iteration():
    """Without the half of the adapter that reads it, more iterations change nothing."""
    one, five = without_blocks(make(1)), without_blocks(make(5))
    x = normal(7, 2, 3)
    assert float((one(x)[0] - five(x)[0]).detach().abs().max()) > 0.01
    for net in (one, five):
        with torch.no_grad():
            net.adapter.weight[:, :4] = 0
    assert torch.equal(one(x)[0], five(x)[0])


def first_states(net, x):
    """The state that enters the adapter first, and how often it is called."""
    seen = []
    handle = net.adapter.register_forward_pre_hook(lambda _, given: seen.append(given[0][..., :4]))
    net(x)
    handle.remove()
    return seen[0], len(seen)


def test_training_begins_with_noise_and_evaluation_with_nothing():
    net, x = make(4), normal(500, 2, 3)
    assert not first_states(net, x)[0].any()
    one, two = (first_states(net.train(), x)[0] for _ in range(2))
    assert float(one.detach().std()) == pytest.approx(0.5, rel=0.05)  # of four channels together 1
    assert float((one * two).detach().mean()) == pytest.approx(0.0, abs=0.02)


def test_training_draws_the_number_of_iterations():
    net, x = make(4), normal(3, 1, 3)
    assert first_states(net, x)[1] == 4
    counts = [first_states(net.train(), x)[1] for _ in range(60)]
    assert len(set(counts)) > 3 and 3.5 < np.mean(counts) < 6.5  # one more than in evaluation
    fixed = make(4, random=False).train()
    assert first_states(fixed, x)[1] == 4 and not first_states(fixed, x)[0].any()


def test_gradients_pass_the_last_iterations_only():
    """The adapter's gradient is that of two steps whose first state is a constant."""
    net, x = without_blocks(make(5, through=2)), normal(3, 1, 3)
    net(x)[0].square().sum().backward()
    found = net.adapter.weight.grad.clone()
    net.zero_grad()
    e = net.enter(x)[0]
    s = torch.zeros_like(e)
    for i in range(5):
        s = s.detach() if i == 3 else s
        s = torch.cat([s, e], -1) @ net.adapter.weight.t()
    net.norm(s).square().sum().backward()
    close(found, net.adapter.weight.grad.numpy(), 1e-12)
