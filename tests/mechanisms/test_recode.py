"""Recoding of states and of membranes: moves down the entropy of the answer."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from models_by_hand import close, normal, randomised, softmax
from snnsim_experiments.budget import with_width
from snnsim_experiments.build import build_network
from snnsim_experiments.configuration import resolve
from snnsim_experiments.experiment import Experiment

import snnsim as sn
from snnsim.analysis import Subject, analyse
from snnsim.analysis.recode import Answers, answers, moving, steps_to_recover
from snnsim.baselines import RateNetwork
from snnsim.baselines.options.recode import Recode
from snnsim.data import Arrays
from snnsim.errors import ConfigError
from snnsim.functional.recoding import entropy, recode_signal
from snnsim.layer import listening
from snnsim.networks import Recoded, recoded
from snnsim.plotting.analysis import report

pytestmark = pytest.mark.usefixtures("float64")


def slope(scores, weight, gain=1.0):
    """dH/dh of one sample by the chain rule; scores ``W r(h) + b``, gain ``r'(h)``."""
    p = softmax(scores)
    h = -(p * np.log(p)).sum()
    return gain * (weight.T @ (-p * (np.log(p) + h)))


def test_the_signal_is_the_gradient_of_the_entropy():
    weight, h = normal(3, 5), normal(4, 5, seed=2)
    signal = recode_signal(h, lambda h: h @ weight.T)
    for b in range(4):
        close(signal[b], slope((weight @ h[b]).numpy(), weight.numpy()), 1e-12)
    for alpha, way in ((0.05, 1), (-0.05, -1)):
        change = entropy((h - alpha * signal) @ weight.T) - entropy(h @ weight.T)
        assert (way * change < 0).all()
    with torch.inference_mode():
        close(recode_signal(h, lambda h: h @ weight.T), signal.numpy())


# --- membranes -----------------------------------------------------------------------------------


def layer(alpha=0.4, delayed=False, **options):
    neurons = sn.LIF(4, dt=1.0, tau_mem=5.0, surrogate=sn.surrogate.ATan(alpha=3.0), **options)
    last = sn.Delayed(4, 3, dt=1.0, max_delay_ms=4, kernel_count=2) if delayed else sn.Dense(4, 3)
    return randomised(Recoded(neurons, last, alpha=alpha), 1.5)


def by_hand(weight, x, alpha, reset):
    """Spikes of one sample of leaky neurons whose membranes are recoded before the threshold."""
    v, spikes = np.zeros(weight.shape[1]), []
    for now in x:
        u = np.exp(-1 / 5.0) * v + now
        rate = np.arctan(np.pi / 2 * 3.0 * (u - 1)) / np.pi + 0.5
        gain = 1.5 / (1 + (np.pi / 2 * 3.0 * (u - 1)) ** 2)
        u = u - alpha * slope(weight @ rate, weight, gain)
        z = (u >= 1).astype(float)
        v = u - z if reset == "subtract" else u * (1 - z)
        spikes.append(z)
    return np.stack(spikes)


@pytest.mark.parametrize("reset", ["subtract", "zero"])
@pytest.mark.parametrize("delayed", [False, True])
def test_membranes_move_before_the_threshold(reset, delayed):
    net, x = layer(2.0, delayed, reset=reset).eval(), 0.7 * normal(30, 3, 4) + 0.4
    weight = net.after[0].weight.detach().numpy()
    weight = weight.sum(2) if delayed else weight
    with sn.recording(net, ["neurons"]) as seen:
        y, _ = net(x)
    wanted = np.stack([by_hand(weight, x[:, b].numpy(), 2.0, reset) for b in range(3)], 1)
    assert 0.1 < wanted.mean() < 0.9
    close(seen["neurons"].values, wanted)
    plain = net.neurons(x)[0].detach().numpy()
    assert (plain != wanted).any()
    close(y, net.after(torch.from_numpy(wanted))[0].detach().numpy())


@pytest.mark.parametrize("neuron", [sn.LIF, sn.AdLIF, sn.PLIF, sn.CubaLIF])
def test_the_membrane_of_any_neuron_moves_by_the_step_times_the_signal(neuron):
    net = Recoded(neuron(4, dt=1.0, reset="zero"), randomised(sn.Dense(4, 3)), alpha=0.3)
    x = normal(1, 2, 4) + 1
    u = net.neurons.voltage(x)
    shifted = net.neurons.voltage(x + net._shifts(x, None))
    close(shifted, (u - 0.3 * recode_signal(u, net.scores)).detach().numpy(), 1e-12)


def test_no_step_leaves_a_network_as_it_is_and_its_gradients_too():
    torch.manual_seed(0)
    sizes = {"dt": 10.0, "tau_mem": 20.0, "max_delay_ms": 40, "dropout": 0.0}
    x, found = torch.rand(12, 3, 5).round(), []
    for alpha in (0.0, 1e-12, 0.5):
        torch.manual_seed(1)
        net = sn.delay_network((5, 8, 3), **sizes)
        net = recoded(net, alpha) if alpha else net
        y, _ = net(x)
        y.square().sum().backward()
        found.append((y.detach(), *(p.grad for p in net.parameters())))
        assert any(isinstance(each, Recoded) for each in net) is (alpha != 0)
    for plain, still in zip(*found[:2], strict=True):
        close(still, plain.numpy(), 1e-9)
    assert not torch.allclose(found[2][0], found[0][0])
    assert all(grad.isfinite().all() for grad in found[2])


def test_a_stream_is_recoded_as_the_whole_sequence_is():
    net, x = layer(), normal(9, 2, 4)
    whole, _ = net(x)
    first, state = net(x[:4])
    second, _ = net(x[4:], state)
    close(torch.cat([first, second]), whole.detach().numpy())
    assert net(x[:0])[0].shape == (0, 2, 3)


def test_hooks_see_the_neurons_once_for_the_whole_sequence():
    net, heard = layer(), []
    with listening({"neurons": net.neurons}, lambda name, _, inputs, output: heard.append(output)):
        net(normal(9, 2, 4))
    assert [output[0].shape for output in heard] == [(9, 2, 4)]


@pytest.mark.parametrize("model", ["spiking", "gru"])
def test_network_recode_is_a_key_of_configurations(model):
    experiment = resolve("spoken-digits", model, changes=["network.recode=0.05"])
    assert Experiment.from_json(experiment.as_json()) == experiment
    if model == "gru":
        experiment = with_width(experiment, 8)
    found = list(build_network(experiment, 5, 3, 10.0).modules())
    recoded_layers = [each for each in found if isinstance(each, Recoded | Recode)]
    assert [each.alpha for each in recoded_layers] == [0.05]
    plain = resolve("spoken-digits", model)
    stored = copy.deepcopy(plain.as_json())
    del stored["network"]["recode"]
    assert Experiment.from_json(stored) == plain


def test_recoded_networks_are_saved_and_have_no_event_driven_form(tmp_path):
    net = sn.delay_network(
        (5, 8, 3), dt=10.0, tau_mem=20.0, max_delay_ms=40, dropout=0.2, delays="none"
    )
    net = recoded(net, 0.2).eval()
    sn.save(net, tmp_path / "net.safetensors")
    x = torch.rand(7, 2, 5)
    assert torch.equal(sn.load(tmp_path / "net.safetensors")(x)[0], net(x)[0])
    with pytest.raises(ConfigError, match="Recoded"):
        sn.compile(net)


@pytest.mark.parametrize(
    "wrong",
    [{"recurrent": True}, {"skip": True}, {"skip": True, "sizes": (8, 8, 3)}, {"sizes": (5, 3)}],
)
def test_networks_without_a_layer_to_recode_are_refused(wrong):
    sizes = {"sizes": (5, 8, 8, 3), "dt": 10.0, "tau_mem": 20.0, "max_delay_ms": 40, "dropout": 0.1}
    with pytest.raises(ConfigError, match="recoding needs a network that ends in hidden neurons"):
        recoded(sn.delay_network(**sizes | wrong), 0.1)
    with pytest.raises(ConfigError, match="recoding needs a network that ends in hidden neurons"):
        recoded(sn.Sequential(sn.LI(2, dt=1.0)), 0.1)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Recoded(sn.LI(4, dt=1.0), sn.Dense(4, 2), alpha=0.1), "LI does not have"),
        (lambda: Recoded(sn.LIF(4, dt=1.0), alpha=0.1), "connection to the classes"),
        (lambda: Recoded(sn.LIF(4, dt=1.0), sn.Dropout(0.1), alpha=0.1), "connection to the"),
        (lambda: Recoded(sn.LIF(4, dt=1.0), sn.Dense(4, 2), alpha=float("nan")), "alpha is nan"),
    ],
)
def test_layers_that_cannot_be_recoded_are_refused(make, said):
    with pytest.raises(ConfigError, match=said):
        make()


# --- rate-coded networks -------------------------------------------------------------------------


def test_the_last_layer_of_a_rate_network_descends_the_entropy_of_its_head():
    net, x = randomised(RateNetwork(5, 3, "gru", width=4, depth=2, recode=0.3)), normal(7, 2, 5)
    cells, weight = [net.layers[0], net.layers[1].inner], net.head.weight.detach().numpy()
    bias = net.head.bias.detach().numpy()
    first, _ = cells[0](net.encoder(x)[0])
    state, outputs = cells[1].initial_state(2), []
    for frame in first:
        h = cells[1].step(frame, state)[0].detach().numpy()
        h = np.stack([each - 0.3 * slope(weight @ each + bias, weight) for each in h])
        state = {"h": torch.from_numpy(h)}
        outputs.append(h @ weight.T + bias)
    close(net(x)[0], np.stack(outputs), 1e-12)
    assert not any("decoder" in name for name in net.state_dict())
    twin = copy.deepcopy(net)
    with torch.no_grad():
        twin.head.weight.mul_(3.0)
    again = randomised(RateNetwork(5, 3, "gru", width=4, depth=2, recode=0.3))
    again.load_state_dict(twin.state_dict())
    close(twin(x)[0], again(x)[0].detach().numpy())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"model": "s6"}, "residual blocks"), ({"model": "gru", "join": "add"}, "residual blocks"),
        ({"model": "gru", "chunk": 4}, "moves a state that is the output"),
        ({"model": "gru", "n_out": 0}, "no head"), ({"model": "gru", "attend": 3}, "Attend"),
        ({"model": "bidirectional"}, "Bidirectional"),
    ],
)  # fmt: skip
def test_rate_networks_that_cannot_be_recoded_are_refused(options, said):
    with pytest.raises(ConfigError, match=said):
        RateNetwork(**{"n_in": 5, "n_out": 3, "width": 8, "recode": 0.1} | options)


# --- the analysis --------------------------------------------------------------------------------


def garden_path(samples=24, steps=20):
    """The first channels hint at one class, and in most samples a late cue at the other."""
    labels, led = np.arange(samples) % 2, np.arange(samples) % 3 > 0
    x = np.zeros((samples, steps, 4))
    for i, label in enumerate(labels):
        x[i, :6, 1 - label if led[i] else label] = 1
        x[i, 6:, 2 + label] = 1
    return Arrays(x, labels, classes=("a", "b"))


def spiking():
    """Leaky neurons that stand for the channels; late cues count three times."""
    net = sn.Sequential(
        sn.Dense(4, 4), sn.LIF(4, dt=1.0, tau_mem=3.0), sn.Dense(4, 2), sn.LI(2, dt=1.0)
    )
    with torch.no_grad():
        net[0].weight.copy_(0.7 * torch.eye(4))
        net[2].weight.copy_(torch.tensor([[1.0, 0.0, 3.0, 0.0], [0.0, 1.0, 0.0, 3.0]]))
    return net.float()


@pytest.mark.parametrize("kind", ["spiking", "rate"])
@pytest.mark.parametrize("masked", [False, True])
def test_entropy_falls_in_every_sample_and_rises_where_alpha_is_below_0(kind, masked):
    net = spiking() if kind == "spiking" else randomised(RateNetwork(4, 2, "gru", width=6))
    before = copy.deepcopy(net.float().state_dict())
    subject = Subject(net, garden_path(), nulls=2, mask_padding=masked)
    found = analyse(subject, "recode", alpha=[0.01, 0.05])
    for level in (0.01, 0.05):
        assert found.figures[f"entropy falls at {level:g}"].value == 1.0
    assert found.figures["entropy falls at -0.05"].value == 0.0
    assert found.arrays["alpha"].tolist() == [-0.05, 0.0, 0.01, 0.05]
    change, null = found.arrays["entropy change"], found.arrays["entropy change, null"]
    assert change[0] > 0 == change[1] > change[2] > change[3] and null[3] > change[3]
    assert all(figure.null is not None for figure in found.figures.values())
    after = subject.net.state_dict()
    assert before.keys() == after.keys() and all(torch.equal(before[k], after[k]) for k in after)
    report(found)


def test_wrong_early_answers_and_the_steps_until_they_are_right_are_those_of_a_loop():
    net, data = spiking(), garden_path()
    plain = answers(Subject(net, data), net)
    led = np.arange(24) % 3 > 0
    assert (plain.right[4] == ~led).all() and plain.right[-1].all()
    scores = net(torch.from_numpy(data.x).transpose(0, 1))[0].softmax(-1).cumsum(0)
    assert (plain.right == (scores.argmax(-1).numpy() == data.target)).all()
    found = analyse(Subject(net, data, nulls=2), "recode", alpha=[0.4])
    waited = [
        next(t for t in range(4, 20) if plain.right[t:, i].all()) - 4 for i in np.flatnonzero(led)
    ]
    assert found.figures["steps to recover at 0"].value == pytest.approx(np.mean(waited))
    assert "16 of 24 samples are answered wrongly after 25 % of their steps" in found.text[0]


def test_the_network_without_moves_is_the_same_if_it_was_recoded_all_the_time():
    plain, moved = (
        analyse(Subject(net, garden_path(), nulls=1), "recode", alpha=[10.0])
        for net in (spiking(), recoded(spiking(), 5.0))
    )
    assert plain.figures == moved.figures and plain.text == moved.text
    assert np.array_equal(plain.arrays["accuracy"], moved.arrays["accuracy"])
    assert not np.array_equal(plain.arrays["accuracy"][1], plain.arrays["accuracy"][2])


def test_a_sample_that_never_recovers_counts_the_steps_that_were_left_and_one():
    right = np.array([[0, 0, 1], [0, 0, 1], [1, 0, 1], [1, 0, 1]], bool)
    found = Answers(right, np.array([4, 3, 4]))
    assert steps_to_recover(found, np.arange(3), 0.5).tolist() == [1, 2, 0]


def test_a_step_that_is_given_takes_the_place_of_the_networks_own():
    net = recoded(spiking(), 0.3)
    assert net[1].alpha == 0.3 and recoded(net, 0.1)[1].alpha == 0.1 and len(recoded(net, 0.1)) == 3
    rate = moving(RateNetwork(4, 2, "gru", width=6), 0.3)
    again = moving(rate, 0.1)
    assert rate.layers[0].alpha == 0.3 and again.layers[0].alpha == 0.1
    assert not isinstance(again.layers[0].inner, Recode)


@pytest.mark.parametrize(
    ("net", "options", "said"),
    [
        (sn.Sequential(sn.Dense(4, 2)), {}, "hidden neurons"),
        (torch.nn.Linear(4, 2), {}, "a Sequential or a RateNetwork"),
        (spiking, {"alpha": [float("nan")]}, "alpha is nan"),
        (spiking, {"early": 1.5}, "early is 1.5"),
    ],
)
def test_what_cannot_be_probed_is_refused(net, options, said):
    made = net() if callable(net) and not isinstance(net, torch.nn.Module) else net
    with pytest.raises(ConfigError, match=said):
        analyse(Subject(made, garden_path(), nulls=0), "recode", **options)
