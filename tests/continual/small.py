"""A small data set and networks for the tests of continual learning."""

from dataclasses import dataclass, replace

import numpy as np
import torch

import snnsim as sn
from snnsim.continual import (
    Learner,
    View,
    dense_head,
    permuted,
    split_by_class,
    split_by_speaker,
)
from snnsim.data import Batch

CHANNELS, STEPS = 12, 6


@dataclass(frozen=True)
class Blobs:
    """Six classes: each its own rates of 12 channels, spikes over 6 steps."""

    x: torch.Tensor
    labels: np.ndarray
    speakers: np.ndarray
    classes: tuple = tuple("abcdef")
    channels: int = CHANNELS

    def __len__(self):
        return len(self.labels)

    @property
    def lengths(self):
        return np.full(len(self), STEPS)

    def batch(self, indices, steps=None):
        indices = np.asarray(indices)
        labels = torch.from_numpy(self.labels[indices])
        return Batch(self.x[:, indices], labels, torch.full((len(indices),), STEPS))


def blobs(samples, seed):
    generator = torch.Generator().manual_seed(seed)
    rates = torch.rand(6, CHANNELS, generator=torch.Generator().manual_seed(99)) ** 3
    labels = torch.arange(samples) % 6
    x = torch.rand(STEPS, samples, CHANNELS, generator=generator) < rates[labels]
    return Blobs(x.float(), labels.numpy(), np.arange(samples) % 7 % 3)


def parts():
    return blobs(126, 0), None, blobs(63, 1)


def stream(scenario):
    if scenario == "domain":
        return permuted("blobs", parts(), 3)
    if scenario == "speaker":
        return split_by_speaker("blobs", parts())
    return split_by_class("blobs", parts(), 2, scenario)


def dense(n_in, n_out, **options):
    """A connection that starts wide enough for a few steps of spikes."""
    return sn.Dense(n_in, n_out, init="he", **options)


def lif(n):
    return sn.LIF(n, dt=1.0, tau_mem=2.0, discretization="euler", reset="subtract")


def body(kind="dense"):
    torch.manual_seed(0)
    if kind == "dense":
        return sn.Sequential(dense(CHANNELS, 16), lif(16), dense(16, 10), lif(10))
    if kind == "recurrent":
        return sn.Sequential(dense(CHANNELS, 10), sn.Recurrent(lif(10)))
    granularity = kind
    delayed = sn.Delayed(
        CHANNELS, 10, dt=1.0, max_delay_ms=2.0, granularity=granularity, kernel_count=2
    )
    return sn.Sequential(delayed, sn.BatchNorm(10), lif(10))


def learner(scenario, kind="dense", **options):
    return Learner(body(kind), dense_head(10), stream(scenario), **options)


def in_double(data):
    """The same samples in double precision."""
    return View(data, np.arange(len(data)), torch.Tensor.double)


def precise(scenario, kind="dense", **options):
    """A learner and its stream in double precision, with heads as large as the body's weights."""
    made = learner(scenario, kind, **options).double()
    tasks = [
        replace(task, train=in_double(task.train), test=in_double(task.test))
        for task in made.stream.tasks
    ]
    made.stream = replace(made.stream, tasks=tuple(tasks))
    with torch.no_grad():
        for head in made.heads:
            head.weight.mul_(50)
    return made


def attached(method, scenario="class"):
    """A learner in double precision, to which a method is attached."""
    made = precise(scenario)
    method.attach(made)
    return made


def named_copy(module):
    """All parameters by name, as they are now."""
    return {name: p.detach().clone() for name, p in module.named_parameters()}


def name_of(module, parameter):
    """The name of a parameter within a module."""
    return next(name for name, p in module.named_parameters() if p is parameter)
