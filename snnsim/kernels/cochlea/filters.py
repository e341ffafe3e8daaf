"""The basilar membrane as filters, applied to blocks of a sound that do not depend on its pieces.

Each place is an impulse response of limited length, so what is computed for a block of steps is the
same whatever comes long before or after it (overlap-save). A step is two samples: the published
tool keeps one half of the spectrum, which halves the rate, and folds down what lies above a quarter
of the rate.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from snnsim.kernels.cochlea import membrane
from snnsim.kernels.cochlea.parameters import Membrane
from snnsim.kernels.delay_conv.radices import radices
from snnsim.kernels.threads import run_chunked

SECONDS = 0.17  # of a block, about
GROUP = 50  # neighbouring places that are transformed together
RINGING = 35.0  # periods of a place's best frequency for which it rings
SETTLING = 17.0  # and that its response lasts on the other side
LEAST_REACH = 512  # steps, for the ringing at half the rate of places that are cut off there
FINE = 512  # periods of the transforms are multiples of it
KEPT = 1e-8  # fraction of the greatest response below which a frequency is left out
TAPER = 8  # the last eighth of a response falls to 0


@dataclass(frozen=True)
class Reach:
    """Steps around a block that its transform takes in: ``period = before + count + after``."""

    period: int
    before: int
    after: int


@dataclass(frozen=True)
class Group:
    """Neighbouring places: the spectra of their responses, ``[places, frequencies]`` complex64."""

    reach: Reach
    spectra: Tensor


@dataclass(frozen=True)
class Filters:
    """Transfer functions of all places for one rate: use :func:`filters`, which keeps them.

    Attributes:
        count: steps that a block gives.
        groups: in the order of the places.
    """

    count: int
    groups: tuple[Group, ...]

    @property
    def before(self) -> int:
        """Steps before a block whose samples it needs."""
        return max(group.reach.before for group in self.groups)

    @property
    def after(self) -> int:
        """Steps after a block whose samples it needs."""
        return max(group.reach.after for group in self.groups)

    @property
    def period(self) -> int:
        """Steps whose samples a block needs."""
        return self.before + self.count + self.after

    @property
    def channels(self) -> int:
        """The number of places."""
        return sum(len(group.spectra) for group in self.groups)

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        """Return the velocities ``[count, channels]`` (float32) of one block.

        Args:
            samples: ``[2 * period]`` float32, from ``before`` steps before the block to ``after``
                steps after it.
        """
        velocity = torch.empty((self.count, self.channels))
        products, steps = torch.empty(0, dtype=torch.complex64), torch.empty(0)
        place = 0
        for group in self.groups:  # in the same memory: fresh pages cost as much as transforms
            reach, spectra = group.reach, group.spectra
            start = self.before - reach.before
            heard = torch.from_numpy(samples[2 * start : 2 * (start + reach.period)])
            products.resize_(spectra.shape)
            steps.resize_(len(spectra), reach.period)
            torch.mul(spectra, torch.fft.rfft(heard)[: spectra.shape[1]], out=products)
            torch.fft.irfft(_folded(products, reach.period), n=reach.period, out=steps)
            new = steps[:, reach.before : reach.before + self.count]
            velocity[:, place : place + len(spectra)] = new.t()
            place += len(spectra)
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
    """Return the filters of a membrane, which take a second or two to compute."""
    count = 1 << round(np.log2(SECONDS * rate / 2))
    places = membrane.places(channels, Membrane())
    parts = [places[first : first + GROUP] for first in range(0, channels, GROUP)]
    return Filters(count, tuple(_group(part, count, rate, causal) for part in parts))


def _group(places: np.ndarray, count: int, rate: int, causal: bool) -> Group:
    model = Membrane()
    slowest = rate / 2 / float(membrane.resonance(places, model)[-1])  # steps of a period
    reach = _reach(count, RINGING * slowest, SETTLING * slowest, causal)
    spacing = rate / (2 * reach.period)
    factor, constant = np.zeros((2, reach.period + 1), dtype=np.complex128)
    out = np.zeros((len(places), len(factor)), dtype=np.complex128)
    run_chunked(membrane.entrance, (spacing, model, factor, constant), len(factor), out.size)
    arguments = (places, spacing, model, factor, constant, out)
    run_chunked(membrane.responses, arguments, len(places), out.size)
    responses = torch.from_numpy(out)
    return Group(reach, _limited(responses.conj() if causal else responses, reach))


def _reach(count: int, ringing: float, settling: float, causal: bool) -> Reach:
    """The least period that can be transformed fast; the published filters ring before a sound."""
    before, after = (ringing, settling) if causal else (settling, ringing)
    after = max(int(np.ceil(after)), LEAST_REACH)
    least = count + max(int(np.ceil(before)), LEAST_REACH) + after
    period = FINE * int(np.ceil(least / FINE))
    while radices(period) is None:
        period += FINE
    return Reach(period, period - count - after, after)


def _limited(spectra: Tensor, reach: Reach) -> Tensor:
    """Spectra of the windowed responses, up to the greatest frequency that matters."""
    samples = 2 * reach.period
    window = torch.zeros(samples, dtype=torch.float64)
    window[: 2 * reach.before] = _fading(2 * reach.before)
    window[samples - 2 * reach.after :] = _fading(2 * reach.after).flip(0)
    limited = torch.fft.rfft(torch.fft.irfft(spectra, n=samples) * window)
    size = limited.abs()
    matters = (size > KEPT * size.amax(1, keepdim=True)).any(0)
    top = int(matters.nonzero().max()) + 1
    return (limited[:, :top] / 2).to(torch.complex64)  # two frequencies fall together


def _fading(length: int) -> Tensor:
    """Ones that end in half a Hann window."""
    fading = torch.ones(length, dtype=torch.float64)
    count = length // TAPER
    fading[length - count :] = 0.5 + 0.5 * torch.cos(torch.pi * torch.arange(count) / count)
    return fading
