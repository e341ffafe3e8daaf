"""I-LoRA's pull on hidden states, and its slow weights, against plain sums in double precision."""

import copy

import numpy as np
import pytest
import torch
from small import body, learner, precise, stream

import snnsim as sn
from snnsim.continual import ContinualTrainer, Learner, dense_head, task_recipe
from snnsim.continual.methods.ilora import ILoRA

RANK, SCALE = 3, 6.0


def adapted(pull, scenario="class"):
    """A learner whose fast and slow adapters differ, and the same network without any."""
    torch.manual_seed(5)
    made = precise(scenario)
    plain = copy.deepcopy(made.body)
    method = ILoRA(rank=RANK, scale=SCALE, size=20, batch_size=20, strength=0.7, pull=pull)
    method.attach(made)
    with torch.no_grad():
        for adapter in method.adapters:
            for factor in (adapter.a, adapter.b, adapter.slow_a, adapter.slow_b):
                factor.normal_(0, 0.3)
    return made, method, plain


def hidden_states(plain, factors, x):
    """Mean outputs over time of both layers of neurons, with ``W + (scale / rank) B A``."""
    states = []
    for layer in plain:
        if hasattr(layer, "weight"):
            a, b = factors.pop(0)
            x = x @ (layer.weight + SCALE / RANK * b @ a).t()
        else:
            x, _ = layer(x)
            states.append(x.mean(0))
    return states


def pulled(plain, method, x, layers):
    """``mean over layers of mean (h - max(h, h_slow))^2``."""
    fast = hidden_states(plain, [(each.a, each.b) for each in method.adapters], x)
    slow = hidden_states(plain, [(each.slow_a, each.slow_b) for each in method.adapters], x)
    distances = []
    for h, s in list(zip(fast, slow, strict=True))[-layers:]:
        target = torch.where(s > h, s, h).detach()
        distances.append(((h - target) ** 2).sum() / h.numel())
    return sum(distances) / len(distances)


def in_buffer(made, method):
    numbers = np.array([5, 3, 8, 11])
    past = made.stream.tasks[0].train.batch(numbers)
    method.buffer.add(0, numbers, past.x)
    return past


@pytest.mark.parametrize(("pull", "layers"), [("features", 1), ("hidden", 2)])
def test_the_pull_and_its_gradient_are_those_of_the_equation(pull, layers):
    made, method, plain = adapted(pull)
    past = in_buffer(made, method)
    factors = [p for adapter in method.adapters[:2] for p in (adapter.a, adapter.b)]
    expected, found = pulled(plain, method, past.x, layers), method._pull()
    assert found.item() == pytest.approx(expected.item(), rel=1e-12)
    assert expected.item() > 1e-3
    other = pulled(plain, method, past.x, 3 - layers)
    assert abs(other.item() - expected.item()) > 1e-3  # the option makes a difference
    slopes = torch.autograd.grad(found, factors)
    for slope, wanted in zip(slopes, torch.autograd.grad(expected, factors), strict=True):
        torch.testing.assert_close(slope, wanted, rtol=1e-9, atol=1e-12)


def test_the_loss_has_the_pull():
    made, method, plain = adapted("hidden")
    past = in_buffer(made, method)
    scores = made.scores(past.x, 1, past.lengths)
    replayed = torch.nn.functional.cross_entropy(scores, past.target)
    new = made.stream.tasks[1].train.batch([0])
    found = method.loss(replayed.new_tensor(0.25), new, None, 1, np.array([0]))
    expected = (0.25 + replayed) / 2 + 0.7 * pulled(plain, method, past.x, 2)
    assert found.item() == pytest.approx(expected.item(), rel=1e-12)


def test_states_that_are_larger_than_the_slow_ones_are_not_pulled_down():
    made, method, _ = adapted("hidden")
    in_buffer(made, method)
    with torch.no_grad():  # the slow pair then has no spike at all
        for adapter in method.adapters:
            adapter.slow_a.fill_(1.0)
            adapter.slow_b.fill_(-50.0)
    assert method._pull().item() == 0.0
    assert (
        float(method._states(made.stream.tasks[0].train.batch([5]).x, None)[0].detach().max()) > 0
    )


def test_slow_weights_are_a_sum_over_the_fast_ones_of_all_steps_and_answer_in_evaluation():
    torch.manual_seed(1)
    made = learner("class")
    method = ILoRA(rank=2, size=40, batch_size=10, pull="hidden")
    trainer = ContinualTrainer(made, method, task_recipe(batch_size=21, lr=0.1))
    trainer._run_task()
    fast, follow = [method.adapters[0].b.detach().double()], method.on_step_end

    def step_end(task):
        follow(task)
        fast.append(method.adapters[0].b.detach().double())

    method.on_step_end = step_end
    trainer._run_task()
    keeps = [min(1 - 1 / (step + 1), 0.25) for step in range(1, len(fast))]
    weights = [np.prod(keeps), *((1 - k) * np.prod(keeps[i + 1 :]) for i, k in enumerate(keeps))]
    slow = sum(w * each for w, each in zip(weights, fast, strict=True))
    torch.testing.assert_close(method.adapters[0].slow_b.double(), slow, rtol=1e-4, atol=1e-7)
    assert float((slow - fast[-1]).abs().max()) > 1e-5
    x = made.stream.tasks[0].test.batch(range(9)).x
    answers = made.eval().scores(x, 1)
    for adapter in method.adapters:
        adapter.a.data.zero_()  # not in use
    assert torch.equal(made.scores(x, 1), answers)


@pytest.mark.parametrize("ends_in_neurons", [True, False])
def test_states_are_those_of_all_neurons_and_the_features_once(ends_in_neurons):
    torch.manual_seed(0)
    layers = [*body("recurrent"), *([] if ends_in_neurons else [sn.Dense(10, 10)])]
    made = Learner(sn.Sequential(*layers), dense_head(10), stream("class"))
    method = ILoRA(rank=2, size=40, batch_size=10, pull="hidden")
    ContinualTrainer(made, method, task_recipe(batch_size=21)).run()
    states = method._states(stream("class").tasks[0].train.batch(range(3)).x, None)
    assert [tuple(s.shape) for s in states] == [(3, 10)] * (1 if ends_in_neurons else 2)
