"""What a stream's trainer shares with that of one task: kernels that narrow, layers' own losses,
and no decay of what is no weight; and that methods protect delays as well."""

import numpy as np
import pytest
import torch
from loop_cases import step
from small import CHANNELS, lif, name_of, stream

import snnsim as sn
from snnsim.continual import ContinualTrainer, Learner, dense_head, methods, task_recipe
from snnsim.continual.methods.ewc import EWC
from snnsim.continual.methods.fine_tuning import FineTuning
from snnsim.layer import Layer, add_auxiliary_loss
from snnsim.synapses import Delayed
from snnsim.training import Recipe
from snnsim.training.optimizers import Optimizers

GRANULARITIES = ("synaptic", "axonal", "dendritic")
SIGMA_END = Recipe().sigma_end


def delayed(granularity="axonal", **options):
    defaults = {"dt": 1.0, "max_delay_ms": 8.0, "kernel_count": 2}
    return Delayed(CHANNELS, 10, granularity=granularity, **(defaults | options))


def made_of(*layers, scenario="class", **options):
    return Learner(sn.Sequential(*layers), dense_head(10), stream(scenario), **options)


def trainer_of(made, method=None, **recipe):
    defaults = {"epochs": 1, "batch_size": 21, "lr": 0.1}
    return ContinualTrainer(made, method or FineTuning(), task_recipe(**(defaults | recipe)))


# --- the width of kernels ---


class Widths(FineTuning):
    """Notes the widths and modes of the kernels at every step."""

    def __init__(self):
        self.seen = {}

    def on_step_start(self, task, step, steps):
        widths = [float(m.sigma) for m in self.learner.modules() if isinstance(m, Delayed)]
        self.seen.setdefault(task, []).append(widths)


@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_kernels_are_as_wide_as_evaluation_has_them_when_a_task_ends(granularity):
    torch.manual_seed(0)
    made = made_of(delayed(granularity), lif(10))
    trainer = trainer_of(made, epochs=8)
    for _ in range(2):
        trainer._run_task()
        assert float(made.body[0].sigma) == pytest.approx(SIGMA_END, rel=1e-6)


@pytest.mark.parametrize("epochs", [8, 20, 50])
def test_kernels_narrow_over_a_task_as_in_the_training_of_one_task(epochs):
    torch.manual_seed(0)
    made = made_of(delayed(), lif(10), Delayed(10, 10, dt=1.0, max_delay_ms=4.0), lif(10))
    twin = sn.Sequential(delayed(), lif(10), Delayed(10, 10, dt=1.0, max_delay_ms=4.0), lif(10))
    optimizers, expected = Optimizers(twin, Recipe(epochs=epochs)), []
    for epoch in range(epochs):
        optimizers.start_epoch(epoch)
        expected.append([float(c.sigma) for c in optimizers.connections])
    method = Widths()
    trainer_of(made, method, epochs=epochs, batch_size=42)._run_task()  # a step per epoch
    np.testing.assert_allclose(method.seen[0], expected, rtol=1e-6)
    assert expected[0] == [4.0, 2.0]


def test_a_width_that_is_learnt_or_has_no_meaning_is_left_alone():
    torch.manual_seed(0)
    layers = (delayed(learn_sigma=True, sigma=3.0), lif(10))
    made = made_of(*layers, Delayed(10, 10, dt=1.0, max_delay_ms=4.0, learn_delay=False), lif(10))
    trainer_of(made, epochs=8, lr=1e-9)._run_task()
    assert float(made.body[0].sigma.detach()) == pytest.approx(3.0, abs=1e-3)
    assert float(made.body[2].sigma) == 0.0


def test_widths_go_on_after_a_resumption(tmp_path):
    class Stop(Exception):
        pass

    def start(out):
        torch.manual_seed(0)
        made = made_of(delayed(), lif(10))
        recipe = task_recipe(epochs=12, batch_size=42)
        return ContinualTrainer(made, Widths(), recipe, out=out)

    whole = start(None)
    whole._run_task()
    broken = start(tmp_path)

    def stop(task, step, steps):
        if step == 2:
            raise Stop
        Widths.on_step_start(broken.method, task, step, steps)

    broken.method.on_step_start = stop
    with pytest.raises(Stop):
        broken._run_task()
    again = start(tmp_path)
    assert again.resume()
    again._run_task()
    assert broken.method.seen[0] + again.method.seen[0] == whole.method.seen[0]
    assert len(set(map(tuple, whole.method.seen[0]))) > 2  # they do change


# --- layers' own losses ---


class Costly(Layer):
    """Passes everything on, for a cost of its own."""

    def __init__(self, size=3.0):
        super().__init__()
        self.level = torch.nn.Parameter(torch.tensor(size))

    def forward(self, x, state=None):
        add_auxiliary_loss("level", self.level.square())
        return x, state


@pytest.mark.parametrize("name", ["fine-tuning", "ewc", "si", "hlop", "lwf"])
def test_a_layers_own_loss_is_trained_in_every_step(name):
    torch.manual_seed(0)
    made = made_of(sn.Dense(CHANNELS, 10), Costly(), lif(10))
    trainer_of(made, methods.get(name)(), epochs=4)._run_task()  # 8 steps
    assert float(made.body[1].level.detach()) == pytest.approx(3 * 0.8**8, rel=1e-5)


def test_a_layers_own_loss_counts_in_the_loss_that_is_reported():
    losses = []
    for size in (0.0, 3.0):
        torch.manual_seed(0)
        trainer = trainer_of(made_of(sn.Dense(CHANNELS, 10), Costly(size), lif(10)), lr=1e-6)
        trainer._ready()
        losses.append(step(trainer, trainer.stream.tasks[0].train, np.arange(21)))
    assert losses[1] - losses[0] == pytest.approx(9.0, rel=1e-5)


def test_the_ponder_cost_of_a_rate_coded_model_reaches_its_parameters():
    def gradients(ponder):
        torch.manual_seed(0)
        net = sn.baselines.RateNetwork(CHANNELS, 0, "universal", width=8)
        costs = [m for m in net.modules() if isinstance(getattr(m, "ponder", None), float)]
        assert costs
        for module in costs:
            module.ponder = ponder
        made = Learner(sn.Sequential(net), dense_head(8), stream("class"))
        trainer = trainer_of(made, lr=1e-9)
        trainer._ready()
        step(trainer, trainer.stream.tasks[0].train, np.arange(21))
        return {n: p.grad for n, p in made.named_parameters() if p.grad is not None}

    without, with_cost = gradients(0.0), gradients(10.0)
    moved = [n for n, g in with_cost.items() if not torch.equal(g, without.get(n, 0 * g))]
    assert moved


# --- weight decay ---


class Kinds(torch.nn.Module):
    """One of every kind of parameter; nothing is computed."""

    def __init__(self):
        super().__init__()
        self.dense, self.gru = sn.Dense(4, 4, bias=True), torch.nn.GRU(4, 4)
        self.delayed = delayed(learn_sigma=True)
        self.recurrent = sn.Recurrent(sn.PLIF(4, dt=1.0))
        per_neuron = sn.Tau(20.0, learnable=True, per_neuron=True)
        threshold = sn.Parameter(1.0, learnable=True, per_neuron=True, low=0.1)
        self.others = torch.nn.ModuleList(
            [
                sn.BatchNorm(4),
                torch.nn.LayerNorm(4),
                torch.nn.GroupNorm(2, 4),
                torch.nn.BatchNorm1d(4),
                sn.LIF(4, dt=1.0, tau_mem=per_neuron, v_threshold=threshold),
                sn.PLIF(4, dt=1.0),
            ]
        )
        with torch.no_grad():
            for p in self.parameters():
                p.add_(1.0)  # so that decay would show
        self.delayed.clamp_()


DECAYED = {
    "dense.weight",
    "gru.weight_ih_l0",
    "gru.weight_hh_l0",
    "delayed.weight",
    "recurrent.w_rec",
}


def moved_without_gradient(net, step):
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    for p in net.parameters():
        p.grad = torch.zeros_like(p)
    step()
    return {name for name, p in net.named_parameters() if not torch.equal(p, before[name])}


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_streams_weight_decay_reaches_weights_alone(optimizer):
    torch.manual_seed(0)
    made = made_of(sn.Dense(CHANNELS, 10), lif(10))
    trainer = trainer_of(made, optimizer=optimizer, weight_decay=0.1)
    made.kinds = Kinds()
    found = moved_without_gradient(made.kinds, trainer._ready().step)
    assert found == DECAYED


def test_weight_decay_in_one_task_reaches_weights_alone():
    torch.manual_seed(0)
    net = Kinds()
    optimizers = Optimizers(net, Recipe(weight_decay=0.1))
    optimizers.start_epoch(10)
    found = moved_without_gradient(net, optimizers.step)
    assert found == DECAYED


# --- methods that protect weights protect delays ---


def wide(granularity):
    torch.manual_seed(0)
    return made_of(delayed(granularity), lif(10), sn.Dense(10, 10), lif(10))


def delay_fisher(made, granularity, samples):
    """Mean squared gradient of the kernels as they are trained, sample by sample."""
    data, delay = made.stream.tasks[0].train, made.body[0].delay
    total = torch.zeros_like(delay)
    for number in torch.randperm(len(data))[:samples].tolist():
        batch = data.batch([number])
        scores = made.scores(batch.x, 0, batch.lengths)
        label = torch.multinomial(scores.detach().softmax(1), 1)[:, 0]
        loss = torch.nn.functional.cross_entropy(scores, label)
        total += torch.autograd.grad(loss, delay)[0] ** 2 / samples
    return total


@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_delays_have_the_fisher_information_of_the_kernels_they_are_trained_with(granularity):
    made = wide(granularity)
    with torch.no_grad():
        made.heads[0].weight.mul_(100)
        made.body[0].weight.mul_(3)
    method = EWC(samples=42)
    method.attach(made)
    torch.manual_seed(4)
    found = method.fisher(0)[name_of(made, made.body[0].delay)]
    torch.manual_seed(4)
    expected = delay_fisher(made, granularity, 42)
    assert float(expected.mean()) > 0
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("name", ["ewc", "refresh"])
def test_delays_are_known_to_matter_after_a_task(name):
    trainer = trainer_of(wide("axonal"), methods.get(name)(), epochs=2)
    trainer._run_task()
    kept = getattr(trainer.method, "information", trainer.method).kept
    delay = name_of(trainer.learner, trainer.learner.body[0].delay)
    fisher = kept[f"0.fisher.{delay}"]
    assert float((fisher > 0).double().mean()) > 0.5


@pytest.mark.parametrize("name", ["ewc", "refresh"])
def test_information_is_taken_without_moving_statistics_or_modes(name):
    torch.manual_seed(0)
    made = made_of(delayed(), sn.BatchNorm(10), sn.Dropout(0.5), lif(10))
    method = methods.get(name)()
    method.attach(made)
    made.train()
    made.body[1].eval()
    buffers = [b.clone() for b in made.buffers()]
    modes = [m.training for m in made.modules()]
    getattr(method, "information", method).on_task_end(0)
    assert [m.training for m in made.modules()] == modes
    assert all(torch.equal(a, b) for a, b in zip(buffers, made.buffers(), strict=True))


def test_strong_consolidation_keeps_delays_where_they_mattered():
    def moved(strength):
        made = wide("axonal")
        with torch.no_grad():
            made.heads[0].weight.mul_(100)
            made.body[0].weight.mul_(3)
        method = EWC(strength=strength, samples=42)
        trainer = trainer_of(made, method, epochs=15, lr=0.01, lr_delay=0.02, optimizer="adam")
        trainer._run_task()
        before = made.body[0].delay.detach().clone()
        trainer._run_task()
        return float((made.body[0].delay.detach() - before).abs().mean())

    free, held = moved(0.0), moved(1e6)
    assert free > 0.1
    assert held < 0.3 * free
