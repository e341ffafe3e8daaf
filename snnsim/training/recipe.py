"""The hyper-parameters of training and the optimisers they make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from snnsim.errors import ConfigError, check_choice, check_number
from snnsim.functional.readouts import READOUTS
from snnsim.networks.normalization import BatchNorm
from snnsim.neurons import Neuron
from snnsim.synapses.delayed import delayed_layers, narrow_delays
from snnsim.training.schedules import cosine, one_cycle

PRECISIONS = ("auto", "float32", "bfloat16")
SCHEDULES = ("one_cycle", "constant")
FEW_EPOCHS = 4  # below which schedules go by steps


@dataclass(frozen=True)
class Recipe:
    """How to train. The defaults are those of Hammouamri et al. 2024 (arXiv:2306.17670) on SHD.

    Attributes:
        epochs: passes over the training data.
        batch_size: samples per optimiser step, over all processes.
        max_lr: peak learning rate of weights and all other parameters but delays.
        schedule: ``"one_cycle"`` per epoch (per step where there are fewer than 4 epochs), or
            ``"constant"`` at ``max_lr``.
        lr_delay: learning rate of delays at the start; cosine to 0.
        weight_decay: L2 penalty on weights, not on normalisations, biases or delays.
        sigma_end: width of the delay kernels (before the Gaussian's offset) at the end of its
            decay.
        sigma_share: share of the epochs over which the width decays.
        readout: name of the read-out, see :mod:`snnsim.functional.readouts`.
        mask_padding: whether steps beyond the end of a sample are kept out of the read-out.
        accumulate: parts into which a batch is cut to save memory (batch normalisation then
            sees the parts).
        patience: stop after this many epochs without a better validation accuracy; 0 = never.
        precision: ``"auto"`` (bfloat16 on a GPU that has it), ``"float32"`` or ``"bfloat16"``.
        checkpoint_steps: also write a checkpoint every so many steps within an epoch; 0 = only
            at the ends of epochs.
        check_finite: whether every batch is searched for NaN and infinities, which costs one pass
            over it (about a thousandth of a step). Losses, gradients and weights always are.
    """

    epochs: int = 150
    batch_size: int = 256
    max_lr: float = 5e-3
    schedule: str = "one_cycle"
    lr_delay: float = 0.1
    weight_decay: float = 1e-5
    sigma_end: float = 0.23
    sigma_share: float = 0.25
    readout: str = "sum_softmax"
    mask_padding: bool = False
    accumulate: int = 1
    patience: int = 0
    precision: str = "auto"
    checkpoint_steps: int = 0
    check_finite: bool = True

    def __post_init__(self) -> None:
        check_choice("readout", self.readout, READOUTS)
        check_choice("schedule", self.schedule, SCHEDULES)
        check_choice("precision", self.precision, PRECISIONS)
        for name in ("epochs", "batch_size", "accumulate"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)} but must be 1 or more")
        not_negative = ("max_lr", "lr_delay", "weight_decay", "patience", "checkpoint_steps")
        for name in (*not_negative, "sigma_end"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} is {getattr(self, name)} but must not be negative")


def split_parameters(
    net: nn.Module,
) -> tuple[list[nn.Parameter], list[nn.Parameter], list[nn.Parameter]]:
    """What is trained: that with weight decay, that without, and delays.

    An L2 penalty means something for weights only: not for normalisations and biases, the
    parameters of neurons (time constants) or the widths of delay kernels.
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
    trained = [p for p in net.parameters() if p.requires_grad]
    return (
        [p for p in trained if id(p) not in apart],
        [p for p in trained if id(p) in plain],
        [p for p in delays if p.requires_grad],
    )


def parameter_groups(
    net: nn.Module, *, lr: float, lr_delay: float | None = None, weight_decay: float = 0.0
) -> list[dict[str, Any]]:
    """Parameter groups for any optimiser of torch: weights, what decay means nothing for, delays.

    Args:
        net: any module.
        lr: learning rate of all but delays.
        lr_delay: that of delays, which are in steps; ``None``: ``100 * lr``.
        weight_decay: of weights only; see :func:`split_parameters`.

    Returns:
        Groups with ``params``, ``lr`` and ``weight_decay``; those without parameters are left out.

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


class Together:
    """Several optimisers as one; after a step the delays of the network are back in their range."""

    def __init__(self, net: nn.Module, optimizers: Sequence[torch.optim.Optimizer]):
        self.connections, self.each = list(delayed_layers(net)), list(optimizers)

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for optimizer in self.each:
            optimizer.zero_grad(set_to_none=True)

    def step(self) -> None:
        """One step of all optimisers; then bring the delays back into their range."""
        for optimizer in self.each:
            optimizer.step()
        for connection in self.connections:
            connection.clamp_()


class Optimizers(Together):
    """Two Adams: one for delays, one for everything else.

    The rates are set at the start of every epoch by :meth:`start_epoch` and, for few epochs, of
    every step by :meth:`start_step`; ``step`` also brings the delays back into their range.
    """

    def __init__(self, net: nn.Module, recipe: Recipe):
        self.recipe, self.net = recipe, net
        rates = {"lr": recipe.max_lr, "lr_delay": recipe.lr_delay}
        groups = parameter_groups(net, **rates, weight_decay=recipe.weight_decay)
        delays = {id(layer.delay) for layer in delayed_layers(net)}
        apart = [g for g in groups if id(g["params"][0]) in delays]
        self.main = torch.optim.Adam([g for g in groups if id(g["params"][0]) not in delays])
        self.delays = torch.optim.Adam(apart) if apart else None
        super().__init__(net, [o for o in (self.main, self.delays) if o is not None])

    def start_epoch(self, epoch: int) -> None:
        """Set learning rates, momenta and kernel widths for ``epoch``."""
        self._set(epoch, *self._rates(epoch, self.recipe.epochs))

    def start_step(self, epoch: int, step: int, steps: int) -> None:
        """Set them anew before ``step`` of ``steps`` where the epochs are too few for schedules.

        A schedule of one value per epoch would never narrow a kernel, and end before it begins.
        """
        if self.recipe.epochs < FEW_EPOCHS:
            done, whole = epoch * steps + step, self.recipe.epochs * steps
            self._set(done / steps, *self._rates(done, whole))

    def _rates(self, done: int, whole: int) -> tuple[float, float]:
        """Learning rate and beta1 after ``done`` of ``whole`` epochs or steps."""
        if self.recipe.schedule == "constant" or whole < FEW_EPOCHS:
            return self.recipe.max_lr, 0.9
        return one_cycle(done, whole, self.recipe.max_lr)

    def _set(self, epoch: float, lr: float, beta1: float) -> None:
        recipe = self.recipe
        for group in self.main.param_groups:
            group["lr"], group["betas"] = lr, (beta1, 0.999)
        for group in self.delays.param_groups if self.delays else ():
            group["lr"] = cosine(epoch, recipe.epochs, recipe.lr_delay)
        narrow_delays(
            self.net, epoch, recipe.epochs, end=recipe.sigma_end, fraction=recipe.sigma_share
        )
