"""The unified objective against Bregman divergences, and its special cases against the methods."""

import numpy as np
import pytest
import torch
from small import body, named_copy, precise, stream
from torch.func import grad, vmap

from snnsim.continual import ContinualTrainer, Learner, dense_head, task_recipe
from snnsim.continual.methods.der import DER
from snnsim.continual.methods.ewc import EWC
from snnsim.continual.methods.lwf import LwF
from snnsim.continual.methods.refresh import Refresh
from snnsim.continual.methods.replay import Replay
from snnsim.continual.methods.unified import Unified
from snnsim.errors import ConfigError

CLOSE = {"rel": 1e-12, "abs": 1e-13}
BUFFER = {"size": 30, "batch_size": 12}


def bregman(phi, a, b):
    """``Phi(a) - Phi(b) - <grad Phi(b), a - b>`` for each row."""
    slope = vmap(grad(phi))(b)
    return vmap(phi)(a) - vmap(phi)(b) - (slope * (a - b)).sum(1)


def move(made, seed, size=0.3):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in made.parameters():
            p.add_(size * torch.randn(p.shape, generator=generator, dtype=p.dtype))


def losses_of(method, scenario="class"):
    """Losses and gradients of a method over three tasks whose weights and batches are known."""
    torch.manual_seed(5)
    made = precise(scenario)
    method.attach(made)
    found = []
    for task in range(3):
        method.on_task_start(task)
        method.on_epoch_start(task)
        for step in range(3):
            move(made, 10 * task + step, 0.1)
            batch = made.stream.tasks[task].train.batch(np.arange(12) + 12 * step)
            scores = made.scores(batch.x, task, batch.lengths)
            ce = torch.nn.functional.cross_entropy(scores, batch.target)
            torch.manual_seed(100 + step)  # the same draws
            loss = method.loss(ce, batch, scores, task, np.arange(12) + 12 * step)
            made.zero_grad()
            loss.backward()
            size = sum(float(p.grad.abs().sum()) for p in made.parameters() if p.grad is not None)
            found += [loss.item(), size]
        torch.manual_seed(200 + task)
        method.on_task_end(task)
    return found


def special(name):
    """A method, and the unified objective with its terms only."""
    if name == "ewc":
        return EWC(strength=7.0), Unified((), (), beta=7.0)
    if name == "ewc of every task":
        options = {"online": False, "samples": 9}
        return EWC(strength=7.0, **options), Unified((), (), beta=7.0, **options)
    if name == "der++":
        same = Unified(("scores", "labels"), (0.3, 0.7), beta=0.0, **BUFFER)
        return DER(**BUFFER, alpha=0.3, beta=0.7), same
    if name == "replay":
        return Replay(**BUFFER), Unified(("labels",), (1.0,), beta=0.0, **BUFFER)
    same = Unified(("answers",), (1.5,), beta=0.0, temperature=3.0)
    return LwF(strength=1.5, temperature=3.0), same


@pytest.mark.parametrize("scenario", ["class", "task"])
@pytest.mark.parametrize("name", ["ewc", "ewc of every task", "der++", "replay", "lwf"])
def test_special_cases_have_the_losses_and_gradients_of_the_methods(name, scenario):
    method, same = special(name)
    expected, plain = losses_of(method, scenario), losses_of(Unified((), (), beta=0.0), scenario)
    assert losses_of(same, scenario) == pytest.approx(expected, **CLOSE)
    assert abs(expected[-2] - plain[-2]) > 1e-3  # the term is there to see


def trained(name="class", **options):
    """A learner after a task, whose weights have moved since, with the method attached."""
    torch.manual_seed(5)
    made = precise(name)
    method = Unified(**(BUFFER | options))
    method.attach(made)
    numbers = np.arange(8)
    past = made.stream.tasks[0].train.batch(numbers)
    scores = made.scores(past.x, 0, past.lengths).detach()
    method.on_task_start(0)
    method.loss(scores.new_zeros(()), past, scores, 0, numbers)
    method.on_task_end(0)
    method.on_task_start(1)
    move(made, 6)
    return made, method, past, scores


def entropy(p):
    return (p * p.log()).sum()


def test_output_divergences_are_bregman_divergences():
    made, method, past, then = trained(outputs=("scores", "labels", "answers"), alphas=(1, 1, 1))
    now = made.scores(past.x, 0, past.lengths).detach()
    new = made.stream.tasks[1].train.batch(range(10))
    kept = then.float().double()  # scores are stored in single precision
    squared = bregman(lambda h: h.square().mean(), now, kept).mean()
    found = method.output_divergence("scores", new, 0)
    assert found.item() == pytest.approx(float(squared), **CLOSE)
    truth = torch.eye(2, dtype=torch.float64)[past.target].clamp(1e-300, 1)  # the log of 0 is none
    labels = bregman(entropy, truth, now.softmax(1)).mean()
    replayed = method.output_divergence("labels", new, 0)
    assert replayed.item() == pytest.approx(float(labels), **CLOSE)
    after = made.scores(new.x, 0, new.lengths).detach()
    old = torch.func.functional_call(made, method.teacher.kept, (new.x, 0, new.lengths)).detach()
    soft = bregman(entropy, (old / 2).softmax(1), (after / 2).softmax(1)).mean()
    answers = method.output_divergence("answers", new, 1)
    assert answers.item() == pytest.approx(4 * float(soft), **CLOSE)
    assert min(each.item() for each in (found, replayed, answers)) > 1e-3


@pytest.mark.parametrize("kind", ["fisher", "squared"])
def test_the_parameter_divergence_is_a_bregman_divergence(kind):
    made, method, *_ = trained(outputs=(), alphas=(), parameters=kind, beta=2.0, samples=7)
    expected, kept = 0.0, method.weights.kept
    for name, p in named_copy(made).items():
        f, old = (kept[f"0.{what}.{name}"].reshape(1, -1) for what in ("fisher", "value"))
        if kind == "squared":
            assert bool((f == 1).all())
        psi = lambda theta, f=f: (f[0] * theta.square()).sum() / 2  # noqa: E731
        expected += float(bregman(psi, p.reshape(1, -1), old))
    assert method.parameter_divergence().item() == pytest.approx(expected, **CLOSE)
    assert expected > 1e-6


def test_all_terms_together_are_their_sum():
    one = {"outputs": ("scores", "answers"), "alphas": (0.2, 0.4), "beta": 3.0, "samples": 5}
    made, method, *_ = trained(**one)
    new = made.stream.tasks[1].train.batch(range(6))
    scores = made.scores(new.x, 1, new.lengths)
    torch.manual_seed(1)
    found = method.loss(scores.new_tensor(0.25), new, scores, 1, np.arange(6))
    torch.manual_seed(1)
    made, method, *_ = trained(**one)  # whose buffer has no sample of this batch yet
    torch.manual_seed(1)
    parts = [method.output_divergence(name, new, 1) for name in ("scores", "answers")]
    expected = 0.25 + 0.2 * parts[0] + 0.4 * parts[1] + 3 * method.parameter_divergence()
    assert found.item() == pytest.approx(float(expected), **CLOSE)


def test_der_and_ewc_in_one_run_resume_to_the_same_bits(tmp_path):
    def trainer(out, method):
        torch.manual_seed(2)
        learner = Learner(body(), dense_head(10), stream("class"))
        return ContinualTrainer(learner, method, task_recipe(batch_size=21), out=out)

    def unified():
        return Unified(("scores", "labels", "answers"), (0.5, 0.5, 0.1), beta=10.0, samples=20)

    whole = trainer(tmp_path / "whole", unified())
    whole.run()
    trainer(tmp_path / "parts", unified())._run_task()
    again = trainer(tmp_path / "parts", unified())
    assert again.resume()
    again.run()
    for a, b in zip(whole.learner.parameters(), again.learner.parameters(), strict=True):
        assert torch.equal(a, b)
    sizes = [part.memory_bytes() for part in whole.method.parts.values()]
    assert len(sizes) == 3 and whole.method.memory_bytes() == sum(sizes)


def test_refresh_learning_works_on_it_and_what_is_wrong_is_refused():
    learner = Learner(body(), dense_head(10), stream("task"))
    refreshed = Refresh(inner=Unified(beta=1.0, samples=5))
    ContinualTrainer(learner, refreshed, task_recipe(batch_size=21)).run()
    assert refreshed.rehearses and not Unified((), ()).rehearses
    for outputs, alphas in ((("scores",), ()), (("labels", "labels"), (1, 1))):
        with pytest.raises(ConfigError, match="two lists of the same length"):
            Unified(outputs, alphas)
    with pytest.raises(ConfigError, match="outputs"):
        Unified(("logits",), (1,))
    with pytest.raises(ConfigError, match="alpha of scores is -1"):
        Unified(("scores",), (-1,))
    with pytest.raises(ConfigError, match="parameters"):
        Unified(parameters="kl")
