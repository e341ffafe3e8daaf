"""Spectral rung: the convolution along time as a matrix product at each frequency.

With ``X``, ``K``, ``G`` the spectra of input, kernel and output gradient over a period ``P``:

    y = inverse(X K^T),    g_x = inverse(G conj(K)),    g_kernel = inverse(G^T conj(X))

A period of at least ``T + D - 1`` steps keeps wrapped-around steps out of the result. Longer
inputs are cut into blocks of ``P - D + 1`` steps (overlap-save for ``y``, overlap-add for
``g_x``; Oppenheim & Schafer, section 8.7), so that cost and memory are linear in ``T``.

A complex product costs three real ones (see ``fourier.py``): per output, input and step about
``1.5 P / (P - D + 1)`` multiply-adds, nearly independent of ``D``. The spectra live in a
scratch memory that all layers share; only ``x`` and the kernel are saved for backward.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from snnsim.errors import ShapeError
from snnsim.kernels.delay_conv import transforms
from snnsim.kernels.delay_conv.transforms import Span
from snnsim.kernels.guard import check_axes, check_count, check_operands, check_shape
from snnsim.kernels.operator import declare

PLANE_VALUES = 1 << 24  # of one tensor's spectra in memory at a time: 64 MB in float32


@dataclass(frozen=True)
class Block:
    """Output steps ``out0 .. out1`` and all input steps ``in0 .. in1`` they depend on."""

    out0: int
    out1: int
    in0: int
    in1: int
    covered: int  # input steps of the blocks before

    @property
    def input(self) -> Span:
        """The input, with which the block's window begins."""
        return Span(self.in0, self.in1, 0, self.covered)

    @property
    def output(self) -> Span:
        """The output, and where it begins in that window."""
        return Span(self.out0, self.out1, self.out0 - self.in0)


def cut(steps: int, frames: int, length: int, period: int) -> list[Block]:
    """Blocks that cover the output and fit a period: nothing wrapped around enters it."""
    blocks: list[Block] = []
    start = 0
    while start < frames:
        first = max(0, start - length + 1)
        last = min(steps, start + period - length + 1)
        stop = min(frames, first + period) if last == steps else last
        blocks.append(Block(start, stop, min(first, last), last, blocks[-1].in1 if blocks else 0))
        start = stop
    return blocks


@lru_cache(maxsize=256)
def best_period(
    steps: int, frames: int, length: int, shape: tuple[int, int, int]
) -> tuple[int, float]:
    """The period of least cost, and that cost in multiply-adds of a forward pass.

    Counted are the products, and about 25 operations per transformed value.

    Args:
        steps, frames, length: of input, output and kernel.
        shape: samples, inputs and outputs.
    """
    B, I, O = shape  # noqa: E741
    longest = max(512, 4 * length)  # beyond, the spectra cost more memory than they save work
    whole = transforms.good_period(steps + length - 1)
    candidates = [whole] if whole <= longest else []
    period = transforms.good_period(max(2 * length, 16))
    while period < min(whole, longest):
        candidates.append(period)
        period = transforms.good_period(period + period // 4)

    def cost(period: int) -> float:
        count = len(cut(steps, frames, length, period))
        return period * (count * B * (1.5 * I * O + 25 * (I + O)) + 25 * I * O)

    best = min(candidates, key=cost)
    return best, cost(best)


class _Scratch(threading.local):
    """Memory that is used again: fresh pages cost more than the transforms that fill them."""

    def __init__(self) -> None:
        self._held: dict[tuple[Any, ...], Tensor] = {}

    def take(self, name: str, like: Tensor, *shape: int) -> Tensor:
        """A tensor of undefined content, the same memory for the same name."""
        size = 1
        for extent in shape:
            size *= extent
        key = (name, like.device, like.dtype)
        held = self._held.get(key)
        if held is None or held.numel() < size:
            self._held.pop(key, None)
            held = self._held[key] = torch.empty(size, dtype=like.dtype, device=like.device)
        return held[:size].view(shape)


scratch = _Scratch()


@dataclass(frozen=True)
class Part:
    """A block of steps of some samples, and where its rows stand in the spectra."""

    block: Block
    sample0: int
    sample1: int
    row: int


def parts(blocks: list[Block], samples: int, most: int) -> Iterator[list[Part]]:
    """All of the work in groups of at most ``most`` rows."""
    cuts = [*range(0, samples, most), samples]
    group: list[Part] = []
    row = 0
    for block in blocks:
        for sample0, sample1 in pairwise(cuts):
            if group and row + sample1 - sample0 > most:
                yield group
                group, row = [], 0
            group.append(Part(block, sample0, sample1, row))
            row += sample1 - sample0
    yield group


class _Plan:
    """Everything that is fixed by the shapes."""

    def __init__(self, x: Tensor, taps: Tensor, frames: int):
        (self.T, self.B, self.I), (self.D, self.O, _) = x.shape, taps.shape
        self.frames = frames
        self.period, _ = best_period(self.T, frames, self.D, (self.B, self.I, self.O))
        self.blocks = cut(self.T, frames, self.D, self.period)
        self.planes = 3 * (self.period // 2 + 1)
        self.rows = max(1, PLANE_VALUES // (self.planes * max(self.I, self.O)))

    def groups(self) -> Iterator[tuple[list[Part], int]]:
        for group in parts(self.blocks, self.B, self.rows):
            yield group, group[-1].row + group[-1].sample1 - group[-1].sample0

    def spectrum(self, name: str, rows: int, x: Tensor) -> Tensor:
        return scratch.take(name, x, self.planes, rows, x.shape[2])

    def of_kernel(self, taps: Tensor) -> Tensor:
        out = self.spectrum("kernel", self.O, taps)
        transforms.analyse(taps, Span(0, self.D, 0), +1, out, 0, self.period)
        return out

    def of_input(self, x: Tensor, group: list[Part], rows: int) -> Tensor:
        out = self.spectrum("input", rows, x)
        for p in group:
            part = x[:, p.sample0 : p.sample1]
            transforms.analyse(part, p.block.input, +1, out, p.row, self.period)
        return out

    def of_gradient(self, g: Tensor, group: list[Part], rows: int) -> Tensor:
        out = self.spectrum("gradient", rows, g)
        for p in group:
            part = g[:, p.sample0 : p.sample1]
            transforms.analyse(part, p.block.output, -1, out, p.row, self.period)
        return out


def _check(x: Tensor, taps: Tensor, frames: int) -> None:
    check_axes("x", x, "T, B, I")
    check_axes("taps", taps, "D, O, I")
    check_operands(x, taps)
    check_shape("taps", taps, (*taps.shape[:2], x.shape[2]))
    if min(*x.shape, *taps.shape) == 0:
        raise ShapeError(f"x {tuple(x.shape)} or taps {tuple(taps.shape)} is empty")
    check_count("frames", frames, 1, x.shape[0] + taps.shape[0] - 1)


def _forward(x: Tensor, taps: Tensor, frames: int) -> Tensor:
    """``y[t] = sum_d x[t - d] @ taps[d]^T`` for the first ``frames`` steps.

    Args:
        x: ``[T, B, I]``, 0 before the first and after the last step.
        taps: ``[D, O, I]``.
        frames: number of output steps, at most ``T + D - 1``.

    Returns:
        ``[frames, B, O]``. Gradients flow to ``x`` and ``taps``, which are saved.
    """
    _check(x, taps, frames)
    x, taps = x.contiguous(), taps.contiguous()
    plan = _Plan(x, taps, frames)
    y = x.new_empty((frames, plan.B, plan.O))
    of_kernel = plan.of_kernel(taps)
    for group, rows in plan.groups():
        of_input = plan.of_input(x, group, rows)
        product = scratch.take("gradient", x, plan.planes, rows, plan.O)
        torch.bmm(of_input, of_kernel.transpose(1, 2), out=product)
        for p in group:
            part = y[:, p.sample0 : p.sample1]
            transforms.synthesise(product, p.row, +1, part, p.block.output, plan.period)
    return y


def _backward(
    x: Tensor, taps: Tensor, g_y: Tensor, wants_x: bool, wants_taps: bool
) -> tuple[Tensor, Tensor]:
    """Gradients of the forward pass; what is not wanted comes back empty."""
    g = g_y
    _check(x, taps, g.shape[0])
    check_operands(x, g)
    check_shape("g", g, (g.shape[0], x.shape[1], taps.shape[1]))
    x, taps, g = x.contiguous(), taps.contiguous(), g.contiguous()
    plan = _Plan(x, taps, g.shape[0])
    g_x = torch.empty_like(x) if wants_x else x.new_empty(0)
    g_taps = torch.empty_like(taps) if wants_taps else x.new_empty(0)
    groups = list(plan.groups())
    of_gradient = None  # of the last group; that of the only one serves both
    if wants_taps:
        of_taps = plan.spectrum("kernel", plan.O, taps)
        for index, (group, rows) in enumerate(groups):
            of_gradient = plan.of_gradient(g, group, rows)
            of_input, beta = plan.of_input(x, group, rows), 1 if index else 0
            torch.baddbmm(of_taps, of_gradient.mT, of_input, beta=beta, out=of_taps)
        transforms.synthesise(of_taps, 0, -1, g_taps, Span(0, plan.D, 0), plan.period)
    if wants_x:
        of_kernel = plan.of_kernel(taps)  # in the memory of of_taps
        for group, rows in groups:
            if of_gradient is None or len(groups) > 1:
                of_gradient = plan.of_gradient(g, group, rows)
            product = plan.spectrum("input", rows, x)
            torch.bmm(of_gradient, of_kernel, out=product)
            for p in group:
                part = g_x[:, p.sample0 : p.sample1]
                transforms.synthesise(product, p.row, -1, part, p.block.input, plan.period)
    return g_x, g_taps


spectral_conv, spectral_conv_backward = declare(
    "spectral_conv",
    _forward,
    _backward,
    outputs=("y",),
    shapes=lambda x, taps, frames: [(frames, x.shape[1], taps.shape[1])],
    gradients=("x", "taps"),
)
