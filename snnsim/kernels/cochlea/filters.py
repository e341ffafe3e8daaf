"""The basilar membrane as filters, applied to blocks of a sound that do not depend on its pieces.

Each place is an impulse response of limited length, so what is computed for a block of steps is the
same whatever follows or precedes it (overlap-save). A step is two samples: the published tool keeps
one half of the spectrum, which halves the rate, and folds what lies above a quarter of the rate.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from snnsim.kernels.cochlea import membrane
from snnsim.kernels.cochlea.parameters import Membrane
from snnsim.kernels.threads import run_chunked

SECONDS = 0.6  # least period of the transforms
GROUP = 50  # neighbouring places that are transformed together
KEPT = 1e-8  # fraction of the greatest response below which a frequency is left out
TAPER = 8  # the responses fall to 0 over one part of so many


@dataclass(frozen=True)
class Blocks:
    """Sizes in steps (of two samples each) of what the transforms take and give.

    Attributes:
        period: length of the transforms, ``before + count + after``.
        before: steps of the past that a block needs.
        count: steps that a block gives.
        after: steps of the future that a block needs.
    """

    period: int
    before: int
    count: int
    after: int


def blocks(rate: int, causal: bool) -> Blocks:
    """Return the sizes for a rate: half the period is ringing, a quarter of it is new."""
    period = 1 << int(np.ceil(np.log2(SECONDS * rate / 2)))
    long, short = period // 2, period // 4
    before, after = (long, short) if causal else (short, long)
    return Blocks(period, before, period // 4, after)


@dataclass(frozen=True)
class Filters:
    """Transfer functions of all places for one rate: use :func:`filters`, which keeps them."""

    blocks: Blocks
    spectra: tuple[Tensor, ...]  # of each group of places, [places, frequencies] complex64

    @property
    def channels(self) -> int:
        """The number of places."""
        return sum(len(each) for each in self.spectra)

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        """Return the velocities ``[count, channels]`` (float32) of one block.

        Args:
            samples: ``[2 * period]`` float32, from ``before`` steps before the block to ``after``
                steps after it.
        """
        sizes, place = self.blocks, 0
        sound = torch.fft.rfft(torch.from_numpy(samples))
        velocity = torch.empty((sizes.count, self.channels))
        products, steps = torch.empty(0, dtype=torch.complex64), torch.empty(0)
        for spectrum in self.spectra:  # in the same memory: fresh pages cost as much as transforms
            count = len(spectrum)
            products.resize_(spectrum.shape)
            steps.resize_(count, sizes.period)
            torch.mul(spectrum, sound[: spectrum.shape[1]], out=products)
            kept = _folded(products, sizes.period)
            torch.fft.irfft(kept, n=sizes.period, out=steps)
            new = steps[:, sizes.before : sizes.before + sizes.count]
            velocity[:, place : place + count] = new.t()
            place += count
        return velocity.numpy()


def _folded(products: Tensor, period: int) -> Tensor:
    """The spectrum of every second sample: what lies above half the band is folded down."""
    top = period // 2 + 1
    above = products[:, top:].flip(1)
    first = period + 1 - products.shape[1]
    products[:, first : first + above.shape[1]] += above.conj()
    return products[:, :top]


@lru_cache(maxsize=4)
def filters(rate: int, channels: int, causal: bool) -> Filters:
    """Return the filters of a membrane, which take about two seconds to compute."""
    sizes = blocks(rate, causal)
    model = Membrane()
    places = membrane.places(channels, model)
    spacing = rate / (2 * sizes.period)
    window = _window(sizes)
    factor, constant = np.zeros((2, sizes.period + 1), dtype=np.complex128)
    run_chunked(membrane.entrance, (spacing, model, factor, constant), len(factor), 1 << 20)
    spectra = []
    for first in range(0, channels, GROUP):
        group = places[first : first + GROUP]
        out = np.zeros((len(group), len(factor)), dtype=np.complex128)
        arguments = (group, spacing, model, factor, constant, out)
        run_chunked(membrane.responses, arguments, len(group), 1 << 20)
        spectra.append(_limited(torch.from_numpy(out), window, causal))
    return Filters(sizes, tuple(spectra))


def _limited(spectra: Tensor, window: Tensor, causal: bool) -> Tensor:
    """Spectra of the windowed responses, up to the greatest frequency that matters."""
    response = torch.fft.irfft(spectra.conj() if causal else spectra, n=len(window))
    limited = torch.fft.rfft(response * window)
    size = limited.abs()
    matters = (size > KEPT * size.amax(1, keepdim=True)).any(0)
    top = int(matters.nonzero().max()) + 1
    return (limited[:, :top] / 2).to(torch.complex64)  # of two halves of the spectrum


def _window(sizes: Blocks) -> Tensor:
    """What each sample of a response is multiplied by: 1, and 0 beyond the block's reach."""
    window = torch.zeros(2 * sizes.period, dtype=torch.float64)
    for length, ends in ((2 * sizes.before, 1), (2 * sizes.after, -1)):
        fade = length // TAPER
        edge = torch.ones(length, dtype=torch.float64)
        edge[-fade:] = 0.5 + 0.5 * torch.cos(torch.pi * torch.arange(fade) / fade)
        lags = torch.arange(length) * ends
        window[lags] = edge
    return window
