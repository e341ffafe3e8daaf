"""A normalisation that the user froze stays frozen: no look at a network thaws it, no training
moves it, and every module's mode comes back, also where a look breaks off."""

import pytest
import torch
from small import CHANNELS, blobs, lif, stream

import snnsim as sn
from snnsim.baselines.size import cost_of
from snnsim.continual import ContinualTrainer, Learner, dense_head, methods, task_recipe
from snnsim.training import Recipe, Trainer
from snnsim.training.evaluate import evaluate, predict
from snnsim.training.latency import accuracy_over_time

DATA = blobs(24, 3)
NAMES = methods.names()


class OfTorch(torch.nn.Module):
    """A normalisation of torch, over all steps."""

    def __init__(self, n):
        super().__init__()
        self.inner = torch.nn.BatchNorm1d(n)

    def forward(self, x):
        return self.inner(x.flatten(0, 1)).view_as(x)


NORMS = {"ours": sn.BatchNorm, "torch": OfTorch}


def net(norm="ours"):
    torch.manual_seed(0)
    layers = [sn.Dense(CHANNELS, 10), NORMS[norm](10), lif(10), sn.Dropout(0.2), sn.Dense(10, 6)]
    return sn.Sequential(*layers, sn.LI(6, dt=1.0))


def learner(norm="ours", scenario="class"):
    torch.manual_seed(0)
    layers = [sn.Dense(CHANNELS, 10), NORMS[norm](10), lif(10), sn.Dense(10, 10), lif(10)]
    return Learner(sn.Sequential(*layers), dense_head(10), stream(scenario))


def draw(network):
    pytest.importorskip("matplotlib")
    from snnsim.plotting import figures

    figures.raster(network, DATA.batch(range(2)).x, 1.0)


def information(made):
    method = methods.get("ewc")(samples=3)
    method.attach(made)
    method.fisher(0)


LOOKS = {
    "evaluate": lambda n: evaluate(n, DATA, batch_size=10),
    "predict": lambda n: predict(n, DATA.batch(range(5)).x, "sum_softmax"),
    "accuracy over time": lambda n: accuracy_over_time(n, DATA, every=2),
    "raster": draw,
    "cost": lambda n: cost_of(n, CHANNELS, 6),
}
LEARNER_LOOKS = {
    "correct": lambda made: made.correct(made.stream.tasks[0].test, 0),
    "accuracy": lambda made: made.accuracy(0, 1),
    "fisher": information,
}


def frozen(made):
    """Freezes the normalisation, as a user does: the whole in training, one part not."""
    made.train()
    for module in made.modules():
        if isinstance(module, tuple(NORMS.values())):
            module.eval()
    return next(m for m in made.modules() if hasattr(m, "running_mean"))


def modes(made):
    return {name: module.training for name, module in made.named_modules()}


def statistics(norm):
    return [b.clone() for b in norm.buffers()]


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("look", [*LOOKS, *LEARNER_LOOKS])
def test_a_look_leaves_a_frozen_normalisation_frozen(look, norm):
    made = net(norm) if look in LOOKS else learner(norm)
    layer = frozen(made)
    before, values = modes(made), statistics(layer)
    (LOOKS | LEARNER_LOOKS)[look](made)
    assert modes(made) == before
    assert same(statistics(layer), values)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("look", [*LOOKS, *LEARNER_LOOKS])
def test_every_modules_mode_comes_back_after_a_look(look, seed):
    made = net() if look in LOOKS else learner()
    generator = torch.Generator().manual_seed(seed)
    for module in made.modules():
        module.training = bool(torch.rand((), generator=generator) < 0.5)
    before = modes(made)
    (LOOKS | LEARNER_LOOKS)[look](made)
    assert modes(made) == before


class Broken(torch.nn.Module):
    def forward(self, x):
        if not self.training:
            raise KeyboardInterrupt
        return x


@pytest.mark.parametrize("look", [*LOOKS, *LEARNER_LOOKS])
def test_every_modules_mode_comes_back_where_a_look_breaks_off(look):
    torch.manual_seed(0)
    if look in LOOKS:
        made = sn.Sequential(sn.Dense(CHANNELS, 6), sn.BatchNorm(6), Broken(), sn.LI(6, dt=1.0))
    else:
        body = sn.Sequential(sn.Dense(CHANNELS, 10), sn.BatchNorm(10), Broken(), lif(10))
        made = Learner(body, dense_head(10), stream("class"))
    frozen(made)
    before = modes(made)
    with pytest.raises(KeyboardInterrupt):
        (LOOKS | LEARNER_LOOKS)[look](made)
    assert modes(made) == before


@pytest.mark.parametrize("norm", NORMS)
def test_training_of_one_task_leaves_a_frozen_normalisation_alone(norm, tmp_path):
    made = net(norm)
    layer = frozen(made)
    before, values, weight = modes(made), statistics(layer), layer.weight.detach().clone()
    recipe = Recipe(epochs=2, batch_size=12, schedule="constant")
    Trainer(made, DATA, DATA, recipe, out=tmp_path).run()
    assert same(statistics(layer), values)
    assert not torch.equal(layer.weight, weight)  # its scale is a parameter as any other
    assert modes(made) == before


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("norm", NORMS)
def test_training_on_a_stream_leaves_a_frozen_normalisation_alone(name, norm):
    made = learner(norm, "task" if name == "hypernetwork" else "class")
    layer = frozen(made)
    values = statistics(layer)
    trainer = ContinualTrainer(
        made, methods.get(name)(), task_recipe(epochs=2, batch_size=42, lr=0.1)
    )
    for _ in range(2):
        trainer._run_task()
        assert same(statistics(layer), values)
        assert not layer.training


def test_a_network_left_in_evaluation_is_trained_as_a_whole():
    made = net()
    layer = next(m for m in made.modules() if hasattr(m, "running_mean"))
    values = statistics(layer)
    made.eval()
    Trainer(made, DATA, DATA, Recipe(epochs=1, batch_size=12)).run()
    assert not same(statistics(layer), values)


def test_a_normalisation_that_nobody_froze_still_learns_its_statistics():
    made = learner()
    layer = next(m for m in made.modules() if hasattr(m, "running_mean"))
    values = statistics(layer)
    ContinualTrainer(made, methods.get("fine-tuning")(), task_recipe(batch_size=42))._run_task()
    assert layer.training and not same(statistics(layer), values)
