"""The optimisers of a recipe: their parameters, their learning rates, and what follows a step."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from snnsim.errors import check_number
from snnsim.networks.normalization import BatchNorm
from snnsim.neurons import Neuron
from snnsim.portable import is_portable
from snnsim.synapses.delayed import delayed_layers, narrow_delays
from snnsim.training.recipe import SAME, Recipe
from snnsim.training.schedules import FEW_EPOCHS, rate_at

Split = tuple[list[nn.Parameter], list[nn.Parameter], list[nn.Parameter]]


def split_parameters(net: nn.Module, among: Iterable[nn.Parameter] | None = None) -> Split:
    """Return the parameters to train, as three lists: with weight decay, without it, and delays.

    Weight decay (an L2 penalty) makes sense for weights only. It is not applied to normalisations,
    biases, the parameters of neurons (such as time constants) or the widths of delay kernels.

    Args:
        net: any module.
        among: the parameters that may be trained; with ``None``, all that require a gradient.
    """
    delays = [layer.delay for layer in delayed_layers(net)]
    batch = (BatchNorm, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
    kinds = (*batch, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, Neuron)
    modules = [module for module in net.modules() if isinstance(module, kinds)]
    plain = {id(p) for module in modules for p in module.parameters(recurse=False)}
    plain |= {id(layer.sigma) for layer in delayed_layers(net)}
    named = net.named_parameters()  # torch's recurrent layers have a "bias_ih_l0"
    plain |= {id(p) for name, p in named if name.rpartition(".")[2].startswith("bias")}
    apart = plain | {id(p) for p in delays}
    trained = [p for p in (net.parameters() if among is None else among) if p.requires_grad]
    return (
        [p for p in trained if id(p) not in apart],
        [p for p in trained if id(p) in plain],
        [p for p in trained if id(p) in {id(d) for d in delays}],
    )


def parameter_groups(
    net: nn.Module, *, lr: float, lr_delay: float | None = None, weight_decay: float = 0.0
) -> list[dict[str, Any]]:
    """Return parameter groups for any optimiser of torch.

    There are three groups: weights, parameters for which weight decay makes no sense, and delays.

    Args:
        net: any module.
        lr: the learning rate of all parameters except delays, 0 or more.
        lr_delay: the learning rate of delays, in time steps, 0 or more; ``None`` means ``100 *
            lr``.
        weight_decay: the L2 penalty on weights, 0 or more; see :func:`split_parameters`.

    Returns:
        Groups with ``params``, ``lr`` and ``weight_decay``; groups without parameters are omitted.

    >>> from snnsim.synapses import Delayed
    >>> layer = Delayed(3, 2, dt=1.0, max_delay_ms=4)
    >>> groups = parameter_groups(layer, lr=1e-3, weight_decay=1e-5)
    >>> [(group["lr"], group["weight_decay"]) for group in groups]
    [(0.001, 1e-05), (0.1, 0.0)]
    """
    check_number("lr", lr, 0)
    delay_rate = 100 * lr if lr_delay is None else lr_delay
    check_number("lr_delay", delay_rate, 0)
    check_number("weight_decay", weight_decay, 0)
    decayed, plain, delays = split_parameters(net)
    groups: list[dict[str, Any]] = [
        {"params": decayed, "lr": lr, "weight_decay": weight_decay},
        {"params": plain, "lr": lr, "weight_decay": 0.0},
        {"params": delays, "lr": delay_rate, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


class Optimizers:
    """Two optimisers train a network: one of its delays, and one of everything else.

    Learning rates and the widths of delay kernels are set at the start of every epoch by
    :meth:`start_epoch` and, for few epochs, before every step by :meth:`start_step`. :meth:`step`
    clips the gradient and brings the delays back into their range.

    Args:
        net: the network to train.
        recipe: the hyper-parameters; on a stream, those of the task.
        among: the parameters that may be trained; ``None`` means all.
        narrow: whether kernel widths follow the recipe; otherwise they stay at its final width.
    """

    def __init__(
        self,
        net: nn.Module,
        recipe: Recipe,
        among: Iterable[nn.Parameter] | None = None,
        *,
        narrow: bool = True,
    ):
        self.recipe, self.net, self.narrow = recipe, net, narrow
        self.connections = list(delayed_layers(net))
        self.lr_delay = 100 * recipe.lr if recipe.lr_delay is None else recipe.lr_delay
        decayed, plain, delays = split_parameters(net, among)
        decay = recipe.weight_decay
        self.main = self._made([_group(decayed, recipe.lr, decay), _group(plain, recipe.lr)])
        self.delays = self._made([_group(delays, self.lr_delay)]) if delays else None
        self.each = [o for o in (self.main, self.delays) if o is not None]

    def _made(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        groups = [group for group in groups if group["params"]] or groups[:1]
        fused = is_portable() or None  # whose square root is the same on all processors
        if self.recipe.optimizer == "adam":
            return torch.optim.Adam(groups, fused=fused)
        return torch.optim.SGD(groups, momentum=self.recipe.momentum, fused=fused)

    def zero_grad(self) -> None:
        """Delete all gradients."""
        for optimizer in self.each:
            optimizer.zero_grad(set_to_none=True)

    def step(self) -> None:
        """Take one step of both optimisers, then bring the delays back into their range."""
        if self.recipe.clip:
            groups = (group for optimizer in self.each for group in optimizer.param_groups)
            trained = [p for group in groups for p in group["params"]]
            nn.utils.clip_grad_norm_(trained, self.recipe.clip)
        for optimizer in self.each:
            optimizer.step()
        for connection in self.connections:
            connection.clamp_()

    def start_epoch(self, epoch: int) -> None:
        """Set learning rates, momenta and kernel widths for ``epoch``."""
        self._set(epoch, epoch, self.recipe.epochs)

    def start_step(self, epoch: int, step: int, steps: int) -> None:
        """Set learning rates and widths again before a step, if the recipe has few epochs.

        A schedule with one value per epoch would never narrow a kernel then, and would end before
        it begins.

        Args:
            epoch: the number of completed epochs.
            step: the number of completed steps of the current epoch.
            steps: the number of steps of an epoch.
        """
        if self.recipe.epochs < FEW_EPOCHS:
            done, whole = epoch * steps + step, self.recipe.epochs * steps
            self._set(done / steps, done, whole)

    def _set(self, epoch: float, done: int, whole: int) -> None:
        recipe = self.recipe
        lr, beta1 = rate_at(recipe.schedule, done, whole, recipe.lr)
        for group in self.main.param_groups:
            group["lr"] = lr
            if "betas" in group:
                group["betas"] = (beta1, 0.999)
        schedule = recipe.schedule if recipe.schedule_delay == SAME else recipe.schedule_delay
        for group in self.delays.param_groups if self.delays else ():
            group["lr"], _ = rate_at(schedule, epoch, recipe.epochs, self.lr_delay)
        self.narrow_to(epoch if self.narrow else recipe.epochs)

    def narrow_to(self, epoch: float) -> None:
        """Give the delay kernels the width that they have after ``epoch`` epochs.

        Args:
            epoch: the number of completed epochs, which may include a fraction of one.
        """
        recipe = self.recipe
        narrow_delays(
            self.net, epoch, recipe.epochs, end=recipe.sigma_end, fraction=recipe.sigma_fraction
        )


def _group(parameters: list[nn.Parameter], lr: float, decay: float = 0.0) -> dict[str, Any]:
    return {"params": parameters, "lr": lr, "weight_decay": decay}
