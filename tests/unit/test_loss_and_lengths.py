"""Losses see scores as they are, samples weigh alike however a batch is cut, and batches and
online training are as long as samples are."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from small_training import Recorder, Tiny, changed, network, trainer

import snnsim as sn
from snnsim.functional.readouts import READOUTS
from snnsim.layer import Layer, add_auxiliary_loss
from snnsim.training import Trainer, evaluate, loop, predict
from snnsim.training.rules import prepare
from snnsim.training.rules.online import online_gradients

# --- scores as they are ------------------------------------------------------------------------


class Fixed(Layer):
    """Outputs that are what comes in: three channels are three classes."""

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(3, dtype=torch.float64))

    def forward(self, x, state=None):
        return x * self.scale, None


class Numbers(Tiny):
    """Samples of any numbers in three channels."""

    def __init__(self, samples, seed):
        super().__init__(samples, seed, torch.float64)
        random = np.random.default_rng([seed, 1])
        self.spikes = 2 * random.standard_normal((samples, 11, 3))

    def batch(self, indices, steps=None):
        steps = int(self.lengths[indices].max()) if steps is None else steps
        x = torch.zeros(steps, len(indices), 3, dtype=torch.float64)
        for row, i in enumerate(indices):
            x[: self.lengths[i], row] = torch.from_numpy(self.spikes[i, : self.lengths[i]])
        lengths = torch.from_numpy(self.lengths[indices])
        return SimpleNamespace(x=x, labels=torch.from_numpy(self.labels[indices]), lengths=lengths)


def softmax(v):
    e = np.exp(v - v.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


BY_HAND = {
    "sum_softmax": lambda v: softmax(v).sum(0),
    "mean": lambda v: v.mean(0),
    "max_over_time": lambda v: v.max(0),
    "last": lambda v: v[-1],
    "spike_count": lambda v: v.sum(0),
}


def scores_by_hand(data, readout):
    return np.stack(
        [BY_HAND[readout](data.spikes[i, :n]) for i, n in enumerate(data.lengths.tolist())]
    )


def losses_by_hand(data, readout):
    shares = softmax(scores_by_hand(data, readout))
    return -np.log(shares[np.arange(len(data)), data.labels])


def test_every_readout_is_worked_out_by_hand_here():
    assert set(BY_HAND) == set(READOUTS)


@pytest.mark.parametrize("readout", BY_HAND)
def test_evaluation_takes_the_readout_of_outputs_and_one_entropy_of_it(readout):
    data = Numbers(9, seed=3)
    found = evaluate(Fixed(), data, readout=readout, mask_padding=True, batch_size=4)
    assert found.loss == pytest.approx(losses_by_hand(data, readout).mean(), rel=1e-12)
    right = scores_by_hand(data, readout).argmax(1) == data.labels
    assert found.accuracy == pytest.approx(right.mean(), rel=1e-12)
    batch = data.batch(np.arange(9))
    scores = predict(Fixed(), batch.x, readout, batch.lengths)
    np.testing.assert_allclose(scores, scores_by_hand(data, readout), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("readout", BY_HAND)
def test_training_takes_the_readout_of_outputs_and_one_entropy_of_it(readout):
    data, net = Numbers(9, seed=4), Fixed()
    recorder = Recorder(net)
    recipe = changed(epochs=1, batch_size=9, readout=readout, mask_padding=True, accumulate=2)
    (row,) = Trainer(net, data, data, recipe, watcher=recorder).run()
    expected = losses_by_hand(data, readout).mean()
    assert recorder.losses == pytest.approx([expected], rel=1e-12)
    assert row["train_loss"] == pytest.approx(expected, rel=1e-12)


# --- layers' own losses ------------------------------------------------------------------------


class Costly(Layer):
    """A dense layer that adds a cost of its own, a mean over samples that differ."""

    def __init__(self, n_in, n_out):
        super().__init__()
        self.dense = sn.Dense(n_in, n_out)

    def forward(self, x, state=None):
        y, _ = self.dense(x)
        add_auxiliary_loss("cost", 0.3 * y.square().mean((0, 2)).mean())
        return y, None


def costly(data, recipe):
    torch.manual_seed(0)
    net = sn.Sequential(Costly(6, 3)).double()
    recorder = Recorder(net)
    Trainer(net, data, Tiny(5, 2, torch.float64), recipe, watcher=recorder).run()
    return recorder, net[0].dense.weight.detach()


@pytest.mark.parametrize("parts", [2, 3, 4])
def test_layers_own_losses_weigh_every_sample_alike_however_a_batch_is_cut(parts):
    data = Tiny(13, seed=7, dtype=torch.float64)  # batches of 8 and 5: parts are unequal
    recipe = changed(epochs=2, batch_size=8, weight_decay=0.0)
    whole, weight = costly(data, recipe)
    parted, other = costly(
        data, changed(epochs=2, batch_size=8, weight_decay=0.0, accumulate=parts)
    )
    torch.testing.assert_close(parted.losses, whole.losses, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(other, weight, rtol=1e-12, atol=1e-12)


def test_a_layers_own_loss_is_added_once_per_sample():
    data = Tiny(7, seed=8, dtype=torch.float64)
    recorder, _ = costly(data, changed(epochs=1, batch_size=7, readout="mean"))
    torch.manual_seed(0)
    dense = sn.Dense(6, 3).double()
    batch = data.batch(np.arange(7))
    y = (batch.x @ dense.weight.t()).detach().numpy()
    own = 0.3 * (y**2).mean((0, 2)).mean()
    shares = softmax(y.mean(0))
    entropy = -np.log(shares[np.arange(7), data.labels]).mean()
    assert recorder.losses == pytest.approx([entropy + own], rel=1e-12)


# --- lengths ---------------------------------------------------------------------------------


@pytest.mark.parametrize("parts", [1, 3])
def test_a_training_batch_is_as_long_as_its_own_longest_sample(parts):
    asked = []

    class Noting(Tiny):
        def batch(self, indices, steps=None):
            asked.append((list(indices), steps))
            return super().batch(indices, steps)

    data = Noting(22, seed=1)
    trainer(changed(epochs=2, accumulate=parts), train=data).run()
    order = [loop.epoch_order(22, 0, epoch) for epoch in (0, 1)]
    expected = []
    for each in order:
        for first in range(0, 22, 5):
            chosen = each[first : first + 5]
            longest = int(data.lengths[chosen].max())  # of all parts of the batch
            cut = np.array_split(chosen, min(parts, len(chosen)))
            expected += [(part.tolist(), longest) for part in cut]
    assert asked == expected
    assert len({steps for _, steps in asked}) > 1


def test_evaluation_pads_each_sample_to_the_longest_of_training_or_its_own():
    asked = []

    class Noting(Tiny):
        def batch(self, indices, steps=None):
            asked.append(steps)
            return super().batch(indices, steps)

    data = Noting(13, seed=2)
    evaluate(network(0), data, batch_size=3)
    evaluate(network(0), data, batch_size=3, steps=40)
    longest = int(data.lengths.max())
    assert asked == [longest] * 5 + [40] * 5
    asked.clear()
    evaluate(network(0), data, batch_size=3, steps=7)
    padded, counts = np.unique(np.maximum(data.lengths, 7), return_counts=True)
    expected = [int(p) for p, n in zip(padded, counts, strict=True) for _ in range(-(-n // 3))]
    assert asked == expected and len(set(asked)) > 2


def online(x, lengths, labels):
    torch.manual_seed(0)
    lif = sn.LIF(7, dt=1.0, tau_mem=2.0)
    net = prepare(sn.Sequential(sn.Dense(5, 7), lif, sn.Dense(7, 3)), training="ottt").double()
    body, head = sn.Sequential(net[0], net[1]), net[2]

    def loss(y):
        return torch.nn.functional.cross_entropy(y, labels, reduction="none")

    scores, total = online_gradients(body, head, x, loss, lengths)
    return scores, total, [p.grad for p in net.parameters()]


def test_online_training_takes_every_sample_over_its_own_length():
    generator = torch.Generator().manual_seed(5)
    x = 3 * torch.rand(9, 4, 5, generator=generator).double()
    lengths, labels = torch.tensor([9, 4, 1, 6]), torch.tensor([0, 1, 2, 0])
    scores, total, gradients = online(x, lengths, labels)
    alone = [online(x[:n, i : i + 1], None, labels[i : i + 1]) for i, n in enumerate(lengths)]
    exactly = {"rtol": 1e-12, "atol": 1e-12}
    torch.testing.assert_close(scores, torch.cat([each[0] for each in alone]), **exactly)
    torch.testing.assert_close(total, sum(each[1] for each in alone), **exactly)
    for found, *parts in zip(gradients, *(each[2] for each in alone), strict=True):
        assert float(found.abs().max()) > 1e-3
        torch.testing.assert_close(found, sum(parts), **exactly)
    assert not torch.allclose(online(x, None, labels)[0], scores)
