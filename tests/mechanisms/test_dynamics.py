"""Twins, settling, residency and ablation against double-precision references."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from snnsim_datasets.synthetic import hidden_states

import snnsim as sn
from snnsim.activity import Recording
from snnsim.analysis import Subject, analyse
from snnsim.analysis.dynamics import perturb, settle
from snnsim.analysis.switching import ablate, residency, silenced
from snnsim.analysis.weights import other_weights
from snnsim.data import Arrays
from snnsim.errors import ConfigError

CHANNELS, UNITS = 20, 64


def network(gain: float, seed: int = 0) -> sn.Sequential:
    """A recurrent spiking network; without recurrence if the gain is 0."""
    torch.manual_seed(seed)
    net = sn.Sequential(
        sn.Dense(CHANNELS, UNITS),
        sn.Recurrent(sn.LIF(UNITS, dt=1.0, tau_mem=10.0), gain=gain),
        sn.Dense(UNITS, 4),
        sn.LI(4, dt=1.0, tau_mem=20.0),
    )
    with torch.no_grad():
        net[0].weight.mul_(3)
    return net


def spikes(steps: int = 120, samples: int = 16, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(steps, samples, CHANNELS, generator=generator) < 0.1).float()


def twins_by_hand(net, x, horizon: int, seed: int) -> np.ndarray:
    """Distances of the membranes of twins, ``[L + 1, B]``, from the equations of the neuron."""
    w_in, w_rec = (p.detach().numpy() for p in (net[0].weight, net[1].w_rec))
    steps, count, channels = x.shape
    random = np.random.default_rng(seed)
    at = random.integers(0, steps // 2, count)
    channel = random.integers(0, channels, count)
    other = x.numpy().copy()
    for sample in range(count):
        other[at[sample], sample, channel[sample]] = 1 - other[at[sample], sample, channel[sample]]
    runs = []
    for each in (x.numpy(), other):
        v, z, trace = np.zeros((count, UNITS)), np.zeros((count, UNITS)), []
        for step in each:
            u = np.exp(-1 / 10) * v + step @ w_in.T + z @ w_rec.T
            z = (u >= 1.0).astype(float)
            v = u - z
            trace.append(v)
        runs.append(np.stack(trace))
    apart = np.linalg.norm(runs[0] - runs[1], axis=2)
    return np.stack([apart[at + lag, np.arange(count)] for lag in range(horizon + 1)])


def test_twins_part_as_the_equations_say():
    net, x = network(2.0).double(), spikes().double()
    distance = twins_by_hand(net, x, 20, seed=5)
    found = perturb(net, x, horizon=20, seed=5)
    np.testing.assert_allclose(found.distance, distance.mean(1), rtol=1e-9)
    np.testing.assert_allclose(found.ratio, np.log(distance[1:] / distance[:-1]).mean(1), rtol=1e-9)
    assert (found.apart == 1).all()


def test_below_the_threshold_a_difference_decays_with_the_membrane():
    net = sn.Sequential(sn.Dense(3, 5), sn.LIF(5, dt=1.0, tau_mem=10.0, v_threshold=1e6))
    found = perturb(net, torch.zeros(80, 4, 3), horizon=30)
    np.testing.assert_allclose(found.ratio, -0.1, rtol=1e-3)


@pytest.mark.parametrize("gain", [0.8, 1.2])
def test_near_rest_a_difference_in_a_rate_network_grows_by_its_gain(gain):
    torch.manual_seed(0)
    net = sn.baselines.get("elman")(3, 8).double()
    turn = gain * torch.linalg.qr(torch.randn(8, 8).double()).Q
    with torch.no_grad():
        for name, p in net.named_parameters():
            p.copy_(turn if "weight_hh" in name else p * 1e-3 * ("weight_ih" in name))
    found = perturb(net, torch.zeros(24, 4, 3).double(), horizon=6)
    np.testing.assert_allclose(found.ratio, np.log(gain), atol=1e-4)


def test_strong_recurrence_is_chaotic_and_without_it_differences_shrink():
    net, x = network(2.0), spikes()
    with_recurrence = np.nanmean(perturb(net, x).ratio)
    with other_weights(net, "removed"):
        without = np.nanmean(perturb(net, x).ratio)
    assert with_recurrence > 0.03 and without < -0.02


def test_twins_that_merged_count_no_more():
    net = sn.Sequential(sn.Dense(3, 5), sn.LIF(5, dt=1.0, tau_mem=0.3, v_threshold=1e6))
    found = perturb(net, torch.zeros(80, 4, 3), horizon=30)
    assert found.apart[0] == 1 and found.apart[-1] == 0 and np.isnan(found.ratio[-1])


def latch(noisy: bool = False) -> sn.Sequential:
    """A neuron that keeps itself active once it was; with ``noisy``, only together with noise."""
    net = sn.Sequential(sn.Dense(1, 1), sn.Recurrent(sn.LIF(1, dt=1.0, tau_mem=1.0)))
    with torch.no_grad():
        net[0].weight.fill_(2.0)
        net[1].w_rec.fill_(0.6 if noisy else 1.5)
    return net


def test_what_keeps_a_network_active_is_told_apart():
    x = (torch.rand(60, 8, 1, generator=torch.Generator().manual_seed(1)) < 0.5).float()
    assert settle(latch(), x).kind == "self-sustained"
    assert settle(latch(noisy=True), x, sigma=0.5).kind == "noise-sustained"
    assert settle(latch(noisy=True), x, sigma=0.01).kind == "driven"
    assert settle(latch(), torch.zeros(60, 8, 1), sigma=0.01).kind == "silent"
    still = latch(noisy=True)
    with torch.no_grad():
        still[0].weight.fill_(3.0)
    found = settle(still, x, sigma=0.01)
    assert found.lasting("off") == 0 and found.lasting("constant") > 0.5
    with other_weights(net := latch(), "removed"):
        assert settle(net, x, sigma=0.01).kind == "driven"


def test_activity_is_the_root_mean_square_of_the_output():
    net, x = network(0.5), spikes(50, 4)
    found = settle(net, x, 0.3, steps=30, seed=2)
    noise = 0.3 * torch.randn(30, 4, CHANNELS, generator=torch.Generator().manual_seed(2))
    constant = x.mean(0).expand(30, 4, CHANNELS)
    for name, tail in {
        "off": torch.zeros(30, 4, CHANNELS),
        "constant": constant,
        "noise": noise,
    }.items():
        z = net[1](net[0](torch.cat([x, tail]))[0])[0].detach().double()
        expected = z.square().mean(2).sqrt().mean(1).numpy()
        np.testing.assert_allclose(getattr(found, name), expected[50:], rtol=1e-6)
    assert found.driven == pytest.approx(expected[25:50].mean())


def test_a_rate_network_at_its_resting_output_is_silent():
    torch.manual_seed(0)
    net = sn.baselines.get("gru")(CHANNELS, 16)
    found = settle(net, spikes(), 1e-4)
    assert found.driven > 0 and found.off[-1] < 1e-5 and found.kind == "driven"


def residency_by_hand(z, fires, lengths, count):
    """Mean stay of each state, transitions and kick indices, by walking through every sample."""
    stays = [[] for _ in range(count)]
    moves, changed = np.zeros((count, count)), []
    for sample, length in enumerate(lengths):
        run = 1
        for t in range(length):
            last = t + 1 == length
            if not last:
                moves[z[t, sample], z[t + 1, sample]] += 1
                changed.append((z[t, sample] != z[t + 1, sample], fires[t, sample]))
            if last or z[t, sample] != z[t + 1, sample]:
                stays[z[t, sample]].append(run)
                run = 1
            else:
                run += 1
    change = np.array([c for c, _ in changed], dtype=float)
    fired = np.array([f for _, f in changed])
    kick = [change[fired[:, n]].mean() / change.mean() for n in range(fired.shape[1])]
    return [np.mean(s) for s in stays], moves / moves.sum(1, keepdims=True), kick


def chain(samples: int = 6):
    found = hidden_states(samples, states=3, units=5, steps=200, leave=0.1, seed=2)
    lengths = np.array([200, 150, 200, 90, 200, 31][:samples])
    z = found.path.T
    values = torch.from_numpy(found.data.x).transpose(0, 1).clamp(max=1).contiguous()
    values[:-1, :, 0] = torch.from_numpy((z[1:] != z[:-1]).astype(np.float32))
    return z, Recording(values, "spikes", "l", "output", torch.from_numpy(lengths))


def test_residency_is_what_walking_through_the_samples_finds():
    z, rec = chain()
    found = residency(rec, torch.from_numpy(z))
    stay, moves, kick = residency_by_hand(z, rec.values.numpy() > 0, rec.lengths.tolist(), 3)
    np.testing.assert_allclose(found.stay, stay)
    np.testing.assert_allclose(found.moves, moves)
    np.testing.assert_allclose(found.kick, kick)
    assert found.kick[0] > 5 > 2 > found.kick[1:].max()
    fires = [rec.of(s)[:-1].sum(0) for s in range(len(rec.lengths))]
    np.testing.assert_array_equal(found.fired, sum(fires).numpy())


def test_a_unit_that_fires_once_tells_nothing():
    z, rec = chain()
    values = rec.values.clone()
    once = int((z[1:60, 0] != z[:59, 0]).argmax())
    values[:, :, 1] = 0
    values[once, 0, 1] = 1
    found = residency(replace(rec, values=values), torch.from_numpy(z))
    assert found.kick[1] >= found.kick[0] and found.known_kick()[1] == 1
    assert found.known_kick()[0] == found.kick[0]


def test_states_that_do_not_fit_are_refused():
    z, rec = chain()
    for wrong in (z[:-1], z.astype(float), z - 1):
        with pytest.raises(ConfigError, match="states are"):
            residency(rec, torch.from_numpy(wrong))


def test_a_silenced_unit_reaches_nobody_and_comes_back():
    net, x = network(2.0), spikes(60, 4)
    before = net(x)[0]
    w_rec = net[1].w_rec.detach().clone()
    with silenced(net, "layers.1.neuron", 3):
        found = net(x)[0]
    assert torch.equal(net(x)[0], before) and torch.equal(net[1].w_rec, w_rec)
    other = network(2.0)
    with torch.no_grad():
        other[1].w_rec[:, 3] = 0
        other[2].weight[:, 3] = 0
    assert torch.allclose(found, other(x)[0], atol=1e-6)
    assert not torch.allclose(found, before, atol=1e-3)


def told_by_one_unit() -> tuple[sn.Sequential, Arrays]:
    """A network in which unit 2 alone says whether the input was active."""
    net = sn.Sequential(sn.Dense(1, 4), sn.LIF(4, dt=1.0), sn.Dense(4, 2), sn.LI(2, dt=1.0))
    with torch.no_grad():
        net[0].weight.fill_(2.0)
        net[2].weight.zero_()
        net[2].weight[1, 2] = 1.0
        net[2].weight[0, 2] = -1.0
    labels = np.arange(12) % 2
    x = np.tile(labels[:, None, None], (1, 10, 1))
    return net, Arrays(x, labels, classes=("still", "active"))


def test_only_the_unit_that_tells_is_missed():
    net, data = told_by_one_unit()
    np.testing.assert_allclose(ablate(net, data), [0, 0, 0.5, 0])
    np.testing.assert_allclose(ablate(net, data, [2]), [0.5])
    for wrong in ([4], [-1], [0.5]):
        with pytest.raises(ConfigError, match="units are"):
            ablate(net, data, wrong)


def feed_forward() -> sn.Sequential:
    torch.manual_seed(0)
    return sn.Sequential(
        sn.Dense(CHANNELS, 16), sn.LIF(16, dt=1.0), sn.Dense(16, 4), sn.LI(4, dt=1.0)
    )


@pytest.mark.parametrize("kind", ["recurrent", "feed-forward", "elman", "gru", "s6"])
def test_the_report_stands_beside_its_nulls_and_leaves_the_network_as_it_was(kind):
    made = {"recurrent": lambda: network(2.0), "feed-forward": feed_forward}
    net = made[kind]() if kind in made else sn.baselines.get(kind)(CHANNELS, 4)
    before = [p.detach().clone() for p in net.parameters()]
    data = Arrays(spikes().transpose(0, 1), np.arange(16) % 4, classes=tuple("abcd"))
    found = analyse(Subject(net, data, nulls=3), "dynamics", steps=50, ablated=2)
    assert {"growth", "off", "constant", "noise", "kick", "stay", "lost"} == set(found.figures)
    assert all(f.null is not None and f.spread is not None for f in found.figures.values())
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))
    assert len(found.arrays["kick"]) == {"recurrent": UNITS, "feed-forward": 16}.get(kind, 4)
    assert found.as_json()["settings"]["horizon"] == 20


def test_recurrence_is_what_removing_it_takes_away():
    data = Arrays(spikes().transpose(0, 1), np.arange(16) % 4, classes=tuple("abcd"))
    subject = Subject(network(2.0), data, nulls=2)
    found = analyse(subject, "dynamics", weights="removed", ablated=0, steps=60).figures
    assert found["growth"].value > 0 > found["growth"].null
    assert found["off"].value > 0.5 and found["off"].null == 0
    assert "lost" not in found
    options = {"sigma": 0.5, "steps": 60, "ablated": 0, "weights": "removed"}
    for gain, same in ((0.0, True), (2.0, False)):
        told = analyse(Subject(network(gain), data, nulls=2), "dynamics", **options).text
        assert any("other weights does the same" in line for line in told) == same
    with pytest.raises(ConfigError, match="no recurrent matrix"):
        analyse(Subject(feed_forward(), data), "dynamics", weights="removed")


def test_classes_of_every_step_are_scored_per_step():
    found = hidden_states(4, states=4, units=CHANNELS, steps=60)
    told = analyse(Subject(network(0.5), found.data, nulls=1), "dynamics", ablated=1, steps=20)
    assert "lost" in told.figures


def test_shuffled_weights_are_the_same_numbers_elsewhere():
    net = network(1.0)
    before = net[1].w_rec.detach().clone()
    with other_weights(net, "shuffled", 1):
        mixed = net[1].w_rec.detach().clone()
    assert not torch.equal(mixed, before) and torch.equal(net[1].w_rec, before)
    assert torch.equal(mixed.flatten().sort().values, before.flatten().sort().values)
    net = sn.Sequential(sn.Delayed(4, 5, dt=1.0, max_delay_ms=8), sn.LIF(5, dt=1.0))
    weight, delay = net[0].weight.detach().clone(), net[0].delay.detach().clone()
    with other_weights(net, "shuffled", 1):
        assert not torch.equal(net[0].weight, weight) and torch.equal(net[0].delay, delay)
