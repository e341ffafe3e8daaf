"""Schedules as functions of the epoch against torch's schedulers and published check values."""

from __future__ import annotations

import itertools

import pytest
import torch

from snnsim.functional.delays import sigma_after
from snnsim.training.schedules import cosine, one_cycle

EPOCHS = (150, 60, 50, 11, 5)


def adam(lr: float) -> torch.optim.Adam:
    return torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], lr=lr)


def of_torch(optimizer, scheduler, epochs: int) -> list[tuple[float, float]]:
    """Learning rate and beta1 in each epoch, the scheduler stepped once after each."""
    seen = []
    for _ in range(epochs):
        group = optimizer.param_groups[0]
        seen.append((group["lr"], group["betas"][0]))
        optimizer.step()
        if len(seen) < epochs:
            scheduler.step()
    return seen


@pytest.mark.parametrize("epochs", EPOCHS)
@pytest.mark.parametrize("max_lr", [5e-3, 0.3])
def test_one_cycle_is_torchs_stepped_once_per_epoch(epochs, max_lr):
    optimizer = adam(1e-3)
    theirs = of_torch(
        optimizer,
        torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=max_lr, total_steps=epochs),
        epochs,
    )
    for epoch, (lr, beta1) in enumerate(theirs):
        assert one_cycle(epoch, epochs, max_lr) == pytest.approx((lr, beta1), rel=1e-12, abs=1e-18)


def test_one_cycle_has_the_published_values_for_150_epochs():
    assert one_cycle(0, 150, 5e-3) == pytest.approx((2e-4, 0.95), rel=1e-12)
    assert one_cycle(44, 150, 5e-3) == pytest.approx((5e-3, 0.85), rel=1e-12)
    assert one_cycle(149, 150, 5e-3) == pytest.approx((2e-8, 0.95), rel=1e-9)


def test_one_cycle_peaks_at_epoch_44_of_150_only():
    rates = [one_cycle(epoch, 150, 5e-3)[0] for epoch in range(150)]
    assert rates.index(max(rates)) == 44
    assert rates[:45] == sorted(rates[:45])
    assert rates[44:] == sorted(rates[44:], reverse=True)


@pytest.mark.parametrize("epochs", [4, 5, 10])
def test_one_cycle_is_finite_and_ends_low_for_few_epochs(epochs):
    rates = [one_cycle(epoch, epochs, 5e-3)[0] for epoch in range(epochs)]
    assert all(0 < rate <= 5e-3 for rate in rates)
    assert rates[-1] == pytest.approx(2e-8, rel=1e-9)


@pytest.mark.parametrize("epochs", EPOCHS)
def test_cosine_is_torchs_annealing_stepped_once_per_epoch(epochs):
    optimizer = adam(0.1)
    theirs = of_torch(
        optimizer, torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=epochs), epochs
    )
    for epoch, (lr, _) in enumerate(theirs):
        assert cosine(epoch, epochs, 0.1) == pytest.approx(lr, rel=1e-9, abs=1e-15)


def test_cosine_reaches_zero_only_after_the_last_epoch():
    assert cosine(50, 50, 0.1) == pytest.approx(0.0, abs=1e-18)
    assert cosine(49, 50, 0.1) > 0


DECAYS = [(12.0, 37, 0.89863), (15.0, 15, 0.75691), (15.0, 25, 0.84611)]


@pytest.mark.parametrize(("start", "epochs", "factor"), DECAYS)
def test_sigma_decays_by_the_published_factor_per_epoch(start, epochs, factor):
    sigma = [sigma_after(epoch, start, 0.23, epochs) for epoch in range(epochs + 1)]
    assert sigma[0] == start
    assert sigma[-1] == pytest.approx(0.23, rel=1e-12)
    for before, after in itertools.pairwise(sigma):
        assert after / before == pytest.approx(factor, abs=5e-6)


@pytest.mark.parametrize(("start", "epochs", "factor"), DECAYS)
def test_sigma_equals_the_reference_systems_loop(start, epochs, factor):
    sigma = start
    for epoch in range(3 * epochs):
        assert sigma_after(epoch, start, 0.23, epochs) == pytest.approx(sigma, rel=1e-9)
        if epoch < epochs and sigma > 0.23:
            sigma *= (0.23 / start) ** (1 / epochs)


def test_sigma_stays_at_its_end_once_reached():
    assert {sigma_after(epoch, 12.0, 0.23, 37) for epoch in range(37, 150)} == {
        sigma_after(37, 12.0, 0.23, 37)
    }


@pytest.mark.parametrize("epochs", [0, -1])
def test_sigma_is_constant_when_no_epochs_are_given_to_its_decay(epochs):
    assert [sigma_after(epoch, 12.0, 0.23, epochs) for epoch in (0, 1, 100)] == [12.0] * 3


def test_sigma_below_its_end_is_left_alone():
    assert [sigma_after(epoch, 0.1, 0.23, 10) for epoch in (0, 5, 20)] == [0.1] * 3
