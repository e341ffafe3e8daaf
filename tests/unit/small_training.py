"""A small data set, network and trainer for the tests of training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from snnsim.errors import ConfigError
from snnsim.networks import BatchNorm, Dropout, Sequential, delay_network
from snnsim.training import Recipe, Trainer, Watcher, checkpoint, set_seed

CHANNELS, CLASSES = 6, 3


class Batch(NamedTuple):
    x: Tensor
    labels: Tensor
    lengths: Tensor


class Tiny:
    """Random spikes of various lengths whose label shows in the busiest third of the channels."""

    def __init__(self, samples: int, seed: int, dtype: torch.dtype = torch.float32):
        random = np.random.default_rng(seed)
        self.lengths = random.integers(5, 12, samples)
        self.labels = random.integers(0, CLASSES, samples)
        busy = np.arange(CHANNELS) * CLASSES // CHANNELS == self.labels[:, None]
        share = np.where(busy, 0.8, 0.2)[:, None, :]
        self.spikes = (random.random((samples, 11, CHANNELS)) < share).astype(np.float64)
        self.dtype = dtype

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, indices, steps: int | None = None) -> Batch:
        if len(indices) == 0:
            raise ConfigError("a batch needs at least one sample")
        lengths = self.lengths[indices]
        steps = int(lengths.max()) if steps is None else steps
        x = torch.zeros(steps, len(indices), CHANNELS, dtype=self.dtype)
        for row, (i, n) in enumerate(zip(indices, lengths, strict=True)):
            x[:n, row] = torch.from_numpy(self.spikes[i, :n])
        return Batch(x, torch.from_numpy(self.labels[indices]), torch.from_numpy(lengths))


TRAIN, VALIDATION = Tiny(22, seed=1), Tiny(13, seed=2)
RECIPE = Recipe(epochs=4, batch_size=5, lr=0.05, lr_delay=0.5, sigma_fraction=0.6)


def network(seed: int = 0, dropout: float = 0.3, **options) -> Sequential:
    set_seed(seed)
    defaults = {"dt": 1.0, "tau_mem": 2.0, "max_delay_ms": 4, "dropout": dropout}
    return delay_network((CHANNELS, 8, CLASSES), **(defaults | options))


def deep_network(padding="causal", seed=0, **options) -> Sequential:
    """Three equal blocks with skip connections and stochastic depth, after one of another width."""
    set_seed(seed)
    given = {"dt": 1.0, "tau_mem": 2.0, "max_delay_ms": 4, "dropout": 0.0, "delays": "fixed"}
    given |= {"skip": True, "stochastic_depth": 0.3, "padding": padding} | options
    return delay_network((CHANNELS, 12, 12, 12, 12, CLASSES), **given)


def trained_deep_network() -> Sequential:
    net = deep_network()
    recipe = Recipe(epochs=8, batch_size=16, lr=0.02)
    Trainer(net, Tiny(120, seed=1), VALIDATION, recipe, seed=0).run()
    return net.eval()


def plain_network(seed: int = 0) -> Sequential:
    """Without batch normalisation and dropout, so that samples do not meet; double precision."""
    layers = network(seed)
    kept = [layer for layer in layers if not isinstance(layer, (BatchNorm, Dropout))]
    return Sequential(*kept).double()


def trainer(recipe: Recipe = RECIPE, *, seed: int = 0, net=None, train=TRAIN, **options) -> Trainer:
    return Trainer(net or network(seed), train, VALIDATION, recipe, seed=seed, **options)


def changed(**changes) -> Recipe:
    return replace(RECIPE, **changes)


def without_seconds(rows: list[dict]) -> list[dict]:
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


def everything(t: Trainer) -> dict[str, Tensor]:
    """Weights, buffers, both optimisers and the random generator."""
    tensors = dict(t.net.state_dict())
    for i, optimizer in enumerate(t.optimizers.each):
        tensors |= checkpoint.prefixed(f"optimizer{i}", checkpoint.optimizer_tensors(optimizer))
    return {k: v.clone() for k, v in tensors.items()} | {"random": torch.get_rng_state()}


def differences(a: dict[str, Tensor], b: dict[str, Tensor]) -> list[str]:
    """Names of the tensors that are not equal to the bit (NaNs count as different)."""
    both = a.keys() & b.keys()
    return [n for n in sorted(a.keys() | b.keys()) if n not in both or not torch.equal(a[n], b[n])]


class Stop(Exception):
    """Stands for the loss of the process."""


class StopAfter(Watcher):
    """Stops training after so many epochs and steps within the next epoch."""

    def __init__(self, epochs: int, steps: int = 0):
        self.epochs, self.steps = epochs, steps

    def epoch_started(self, epoch, steps):
        if epoch == self.epochs and self.steps == 0:
            raise Stop

    def step_done(self, epoch, step, loss):
        if epoch == self.epochs and step + 1 > self.steps:
            raise Stop


class Recorder(Watcher):
    """Keeps what the loop reports, and the weights at the end of every epoch."""

    def __init__(self, net):
        self.net, self.losses, self.started, self.weights, self.rows = net, [], [], [], []

    def epoch_started(self, epoch, steps):
        self.started.append((epoch, steps))

    def step_done(self, epoch, step, loss):
        self.losses.append(loss)

    def epoch_ended(self, row):
        self.rows.append(row)
        self.weights.append({k: v.clone() for k, v in self.net.state_dict().items()})


def run_whole(recipe: Recipe, out: Path | None = None) -> tuple[dict[str, Tensor], list[dict]]:
    t = trainer(recipe, seed=5, out=out)
    t.run()
    return everything(t), without_seconds(t.rows)


def untrained(monkeypatch, module) -> list[SimpleNamespace]:
    """Let a check take no steps; the list returned gets what was to be optimised, with its loss."""
    found = []

    def optimise(net, loss, *arguments, each=None):
        found.append(SimpleNamespace(net=net, loss=loss, arguments=arguments, each=each))

    monkeypatch.setattr(module, "optimise", optimise)
    return found
