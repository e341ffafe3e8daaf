"""Convolutions over space in which every weight has a learnable delay."""

from __future__ import annotations

from torch import Tensor

from snnsim.errors import ShapeError, check_size
from snnsim.functional.delays import delay_conv2d, delay_kernel
from snnsim.kernels.guard import check_profile
from snnsim.synapses.delayed import DelayedConnection
from snnsim.units import steps_to_ms


class DelayedConv2d(DelayedConnection):
    """A delayed convolution looks at patches of an image, each pixel of them at its own delay.

        y[t, o, h, w] = sum_{i, a, b} weight[o, i, a, b] x[t - delay[o, i, a, b], i, h + a, w + b]

    While delays are learned, each is spread over neighbouring time steps, and they are narrowed,
    clamped and rounded, as :class:`Delayed` describes. A pattern that moves over the image excites
    such a kernel if the delays undo its movement. There is no bias.

    Args:
        channels_in, channels_out: the numbers of input and output channels, at least 1.
        kernel_size: the height and width of the kernel in pixels, at least 1.
        dt: the length of a time step in ms, above 0.
        max_delay_ms: the largest delay in ms, an even number of time steps.
        stride: the distance of neighbouring patches in pixels, at least 1.
        margin: the number of rows and columns of zeros that are added on every side of the image,
            0 or more; ``kernel_size // 2`` keeps the size of an image if the kernel size is odd.
        profile, sigma, learn_sigma, learn_delay, padding: as in :class:`Delayed`; ``padding`` is
            that of time.

    Call: ``[T, B, channels_in, H, W] -> [T (+ tail), B, channels_out, H', W']``, where
    ``H' = (H + 2 margin - kernel_size) // stride + 1``; ``x`` may also be bool or whole numbers.
    The state is that of :class:`Delayed`, ``{"history": [max_delay_steps, B, channels_in, H, W]}``.

    When not to use it: the cost is that of a three-dimensional convolution with as many taps in
    time as there are possible delays, in evaluation as well.

    Source: dilated convolutions with learnable spacings, Khalfaoui-Hassani, Pellegrini & Masquelier
    2023, arXiv:2112.03740, here along time only.

    >>> import torch
    >>> layer = DelayedConv2d(2, 4, 3, dt=10.0, max_delay_ms=100, margin=1)
    >>> y, state = layer(torch.ones(7, 1, 2, 8, 8))
    >>> tuple(y.shape), tuple(state["history"].shape)
    ((7, 1, 4, 8, 8), (10, 1, 2, 8, 8))
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel_size: int,
        *,
        dt: float,
        max_delay_ms: float,
        stride: int = 1,
        margin: int = 0,
        profile: str = "gauss",
        sigma: float | None = None,
        learn_sigma: bool = False,
        learn_delay: bool = True,
        padding: str = "causal",
    ):
        size = check_size("kernel_size", kernel_size)
        channels_in = check_size("channels_in", channels_in)
        shape = (check_size("channels_out", channels_out), channels_in, size, size)
        super().__init__(
            shape,
            channels_in * size**2,
            shape,
            dt=dt,
            max_delay_ms=max_delay_ms,
            profile=profile,
            sigma=sigma,
            learn_sigma=learn_sigma,
            learn_delay=learn_delay,
            padding=padding,
        )
        self.channels_in, self.channels_out, self.kernel_size = channels_in, shape[0], size
        self.stride, self.margin = check_size("stride", stride), check_size("margin", margin, 0)

    def rung(self, steps: int, samples: int) -> str:
        """Return ``"conv3d"``: torch's convolution over time and space runs every sequence."""
        return "conv3d"

    def _check_shape(self, x: Tensor) -> None:
        if x.dim() != 5 or x.shape[2] != self.channels_in:
            raise ShapeError(
                f"x has shape {tuple(x.shape)} but DelayedConv2d was built for "
                f"[T, B, {self.channels_in}, H, W]"
            )
        if min(x.shape[3:]) + 2 * self.margin < self.kernel_size:
            raise ShapeError(
                f"x has images of {x.shape[3]} x {x.shape[4]} pixels with a margin of "
                f"{self.margin}, but the kernel of DelayedConv2d has {self.kernel_size} x "
                f"{self.kernel_size}; use a smaller kernel or a larger margin"
            )

    def _step(self) -> str:
        return "channels_in, H, W"

    def _delayed(self, x: Tensor, delay: Tensor, sigma: Tensor, profile: str, tail: int) -> Tensor:
        check_profile(delay, sigma, self.length)
        kernel = delay_kernel(
            self.weight.unsqueeze(-1), delay.unsqueeze(-1), sigma, self.length, profile
        )
        return delay_conv2d(x, kernel, tail, self.stride, self.margin)

    def extra_repr(self) -> str:
        return (
            f"{self.channels_in}, {self.channels_out}, {self.kernel_size}, dt={self.dt:g}, "
            f"max_delay_ms={steps_to_ms(self.length - 1, self.dt):g}, stride={self.stride}, "
            f"margin={self.margin}, learn_delay={self.learn_delay}, padding={self.padding!r}"
        )
