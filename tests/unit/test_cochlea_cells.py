"""Hair cells, nerve fibres and bushy cells, against plain loops over their equations."""

from __future__ import annotations

import math

import numpy as np
import pytest

from snnsim.errors import ShapeError
from snnsim.kernels.cochlea import cpu, reference
from snnsim.kernels.cochlea.parameters import HairCell, Nerve
from snnsim.kernels.cochlea.state import Cells, at_rest

STEPS_PER_SECOND = 24000
CELL, NERVE = HairCell(), Nerve()


def moving(steps: int, channels: int) -> np.ndarray:
    """Velocities of tones of several loudnesses."""
    time = np.arange(steps)[:, None] / STEPS_PER_SECOND
    frequencies = np.linspace(100, 2000, channels)
    return np.geomspace(0.1, 300, channels) * np.sin(2 * np.pi * frequencies * time)


def rest(channels: int, nerve: Nerve = NERVE) -> Cells:
    return at_rest(channels, STEPS_PER_SECOND, CELL, nerve)


# --- hair cells -----------------------------------------------------------------------------------


def meddis(velocity: np.ndarray, per_second: int) -> list[float]:
    """One hair cell, as the papers say it, from its state at rest."""
    y, g, l, r, x, a, b, h, m = 5.05, 2000, 2500, 6580, 66.3, 5, 300, 50000, 1  # noqa: E741
    k = g * a / (a + b)
    c = m * y * k / (l * k + y * (l + r))
    q, w, dt, probability = c * (l + r) / k, c * r / x, 1 / per_second, []
    for s in velocity.tolist():
        k = g * (s + a) / (s + a + b) if s + a > 0 else 0
        dq = (y * (m - q) if q < m else 0) + x * w - k * q
        dc, dw = k * q - l * c - r * c, r * c - x * w
        q, c, w = max(q + dq * dt, 0), max(c + dc * dt, 0), max(w + dw * dt, 0)
        probability.append(h * c * dt)
    return probability


def released(velocity: np.ndarray, per_second: int, cell: HairCell = CELL) -> np.ndarray:
    out, pools = np.empty(velocity.shape), at_rest(velocity.shape[1], per_second, cell, NERVE).pools
    cpu.hair_cells(velocity, per_second, cell, pools, out, 0, velocity.shape[1])
    return out


@pytest.mark.parametrize("per_second", [16000, 22050, 24000, 48000])
def test_hair_cells_are_those_of_the_papers(per_second):
    velocity = moving(2000, 5)
    expected = np.array([meddis(v, per_second) for v in velocity.T]).T
    np.testing.assert_allclose(released(velocity, per_second), expected, rtol=1e-12)
    at_first = at_rest(5, per_second, CELL, NERVE).pools
    plain, _ = reference.release(velocity, per_second, CELL, at_first)
    np.testing.assert_allclose(plain, expected, rtol=1e-12)


def test_a_hair_cell_in_silence_stays_at_rest():
    probability = released(np.zeros((5000, 1)), STEPS_PER_SECOND)
    np.testing.assert_allclose(probability, np.full((5000, 1), probability[0, 0]), rtol=1e-9)
    assert 40 < probability[0, 0] * STEPS_PER_SECOND < 80  # spontaneous spikes of a fibre


def adaptation(cell: HairCell) -> float:
    """How much stronger the answer to a lasting movement is at first than later on."""
    probability = released(np.full((12000, 1), 200.0), STEPS_PER_SECOND, cell)[:, 0]
    return float(probability[:100].max() / probability[-1])


def test_hair_cells_adapt_because_their_free_transmitter_runs_out():
    assert adaptation(CELL) > 3
    assert adaptation(CELL._replace(replenishment=1e4)) < 1.5


# --- random numbers -------------------------------------------------------------------------------


def test_random_numbers_are_uniform_and_differ_between_keys_and_steps():
    counters = np.arange(200_000, dtype=np.uint64)
    a, b = (reference.uniform(key, counters) for key in (1, 2**63 + 5))
    for numbers in (a, b):
        share = np.bincount((numbers * 100).astype(int), minlength=100) / 2000
        assert numbers.min() >= 0 and numbers.max() < 1
        assert abs(share - 1).max() < 5 / math.sqrt(2000)
        assert abs(np.corrcoef(numbers[1:], numbers[:-1])[0, 1]) < 5 / math.sqrt(2e5)
    assert abs(np.corrcoef(a, b)[0, 1]) < 5 / math.sqrt(2e5)
    assert cpu.uniform(np.uint64(1), np.uint64(7)) == a[7]


@pytest.mark.parametrize("p", [0.0, 1e-6, 0.003, 0.2, 0.7, 1.0, 1.5])
@pytest.mark.parametrize("count", [0, 1, 7, 40])
def test_numbers_of_fibres_are_binomial(count, p):
    chances = (np.arange(20_000) + 0.5) / 20_000
    found = np.array([cpu.binomial(count, p, chance) for chance in chances])
    q = min(p, 1)
    expected = [math.comb(count, k) * q**k * (1 - q) ** (count - k) for k in range(count + 1)]
    fractions = np.bincount(found, minlength=count + 1) / len(found)
    np.testing.assert_allclose(fractions, expected, atol=1.5 / 20_000)


# --- fibres ---------------------------------------------------------------------------------------


def fibre_by_fibre(p: np.ndarray, blocked: int, seed: int) -> np.ndarray:
    """Numbers of fibres that fire at each step of one place: 40 fibres with their own chances."""
    chances = np.random.default_rng(seed).random((len(p), 40))
    last = np.full(40, -blocked)
    fired = []
    for t, chance in enumerate(chances):
        now = (chance < p[t]) & (t - last >= blocked)
        last[now] = t
        fired.append(now.sum())
    return np.array(fired)


def fibres_together(p: np.ndarray, places: int, nerve: Nerve = NERVE) -> np.ndarray:
    """The same of many equal places by the kernel."""
    cells, fired = rest(places, nerve), np.empty((len(p), places))
    for t, chance in enumerate(p):
        row = np.full(places, chance)
        cpu.fibres(row, nerve.fibres, (np.uint64(9), t), cells, fired[t], 0, places)
    return fired


def test_fibres_fire_as_if_each_had_chances_of_its_own():
    p = 0.04 * (1 + np.sin(np.arange(480) / 10))
    loops = np.stack([fibre_by_fibre(p, 24, seed) for seed in range(400)], axis=1)
    together = fibres_together(p, 400)
    for moment in (lambda x: x.sum(0), lambda x: x[24:48].sum(0), lambda x: x.max(0)):
        a, b = moment(loops), moment(together)
        error = math.sqrt((a.var() + b.var()) / 400)
        assert abs(a.mean() - b.mean()) < 4 * error
        assert 0.7 < a.std() / b.std() < 1.4


def rate_of_fibres(nerve: Nerve) -> float:
    return float(fibres_together(np.full(3000, 0.05), 60, nerve)[500:].mean()) / 40


def test_a_fibre_cannot_fire_again_within_a_millisecond():
    assert rate_of_fibres(NERVE) == pytest.approx(1 / (23 + 1 / 0.05), rel=0.005)
    assert rate_of_fibres(NERVE._replace(fibre_refractory=0.0)) == pytest.approx(0.05, rel=0.005)


# --- bushy cells ----------------------------------------------------------------------------------


def bushy(fired: np.ndarray, rest: int) -> list[int]:
    """Steps at which one bushy cell fires: leaky integration of a decaying current."""
    dt, weight = 1 / STEPS_PER_SECOND, 13e3 / 40
    current = potential = 0.0
    free_from, spikes = 0, []
    for t, count in enumerate(fired.tolist()):
        current = current * math.exp(-dt / 5e-4) + count
        if t < free_from:
            continue
        potential = potential * math.exp(-dt / 1e-3) + weight * current * dt
        if potential >= 1:
            spikes.append(t)
            potential, free_from = 0.0, t + rest + 1
    return spikes


@pytest.mark.parametrize("rest_steps", [0, 24])
def test_bushy_cells_are_leaky_integrators_with_a_rest(rest_steps):
    fired = np.random.default_rng(0).poisson(0.6, 4000)
    cells, spikes = rest(1), np.zeros((4000, 1), dtype=bool)
    nerve = NERVE._replace(refractory=rest_steps / STEPS_PER_SECOND)
    for t, count in enumerate(fired):
        row = np.array([float(count)])
        cpu.bushy_cells(row, STEPS_PER_SECOND, nerve, cells, spikes[t], 0, 1)
    expected = bushy(fired, rest_steps)
    assert len(expected) > 50
    assert np.flatnonzero(spikes[:, 0]).tolist() == expected


# --- all of it ------------------------------------------------------------------------------------


@pytest.mark.parametrize("nerve", [NERVE, NERVE._replace(fibre_refractory=0.0, refractory=0.0)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_compiled_rung_is_the_reference(dtype, nerve):
    velocity = moving(1500, 11).astype(dtype)
    arguments = (velocity, STEPS_PER_SECOND, (2**63 + 11, 1000), rest(11, nerve), CELL, nerve)
    spikes, state = cpu.respond(*arguments)
    expected, state_expected = reference.respond(*arguments)
    assert spikes.sum() > 20
    np.testing.assert_array_equal(spikes, expected)
    for name in Cells._fields:
        np.testing.assert_allclose(
            getattr(state, name), getattr(state_expected, name), rtol=1e-10, atol=1e-12
        )


@pytest.mark.parametrize("cuts", [[1], [7, 8, 640], [128, 256]])
def test_pieces_give_the_spikes_of_the_whole(cuts):
    velocity = moving(1500, 11)
    whole, after = cpu.respond(velocity, STEPS_PER_SECOND, (3, 0), rest(11))
    state, parts = rest(11), []
    for first, last in zip([0, *cuts], [*cuts, 1500], strict=True):
        spikes, state = cpu.respond(velocity[first:last], STEPS_PER_SECOND, (3, first), state)
        parts.append(spikes)
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    for found, expected in zip(state, after, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_state_of_other_places_is_refused():
    with pytest.raises(ShapeError, match=r"velocity .* 11\) .* 12"):
        cpu.respond(moving(10, 11), STEPS_PER_SECOND, (3, 0), rest(12))
