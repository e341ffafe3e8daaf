"""The measurements of a diagnosis against references in plain numpy, in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import snnsim as sn
from snnsim.data import Batch
from snnsim.diagnosis.chance import _left_out, _summed, constant_loss, like_chance, probe
from snnsim.diagnosis.layers_seen import ALWAYS, distance_to_threshold
from snnsim.diagnosis.observation import relative_changes
from snnsim.training import Classification, MultiLabel, Regression, set_seed

pytestmark = pytest.mark.usefixtures("float64")


def lif(x, decay, threshold):
    """Distances to the threshold and spikes of LIF neurons that subtract it, ``[T, B, N]``."""
    v, distances, spikes = np.zeros_like(x[0]), [], []
    for current in x:
        u = decay * v + current
        z = (u >= threshold).astype(float)
        v = u - z * threshold
        distances.append(u - threshold)
        spikes.append(z)
    return np.stack(distances), np.stack(spikes)


def test_the_membrane_is_that_of_the_equations_before_the_reset():
    x = np.random.default_rng(0).random((30, 4, 5))
    neuron = sn.LIF(5, dt=1.0, tau_mem=7.0, v_threshold=1.3)
    found = distance_to_threshold(neuron, (torch.from_numpy(x),))
    np.testing.assert_allclose(found, lif(x, math.exp(-1 / 7), 1.3)[0], rtol=1e-12, atol=1e-12)


def test_an_adaptive_threshold_is_part_of_the_distance():
    neuron = sn.ALIF(1, dt=1.0, tau_mem=2.0)
    found = distance_to_threshold(neuron, (torch.full((40, 1, 1), 0.7),))
    spikes = neuron(torch.full((40, 1, 1), 0.7))[0]
    assert torch.equal(spikes, (found >= 0).to(spikes))
    assert 0 < spikes.mean() < 1


def test_a_recurrent_layer_feels_its_own_spikes():
    layer = sn.Recurrent(sn.LIF(6, dt=1.0))
    seen = []
    handle = layer.neuron.register_forward_hook(
        lambda module, inputs, output: seen.append((distance_to_threshold(module, inputs), output))
    )
    layer(torch.rand(20, 3, 6))
    handle.remove()
    distance, (spikes, _) = seen[0]
    assert torch.equal(spikes, (distance >= 0).to(spikes))


def a_network():
    set_seed(0)
    net = sn.Sequential(
        sn.Dense(4, 6, init="he"), sn.LIF(6, dt=1.0, tau_mem=7.0), sn.Dense(6, 3), sn.LI(3, dt=1.0)
    ).double()
    rng = np.random.default_rng(1)
    x = (rng.random((25, 10, 4)) < 0.4).astype(float)
    lengths = rng.integers(8, 26, 10)
    lengths[0] = 25
    for b, length in enumerate(lengths):
        x[length:, b] = 0
    target = torch.from_numpy(np.arange(10) % 3)
    return net, Batch(torch.from_numpy(x), target, torch.from_numpy(lengths))


def test_rates_and_fractions_count_a_samples_own_steps_only():
    net, batch = a_network()
    weight = net.layers[0].weight.detach().numpy()
    distance, spikes = lif(batch.x.numpy() @ weight.T, math.exp(-1 / 7), 1.0)
    inside = np.arange(25)[:, None] < batch.lengths.numpy()
    rates = spikes[inside].mean(0)
    row = sn.diagnose(net, batch, objective=Classification("mean")).layers[0]
    assert row["rate"] == pytest.approx(rates.mean(), rel=1e-12)
    assert row["dead"] == (rates == 0).mean()
    assert row["saturated"] == (rates >= ALWAYS).mean()
    assert row["membrane"] == pytest.approx((distance[inside] + 1).mean(), rel=1e-9)
    derivative = 1 / (1 + (math.pi * distance[inside]) ** 2)  # of its largest value
    assert row["usable"] == pytest.approx((derivative >= 0.01).mean(), rel=1e-12)


def test_the_gradient_is_that_of_the_mean_loss_by_finite_differences():
    """At the current of the read-out, whose network is differentiable in the ordinary sense."""
    net, batch = a_network()
    with torch.no_grad():
        current = _current(net, batch.x)

    def loss(values):
        v, total = torch.zeros(10, 3), torch.zeros(10, 3)
        for step in values:
            v = math.exp(-1 / 20) * v + step
            total = total + v
        return torch.nn.functional.cross_entropy(total / len(values), batch.target)

    squares = 0.0
    for place in np.ndindex(*current.shape):
        shift = torch.zeros_like(current)
        shift[place] = 1e-5
        squares += float((loss(current + shift) - loss(current - shift)) / 2e-5) ** 2
    row = sn.diagnose(net, batch, objective=Classification("mean")).layers[1]
    assert row["gradient"] == pytest.approx(math.sqrt(squares / current.numel()), rel=1e-5)


def _current(net, x):
    for layer in net.layers[:3]:
        x, _ = layer(x, None)
    return x


def test_the_probe_leaves_each_sample_out():
    """The closed form against regressions that are solved once for each sample."""
    rng = np.random.default_rng(2)
    x, wanted = rng.normal(size=(20, 6)), np.eye(3)[np.arange(20) % 3]
    x[:, 0] += wanted[:, 1]
    z = (x - x.mean(0)) / x.std(0, ddof=1)
    scale = (z**2).sum(1).mean()
    features = np.hstack([z / math.sqrt(scale), np.ones((20, 1))])
    right = 0
    for i in range(20):
        rest = np.delete(np.arange(20), i)
        gram = features[rest].T @ features[rest] + np.eye(7)
        answer = features[i] @ np.linalg.solve(gram, features[rest].T @ wanted[rest])
        right += answer.argmax() == wanted[i].argmax()
    assert _left_out(torch.from_numpy(x), torch.from_numpy(wanted)) == right / 20


def test_the_probe_sums_pieces_of_a_samples_own_time():
    x = torch.arange(12.0).view(6, 2, 1)
    batch = Batch(x, torch.tensor([0, 1]), torch.tensor([6, 4]))
    assert _summed([batch], 1).tolist() == [[30.0], [1.0 + 3 + 5 + 7]]
    assert _summed([batch], 2).tolist() == [[0.0 + 2 + 4, 6.0 + 8 + 10], [1.0 + 3, 5.0 + 7]]


@pytest.mark.parametrize("seed", range(5))
def test_classes_that_differ_in_their_timing_alone_are_told_by_pieces_of_time(seed):
    """Each class has a burst at its own time, and all have the same number of spikes."""
    rng = np.random.default_rng(seed)
    y = np.arange(80) % 4
    x = np.zeros((40, 80, 3))
    for i, c in enumerate(y):
        x[rng.integers(10 * c, 10 * c + 10, 5), i, rng.integers(0, 3, 5)] = 1
    found = probe([Batch(torch.from_numpy(x), torch.from_numpy(y), torch.full((80,), 40))])
    assert found.accuracy > found.chance


@pytest.mark.parametrize("seed", range(5))
def test_labels_at_random_are_like_chance(seed):
    rng = np.random.default_rng(seed)
    x = torch.from_numpy((rng.random((30, 120, 20)) < 0.2).astype(float))
    y = torch.from_numpy(rng.permutation(np.arange(120) % 6))
    found = probe([Batch(x, y, torch.full((120,), 30))])
    assert found.accuracy <= found.chance
    assert found.chance == like_chance(1 / 6, 120)


def test_chance_is_the_loss_of_the_best_constant_answer():
    """Found by descending, not from the entropy."""
    target = torch.tensor([0, 0, 0, 1, 2, 2])
    logits = torch.zeros(3, requires_grad=True)
    optimizer = torch.optim.LBFGS([logits], max_iter=200, tolerance_grad=1e-12)

    def closure():
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(logits.expand(6, 3), target)
        loss.backward()
        return loss

    optimizer.step(closure)
    best = float(closure().detach())
    assert constant_loss(Classification(), [target[:2], target[2:]]) == pytest.approx(best)
    values = torch.tensor([[1.0, 2.0], [3.0, 7.0]])
    assert constant_loss(Regression(), [values]) == pytest.approx((1 + 6.25) / 2)
    several = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    assert constant_loss(MultiLabel("mean"), [several]) == pytest.approx(math.log(2) / 2, abs=1e-6)


def test_change_is_relative_to_what_was_there():
    before = {"w": torch.full((3, 4), 2.0), "gone": torch.ones(1), "new shape": torch.ones(2)}
    now = {"w": torch.full((3, 4), 2.5), "new shape": torch.ones(3), "new": torch.ones(1)}
    assert relative_changes(before, now) == {"w": pytest.approx(0.25)}
