"""Self-reinforcement is measured as it is defined, and found in a network that copies only."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from snnsim.analysis import Subject, analyse
from snnsim.analysis.repetition import patterns_of, repeated_fraction, self_reinforcement
from snnsim.data import Arrays, Batch
from snnsim.errors import ConfigError, DataError, ShapeError
from snnsim.layer import Layer

CHANNELS = 12


class Copies(Layer):
    """Expects what followed the last two events when they last came; else nothing in particular.

    The state is all that was seen.
    """

    def __init__(self, certain: float = 5.0):
        super().__init__()
        self.certain = nn.Parameter(torch.tensor(certain))

    def forward(self, x, state=None):
        seen = x if state is None else torch.cat([state, x])
        whole, found = seen.argmax(-1), torch.zeros_like(x)
        for b in range(x.shape[1]):
            for t in range(len(x)):
                now = len(seen) - len(x) + t
                items = whole[: now + 1, b].tolist()
                for earlier in range(now - 1, 0, -1):
                    if items[earlier - 1 : earlier + 1] == items[-2:]:
                        found[t, b, items[earlier + 1]] = self.certain
                        break
        return found, seen


class Forgets(Layer):
    """Sees the last event only."""

    def __init__(self):
        super().__init__()
        drawn = np.random.default_rng(0).standard_normal((CHANNELS, CHANNELS))
        self.weight = nn.Parameter(torch.from_numpy(drawn).float())

    def forward(self, x, state=None):
        return x @ self.weight, None


def data(samples=6, steps=60, seed=0):
    random = np.random.default_rng(seed)
    x = np.eye(CHANNELS, dtype=np.float32)[random.integers(0, CHANNELS, (samples, steps))]
    return Arrays(x, np.zeros(samples, np.int64), classes=("0",), dt=1.0)


def found(net, **options):
    subject = Subject(net, data(), target="next-event", nulls=3)
    small = {"length": 8, "context": 16, "repetitions": 4, "steps": 40}
    return analyse(subject, "repetition", **small | options)


def test_the_curve_is_the_mean_probability_of_the_spikes_of_each_repetition():
    net, L, n = Copies(2.0).double(), 7, 3
    x = data(3).batch(range(3)).x.double()
    pattern, context = x[10 : 10 + L], x[:10]
    whole = torch.cat([context, *[pattern] * n])
    expected = np.zeros(n)
    with torch.no_grad():
        for t in range(len(context), len(whole)):
            y = net(whole[:t])[0][-1].numpy()
            for b in range(3):
                p = np.exp(y[b]) / np.exp(y[b]).sum()
                expected[(t - 10) // L] += p[int(whole[t, b].argmax())] / (3 * L)
    curve = self_reinforcement(net, pattern, n, context=context)
    np.testing.assert_allclose(curve, expected, rtol=1e-12)


def test_without_context_the_first_step_counts_for_nothing():
    net, pattern = Forgets().double(), data(2).batch(range(2)).x[:5].double()
    first, second = self_reinforcement(net, pattern, 2)
    p = net(pattern)[0].softmax(-1).detach()
    following = pattern[1:]
    assert first == pytest.approx(float(p[:-1][following > 0].mean()), rel=1e-12)
    around = torch.cat([pattern[-1:], pattern[:-1]])
    assert second == pytest.approx(
        float(net(around)[0].softmax(-1)[pattern > 0].detach().mean()), rel=1e-9
    )


def test_channels_that_do_not_fire_count_for_nothing():
    net = Forgets().double()
    pattern = torch.zeros(3, 1, CHANNELS, dtype=torch.float64)
    pattern[0, 0, [1, 4]] = 2.0
    pattern[2, 0, 7] = 1.0
    curve = self_reinforcement(net, pattern, 2, target="next-step")
    y = net(torch.cat([pattern, pattern])[:-1])[0].sigmoid().detach()
    assert curve[0] == pytest.approx(float(y[1, 0, 7]), rel=1e-12)
    assert curve[1] == pytest.approx(float(y[2, 0, [1, 4]].sum() + y[4, 0, 7]) / 3, rel=1e-12)


def test_a_network_that_copies_reinforces_itself_and_not_other_patterns():
    report = found(Copies())
    rise = report.figures["rise"]
    assert rise.value > 0.7 and abs(rise.null) < 0.15 and not rise.like_null()
    assert report.arrays["probability"][1] > 0.7 > 0.3 > report.arrays["probability, null"].max()
    assert report.figures["first"].value == pytest.approx(report.figures["first"].null)


def test_a_network_without_memory_does_not():
    report = found(Forgets())
    # in a row the first step follows the last one of the pattern, and not what came before
    assert abs(report.figures["rise"].value) < 0.05


def test_what_a_copying_network_generates_repeats_itself():
    report = found(Copies(), steps=120)
    repeated = report.figures["repeated"]
    assert repeated.value > 0.8 and repeated.null < repeated.value - 0.1


def test_runs_that_were_there_before_are_counted_in_each_sample_by_itself():
    items = torch.tensor([[0, 1, 2, 0, 1, 2, 0], [0, 1, 2, 3, 3, 3, 3]]).t()
    x = nn.functional.one_hot(items, 4)
    assert repeated_fraction(x[:, :1], 3) == pytest.approx(2 / 5)
    assert repeated_fraction(x[:, 1:], 3) == pytest.approx(1 / 5)
    assert repeated_fraction(x, 3) == pytest.approx(3 / 10)
    assert repeated_fraction(torch.zeros(9, 2, 3), 3) == 0
    assert repeated_fraction(x[:2], 3) == 0


def test_a_pattern_follows_its_context():
    batch = data(2).batch(range(2))
    patterns = patterns_of(Batch(2 * batch.x, batch.target, batch.lengths), 4, 5)
    assert torch.equal(patterns.context, batch.x[:5])
    assert torch.equal(patterns.pattern, batch.x[5:9])


def test_a_network_on_classes_is_refused():
    with pytest.raises(ConfigError, match="generates nothing"):
        analyse(Subject(Copies(), data()), "repetition")


@pytest.mark.parametrize(
    "wrong",
    [{"length": 0}, {"context": 0}, {"repetitions": 1}, {"steps": 0}, {"samples": 1},
     {"length": 50, "context": 20}, {"temperature": -1.0}],
)  # fmt: skip
def test_what_cannot_be_measured_is_refused(wrong):
    with pytest.raises(ConfigError):
        found(Copies(), **wrong)


def test_data_of_another_kind_are_refused():
    random = np.random.default_rng(0)
    counts = random.poisson(1.0, (4, 60, CHANNELS)).astype(np.float32)
    made = Arrays(counts, np.zeros(4, np.int64), classes=("0",), dt=1.0)
    with pytest.raises(DataError, match="next-event"):
        analyse(Subject(Copies(), made, target="next-event"), "repetition")


@pytest.mark.parametrize("pattern", [torch.zeros(3, 1, 4), torch.zeros(0, 1, 4), torch.ones(4)])
def test_a_pattern_has_spikes(pattern):
    with pytest.raises(ShapeError, match="pattern"):
        self_reinforcement(Copies(), pattern, 2)
