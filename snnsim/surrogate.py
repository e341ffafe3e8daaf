"""Surrogate derivatives of the spike, each with the primitive of which it is the derivative.

The forward pass of a spike is the Heaviside step of ``u``, the distance to the threshold. Its
backward pass uses ``derivative(u)`` in place of the step's derivative, which is zero almost
everywhere. ``primitive(u)`` is the smooth function whose true derivative that is;
``surrogate.smoothed()`` uses it in the forward pass too, which makes a whole network differentiable
in the ordinary sense, so that finite differences can check its gradients.

Your own surrogate is a frozen dataclass with these two methods, written with plain arithmetic and
the functions of :mod:`snnsim.equations`; all kernels are derived from it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from snnsim.elementary import absolute, atan, erf, exp, heaviside, where
from snnsim.errors import check_choice


@dataclass(frozen=True, kw_only=True)
class Surrogate:
    """A surrogate is a step in the forward pass and has ``derivative`` in the backward pass.

    This is the base class.
    """

    smooth: bool = False

    def derivative(self, u: Any) -> Any:
        """Return the surrogate derivative at ``u``, the distance to the threshold, in its shape."""
        raise NotImplementedError

    def primitive(self, u: Any) -> Any:
        """Return the value at ``u`` of a function whose derivative is :meth:`derivative`."""
        raise NotImplementedError

    def forward(self, u: Any) -> Any:
        """Return what a spike is in the forward pass: 1 where ``u >= 0``, else 0."""
        return self.primitive(u) if self.smooth else heaviside(u)

    def smoothed(self):
        """Return the same surrogate with its primitive in the forward pass, for gradient checks."""
        return replace(self, smooth=True)


@dataclass(frozen=True, kw_only=True)
class ATan(Surrogate):
    """The derivative is ``(alpha/2) / (1 + (pi/2 * alpha * u)^2)``.

    Source: Fang et al. 2021, arXiv:2007.05785.

    >>> ATan(alpha=5.0).derivative(0.0)
    2.5
    """

    alpha: float = 2.0

    def derivative(self, u):
        scaled = (math.pi / 2 * self.alpha) * u
        return (self.alpha / 2) / (1 + scaled * scaled)

    def primitive(self, u):
        return atan((math.pi / 2 * self.alpha) * u) * (1 / math.pi) + 0.5


@dataclass(frozen=True, kw_only=True)
class Sigmoid(Surrogate):
    """The derivative is ``alpha * s * (1 - s)`` with ``s = 1 / (1 + exp(-alpha * u))``.

    It is computed with ``exp(-alpha |u|)``, which cannot overflow. Source: Zenke & Ganguli 2018.
    """

    alpha: float = 4.0

    def derivative(self, u):
        e = exp(-self.alpha * absolute(u))
        return self.alpha * e / ((1 + e) * (1 + e))

    def primitive(self, u):
        e = exp(-self.alpha * absolute(u))
        return where(u >= 0, 1 / (1 + e), e / (1 + e))


@dataclass(frozen=True, kw_only=True)
class Triangle(Surrogate):
    """The derivative is ``height * max(0, 1 - |u| / width)``.

    Source: Bellec et al. 2018, arXiv:1803.09574 (height 0.3).
    """

    width: float = 1.0
    height: float = 1.0

    def derivative(self, u):
        inside = 1 - absolute(u) * (1 / self.width)
        return where(inside > 0, self.height * inside, 0.0)

    def primitive(self, u):
        inside = 1 - absolute(u) * (1 / self.width)
        area = self.height * self.width
        tail = where(inside > 0, (0.5 * area) * inside * inside, 0.0)
        return where(u >= 0, area - tail, tail)


@dataclass(frozen=True, kw_only=True)
class FastSigmoid(Surrogate):
    """The derivative is ``1 / (1 + alpha * |u|)^2``, that of SuperSpike.

    Source: Zenke & Ganguli 2018, doi:10.1162/neco_a_01086.
    """

    alpha: float = 25.0

    def derivative(self, u):
        d = 1 + self.alpha * absolute(u)
        return 1 / (d * d)

    def primitive(self, u):
        return u / (1 + self.alpha * absolute(u))


@dataclass(frozen=True, kw_only=True)
class Boxcar(Surrogate):
    """The derivative is ``height`` where ``|u| <= width / 2``, else 0.

    Source: Bittar & Garner 2022 (width 1, height 0.5).
    """

    width: float = 1.0
    height: float = 0.5

    def derivative(self, u):
        return self.height * heaviside(0.5 * self.width - absolute(u))

    def primitive(self, u):
        half = 0.5 * self.width
        clipped = where(u > half, half, where(u < -half, -half, u))
        return self.height * (clipped + half)


@dataclass(frozen=True, kw_only=True)
class MultiGaussian(Surrogate):
    """The derivative is a sum of three Gaussians, of which two are negative.

        gamma * ((1+h) N(u; 0, sigma) - h N(u; sigma, s*sigma) - h N(u; -sigma, s*sigma))

    Source: Yin, Corradi & Bohte 2021, doi:10.1038/s42256-021-00397-w, with their constants.
    """

    gamma: float = 0.5
    h: float = 0.15
    s: float = 6.0
    sigma: float = 0.5

    def _mix(self, density, u):
        wide = self.s * self.sigma
        side = density(u - self.sigma, wide) + density(u + self.sigma, wide)
        return self.gamma * ((1 + self.h) * density(u, self.sigma) - self.h * side)

    def derivative(self, u):
        def normal(x, sigma):
            return exp(x * x * (-0.5 / sigma**2)) * (1 / (sigma * math.sqrt(2 * math.pi)))

        return self._mix(normal, u)

    def primitive(self, u):
        def cumulative(x, sigma):
            return 0.5 * (1 + erf(x * (1 / (sigma * math.sqrt(2.0)))))

        return self._mix(cumulative, u)


@dataclass(frozen=True, kw_only=True)
class Slayer(Surrogate):
    """The derivative is ``(scale * alpha / 2) * exp(-alpha * |u|)``.

    Source: Shrestha & Orchard 2018, arXiv:1810.08646.
    """

    alpha: float = 5.0
    scale: float = 1.0

    def derivative(self, u):
        return (self.scale * self.alpha / 2) * exp(-self.alpha * absolute(u))

    def primitive(self, u):
        tail = (self.scale / 2) * exp(-self.alpha * absolute(u))
        return where(u >= 0, self.scale - tail, tail)


SURROGATES: dict[str, type[Surrogate]] = {
    "atan": ATan,
    "sigmoid": Sigmoid,
    "triangle": Triangle,
    "fast_sigmoid": FastSigmoid,
    "boxcar": Boxcar,
    "multi_gaussian": MultiGaussian,
    "slayer": Slayer,
}


def get_surrogate(surrogate: Surrogate | str) -> Surrogate:
    """Return a surrogate by its name (with default constants), or the one that was given.

    >>> get_surrogate("atan")
    ATan(smooth=False, alpha=2.0)
    """
    if isinstance(surrogate, Surrogate):
        return surrogate
    check_choice("surrogate", surrogate, SURROGATES)
    return SURROGATES[surrogate]()
