"""Methods against what their equations say, computed another way."""

import pytest
import torch
from small import learner, precise
from torch.nn import functional

from snnsim.continual import ContinualTrainer, methods, task_recipe
from snnsim.continual.buffer import Buffer
from snnsim.continual.methods.der import DER
from snnsim.continual.methods.ewc import EWC
from snnsim.continual.methods.hypernetwork import Hypernetwork
from snnsim.continual.methods.ilora import ILoRA
from snnsim.continual.methods.lwf import LwF
from snnsim.continual.methods.refresh import Refresh
from snnsim.continual.methods.si import SI
from snnsim.errors import ConfigError

RECIPE = task_recipe(epochs=1, batch_size=21, lr=0.1)


def after_first_task(method, scenario="class"):
    torch.manual_seed(2)
    trainer = ContinualTrainer(learner(scenario), method, RECIPE)
    trainer._run_task()
    data = trainer.stream.tasks[1].train
    batch = data.batch(range(20))
    scores = trainer.learner.scores(batch.x, 1)
    return trainer, batch, scores, functional.cross_entropy(scores, batch.labels)


def test_ewc_is_the_quadratic_penalty_of_every_past_task():
    method = EWC(strength=7.0, online=False, samples=10)
    trainer, batch, scores, ce = after_first_task(method)
    trainer.position = type(trainer.position)(task=1)
    trainer._run_task()
    named = dict(trainer.learner.named_parameters())
    expected = 0.0
    for k in (0, 1):
        for name, parameter in named.items():
            fisher, value = method.kept[f"{k}.fisher.{name}"], method.kept[f"{k}.value.{name}"]
            assert (fisher >= 0).all()
            expected = expected + 3.5 * (fisher * (parameter - value) ** 2).sum()
    found = method.loss(0 * ce, batch, scores, 2, range(20)).item()
    assert found == pytest.approx(expected.item(), rel=1e-5)
    assert found > 0


def test_fisher_information_is_the_mean_squared_gradient_of_single_samples():
    method = EWC(samples=42)
    trainer, *_ = after_first_task(method)
    torch.manual_seed(9)
    found = method.fisher(0)
    torch.manual_seed(9)
    data = trainer.stream.tasks[0].train
    order = torch.randperm(len(data))[:42].tolist()
    trainer.learner.eval()
    total = {}
    for number in order:
        trainer.learner.zero_grad()
        batch = data.batch([number])
        scores = trainer.learner.scores(batch.x, 0)
        label = torch.multinomial(scores.detach().softmax(1), 1)[:, 0]
        functional.nll_loss(scores.log_softmax(1), label).backward()
        for name, parameter in trainer.learner.named_parameters():
            total[name] = total.get(name, 0) + parameter.grad**2 / len(order)
    for name, information in found.items():
        torch.testing.assert_close(information, total[name], rtol=1e-4, atol=1e-12)


def test_der_is_distance_to_what_was_said_plus_replayed_cross_entropy():
    method = DER(size=12, batch_size=12, alpha=0.3, beta=0.6)
    trainer, batch, scores, ce = after_first_task(method)
    buffer = method.buffer
    numbers, kept = buffer.numbers.clone(), buffer.scores.clone()
    data = trainer.stream.tasks[0].train
    past = data.batch(numbers.numpy())  # the whole buffer, so draws do not matter
    now = trainer.learner.scores(past.x, 1)
    distance = (now[:, :2] - kept[:, :2]).square().mean()
    expected = ce + 0.3 * distance + 0.6 * functional.cross_entropy(now, past.labels)
    found = method.loss(ce, batch, scores, 1, torch.arange(20).numpy())
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)


def test_si_adds_up_what_each_weight_has_saved():
    method = SI(strength=2.0, damping=0.05)
    torch.manual_seed(2)
    trainer = ContinualTrainer(learner("class"), method, RECIPE)
    saved = {n: torch.zeros_like(p) for n, p in trainer.learner.named_parameters()}
    start = {n: p.detach().clone() for n, p in trainer.learner.named_parameters()}
    original = method.on_step_end

    def spy(task):
        for name, parameter in trainer.learner.named_parameters():
            saved[name] += RECIPE.lr * parameter.grad**2  # plain SGD: -g * (-lr g)
        original(task)

    method.on_step_end = spy
    trainer._run_task()
    for name, parameter in trainer.learner.named_parameters():
        expected = saved[name] / ((parameter.detach() - start[name]) ** 2 + 0.05)
        kept = method.kept[f"importance.{name}"]
        torch.testing.assert_close(kept, expected, rtol=1e-3, atol=1e-9)


def test_lwf_is_nothing_as_long_as_the_network_says_what_it_said():
    method, made = LwF(strength=3.0), precise("class")
    method.attach(made)
    method.on_task_start(1)
    batch = made.stream.tasks[1].train.batch(range(20))
    none = torch.zeros((), dtype=torch.float64)
    assert float(method.loss(none, batch, None, 1, range(20)).detach()) < 1e-14
    torch.manual_seed(2)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.5 * torch.randn_like(parameter))
    assert float(method.loss(none, batch, None, 1, range(20)).detach()) > 0.005


def test_refresh_unlearns_by_its_size_and_raises_the_loss():
    method = Refresh(size=0.05, noise=0.0)
    trainer, batch, _, ce = after_first_task(method)
    before = {n: p.detach().clone() for n, p in trainer.learner.named_parameters()}
    fisher = method.information.kept
    method.on_batch(batch, 1)
    after = functional.cross_entropy(trainer.learner.scores(batch.x, 1), batch.labels)
    assert float(after) > float(ce)
    for name, parameter in trainer.learner.named_parameters():
        moved = float((parameter - before[name]).norm() / before[name].norm())
        assert moved == pytest.approx(0.05, rel=0.02)  # less by 1 + 0.001 F
        assert f"0.fisher.{name}" in fisher


@pytest.mark.parametrize("on", ["ewc", "hlop", "replay"])
def test_refresh_goes_on_any_method(on):
    trainer, *_ = after_first_task(Refresh(on=on), "task")
    trainer._run_task()
    assert type(trainer.method.inner) is methods.get(on)
    assert trainer.method.memory_bytes() > 0


def test_slow_adapters_are_the_closed_form_average_of_the_fast_ones():
    method = ILoRA(rank=3, max_keep=0.9)
    trainer, *_ = after_first_task(method)
    adapter = method.adapters[0]
    first = adapter.slow_b.clone()
    fast = []
    original = method.on_step_end

    def spy(task):
        fast.append(adapter.b.detach().clone())
        original(task)

    method.on_step_end = spy
    trainer._run_task()
    keeps = [min(1 - 1 / (step + 1), 0.9) for step in range(1, len(fast) + 1)]
    expected, weight = torch.zeros_like(first), 1.0
    for keep, value in zip(reversed(keeps), reversed(fast), strict=True):
        expected += weight * (1 - keep) * value
        weight *= keep
    expected += weight * first
    assert len(fast) > 1 and float(adapter.b.abs().max()) > 1e-3
    assert (adapter.slow_b - expected).abs().max() < 1e-6


def test_adapters_leave_the_weights_of_the_first_task_alone():
    method = ILoRA()
    trainer, *_ = after_first_task(method)
    connections = [m for m in trainer.learner.modules() if hasattr(m, "parametrizations")]
    before = [m.parametrizations.weight.original.detach().clone() for m in connections]
    trainer._run_task()
    for module, weight in zip(connections, before, strict=True):
        assert torch.equal(module.parametrizations.weight.original, weight)
        assert not torch.equal(module.weight, weight)


def test_a_reservoir_holds_every_sample_with_equal_probability():
    torch.manual_seed(0)
    made = learner("class")
    x = made.stream.tasks[0].train.batch([0]).x
    counts = torch.zeros(40)
    for _ in range(600):
        buffer = Buffer(10, made)
        for first in range(0, 40, 8):
            numbers = torch.arange(first, first + 8).numpy()
            buffer.add(0, numbers, x.expand(-1, 8, -1))
        counts[buffer.numbers] += 1
    share = counts / 600
    assert len(buffer) == 10
    assert (share - 0.25).abs().max() < 0.08  # four and a half standard deviations


def test_a_hypernetwork_holds_the_weights_of_earlier_tasks():
    drifts = []
    for strength in (0.0, 10.0):
        torch.manual_seed(2)
        method = Hypernetwork(strength=strength, chunk=64, hidden=8, embedding=4)
        recipe = task_recipe(epochs=6, batch_size=21, lr=0.01, optimizer="adam")
        trainer = ContinualTrainer(learner("task"), method, recipe)
        trainer._run_task()
        held = {name: w.detach() for name, w in method.generator(0).items()}
        other = trainer.learner.stream.tasks[1].train
        trainer._run_task()
        drifts.append(method.drift(0, held).item())
        right = trainer.learner.correct(other, 1) / len(other)
        assert right > 0.7
    assert drifts[1] < 0.2 * drifts[0]
    with pytest.raises(ConfigError, match="not known at test time"):
        ContinualTrainer(learner("class"), Hypernetwork(), RECIPE)
