"""The neural process: attention to labelled utterances, and a latent from sums of evidence."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from models_by_hand import arrays, close, normal, randomised, sigmoid, softplus

from snnsim.baselines.models.neural_process import NeuralProcess
from snnsim.errors import ConfigError
from snnsim.layer import auxiliary_losses

pytestmark = pytest.mark.usefixtures("float64")

N, LATENT, SLOTS = 4, 3, 5


def make(seed=0, decoder=6):
    options = {"latent": LATENT, "classes": 2, "slots": SLOTS, "decoder": decoder}
    return randomised(NeuralProcess(3, N, **options), seed=seed).eval()


def gru(p, x):
    """Encode one sample ``[T, n_in]``."""
    w, u = p["encoder.module.weight_ih_l0"], p["encoder.module.weight_hh_l0"]
    b, b_rec = p["encoder.module.bias_ih_l0"], p["encoder.module.bias_hh_l0"]
    h, outputs = np.zeros(N), []
    for now in x:
        drive, own = w @ now + b, u @ h + b_rec
        r, z = sigmoid(drive[:N] + own[:N]), sigmoid(drive[N : 2 * N] + own[N : 2 * N])
        h = (1 - z) * np.tanh(drive[2 * N :] + r * own[2 * N :]) + z * h
        outputs.append(h)
    return np.stack(outputs)


def by_hand(p, x, utterances, labels):
    """Outputs for one sample, and mean and variance of its latent."""
    codes = []
    for utterance, label in zip(utterances, labels, strict=True):
        seen = gru(p, utterance)[-1] + p["label"][label]
        codes.append(np.tanh(p["code.weight"] @ seen + p["code.bias"]))
    precision = 1 / np.exp(p["prior"][1]) ** 2
    mean = precision * p["prior"][0]
    for code in codes:
        said = p["summary.weight"] @ code + p["summary.bias"]
        evidence = softplus(said[LATENT:])
        precision, mean = precision + evidence, mean + evidence * said[:LATENT]
    z, outputs = mean / precision, []
    for c in gru(p, x):
        read = np.zeros(N)
        if codes:
            q = p["query.weight"] @ c
            weights = np.exp([q @ (p["key.weight"] @ code) / np.sqrt(N) for code in codes])
            values = [p["value.weight"] @ code for code in codes]
            read = sum(w * v for w, v in zip(weights, values, strict=True)) / weights.sum()
        joined = np.concatenate([c, read, z])
        if "hidden.weight" in p:
            joined = np.maximum(p["hidden.weight"] @ joined + p["hidden.bias"], 0)
        outputs.append(p["out.weight"] @ joined + p["out.bias"])
    return np.stack(outputs), z, 1 / precision


def observed(net, count, seed=5):
    """Utterances, their labels, and the state of one sample that has seen them."""
    utterances, labels = normal(6, count, 3, seed=seed), torch.arange(count) % 2
    state = net.initial_state(1)
    return utterances, labels, net.observe(state, utterances, labels) if count else state


@pytest.mark.parametrize("decoder", [0, 6])
@pytest.mark.parametrize("count", [0, 1, 3, SLOTS])
def test_a_neural_process_is_its_equations(count, decoder):
    net, x = make(decoder=decoder), normal(7, 1, 3)
    utterances, labels, state = observed(net, count)
    context = [utterances[:, i].numpy() for i in range(count)]
    y, mean, variance = by_hand(arrays(net), x[:, 0].numpy(), context, labels.tolist())
    close(net(x, state)[0][:, 0], y, 1e-12)
    found, deviation = net.latent_of(state)
    close(found[0], mean, 1e-12)
    close(deviation[0] ** 2, variance, 1e-12)


def test_the_context_speaks_through_the_latent_alone_where_attention_reads_nothing():
    net, x = make(), normal(7, 1, 3)
    with torch.no_grad():
        net.value.weight.zero_()
    empty, full = net(x)[0], net(x, observed(net, 3)[2])[0]
    assert float((full - empty).detach().abs().max()) > 0.01
    with torch.no_grad():
        net.hidden.weight[:, 2 * N :] = 0  # the columns of z
    assert torch.equal(net(x)[0], net(x, observed(net, 3)[2])[0])


def test_the_context_speaks_through_attention_alone_where_the_latent_is_not_read():
    net, x = make(), normal(7, 1, 3)
    with torch.no_grad():
        net.hidden.weight[:, 2 * N :] = 0
    change = net(x, observed(net, 3)[2])[0] - net(x)[0]
    assert float(change.detach().abs().max()) > 0.01
    assert float(change.std(0).max()) > 1e-4  # it depends on the query of each step


def test_every_utterance_makes_the_latent_surer():
    net = make()
    deviations = [net.latent_of(observed(net, count)[2])[1] for count in range(SLOTS + 1)]
    close(deviations[0][0], np.exp(arrays(net)["prior"][1]), 1e-12)
    assert all(bool((b < a).all()) for a, b in pairwise(deviations))


def test_the_labels_of_a_context_matter_and_its_order_does_not():
    net, x = make(), normal(7, 1, 3)
    utterances, labels, state = observed(net, 4)
    turned = net.observe(net.initial_state(1), utterances.flip(1), labels.flip(0))
    close(net(x, turned)[0], net(x, state)[0].detach().numpy(), 1e-12)
    other = net.observe(net.initial_state(1), utterances, 1 - labels)
    assert float((net(x, other)[0] - net(x, state)[0]).detach().abs().max()) > 1e-3


def test_training_draws_the_latent_and_pays_for_what_the_context_says():
    net, x = make().train(), normal(7, 1, 3)
    empty, full = net.initial_state(1), observed(net, 3)[2]
    costs = []
    for state in (empty, full):
        with auxiliary_losses() as losses:
            first, second = net(x, state)[0], net(x, state)[0]
        assert float((first - second).detach().abs().max()) > 1e-3
        costs.append(float(losses["divergence"]))
    assert costs[0] == pytest.approx(0, abs=1e-12) and costs[1] > 1e-4


def test_a_draw_of_the_latent_is_kept_and_all_answers_are_given_it():
    net, x = make(decoder=0), normal(7, 1, 3)
    utterances, labels, state = observed(net, 3)
    torch.manual_seed(0)
    drawn = net.sample(state)
    assert not torch.equal(drawn["z"], net.sample(state)["z"])
    y, kept = net(x, drawn)
    assert torch.equal(kept["z"], drawn["z"])
    net.train()
    with auxiliary_losses() as losses:
        assert torch.equal(net(x, drawn)[0], y)
    assert not losses
    change = (drawn["z"] - net.latent_of(state)[0])[0].detach().numpy()
    p, context = arrays(net), [utterances[:, i].numpy() for i in range(3)]
    plain, _, _ = by_hand(p, x[:, 0].numpy(), context, labels.tolist())
    close(y[:, 0], plain + p["out.weight"][:, 2 * N :] @ change, 1e-12)


def test_draws_have_the_mean_and_the_deviation_of_the_latent():
    net = make()
    state = {k: v.expand(20000, *v.shape[1:]) for k, v in observed(net, 3)[2].items()}
    torch.manual_seed(0)
    z = net.sample(state)["z"]
    mean, deviation = net.latent_of(state)
    torch.testing.assert_close(z.mean(0), mean[0], rtol=0, atol=0.03 * float(deviation.max()))
    torch.testing.assert_close(z.std(0), deviation[0], rtol=0.03, atol=0)


# --- labels in the input --------------------------------------------------------------------------


def cued(seed=0):
    options = {"latent": LATENT, "classes": 2, "slots": SLOTS, "cued": True}
    return randomised(NeuralProcess(5, N, **options), seed=seed).eval()


def episode(labels, lengths, seed=0):
    """Labelled utterances, a silent step after each, and 6 steps without a label, ``[T, 5]``."""
    random, steps = np.random.default_rng(seed), []
    utterances = [random.random((length, 3)) for length in lengths]
    for utterance, label in zip(utterances, labels, strict=True):
        steps += [np.concatenate([now, np.eye(2)[label]]) for now in utterance]
        steps.append(np.zeros(5))
    query = random.random((6, 3))
    steps += [np.concatenate([now, np.zeros(2)]) for now in query]
    return np.stack(steps), utterances, query


@pytest.mark.parametrize(("labels", "lengths"), [((), ()), ((1,), (4,)), ((0, 1, 0), (3, 5, 2))])
def test_utterances_join_the_context_where_their_labels_end(labels, lengths):
    """The silent step after a label is the first that the encoder hears of what follows."""
    net = cued()
    x, utterances, query = episode(labels, lengths)
    silent = np.zeros((1, 3))
    heard = [each if i == 0 else np.concatenate([silent, each])
             for i, each in enumerate([*utterances, query])]  # fmt: skip
    expected, *_ = by_hand(arrays(net), heard[-1], heard[:-1], labels)
    y, state = net(torch.from_numpy(x).unsqueeze(1))
    close(y[-6:, 0], expected[-6:])
    assert state["known"].sum() == len(labels)


def test_each_sample_of_a_batch_has_utterances_of_its_own():
    net = cued()
    cases = [((0, 1), (3, 5)), ((1, 0), (5, 3)), ((1,), (9,))]
    episodes = [episode(*case, seed=i)[0] for i, case in enumerate(cases)]
    alone = [net(torch.from_numpy(each).unsqueeze(1))[0][:, 0].detach() for each in episodes]
    x = torch.from_numpy(np.stack([each[:16] for each in episodes], axis=1))
    together, _ = net(x)
    for sample, each in enumerate(alone):
        close(together[:, sample], each[:16])


def test_a_label_may_end_between_two_pieces():
    net = cued()
    x = torch.from_numpy(episode((0, 1), (3, 5))[0]).unsqueeze(1)
    with torch.no_grad():
        whole, last = net(x)
    for cut in range(1, len(x)):
        first, state = net(x[:cut])
        second, state = net(x[cut:], state)
        close(torch.cat([first, second]), whole)
        assert all(torch.allclose(state[name], last[name]) for name in last)


def test_another_label_ends_an_utterance_without_a_silent_step():
    net = cued()
    x = np.random.default_rng(0).random((4, 3))
    labels = np.eye(2)[[0, 0, 1, 1]]
    _, state = net(torch.from_numpy(np.concatenate([x, labels], 1)).unsqueeze(1))
    assert state["known"].sum() == 1


def test_what_does_not_fit_is_refused_and_classes_need_channels():
    x, _, _ = episode((0,) * 6, (1,) * 6)
    with pytest.raises(ConfigError, match="room for 5; 1 more do not fit"):
        cued()(torch.from_numpy(x).unsqueeze(1))
    with pytest.raises(ConfigError, match="last 10 input channels are labels"):
        NeuralProcess(10, N, cued=True)


def test_the_divergence_of_an_episode_counts_once():
    net = cued().train()
    x, *_ = episode((0, 1, 0), (3, 5, 2))
    with auxiliary_losses() as extra:
        _, state = net(torch.from_numpy(x).unsqueeze(1))
    mean, deviation = net.latent_of(state)
    with auxiliary_losses() as once:
        net._add_divergence(mean, deviation)
    close(extra["divergence"], once["divergence"].detach())
