"""Batch normalisation over time and batch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed, nn

from snnsim.errors import ShapeError, check_number, check_size
from snnsim.layer import Layer, as_input
from snnsim.processes import together

ONE_VALUE = (
    "batch normalisation needs more than one value per channel in training, but x is {}; "
    "use a larger batch or net.eval()"
)


class _SumOverProcesses(torch.autograd.Function):
    """The sum over all processes; the gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx, x):
        total = x.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx, *grad_outputs):
        total = grad_outputs[0].clone()
        distributed.all_reduce(total)
        return total


class BatchNorm(Layer):
    """Normalise each channel over all samples and time steps (padding included).

    Training uses mean and (biased) variance of the batch, and keeps running averages of them with
    the unbiased variance, as ``torch.nn.BatchNorm1d`` does. Where ``torch.distributed`` runs, the
    statistics are those of the joint batch of all processes.

    Args:
        n: number of channels, the third axis of ``[T, B, C, ...]``.
        eps: number that is added to the variance, 0 or more.
        momentum: weight of the new batch in the running averages, in 0 .. 1.

    >>> y, _ = BatchNorm(3)(torch.randn(50, 20, 3) * 4 + 2)
    >>> bool(y.mean().abs() < 1e-5), bool((y.std() - 1).abs() < 1e-2)
    (True, True)
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, n: int, eps: float = 1e-5, momentum: float = 0.1):
        super().__init__()
        check_number("eps", eps, 0)
        check_number("momentum", momentum, 0, 1)
        self.n, self.eps, self.momentum = check_size("n", n), eps, momentum
        self.weight = nn.Parameter(torch.ones(n))
        self.bias = nn.Parameter(torch.zeros(n))
        self.register_buffer("running_mean", torch.zeros(n))
        self.register_buffer("running_var", torch.ones(n))

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, None]:
        x = as_input(x, self.weight, "BatchNorm")
        if x.dim() < 3 or x.shape[2] != self.n:
            raise ShapeError(
                f"x has shape {tuple(x.shape)} but BatchNorm needs [T, B, {self.n}, ...]"
            )
        if self.training and together():
            return self._synchronised(x), None
        if self.training and x.numel() <= self.n:
            raise ShapeError(ONE_VALUE.format(tuple(x.shape)))
        y = nn.functional.batch_norm(
            x.flatten(0, 1),
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training,
            self.momentum,
            self.eps,
        )
        return y.view_as(x), None

    def _synchronised(self, x: Tensor) -> Tensor:
        axes = [axis for axis in range(x.dim()) if axis != 2]
        shape = [self.n if axis == 2 else 1 for axis in range(x.dim())]
        count = x.new_tensor([x.numel() / self.n])
        # two passes, because a sum of squares loses the digits that the variance is made of
        total = _SumOverProcesses.apply(torch.cat([x.sum(axes), count]))
        mean, count = total[:-1] / total[-1], total[-1]
        centred = x - mean.view(shape)
        var = _SumOverProcesses.apply((centred * centred).sum(axes)) / count
        if count <= 1:
            raise ShapeError(ONE_VALUE.format(tuple(x.shape)))
        self.update(mean, var, count)
        return centred * self.gain(var).view(shape) + self.bias.view(shape)

    def gain(self, var: Tensor | None = None) -> Tensor:
        """Return the factor of centred values, ``[n]``, for a biased variance.

        ``None`` is the running one: ``y = (x - running_mean) * gain() + bias`` in evaluation.
        """
        return self.weight * torch.rsqrt((self.running_var if var is None else var) + self.eps)

    @torch.no_grad()
    def update(self, mean: Tensor, var: Tensor, count: Tensor | int) -> None:
        """Bring a batch of ``count`` values with biased variance into the running averages."""
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(var * (count / (count - 1)), self.momentum)

    def extra_repr(self) -> str:
        return f"{self.n}, eps={self.eps:g}, momentum={self.momentum:g}"
