"""Schedules of few epochs: kernels narrow to their end, and at rates by which a network learns."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from small import CHANNELS, lif, stream
from small_training import TRAIN, VALIDATION, changed, network, trainer

import snnsim as sn
from snnsim.continual import ContinualTrainer, Learner, dense_head, task_recipe
from snnsim.continual.methods.fine_tuning import FineTuning
from snnsim.synapses import Delayed
from snnsim.training import Recipe, Trainer, Watcher
from snnsim.training.optimizers import Optimizers
from snnsim.training.schedules import cosine, one_cycle

SHORT = (1, 2, 3)


def delays_of(net):
    return [m for m in net.modules() if isinstance(m, Delayed)]


class Rates(Watcher):
    """Notes rates and widths of every step."""

    def __init__(self):
        self.main, self.delays, self.widths = [], [], []

    def step_done(self, epoch, step, loss):
        optimizers = self.trainer.optimizers
        self.main.append(optimizers.main.param_groups[0]["lr"])
        self.delays.append(optimizers.delays.param_groups[0]["lr"])
        self.widths.append([float(m.sigma) for m in delays_of(self.trainer.net)])


def trained(**recipe):
    watcher = Rates()
    watcher.trainer = trainer(changed(sigma_fraction=0.25, **recipe), watcher=watcher)
    watcher.trainer.run()
    return watcher


@pytest.mark.parametrize("epochs", SHORT)
def test_short_training_goes_through_its_cycle_step_by_step(epochs):
    watcher = trained(epochs=epochs)
    steps = len(watcher.main)
    expected = [one_cycle(step, steps, 0.05)[0] for step in range(steps)]
    assert watcher.main == pytest.approx(expected, rel=1e-12)
    assert max(watcher.main) >= 0.05 / 2  # of lr
    assert np.mean(watcher.main) >= 0.05 / 4


def test_a_training_of_fewer_steps_than_a_cycle_has_is_at_its_full_rate():
    watcher = trained(epochs=1, batch_size=22)
    assert watcher.main == [0.05]


@pytest.mark.parametrize("epochs", SHORT)
def test_short_training_of_delays_starts_at_their_rate(epochs):
    watcher = trained(epochs=epochs)
    assert watcher.delays[0] == 0.5
    assert min(watcher.delays) > 0


@pytest.mark.parametrize("epochs", [*SHORT, 4, 5, 7])
def test_kernels_are_at_their_end_when_training_ends(epochs):
    watcher = trained(epochs=epochs)
    end = watcher.trainer.recipe.sigma_end
    for module in delays_of(watcher.trainer.net):
        assert float(module.sigma) == pytest.approx(end, rel=1e-6)
    widths = np.array(watcher.widths)
    assert (np.diff(widths, axis=0) <= 0).all()  # they only fall
    assert (widths[0] > end).all()  # from where they began


@pytest.mark.parametrize("epochs", SHORT[1:])
def test_the_last_of_several_epochs_is_trained_as_it_is_evaluated(epochs):
    watcher = trained(epochs=epochs)
    np.testing.assert_allclose(watcher.widths[-1], watcher.trainer.recipe.sigma_end, rtol=1e-6)


def test_the_weights_kept_of_a_single_epoch_have_narrow_kernels(tmp_path):
    t = Trainer(network(), TRAIN, VALIDATION, changed(epochs=1, sigma_fraction=0.25), out=tmp_path)
    rows = t.run()
    t.load_best()
    assert [float(m.sigma) for m in delays_of(t.net)] == pytest.approx([0.23, 0.23], rel=1e-6)
    assert rows[-1]["sigma"] == pytest.approx([0.23, 0.23], rel=1e-6)


@pytest.mark.parametrize("epochs", SHORT)
def test_a_width_is_left_alone_where_no_share_of_the_epochs_is_given_to_it(epochs):
    net = network()
    before = [float(m.sigma) for m in delays_of(net)]
    optimizers = Optimizers(net, Recipe(epochs=epochs, sigma_fraction=0.0))
    for epoch in range(epochs):
        optimizers.start_epoch(epoch)
    assert [float(m.sigma) for m in delays_of(net)] == before


@pytest.mark.parametrize("epochs", [12, 60, 150])
def test_long_schedules_are_the_published_ones_still(epochs):
    optimizers = Optimizers(network(), Recipe(epochs=epochs))
    narrowing = epochs // 4
    for epoch in range(epochs):
        optimizers.start_epoch(epoch)
        for module in optimizers.connections:
            start = module.initial_sigma
            share = min(epoch, narrowing) / narrowing
            expected = start * (0.23 / start) ** share
            assert float(module.sigma) == pytest.approx(expected, rel=1e-6)
        rate = optimizers.delays.param_groups[0]["lr"]
        assert rate == pytest.approx(0.05 * (1 + np.cos(np.pi * epoch / epochs)), rel=1e-9)
    assert optimizers.main.param_groups[0]["lr"] == pytest.approx(2e-8, rel=1e-6)


@pytest.mark.parametrize("epochs", SHORT)
def test_a_short_cosine_starts_at_its_rate_and_never_reaches_zero(epochs):
    rates = [cosine(epoch, epochs, 0.1) for epoch in range(epochs)]
    assert rates[0] == 0.1
    assert min(rates) >= 0.1 / 4
    assert rates == sorted(rates, reverse=True)


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
@pytest.mark.parametrize("epochs", SHORT)
def test_a_short_task_of_a_stream_narrows_its_kernels_at_rates_that_train(epochs, schedule):
    torch.manual_seed(0)
    body = sn.Sequential(Delayed(CHANNELS, 10, dt=1.0, max_delay_ms=8.0), lif(10))
    made = Learner(body, dense_head(10), stream("class"))
    recipe = task_recipe(epochs=epochs, batch_size=21, schedule=schedule)
    t = ContinualTrainer(made, FineTuning(), recipe)
    rates, widths = [], []

    class Watch:
        def task_started(self, *_): ...

        def tested(self, *_): ...

        def step_done(self, task, step, loss):
            rates.append(t.optimizers.main.param_groups[0]["lr"])
            widths.append(float(made.body[0].sigma))

    t.watcher = Watch()
    t._run_task()
    assert rates[0] == 0.1 and np.mean(rates) >= 0.1 / 4
    assert float(made.body[0].sigma) == pytest.approx(0.23, rel=1e-6)
    assert widths == sorted(widths, reverse=True) and widths[0] > 0.23


def wide_after_training():
    """A connection whose kernels are wide and that has been trained so."""
    layer = sn.Delayed(3, 2, dt=1.0, max_delay_ms=24)
    layer(torch.ones(5, 1, 3))[0].sum().backward()
    assert float(layer.sigma) > 1
    return layer.eval()


def test_evaluating_wide_kernels_is_warned_of_once_and_not_where_somebody_sees_to_the_width():
    layer = wide_after_training()
    with pytest.warns(UserWarning, match="narrow_delays"):
        layer(torch.ones(5, 1, 3))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        layer(torch.ones(5, 1, 3))  # said before
        seen_to = wide_after_training()
        seen_to.narrow_(5.0)  # early in a training whose epochs narrow it
        seen_to(torch.ones(5, 1, 3))
        fresh = sn.Delayed(3, 2, dt=1.0, max_delay_ms=24).eval()
        fresh(torch.ones(5, 1, 3))  # never trained
