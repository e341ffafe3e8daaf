"""One physical block in place of several: a network whose blocks share their weights.

First each application of a physical block is trained by itself on what the network does there
(teacher forcing), then all in a row on their own outputs (free running):

    L_1 = sum_l |K * (f_l(h_{l-1}) - h_l)|^2,
    L_2 = sum_l |K * (g_l - h_l)|^2,    g_l = f_l(g_{l-1}),  g_0 = h_0.

``h_l`` is the activity of the network after block ``l``. The applications ``f_l`` of one physical
block have the same weights and delays, and each its own normalisation, which takes the place of the
published input that tells a block where it is applied. ``K`` is an exponential kernel over time
(van Rossum 2001, doi:10.1162/089976601300014321): that a spike comes one step late is a small error
with it and a whole one without. Source: Jacobs et al. 2025 (arXiv:2512.19941). Left out: the
weights of ``L_2``, which are 1 here.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from snnsim.analysis.stack import Stack, stack_of
from snnsim.data import Sequences, fetch
from snnsim.errors import ConfigError, check_seed, check_size
from snnsim.layer import device_of, evaluating, run_layer
from snnsim.networks import BatchNorm, Sequential
from snnsim.neurons import LI

BATCH = 64  # samples of a step
KERNEL = 3.0  # time constant of K in steps
NORMS = (BatchNorm, nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


def tie(
    net: nn.Module,
    data: Sequences,
    phases: Sequence[int] | np.ndarray,
    epochs: int,
    *,
    lr: float = 0.01,
    seed: int = 0,
) -> Sequential:
    """Return a network that has one physical block for each phase, trained to act like ``net``.

    The weights of a physical block start as those of the middle block of its phase, and the
    normalisation of each application as that of the block in whose place it is. Delays are whole
    steps, as in evaluation, and are not trained.

    Args:
        net: the teacher, which stays as it is.
        data: the samples on which the blocks are trained; their targets are not used.
        phases: the phase of each block, ``[L]``, as :func:`snnsim.analysis.depth.phases` returns
            it.
        epochs: the number of passes with teacher forcing, and again with free running; 0 for the
            weights as they are.
        lr: the learning rate of Adam at the first step of either; it falls to 0 as a cosine.
        seed: of the order of the samples.

    Returns:
        A network in evaluation mode whose applications of a block share its tensors. To save it,
        make a network of copies of its layers.

    Raises:
        ConfigError: if phases fall, or are not one for each block.
    """
    check_size("epochs", epochs, 0)
    stack = stack_of(net)
    labels = np.asarray(phases)
    if labels.shape != (len(stack.blocks),) or (np.diff(labels) < 0).any():
        raise ConfigError(
            f"phases are {labels.tolist()} but must be one number for each of the "
            f"{len(stack.blocks)} blocks, never falling"
        )
    row = applications(stack.blocks, labels)
    student = Sequential(copy.deepcopy(stack.before), *row, copy.deepcopy(stack.after)).eval()
    parameters = list(dict.fromkeys(p for f in row for p in f.parameters() if p.requires_grad))
    random = np.random.default_rng(check_seed(seed))
    steps = epochs * -(-len(data) // BATCH)
    for free in (False, True):
        optimizer = torch.optim.Adam(parameters, lr)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(steps, 1))
        _train_norms(row, epochs > 0)
        for _ in range(epochs):
            order = random.permutation(len(data))
            for first in range(0, len(order), BATCH):
                x = fetch(data, order[first : first + BATCH]).x.to(device_of(net))
                with torch.no_grad(), evaluating(net):
                    teacher = _activities(stack, x)
                optimizer.zero_grad()
                with torch.enable_grad():
                    tied_loss(row, teacher, free).backward()
                optimizer.step()
                schedule.step()
    return student.eval()


def applications(blocks: Sequence[nn.Module], labels: np.ndarray) -> list[nn.Module]:
    """Return a block for each place, whose tensors are those of its phase's middle block.

    Only normalisation is not shared: it is a copy of that of the block which was in the place.

    Args:
        blocks: the ``L`` blocks of a network, which stay as they are.
        labels: the phase of each, ``[L]``.
    """
    physical = {}
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        physical[label] = copy.deepcopy(blocks[members[len(members) // 2]])
    row = []
    for label, block in zip(labels, blocks, strict=True):
        shared = (
            tensor
            for module in physical[label].modules()
            if not isinstance(module, NORMS)
            for tensor in (*module.parameters(False), *module.buffers(False))
        )
        applied = copy.deepcopy(physical[label], {id(tensor): tensor for tensor in shared})
        for name, module in applied.named_modules():
            if isinstance(module, NORMS):
                module.load_state_dict(block.get_submodule(name).state_dict())
        row.append(applied)
    return row


def tied_loss(row: Sequence[nn.Module], teacher: Sequence[Tensor], free: bool) -> Tensor:
    """Return the mean squared error of smoothed activity of blocks in a row, summed over blocks.

    Args:
        row: the blocks.
        teacher: the activity before the first block and after each, ``L + 1`` tensors.
        free: whether each block is given the output of the one before, or what the teacher has
            there.
    """
    x, total = teacher[0], teacher[0].new_zeros(())
    for number, block in enumerate(row):
        y = run_layer(block, x if free else teacher[number], None)[0]
        total = total + _smooth(y - teacher[number + 1]).square().mean()
        x = y
    return total


def _smooth(x: Tensor) -> Tensor:
    """Filter ``[T, B, N]`` over time by an exponential kernel whose weights sum to 1."""
    integrators = LI(x.shape[2], dt=1.0, tau_mem=KERNEL, scale_input=True)
    return integrators.to(x.device, x.dtype)(x)[0]


def _train_norms(row: Sequence[nn.Module], train: bool) -> None:
    """Have normalisation use the statistics of the batch, while everything else evaluates."""
    for module in (module for block in row for module in block.modules()):
        if isinstance(module, NORMS):
            module.train(train)


def _activities(stack: Stack, x: Tensor) -> list[Tensor]:
    found = [run_layer(stack.before, x, None)[0]]
    for block in stack.blocks:
        found.append(run_layer(block, found[-1], None)[0])
    return found
