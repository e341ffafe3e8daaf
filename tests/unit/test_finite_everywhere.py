"""Numbers that are not finite are neither saved, nor loaded, nor taken as input."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import small
import torch
from small_training import CHANNELS, VALIDATION, Tiny, changed, network, trainer

import snnsim as sn
from snnsim.continual import ContinualTrainer, ContinualWatcher, methods, task_recipe
from snnsim.errors import NonFiniteError, SnnsimError
from snnsim.training import Watcher, checkpoint, evaluate, predict

VALUES = (float("nan"), float("inf"), -float("inf"))
STEPS = 5  # of an epoch of 22 samples in batches of 5
TENSORS = [n for n, t in network().state_dict().items() if t.is_floating_point()]
each_value = pytest.mark.parametrize("value", VALUES)


class Poison(Watcher):
    """Makes one number of a parameter or buffer not finite after a given step."""

    def __init__(self, net, name: str, value: float, epoch: int, step: int):
        self.net, self.name, self.value, self.when = net, name, value, (epoch, step)

    def step_done(self, epoch, step, loss):
        if (epoch, step) == self.when:
            self.net.state_dict()[self.name].view(-1)[0] = self.value


def assert_finite(folder: Path, *expected: str) -> None:
    found = {p.name for p in folder.rglob("*.safetensors")}
    assert set(expected) <= found
    for path in folder.rglob("*.safetensors"):
        for name, tensor in checkpoint.load(path)[0].items():
            if tensor.is_floating_point():
                assert bool(torch.isfinite(tensor).all()), (path, name)


# --- what is saved ----------------------------------------------------------------


@pytest.mark.parametrize("epoch", [0, 1, 3])
@pytest.mark.parametrize("name", TENSORS)
@each_value
def test_divergence_in_the_last_step_of_an_epoch_is_seen_before_it_is_saved(
    tmp_path, value, name, epoch
):
    net = network(0)
    watcher = Poison(net, name, value, epoch, STEPS - 1)
    with pytest.raises(NonFiniteError, match=name.rpartition(".")[2]):
        trainer(net=net, out=tmp_path, watcher=watcher).run()
    assert_finite(tmp_path, *(["best.safetensors", "last.safetensors"] if epoch else []))


@pytest.mark.parametrize("every", [1, 2])
@each_value
def test_divergence_is_not_saved_within_an_epoch(tmp_path, value, every):
    net = network(0)
    watcher = Poison(net, "layers.4.weight", value, 1, 1)
    with pytest.raises(NonFiniteError):
        trainer(changed(checkpoint_steps=every), net=net, out=tmp_path, watcher=watcher).run()
    assert_finite(tmp_path, "best.safetensors", "last.safetensors")


def test_an_optimiser_that_is_not_finite_is_not_saved(tmp_path):
    class Moments(Watcher):
        def step_done(self, epoch, step, loss):
            if (epoch, step) == (1, STEPS - 1):
                t.optimizers.main.state_dict()["state"][0]["exp_avg"].view(-1)[0] = torch.nan

    t = trainer(out=tmp_path, watcher=Moments())
    with pytest.raises(NonFiniteError):
        t.run()
    assert_finite(tmp_path, "best.safetensors", "last.safetensors")


@pytest.mark.parametrize("learning", ["bptt", "ottt"])
@each_value
def test_divergence_in_the_last_step_of_a_task_is_seen_before_it_is_saved(
    tmp_path, value, learning
):
    learner = small.learner("task", training=learning)

    class PoisonTask(ContinualWatcher):
        def step_done(self, task, step, loss):
            if task == 1 and step == steps:
                next(iter(learner.body.parameters())).data.view(-1)[0] = value

    recipe = task_recipe(epochs=1, batch_size=42)
    steps = -(-len(learner.stream.tasks[1].train) // 42)
    method = methods.get("fine-tuning")()
    with pytest.raises(NonFiniteError):
        ContinualTrainer(learner, method, recipe, out=tmp_path, watcher=PoisonTask()).run()
    assert_finite(tmp_path, "last.safetensors")


# --- what is computed with ----------------------------------------------------------------


def compilable(name: str | None = None, value: float = 0.0) -> sn.Sequential:
    net = network(0, padding="causal").eval()
    if name:
        net.state_dict()[name].view(-1)[0] = value
    return net


@pytest.mark.parametrize("name", [n for n in TENSORS if not n.endswith("sigma")])
@each_value
def test_a_network_that_is_not_finite_is_not_compiled(name, value):
    with pytest.raises(SnnsimError, match=name.rpartition(".")[2]):
        sn.compile(compilable(name, value))


@pytest.mark.parametrize("name", TENSORS)
@each_value
def test_a_network_that_is_not_finite_is_not_evaluated(name, value):
    net = network(0).eval()
    net.state_dict()[name].view(-1)[0] = value
    with pytest.raises(NonFiniteError, match=name.rpartition(".")[2]):
        evaluate(net, VALIDATION)


# --- what comes in ----------------------------------------------------------------


def spoilt(value: float, seed: int) -> Tiny:
    """A data set with one number that is not finite, at a place drawn from ``seed``."""
    random, data = np.random.default_rng(seed), Tiny(13, seed=2)
    sample = random.integers(13)
    data.spikes[sample, random.integers(data.lengths[sample]), random.integers(CHANNELS)] = value
    return data


def spoilt_batch(value: float, seed: int) -> torch.Tensor:
    random = np.random.default_rng(seed)
    x = torch.from_numpy(random.integers(0, 2, (9, 4, CHANNELS))).float()
    x[random.integers(9), random.integers(4), random.integers(CHANNELS)] = value
    return x


def unnormalised(layer: str) -> sn.Sequential:
    """Networks whose spikes hide what is not finite."""
    torch.manual_seed(1)
    if layer == "delayed":
        first = sn.Delayed(CHANNELS, 5, dt=1.0, max_delay_ms=2.0)
    else:
        first = sn.Dense(CHANNELS, 5)
    return sn.Sequential(first, sn.LIF(5, dt=1.0), sn.Dense(5, 3), sn.LI(3, dt=1.0))


each_seed = pytest.mark.parametrize("seed", range(3))
each_layer = pytest.mark.parametrize("layer", ["dense", "delayed"])


@each_seed
@each_layer
@each_value
def test_training_data_that_are_not_finite_are_refused_at_the_door(tmp_path, value, layer, seed):
    data, net = spoilt(value, seed), unnormalised(layer)
    before = {n: p.clone() for n, p in net.state_dict().items()}
    with pytest.raises(NonFiniteError, match=r"input"):
        trainer(changed(batch_size=13), net=net, train=data, out=tmp_path).run()
    assert all(torch.equal(before[n], p) for n, p in net.state_dict().items())
    assert list(tmp_path.rglob("*.safetensors")) == []


@each_seed
@each_layer
@each_value
def test_evaluation_and_prediction_refuse_inputs_that_are_not_finite(value, layer, seed):
    net = unnormalised(layer).eval()
    with pytest.raises(NonFiniteError, match=r"input"):
        evaluate(net, spoilt(value, seed))
    with pytest.raises(NonFiniteError, match=r"input"):
        predict(net, spoilt_batch(value, seed), "sum_softmax")


@each_seed
@each_layer
@each_value
def test_a_compiled_network_refuses_inputs_that_are_not_finite(value, layer, seed):
    fast, x = sn.compile(unnormalised(layer).eval()), spoilt_batch(value, seed)
    with pytest.raises(NonFiniteError, match=r"input|x "):
        fast(x)
    state, refused = None, False
    for frame in x:
        if bool(torch.isfinite(frame).all()):
            _, state = fast.step(frame, state)
            assert all(bool(torch.isfinite(t).all()) for s in state for t in s.values())
        else:
            with pytest.raises(NonFiniteError, match=r"input|x "):
                fast.step(frame, state)
            refused = True
    assert refused


@each_value
def test_a_state_that_is_not_finite_is_not_carried_on(value):
    fast = sn.compile(unnormalised("dense").eval())
    _, state = fast.step(torch.ones(2, CHANNELS))
    state[0]["neurons"].view(-1)[0] = value
    with pytest.raises(NonFiniteError, match="state"):
        fast(torch.ones(3, 2, CHANNELS), state)


@each_value
def test_a_report_refuses_inputs_that_are_not_finite(value):
    fast = sn.compile(unnormalised("dense").eval())
    with pytest.raises(NonFiniteError, match=r"input|x "):
        fast.report(spoilt_batch(value, 0))


@each_value
def test_large_finite_inputs_are_taken(value):
    """The check is of each number, not of their sum, which overflows here."""
    fast = sn.compile(unnormalised("dense").eval())
    x = torch.full((9, 4, CHANNELS), 3e38)
    fast(x.sign() * 3e38 * torch.tensor([1.0, 1, 1, -1, -1, -1]))
    net = sn.Sequential(sn.Dense(CHANNELS, 3), sn.LI(3, dt=1.0)).eval()
    with torch.no_grad():
        net[0].weight.mul_(1e-30)
    assert bool(torch.isfinite(sn.compile(net)(x)[0]).all())


@each_value
def test_the_check_can_be_switched_off(value):
    net, x = unnormalised("dense").eval(), spoilt_batch(value, 1)
    fast = sn.compile(net, check_finite=False)
    assert fast(x)[0].shape == (9, 4, 3)
    for frame in x:
        fast.step(frame)
    assert evaluate(net, spoilt(value, 1), check_finite=False).samples == 13
    assert predict(net, x, "sum_softmax", check_finite=False).shape == (4, 3)


def test_the_switch_is_documented():
    for function in (sn.compile, evaluate, predict):
        assert "check_finite" in (function.__doc__ or "")
