"""Networks that predict the next step: loss, loss against repetition, and generation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from snnsim.baselines import RateNetwork
from snnsim.data import Batch
from snnsim.errors import ConfigError, DataError, ShapeError
from snnsim.generation import generate, generate_by
from snnsim.training import NextEvent, NextStep, set_seed
from snnsim.training.next_step import next_of, repeated_patterns

LENGTHS = (9, 6, 2)


def events(samples=3, steps=9, channels=5, seed=0):
    """Random events, one per step, ``[T, B, N]``."""
    random = np.random.default_rng(seed)
    items = torch.from_numpy(random.integers(0, channels, (steps, samples)))
    return nn.functional.one_hot(items, channels).double()


def batch_of(x, lengths=LENGTHS):
    for b, length in enumerate(lengths):
        x[length:, b] = 0
    return Batch(x, torch.zeros(len(lengths), dtype=torch.long), torch.tensor(lengths))


class Net(nn.Module):
    """Outputs that depend on all of the past, in a known way."""

    def __init__(self, n):
        super().__init__()
        drawn = np.random.default_rng(1).standard_normal((n, n))
        self.weight = nn.Parameter(torch.from_numpy(drawn))

    def forward(self, x, state=None):
        found, past = [], torch.zeros(x.shape[1:], dtype=x.dtype) if state is None else state
        for step in x:
            past = 0.7 * past + step @ self.weight
            found.append(past)
        return torch.stack(found), past


def by_hand(net, sample):
    """The outputs of ``Net`` for a sample ``[T, N]``, in numpy."""
    past, found = np.zeros(sample.shape[1]), []
    for step in sample:
        past = 0.7 * past + step @ net.weight.detach().numpy()
        found.append(past)
    return np.array(found)


def mean_nats(net, x, lengths, nats):
    """The mean over the next steps of each sample, summed over the samples."""
    total = 0.0
    for b, length in enumerate(lengths):
        sample = x[:length, b].numpy()
        y = by_hand(net, sample)
        total += sum(nats(y[t], sample[t + 1]) for t in range(length - 1)) / (length - 1)
    return total


def event_nats(y, following):
    return math.log(sum(math.exp(v) for v in y)) - y[int(following.argmax())]


def step_nats(y, following):
    p = 1 / (1 + np.exp(-y))
    return -sum(math.log(q if n > 0 else 1 - q) for q, n in zip(p, following, strict=True))


def measured(aim, net, batch):
    posed = aim.posed(batch)
    y, _ = net(posed.x)
    return aim.measure(y, posed, posed.lengths)


def test_the_loss_of_the_next_event_is_its_equation():
    net, x = Net(5), events()
    loss, score = measured(NextEvent(), net, batch_of(x))
    expected = mean_nats(net, x, LENGTHS, event_nats)
    assert score == pytest.approx(expected, rel=1e-12)
    assert float(loss.detach()) == score


def test_the_loss_of_the_next_step_is_its_equation_for_counts_as_well():
    random = np.random.default_rng(2)
    net, x = Net(4), torch.from_numpy(random.poisson(0.7, (9, 3, 4)).astype(float))
    loss, _ = measured(NextStep(), net, batch_of(x))
    expected = mean_nats(net, x, LENGTHS, step_nats)
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-12)


def test_what_follows_the_end_of_a_sample_does_not_matter():
    net, x = Net(5), events()
    short = measured(NextEvent(), net, batch_of(x[:, 1:2], (6,)))
    cut = measured(NextEvent(), net, batch_of(x[:6, 1:2], (6,)))
    assert short.score == pytest.approx(cut.score, rel=1e-14)


def test_a_sample_of_one_step_has_nothing_to_predict():
    found = measured(NextEvent(), Net(5), batch_of(events(), (9, 1, 1)))
    alone = measured(NextEvent(), Net(5), batch_of(events()[:, :1], (9,)))
    assert found.score == pytest.approx(alone.score, rel=1e-12)


@pytest.mark.parametrize("wrong", [0.0, 2.0, -1.0])
def test_events_must_come_one_by_one(wrong):
    x = events()
    x[3, 0] *= wrong
    with pytest.raises(DataError, match="exactly one event in every time step"):
        NextEvent().posed(batch_of(x))


@pytest.mark.parametrize("wrong", [-1.0, 0.5])
def test_the_next_step_needs_counts(wrong):
    x = events()
    x[3, 0, 0] = wrong
    with pytest.raises(DataError, match="needs counts of spikes"):
        NextStep().posed(batch_of(x))


def test_one_step_has_no_next():
    with pytest.raises(ShapeError, match="2 time steps or more"):
        NextEvent().posed(batch_of(events(steps=1), (1, 1, 1)))


def test_a_network_needs_an_output_for_each_channel():
    posed = NextEvent().posed(batch_of(events()))
    with pytest.raises(ShapeError, match="as many outputs as channels"):
        NextEvent().measure(torch.zeros(8, 3, 4), posed, posed.lengths)


def test_with_a_shared_head_a_channel_is_scored_by_its_embedding():
    set_seed(0)
    net = RateNetwork(5, 5, "sasrec", width=8, shared_head=True).double().eval()
    x = events()
    features, _ = net.layers[0](x)
    table = net.layers[0].embedding.weight.detach().numpy()  # [width, channels]
    expected = features.detach().numpy() @ table
    np.testing.assert_allclose(net(x)[0].detach().numpy(), expected, rtol=1e-12)
    assert net.head is None and not any(name.startswith("head") for name in net.state_dict())


@pytest.mark.parametrize(
    ("model", "outputs", "more"),
    [("gru", 5, {}), ("sasrec", 5, {"depth": 2}), ("sasrec", 3, {}), ("sasrec", 0, {}),
     ("sasrec", 5, {"encoder": {"pool": 2}}), ("sasrec", 5, {"chunk": 4})],
)  # fmt: skip
def test_a_shared_head_is_for_one_layer_that_embeds_the_channels(model, outputs, more):
    with pytest.raises(ConfigError, match="shared_head needs one layer"):
        RateNetwork(5, outputs, model, width=8, shared_head=True, **more)


# --- against repetition --------------------------------------------------------------------------


def test_patterns_are_parts_of_the_samples_repeated_to_the_end():
    torch.manual_seed(0)
    x = events(samples=40, steps=41, channels=9)
    lengths = tuple([40] * 30 + [5] * 5 + [1] * 5)
    posed = NextEvent().posed(batch_of(x, tuple(n + 1 for n in lengths)))
    found = repeated_patterns(posed)
    assert torch.equal(found.x[1:], found.following[:-1])
    periods = found.period.tolist()
    assert set(periods[35:]) == {1} and set(periods[30:35]) <= {2, 3, 4, 5}
    assert min(periods[:30]) >= 2 and max(periods[:30]) <= 10 and len(set(periods[:30])) > 4
    for b, period in enumerate(periods):
        sample, pattern = posed.x[: lengths[b], b], found.x[:period, b]
        starts = range(lengths[b] - period + 1)
        assert any(torch.equal(sample[s : s + period], pattern) for s in starts)
        for t in range(len(found.x)):
            assert torch.equal(found.x[t, b], pattern[t % period])


def test_patterns_may_be_of_a_number_of_steps():
    posed = NextEvent().posed(batch_of(events(steps=20), (20, 9, 4)))
    assert repeated_patterns(posed, 6).period.tolist() == [6, 6, 3]


def penalty_by_hand(aim, net, found, probabilities):
    """Equation 3 over every spike from the second time that its pattern's step is predicted."""
    terms = []
    for b, period in enumerate(found.period.tolist()):
        p = probabilities(by_hand(net, found.x[:, b].numpy()))
        for t in range(period, len(p)):
            for n in np.flatnonzero(found.following[t, b].numpy()):
                terms.append(-math.log(1 - abs(p[t, n] - aim.scale * p[t - period, n])))
    return aim.repetition * len(found.period) * sum(terms) / len(terms)


def softmax(y):
    return np.exp(y) / np.exp(y).sum(1, keepdims=True)


@pytest.mark.parametrize(
    ("made", "probabilities"),
    [(NextEvent, softmax), (NextStep, lambda y: 1 / (1 + np.exp(-y)))],
    ids=["event", "step"],
)
@pytest.mark.parametrize("steps", [0, 5])
def test_the_loss_against_repetition_is_its_equation(made, probabilities, steps):
    aim, net = made(repetition=0.8, steps=steps, scale=0.3), Net(5)
    posed = aim.posed(batch_of(events(steps=30), (30, 22, 9)))
    torch.manual_seed(3)
    loss = aim.penalty(net, posed)
    torch.manual_seed(3)
    found = repeated_patterns(posed, steps)
    expected = penalty_by_hand(aim, net, found, probabilities)
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-10)
    loss.backward()
    assert bool(net.weight.grad.abs().sum() > 0)


def test_without_a_weight_nothing_is_drawn_and_nothing_added():
    before = torch.get_rng_state()
    assert NextEvent().penalty(Net(5), NextEvent().posed(batch_of(events()))) is None
    assert torch.equal(before, torch.get_rng_state())


def test_its_descent_makes_what_is_repeated_less_likely():
    posed = NextEvent().posed(batch_of(events(steps=16), (16, 16, 16)))
    net, aim = Net(5), NextEvent(repetition=1.0)
    with torch.no_grad():
        net.weight.copy_(5 * torch.eye(5).roll(1, 0))  # sure of what a cycle says next
    cycle = torch.eye(5, dtype=torch.float64)[[1, 0, 4, 3, 2] * 4][:, None].expand(20, 3, 5)
    looping = posed._replace(x=cycle[:-1], target=cycle[1:], lengths=torch.tensor([19] * 3))

    def sure():
        y, _ = net(looping.x)
        return float((y.detach().softmax(-1) * looping.target).sum(-1)[5:].mean())

    before = sure()
    optimizer = torch.optim.SGD(net.parameters(), lr=1.0)
    for _ in range(40):
        optimizer.zero_grad()
        aim.penalty(net, looping).backward()
        optimizer.step()
    assert before > 0.8 and sure() < before - 0.3


# --- generation ----------------------------------------------------------------------------------


@pytest.fixture
def net():
    set_seed(0)
    net = RateNetwork(6, 6, "recurrent-depth", width=8, options={"reach": 12})
    for p in net.parameters():
        p.data *= 2
    return net.double()


def test_the_likeliest_events_are_those_of_the_whole_past():
    net, prompt = Net(6), events(samples=2, steps=3, channels=6)
    found = generate(net, prompt, 12, temperature=0)
    for b in range(2):
        past = list(prompt[:, b].numpy())
        for step in found[:, b]:
            assert int(step.argmax()) == int(by_hand(net, np.array(past))[-1].argmax())
            past.append(step.numpy())
        assert len({int(step.argmax()) for step in found[:, b]}) > 2


class Fixed(nn.Module):
    """The same outputs at every step."""

    def __init__(self, scores):
        super().__init__()
        self.scores = nn.Parameter(torch.tensor(scores))

    def forward(self, x, state=None):
        return self.scores.expand(len(x), x.shape[1], -1), state


@pytest.mark.parametrize(
    ("temperature", "p"), [(1.0, (0.1, 0.2, 0.7)), (0.5, (1 / 54, 4 / 54, 49 / 54))]
)
def test_events_are_drawn_by_their_probabilities(temperature, p):
    fixed = Fixed([math.log(q) for q in (0.1, 0.2, 0.7)])
    found = generate(fixed, torch.eye(3)[:1, None], 10_000, temperature=temperature, seed=1)
    assert found.sum(-1).eq(1).all()
    assert found.mean((0, 1)).tolist() == pytest.approx(p, abs=0.01)


@pytest.mark.parametrize(
    ("temperature", "p"), [(1.0, (0.2, 0.8)), (0.5, (1 / 17, 16 / 17)), (0.0, (0, 1))]
)
def test_channels_fire_by_their_probabilities(temperature, p):
    fixed = Fixed([math.log(0.25), math.log(4.0)])
    found = generate(
        fixed, torch.zeros(1, 2, 2), 10_000, target="next-step", temperature=temperature, seed=1
    )
    assert found.mean((0, 1)).tolist() == pytest.approx(p, abs=0.01)


def test_a_seed_says_what_is_drawn(net):
    prompt = events(samples=2, steps=3, channels=6)
    one, again, other = (generate(net, prompt, 20, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(one, again) and not torch.equal(one, other)


def test_a_wave_gives_the_same_events_where_iterations_converge(net):
    with torch.no_grad():
        net.layers[0].core.up.weight *= 0.05
        net.layers[0].adapter.weight *= 0.1
    net.layers[0].iterations = 12
    prompt = events(samples=1, steps=4, channels=6)
    tokens = prompt[:, 0].argmax(-1).tolist()
    plain = generate(net, prompt, 10, temperature=0)[:, 0].argmax(-1).tolist()
    assert generate_by("steps", net, tokens, 10).tokens == plain
    wave = generate_by("parallel", net, tokens, 10, inner=2, widest=8, limit=1e-4)
    assert wave.tokens == plain and wave.passes < 12 * 10


@pytest.mark.parametrize(
    "made",
    [
        lambda: RateNetwork(6, 6, "gru", width=8),
        lambda: RateNetwork(6, 6, "recurrent-depth", width=8, depth=2),
        lambda: RateNetwork(6, 6, "recurrent-depth", width=8, encoder={"norm": "layer"}),
    ],
)
def test_the_wave_is_for_one_recurrent_depth_layer_on_plain_events(made):
    with pytest.raises(ConfigError, match="the parallel sampler"):
        generate_by("parallel", made(), [0], 3)


@pytest.mark.parametrize(
    "arguments",
    [{"steps": 0}, {"temperature": -1}, {"seed": -1}, {"target": "class"}, {"target": "word"}],
)
def test_what_cannot_be_generated_is_refused(net, arguments):
    with pytest.raises(ConfigError):
        generate(net, torch.zeros(1, 1, 6), **{"steps": 3} | arguments)


@pytest.mark.parametrize("shape", [(6,), (0, 1, 6)])
def test_a_prompt_has_steps_samples_and_channels(net, shape):
    with pytest.raises(ShapeError, match="prompt"):
        generate(net, torch.zeros(shape), 3)


def test_a_network_on_classes_does_not_generate():
    with pytest.raises(ShapeError, match="3 outputs for 6 channels"):
        generate(RateNetwork(6, 3, "gru", width=8), torch.zeros(1, 1, 6), 3)


def test_the_class_is_no_next_step():
    with pytest.raises(ConfigError, match="generates nothing"):
        next_of("class")
