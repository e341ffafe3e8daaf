"""Timescales: how long the activity of units and of their population remembers itself.

The autocorrelation of a unit at lag ``l``, over all pairs of steps within one sample,

    r(l) = mean((x_t - m) (x_{t+l} - m)) / mean((x_t - m)^2),    m = mean(x_t),

is fitted by an exponential of the lags from 1 on (at lag 0, spikes add their own variance):

    r(l) ~ a exp(-l dt / tau) + c,    a > 0,    least squares.

The constant ``c`` takes up that samples have different means, as where units prefer classes.
Source: network timescales of Khajehabdollahi et al. 2023, arXiv:2309.12927. Their fits correct for
the bias of short samples by Bayesian inference; these do not. What the input itself remembers
is part of the result.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from snnsim.activity import Recording
from snnsim.analysis.nulls import shuffled
from snnsim.analysis.report import Report, beside_null
from snnsim.analysis.subject import Subject
from snnsim.errors import ConfigError, check_number

EXPLAINED = 0.5  # of an autocorrelation's variance over lags, for it to have a time constant


class Timescales(NamedTuple):
    """A ``Timescales`` holds the time constants that were found in a recording.

    Attributes:
        tau: the time constant of each unit in ms, ``[N]``; 0 where no exponential decay explains
            half of the variance of its autocorrelation over lags.
        population: the time constant of the mean over all units in ms, or 0.
        autocorrelation: that of each unit at lags 0, 1, 2, ..., ``[L + 1, N]``.
        of_population: that of the mean over all units, ``[L + 1]``.
        lags: the lags in ms, ``[L + 1]``.
    """

    tau: np.ndarray
    population: float
    autocorrelation: np.ndarray
    of_population: np.ndarray
    lags: np.ndarray


def timescales(rec: Recording, lags_ms: float = 100.0) -> Timescales:
    """Return the time constants of the units of a recording and of their population.

    Args:
        rec: the recording. Where the length of its time step is unknown, ms mean time steps.
        lags_ms: the largest lag in ms, above 0; at most half of the longest sample is taken. It
            should be several times the longest time constant.

    Raises:
        ConfigError: if the samples are too short for three lags.
    """
    check_number("lags_ms", lags_ms, above=0)
    dt, longest = rec.dt or 1.0, int(rec.lengths.max())
    lags = min(round(lags_ms / dt), longest // 2)
    if lags < 3:
        raise ConfigError(
            f"lags_ms = {lags_ms:g} with steps of {dt:g} ms and samples of {longest} steps gives "
            f"{lags} lags, but a fit needs 3 or more; take a larger lags_ms or longer samples"
        )
    whole = rec.values.flatten(2).double().mean(2, keepdim=True)
    units = autocorrelation(rec, lags)
    together = autocorrelation(replace(rec, values=whole), lags)
    return Timescales(
        dt * time_constants(units),
        float(dt * time_constants(together)[0]),
        units,
        together[:, 0],
        dt * np.arange(lags + 1),
    )


def autocorrelation(rec: Recording, lags: int) -> np.ndarray:
    """Return the autocorrelation of every unit within samples, ``[lags + 1, N]``.

    It is 0 for a unit that never changes, and for a lag that no sample is long enough for.

    Args:
        rec: the recording.
        lags: the largest lag in time steps.
    """
    inside = rec.inside().cpu().numpy()[:, :, None]
    x = rec.values.detach().flatten(2).double().cpu().numpy()
    x = (x - (x * inside).sum((0, 1)) / max(inside.sum(), 1)) * inside
    found = np.zeros((lags + 1, x.shape[2]))
    for lag in range(min(lags + 1, len(x))):
        pairs = inside[lag:].sum()  # steps that belong to a sample, and so do those before
        found[lag] = (x[lag:] * x[: len(x) - lag]).sum((0, 1)) / max(pairs, 1)
    variance = found[0].copy()
    constant = variance <= 1e-24
    return np.where(constant, 0.0, found / np.where(constant, 1.0, variance))


def time_constants(r: np.ndarray) -> np.ndarray:
    """Return the time constant of each column of autocorrelations in time steps, ``[N]``.

    Args:
        r: autocorrelations at lags 0, 1, 2, ..., ``[L + 1, N]``.

    Returns:
        The time constants, between a fifth of a step and the largest lag; 0 where no exponential
        decay explains half of the variance over lags.

    >>> r = np.exp(-np.arange(30) / 5.0)
    >>> round(float(time_constants(r[:, None])[0]), 3)
    5.0
    """
    lags = np.arange(1, len(r))
    low, high = np.log(0.2), np.log(len(lags))
    centre, reach = np.full(r.shape[1], (low + high) / 2), (high - low) / 2
    r = r[1:] - r[1:].mean(0)
    squares = (r**2).sum(0)
    for _ in range(6):  # each time on a grid that is 12 times finer
        grid = np.clip(centre + np.linspace(-reach, reach, 51)[:, None], low, high)
        found = _explained(r, lags, np.exp(grid))
        best = found.argmax(0)
        centre = np.take_along_axis(grid, best[None], 0)[0]
        reach /= 12
    tau = np.exp(centre)
    return np.where((squares > 1e-24) & (found.max(0) >= EXPLAINED * squares), tau, 0.0)


def _explained(r: np.ndarray, lags: np.ndarray, tau: np.ndarray) -> np.ndarray:
    """The part of the sum of squares of ``r [L, N]`` that the best ``a > 0`` explains, ``[G, N]``.

    The mean of ``r`` is 0. For a given ``tau`` it is ``(sum_l r e)^2 / sum_l e^2``, where ``e`` is
    ``exp(-l / tau)`` minus its mean over lags.
    """
    decay = np.exp(-lags[:, None, None] / tau)
    decay -= decay.mean(0)
    return np.maximum((r[:, None, :] * decay).sum(0), 0.0) ** 2 / (decay**2).sum(0)


def analyse(subject: Subject, *, lags_ms: float = 100.0, quantity: str = "output") -> Report:
    """Report the time constants of a layer's activity.

    Args:
        subject: what is looked at.
        lags_ms: the largest lag in ms; at most half of the longest sample is taken.
        quantity: what of the layer is looked at: ``"output"``, ``"voltage"`` or the name of a
            state variable.

    Figures: ``unit_tau``, the median over all units of the time constant in ms, which is 0 for
    those that have none; ``population_tau``, that of the mean over all units, in ms (0 if it has
    none); ``fitted``, the fraction of units that have one; ``next_step``, the mean over units of
    the autocorrelation at lag 1. The null are recordings in which the time steps of every sample
    have another order, whatever null the subject names: all others keep autocorrelations.
    """
    rec = subject.recording(quantity)
    found = timescales(rec, lags_ms)

    def measure(each: Recording) -> Mapping[str, float]:
        again = found if each is rec else timescales(each, lags_ms)
        return {
            "unit_tau": float(np.median(again.tau)),
            "population_tau": again.population,
            "fitted": float((again.tau > 0).mean()),
            "next_step": float(again.autocorrelation[1].mean()),
        }

    figures = beside_null(measure, rec, "steps", subject.nulls, subject.seed)
    arrays = {
        "lag": found.lags,
        "tau": found.tau,
        "units": found.autocorrelation.mean(1),
        "population": found.of_population,
    }
    if subject.nulls:
        mixed = timescales(shuffled(rec, "steps", subject.seed), lags_ms)
        arrays["units, null"] = mixed.autocorrelation.mean(1)
        arrays["population, null"] = mixed.of_population
    unit = "ms" if rec.dt else "steps"
    told = [
        f"{figures['fitted']} of the units have a time constant; the median is "
        f"{figures['unit_tau']} {unit}, that of the population is {figures['population_tau']}."
    ]
    if max(figures["unit_tau"].value, found.population) > 0.9 * found.lags[-1]:
        told.append(f"That is the largest lag, {found.lags[-1]:g} {unit}: take a larger lags_ms.")
    if figures["next_step"].like_null():
        told.append("Activity remembers no more of itself than with its time steps shuffled.")
    return Report("timescales", figures, arrays, tuple(told))
