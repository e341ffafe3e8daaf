"""How each place of the basilar membrane answers a tone: Sieroka, Dosch & Rupp (2006).

A place ``x`` (cm from the base) has the impedance

    xi(x) = S(x) - m w^2 - i w R(x)
    S(x) = C0 exp(-alpha x) - a,  R(x) = delta sqrt(C0 m) exp(-alpha x / 2)

at the angular frequency ``w``. Pressure waves have the local wave number
``g = w sqrt(rho / (h xi))`` and, in the approximation of Wentzel, Kramers and Brillouin, the
pressure

    p(x) = sqrt(G / g) H0(G),   G(x) = 2 g(0) / alpha + integral of g from 0 to x

with the Hankel function of the first kind. The velocity per unit of the sound's amplitude is

    v(x) = 2 w / xi(x) * p(x) / p(0) * Z,   Z = i sqrt(2 C0 / h) conj(H0(t) / H1(t)),
    t = (2 w / alpha) sqrt(2 / (h C0))

In terms of ``u = exp(-alpha x / 2)``, the integral is ``2 w / alpha sqrt(rho / h)`` times that of
``1 / (u sqrt(C0 u^2 - i w R(0) u - b))`` with ``b = a + m w^2``, which is elementary.
"""

from __future__ import annotations

import numpy as np

from snnsim.kernels.cochlea.parameters import Membrane
from snnsim.kernels.compile import jit

EULER_GAMMA = 0.57721566490153286
SMALL = 4.0  # modulus below which the power series is used
GAUSSIAN = 5.8  # the Gaussian is below 1e-14 beyond
NEGLIGIBLE = 1e-8  # fraction of a place's greatest response below which it is taken as 0


@jit
def _by_series(z):
    """``H0(z)`` and ``H1(z)`` by their power series: for ``|z| < 4``, to about 1e-12."""
    square = -0.25 * z * z
    term0, term1 = 1.0 + 0.0j, 0.5 * z
    j0, j1 = term0, term1
    y0, y1 = 0.0j, term1 * (1.0 - 2.0 * EULER_GAMMA)
    harmonic = 0.0
    for k in range(1, 25):
        harmonic += 1.0 / k
        term0 *= square / (k * k)
        term1 *= square / (k * (k + 1.0))
        j0 += term0
        j1 += term1
        y0 -= harmonic * term0
        y1 += (2.0 * harmonic + 1.0 / (k + 1.0) - 2.0 * EULER_GAMMA) * term1
    logarithm = np.log(0.5 * z)
    y0 = 2.0 / np.pi * ((logarithm + EULER_GAMMA) * j0 + y0)
    y1 = 2.0 / np.pi * (logarithm * j1 - 1.0 / z) - y1 / np.pi
    return j0 + 1j * y0, j1 + 1j * y1


@jit
def _by_integral(z):
    """``H0(z)`` and ``H1(z)`` as integrals over a Gaussian (DLMF 10.32.8 with ``w = -i z``).

        K_n(w) = c_n exp(-w) / sqrt(2 w) * integral of s^2n exp(-s^2) (1 + s^2 / 2w)^(n - 1/2) ds
        c_0 = 1,  c_1 = 2

    over all real ``s``. The integrand is analytic for ``|Im s| < sqrt(|w|)``, so the trapezoidal
    rule of spacing ``d`` errs by ``exp(-2 pi sqrt(|w|) / d)`` and, because of the Gaussian, by
    ``exp(-(pi / d)^2)``: both are below 1e-11.
    """
    w = -1j * z
    spacing = min(0.24 * np.sqrt(abs(w)), 0.56)
    total0, total1 = 0.5 + 0.0j, 0.0j
    for node in range(1, int(GAUSSIAN / spacing) + 1):
        square = (node * spacing) ** 2
        root = np.sqrt(1.0 + square / (2.0 * w))
        gaussian = np.exp(-square)
        total0 += gaussian / root
        total1 += square * gaussian * root
    factor = 2.0 * spacing * np.exp(-w) / np.sqrt(2.0 * w)
    return -2j / np.pi * factor * total0, -4.0 / np.pi * factor * total1


@jit
def hankel(z):
    """Hankel functions of the first kind of orders 0 and 1, for ``Re z > 0`` and ``Im z >= 0``."""
    if abs(z) < SMALL:
        return _by_series(z)
    return _by_integral(z)


@jit
def wave_number(w, u, membrane):
    """Local wave number ``g`` and impedance ``xi`` of a place."""
    resistance = membrane.damping * np.sqrt(membrane.stiffness * membrane.mass)
    stiffness = membrane.stiffness * u * u - membrane.stiffness_offset
    impedance = stiffness - membrane.mass * w * w - 1j * w * resistance * u
    return w * np.sqrt(membrane.density / (membrane.depth * impedance)), impedance


@jit
def _primitive(w, u, membrane):
    """An integral of ``1 / (u sqrt(C0 u^2 - i w R(0) u - b))`` over ``u``."""
    b = membrane.stiffness_offset + membrane.mass * w * w
    resistance = membrane.damping * np.sqrt(membrane.stiffness * membrane.mass)
    linear = -1j * w * resistance * u
    root = np.sqrt(membrane.stiffness * u * u + linear - b)
    return 1j / np.sqrt(b) * np.log((2j * np.sqrt(b) * root + linear - 2.0 * b) / u)


@jit
def phase_at_base(w, membrane):
    """What ``G`` is at the base, and, for other places, the part of it that does not change."""
    g, _ = wave_number(w, 1.0, membrane)
    start = 2.0 / membrane.decline * g
    scale = 2.0 * w / membrane.decline * np.sqrt(membrane.density / membrane.depth)
    return start, start + scale * _primitive(w, 1.0, membrane)


@jit
def phase(w, u, constant, membrane):
    """The argument ``G`` of the Hankel function."""
    scale = 2.0 * w / membrane.decline * np.sqrt(membrane.density / membrane.depth)
    return constant - scale * _primitive(w, u, membrane)


@jit
def entrance(spacing, membrane, factor, constant, first, last):
    """Fill ``factor`` and ``constant [bins]``: ``2 w Z / p(0)`` and what ``phase`` needs.

    Bin ``k`` is the frequency ``k * spacing`` in Hz; bin 0 is left as it is.
    """
    root = np.sqrt(2.0 / (membrane.depth * membrane.stiffness))
    scale = 1j * np.sqrt(2.0 * membrane.stiffness / membrane.depth)
    for k in range(max(first, 1), last):
        w = 2.0 * np.pi * spacing * k
        g, _ = wave_number(w, 1.0, membrane)
        argument, constant[k] = phase_at_base(w, membrane)
        pressure = np.sqrt(argument / g) * hankel(argument)[0]
        h0, h1 = hankel(2.0 * w / membrane.decline * root + 0.0j)
        factor[k] = 2.0 * w * scale * np.conj(h0 / h1) / pressure


@jit
def responses(places, spacing, membrane, factor, constant, out, first, last):
    """Fill rows of ``out [places, bins]`` with the velocity at multiples of a frequency in Hz.

    It is 0 at frequency 0, and beyond the frequency where it has become negligible.
    """
    bins = out.shape[1]
    for n in range(first, last):
        u = np.exp(-0.5 * membrane.decline * places[n])
        greatest = 0.0
        out[n] = 0.0
        for k in range(1, bins):
            w = 2.0 * np.pi * spacing * k
            g, impedance = wave_number(w, u, membrane)
            argument = phase(w, u, constant[k], membrane)
            pressure = np.sqrt(argument / g) * hankel(argument)[0]
            out[n, k] = factor[k] * pressure / impedance
            size = abs(out[n, k])
            greatest = max(greatest, size)
            if size < NEGLIGIBLE * greatest:
                break


def places(count: int, membrane: Membrane) -> np.ndarray:
    """Positions ``[count]`` in cm from the base, evenly spaced, the highest frequency first."""
    return np.linspace(0.0, membrane.length, count)


def resonance(places: np.ndarray, membrane: Membrane) -> np.ndarray:
    """Resonances of places in Hz; most are moved most by 10 % lower frequencies."""
    stiffness = membrane.stiffness * np.exp(-membrane.decline * places)
    return np.sqrt((stiffness - membrane.stiffness_offset) / membrane.mass) / (2 * np.pi)
