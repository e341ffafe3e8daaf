"""I-LoRA's slow weights and the hypernetwork's normalisation against closed forms."""

import copy

import numpy as np
import pytest
import torch
from small import learner, precise

from snnsim.continual import ContinualTrainer, task_recipe
from snnsim.continual.methods.hypernetwork import Generator, Hypernetwork
from snnsim.continual.methods.ilora import ILoRA

EXACT = {"rtol": 1e-9, "atol": 1e-12}
ZERO = torch.zeros((), dtype=torch.float64)


def adapted(scenario="class", **options):
    """A learner with adapters of two different pairs, its method, and a copy from before."""
    torch.manual_seed(5)
    made = precise(scenario)
    plain = copy.deepcopy(made)
    method = ILoRA(**({"rank": 3, "scale": 6.0, "size": 20, "batch_size": 20} | options))
    method.attach(made)
    with torch.no_grad():
        for adapter in method.adapters:
            for pair in (adapter.a, adapter.b, adapter.slow_a, adapter.slow_b):
                pair.normal_(0, 0.3)
    return made, method, plain


def with_adapters(plain, method, pair):
    """The plain network with ``W + (6 / rank) B A`` of the fast or the slow pair."""
    found = copy.deepcopy(plain)
    owners = [found.body[0], found.body[2], found.heads[0]][: len(method.adapters)]
    with torch.no_grad():
        for owner, adapter in zip(owners, method.adapters, strict=True):
            a, b = (adapter.a, adapter.b) if pair == "fast" else (adapter.slow_a, adapter.slow_b)
            rank = min(3, *owner.weight.shape)
            owner.weight.add_(6 / rank * b @ a)
    return found


def scores(made, task=1):
    batch = made.stream.tasks[task].train.batch(range(12))
    with torch.no_grad():
        return made.scores(batch.x, task, batch.lengths)


@pytest.mark.parametrize(("training", "pair"), [(True, "fast"), (False, "slow")])
def test_evaluation_uses_the_slow_adapters_and_training_the_fast_ones(training, pair):
    made, method, plain = adapted()
    made.train(training)
    expected = scores(with_adapters(plain, method, pair))
    torch.testing.assert_close(scores(made), expected, rtol=1e-6, atol=1e-9)
    other = scores(with_adapters(plain, method, "slow" if pair == "fast" else "fast"))
    assert float((expected - other).abs().max()) > 1e-3


def test_accuracy_is_that_of_the_slow_adapters():
    made, method, plain = adapted()
    slow = with_adapters(plain, method, "slow")
    fast = with_adapters(plain, method, "fast")
    data = made.stream.tasks[1].train
    assert made.correct(data, 1) == slow.correct(data, 1) != fast.correct(data, 1)


def test_both_slow_factors_follow_at_a_rate_that_counts_steps_over_tasks():
    _, method, _ = adapted(max_keep=0.8)
    kept = [(x.slow_a.clone(), x.slow_b.clone()) for x in method.adapters]
    step = 0
    for task in (0, 0, 1, 1, 1, 2, 2, 2, 2):
        with torch.no_grad():
            for i, x in enumerate(method.adapters):
                x.a.add_(0.1 * (i + 1))
                x.b.mul_(1.1)
        method.on_step_end(task)
        if task > 0:
            step += 1
            keep = min(1 - 1 / (step + 1), 0.8)
            kept = [
                (keep * a + (1 - keep) * x.a.detach(), keep * b + (1 - keep) * x.b.detach())
                for (a, b), x in zip(kept, method.adapters, strict=True)
            ]
        for (a, b), x in zip(kept, method.adapters, strict=True):
            torch.testing.assert_close(x.slow_a, a, **EXACT)
            torch.testing.assert_close(x.slow_b, b, **EXACT)
    assert step == 7 and keep == 0.8  # the bound was met


def test_adapters_begin_at_the_network_as_it_is():
    torch.manual_seed(5)
    made = precise("class")
    before = scores(made)
    ILoRA(rank=3).attach(made)
    assert torch.equal(scores(made), before)
    assert torch.equal(scores(made.eval()), before)


def test_the_loss_is_the_mean_of_new_and_replayed_and_a_pull_where_slow_features_are_larger():
    made, method, plain = adapted(strength=0.7)
    numbers = np.array([5, 3, 8, 11])
    past = made.stream.tasks[0].train.batch(numbers)
    method.buffer.add(0, numbers, past.x)
    slow, fast = (with_adapters(plain, method, pair) for pair in ("slow", "fast"))
    h_slow, h = (net.body(past.x)[0].mean(0) for net in (slow, fast))
    pull = (h_slow - h).clamp(min=0).square().mean()
    chance = fast.scores(past.x, 1, past.lengths).log_softmax(1)
    replayed = -chance[torch.arange(4), past.labels].mean()
    assert min(float(pull), float(replayed)) > 1e-3
    new = made.stream.tasks[1].train.batch([0])
    found = method.loss(ZERO + 0.25, new, None, 1, np.array([0]))
    expected = (0.25 + replayed) / 2 + 0.7 * pull
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)


def test_the_pull_moves_the_fast_adapters_alone_and_leaves_them_in_use():
    made, method, plain = adapted(strength=0.7)
    numbers = np.array([5, 3, 8, 11])
    past = made.stream.tasks[0].train.batch(numbers)
    method.buffer.add(0, numbers, past.x)
    pairs = [p for adapter in method.adapters[:2] for p in (adapter.a, adapter.b)]
    found = torch.autograd.grad(method._pull(), pairs)
    assert all(adapter.training for adapter in method.adapters)
    assert not any(adapter.slow_a.requires_grad for adapter in method.adapters)
    h_slow = with_adapters(plain, method, "slow").body(past.x)[0].mean(0).detach()
    h = made.body(past.x)[0].mean(0)
    expected = torch.autograd.grad((h_slow - h).clamp(min=0).square().mean(), pairs)
    for g, e in zip(found, expected, strict=True):
        torch.testing.assert_close(g, e, **EXACT)
        assert float(e.abs().max()) > 1e-6


# --- the hypernetwork ---


def targets():
    generator = torch.Generator().manual_seed(6)
    spreads = {"small": (0.01, (7, 5)), "large": (3.0, (4, 30)), "single": (0.5, (3, 2, 2))}
    return {
        name: spread * torch.randn(shape, generator=generator, dtype=torch.float64)
        for name, (spread, shape) in spreads.items()
    }


@pytest.mark.parametrize("chunk", [4, 64])
def test_generated_weights_begin_with_the_spread_of_those_they_replace(chunk):
    torch.manual_seed(7)
    wanted = targets()
    made = Generator(wanted, tasks=3, embedding=4, hidden=8, chunk=chunk)
    for name, weight in made(0).items():
        assert weight.shape == wanted[name].shape
        assert float(weight.std()) == pytest.approx(float(wanted[name].std()), rel=1e-5)
    assert not torch.equal(made(0)["large"], made(1)["large"])


def test_each_weight_of_the_body_is_generated_at_its_own_spread():
    torch.manual_seed(7)
    made = learner("task", "recurrent")
    spreads = {n: float(p.std()) for n, p in made.body.named_parameters() if p.dim() > 1}
    Hypernetwork(chunk=16).attach(made)
    generated = made.generate(0)
    assert generated.keys() == spreads.keys()
    for name, weight in generated.items():
        assert float(weight.std()) == pytest.approx(spreads[name], rel=1e-5)


def test_the_penalty_is_the_mean_over_earlier_tasks_of_summed_squares():
    torch.manual_seed(8)
    method = Hypernetwork(strength=0.4, chunk=16, hidden=6, embedding=3)
    made = precise("task")
    method.attach(made)
    method.on_task_start(2)
    method.on_epoch_start(2)
    held = [
        {name: w.detach().clone() for name, w in method.generator(task).items()} for task in (0, 1)
    ]
    with torch.no_grad():
        for p in method.generator.parameters():
            p.add_(0.1 * torch.randn_like(p))
    batch = made.stream.tasks[2].train.batch([0])
    found = method.loss(ZERO + 0.25, batch, None, 2, np.array([0]))
    squares = [
        sum(
            float(((w - held[task][name]) ** 2).sum()) for name, w in method.generator(task).items()
        )
        for task in (0, 1)
    ]
    assert min(squares) > 1e-3
    assert found.item() == pytest.approx(0.25 + 0.4 / 2 * sum(squares), rel=1e-9)


def test_what_is_held_are_the_weights_from_before_the_task_in_every_epoch():
    torch.manual_seed(8)
    method = Hypernetwork(strength=0.4, chunk=16, hidden=6, embedding=3)
    trainer = ContinualTrainer(learner("task"), method, task_recipe(epochs=2, batch_size=21))
    trainer._run_task()
    before = {name: w.detach().clone() for name, w in method.generator(0).items()}
    trainer._run_task()
    assert [set(each) for each in method.held] == [set(before)]
    for name, weight in before.items():
        torch.testing.assert_close(method.held[0][name], weight, rtol=1e-5, atol=1e-7)
    moved = [float((w - before[name]).abs().max()) for name, w in method.generator(0).items()]
    assert max(moved) > 1e-3
