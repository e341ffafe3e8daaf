"""Recipes and optimisers: defaults, refusals, groups and their rates."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest
import torch
from small_training import RECIPE, network
from torch import nn

import snnsim as sn
from snnsim.errors import ConfigError
from snnsim.training import (
    Optimizers,
    Recipe,
    split_parameters,
)
from snnsim.training.schedules import one_cycle


def test_the_recipe_is_the_published_one_unless_said():
    assert asdict(Recipe()) == {
        "epochs": 150, "batch_size": 256, "lr": 5e-3, "lr_delay": 0.1, "later_lr": 0.0,
        "optimizer": "adam", "momentum": 0.0, "weight_decay": 1e-5, "clip": 0.0,
        "schedule": "one_cycle", "schedule_delay": "cosine", "sigma_end": 0.23,
        "sigma_fraction": 0.25, "readout": "sum_softmax", "mask_padding": False, "accumulate": 1,
        "patience": 0, "until": 0.0, "precision": "auto", "checkpoint_steps": 0,
        "check_finite": True, "start_from": "", "keep_weights": False,
    }  # fmt: skip


@pytest.mark.parametrize("name", ["lr", "lr_delay", "later_lr", "momentum", "weight_decay", "clip",
                                  "until", "patience", "checkpoint_steps",
                                  "sigma_end"])  # fmt: skip
def test_nothing_negative_but_zero_may_stand_in_a_recipe(name):
    assert getattr(Recipe(**{name: 0}), name) == 0
    with pytest.raises(ConfigError, match=f"{name} is -1 but must be a finite number at least 0"):
        Recipe(**{name: -1})


@pytest.mark.parametrize("name", ["epochs", "batch_size", "accumulate"])
def test_one_is_the_least_of_what_is_counted_in_a_recipe(name):
    assert getattr(Recipe(**{name: 1}), name) == 1
    with pytest.raises(ConfigError, match=f"{name} is 0 but must be a finite number at least 1"):
        Recipe(**{name: 0})


def names_of(net, groups):
    names = {id(p): n for n, p in net.named_parameters()}
    return [sorted(names[id(p)] for p in group) for group in groups]


def test_every_kind_of_parameter_has_its_group():
    net = nn.Sequential(
        sn.Delayed(3, 4, dt=1.0, max_delay_ms=4, learn_sigma=True), sn.BatchNorm(4),
        sn.LIF(4, dt=1.0, learn=("tau_mem",)), nn.Linear(4, 4), nn.GroupNorm(2, 4), nn.RMSNorm(4),
        nn.BatchNorm1d(4), nn.BatchNorm2d(4), nn.BatchNorm3d(4), nn.LayerNorm(4), nn.GRU(4, 2),
    )  # fmt: skip
    net[3].extra = nn.Parameter(torch.ones(2))
    assert names_of(net, split_parameters(net)) == [
        ["0.weight", "10.weight_hh_l0", "10.weight_ih_l0", "3.extra", "3.weight"],
        sorted([
            "0.sigma", "1.bias", "1.weight", "2.raw_tau_mem", "3.bias", "4.bias", "4.weight",
            "5.weight", "6.bias", "6.weight", "7.bias", "7.weight", "8.bias", "8.weight",
            "9.bias", "9.weight", "10.bias_hh_l0", "10.bias_ih_l0",
        ]),
        ["0.delay"],
    ]  # fmt: skip


def test_what_is_frozen_is_in_no_group():
    net = sn.Sequential(sn.Delayed(3, 4, dt=1.0, max_delay_ms=4), sn.BatchNorm(4), sn.Dense(4, 2))
    net[0].delay.requires_grad_(False)
    net[1].bias.requires_grad_(False)
    net[2].weight.requires_grad_(False)
    assert names_of(net, split_parameters(net)) == [["layers.0.weight"], ["layers.1.weight"], []]
    optimizers = Optimizers(net, RECIPE)
    assert optimizers.delays is None and optimizers.each == [optimizers.main]
    optimizers.start_epoch(0)


def test_a_group_of_nothing_is_left_out():
    net = nn.Linear(3, 2, bias=False)
    (group,) = Optimizers(net, Recipe(weight_decay=0.5)).main.param_groups
    assert group["weight_decay"] == 0.5


def rates(optimizers):
    main = [(g["lr"], g["betas"], g["weight_decay"]) for g in optimizers.main.param_groups]
    delays = [(g["lr"], g["betas"], g["weight_decay"]) for g in optimizers.delays.param_groups]
    return main, delays


def test_optimisers_begin_with_the_rates_of_the_recipe():
    main, delays = rates(Optimizers(network(), Recipe(lr=0.3, lr_delay=0.7, weight_decay=0.2)))
    assert main == [(0.3, (0.9, 0.999), 0.2), (0.3, (0.9, 0.999), 0.0)]
    assert delays == [(0.7, (0.9, 0.999), 0.0)]


def test_a_constant_schedule_is_one_of_weights_only():
    optimizers = Optimizers(network(), Recipe(epochs=8, lr=0.3, lr_delay=0.4,
                                              schedule="constant"))  # fmt: skip
    optimizers.start_epoch(4)
    main, delays = rates(optimizers)
    assert [group[:2] for group in main] == [(0.3, (0.9, 0.999))] * 2
    assert delays[0][0] == pytest.approx(0.2, rel=1e-12)


def test_schedules_go_by_epochs_from_four_epochs_on():
    optimizers = Optimizers(network(), Recipe(epochs=4, lr=0.3, lr_delay=0.4))
    optimizers.start_epoch(1)
    before = rates(optimizers)
    optimizers.start_step(1, 2, 5)
    assert rates(optimizers) == before


def test_schedules_go_by_steps_below_four_epochs():
    optimizers = Optimizers(network(), Recipe(epochs=3, lr=0.3, lr_delay=0.4))
    optimizers.start_epoch(1)
    optimizers.start_step(1, 2, 5)
    lr, beta = one_cycle(1 * 5 + 2, 15, 0.3)
    main, delays = rates(optimizers)
    assert {group[:2] for group in main} == {(lr, (beta, 0.999))}
    assert delays[0][0] == pytest.approx(0.2 * (1 + np.cos(np.pi * 1.4 / 3)), rel=1e-12)


def test_widths_narrow_to_the_end_and_over_the_share_of_the_recipe():
    net = network(max_delay_ms=16)
    optimizers = Optimizers(net, Recipe(epochs=10, sigma_end=0.5, sigma_fraction=0.4))
    assert [c.initial_sigma for c in optimizers.connections] == [8.0, 8.0]
    for epoch, wanted in ((0, 8.0), (2, 2.0), (4, 0.5), (9, 0.5)):
        optimizers.start_epoch(epoch)
        assert [float(c.sigma) for c in optimizers.connections] == pytest.approx([wanted] * 2)


def test_a_step_is_one_of_all_parameters_and_keeps_delays_in_range():
    net = network()
    optimizers = Optimizers(net, RECIPE)
    for p in net.parameters():
        p.grad = torch.ones_like(p)
    with torch.no_grad():
        net[0].delay.fill_(0.0)
        net[4].delay.fill_(2.0)
    before = {n: p.detach().clone() for n, p in net.named_parameters()}
    optimizers.step()
    moved = {n: bool((p != before[n]).any()) for n, p in net.named_parameters()}
    assert not moved.pop("layers.0.delay")  # it would have become negative
    assert all(moved.values())
    assert torch.allclose(net[4].delay, torch.tensor(2.0 - RECIPE.lr_delay))
    optimizers.zero_grad()
    assert all(p.grad is None for p in net.parameters())
