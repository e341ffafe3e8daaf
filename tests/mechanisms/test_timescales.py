"""Time constants of processes whose time constants are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import snnsim as sn
from snnsim.activity import Recording, record
from snnsim.analysis import Subject, analyse, shuffled
from snnsim.analysis.timescales import autocorrelation, time_constants, timescales
from snnsim.data import Arrays
from snnsim.errors import ConfigError

DT = 2.0


def ar1(tau_steps, steps: int = 1500, samples: int = 8, seed: int = 0) -> np.ndarray:
    """``x_t = phi x_{t-1} + noise`` with ``phi = exp(-1 / tau)``, stationary, ``[T, S, N]``."""
    random = np.random.default_rng(seed)
    phi = np.exp(-1 / np.asarray(tau_steps, dtype=np.float64))
    x = random.standard_normal((samples, len(phi)))
    found = []
    for _ in range(steps):
        x = phi * x + np.sqrt(1 - phi**2) * random.standard_normal(x.shape)
        found.append(x)
    return np.stack(found)


def recording(values, kind: str = "rate", lengths=None) -> Recording:
    values = torch.as_tensor(np.asarray(values))
    whole = torch.full((values.shape[1],), len(values))
    lengths = whole if lengths is None else torch.as_tensor(lengths)
    return Recording(values, kind, "l", "output", lengths, dt=DT)


def by_hand(rec: Recording, lags: int) -> np.ndarray:
    """The autocorrelation from all pairs within samples, one by one, in double precision."""
    samples = [rec.of(s).double().numpy() for s in range(len(rec.lengths))]
    mean = np.concatenate(samples).mean(0)
    found = []
    for lag in range(lags + 1):
        products = [
            (x[t] - mean) * (x[t + lag] - mean) for x in samples for t in range(len(x) - lag)
        ]
        found.append(np.mean(products, axis=0))
    return np.stack(found) / found[0]


def fitted_by_hand(r: np.ndarray) -> float:
    """The least squares fit of ``a exp(-l / tau) + c`` over lags from 1, on a fine grid of tau."""
    lags = np.arange(1, len(r))
    best = (np.inf, 0.0)
    for tau in np.exp(np.linspace(np.log(0.2), np.log(len(lags)), 5001)):
        columns = np.stack([np.exp(-lags / tau), np.ones(len(lags))], axis=1)
        (a, c), *_ = np.linalg.lstsq(columns, r[1:], rcond=None)
        left = r[1:] - columns @ (a, c) if a > 0 else r[1:] - r[1:].mean()
        best = min(best, ((left**2).sum(), tau))
    return best[1]


def test_autocorrelations_and_fits_are_those_of_the_definition():
    rec = recording(ar1([3, 12], steps=90, samples=4), lengths=[90, 61, 90, 12])
    r = autocorrelation(rec, 20)
    np.testing.assert_allclose(r, by_hand(rec, 20), rtol=1e-10, atol=1e-12)
    expected = [fitted_by_hand(r[:, n]) for n in range(2)]
    np.testing.assert_allclose(time_constants(r), expected, rtol=2e-3)


def test_time_constants_of_autoregressive_processes_are_found_in_ms():
    tau = np.array([2.0, 5.0, 10.0, 20.0])
    found = timescales(recording(ar1(tau, steps=4000)), lags_ms=160)
    np.testing.assert_allclose(found.tau, DT * tau, rtol=0.15)
    assert found.lags[1] == DT and found.lags[-1] == 160


def test_units_that_share_a_slow_signal_have_a_slow_population():
    slow, fast = ar1([25], steps=4000), ar1([2] * 12, steps=4000, seed=1)
    found = timescales(recording(fast + 0.7 * slow), lags_ms=200)
    assert found.population == pytest.approx(25 * DT, rel=0.25)
    alone = timescales(recording(fast), lags_ms=200)
    assert alone.population == pytest.approx(2 * DT, rel=0.25)


def test_spikes_have_the_time_constant_of_their_rate():
    rate = np.exp(0.8 * ar1([10] * 6, steps=4000) - 2.5)
    spikes = np.random.default_rng(2).random(rate.shape) < rate
    found = timescales(recording(spikes.astype(np.float32), "spikes"), lags_ms=100)
    assert (found.autocorrelation[1] < 0.5).all()
    assert np.median(found.tau) == pytest.approx(10 * DT, rel=0.3)


def test_what_has_no_memory_has_no_time_constant():
    white = np.random.default_rng(0).standard_normal((800, 6, 30))
    assert (timescales(recording(white)).tau == 0).mean() > 0.9
    slow = recording(ar1([10] * 8, steps=800))
    assert (timescales(slow).tau > 0).all()
    assert (timescales(shuffled(slow, "steps", 1)).tau == 0).all()
    assert (timescales(shuffled(slow, "shift", 1)).tau > 0).all()
    offset = 3.0 * np.random.default_rng(4).standard_normal((1, 6, 30))
    assert (timescales(recording(white + offset)).tau == 0).mean() > 0.9
    still = timescales(recording(np.ones((100, 2, 3))))
    assert (still.tau == 0).all() and still.population == 0 and not still.autocorrelation.any()


def test_a_correlation_that_rises_with_the_lag_is_no_decay():
    lags = np.arange(40.0)
    r = np.stack([np.exp(-lags / 5), -np.exp(-lags / 5), np.cos(lags)], axis=1)
    np.testing.assert_allclose(time_constants(r), [5, 0, 0], rtol=1e-4)


def test_padding_after_the_end_of_a_sample_does_not_matter():
    rec = recording(ar1([5, 5], steps=300, samples=4), lengths=[300, 100, 40, 200])
    values = torch.where(rec.inside().unsqueeze(2), rec.values, torch.tensor(1e3).double())
    np.testing.assert_array_equal(
        timescales(rec).autocorrelation, timescales(replace(rec, values=values)).autocorrelation
    )


@pytest.mark.parametrize("tau", [4.0, 16.0])
def test_a_membrane_below_its_threshold_has_its_own_time_constant(tau):
    net = sn.Sequential(sn.LIF(6, dt=DT, tau_mem=tau, v_threshold=1e6))
    x = torch.randn(1500, 6, 6, generator=torch.Generator().manual_seed(0))
    rec = replace(record(net, x, ["layers.0"], "voltage")["layers.0"], dt=DT)
    assert np.median(timescales(rec, 5 * tau).tau) == pytest.approx(tau, rel=0.15)


def spiking(recurrent: float, seed: int = 0) -> sn.Sequential:
    """Neurons with fast membranes that excite each other within a group."""
    torch.manual_seed(seed)
    net = sn.Sequential(
        sn.Dense(20, 40), sn.Recurrent(sn.LIF(40, dt=DT, tau_mem=2.0)), sn.Dense(40, 2)
    )
    with torch.no_grad():
        net[0].weight.normal_(0, 0.9)
        net[1].w_rec.copy_(recurrent / 20 * torch.ones(20, 20).kron(torch.eye(2)))
    return net


def noise_data(steps: int = 600, samples: int = 8) -> Arrays:
    x = np.random.default_rng(3).random((samples, steps, 20)) < 0.15
    return Arrays(x.astype(np.float32), np.arange(samples) % 2, classes=("a", "b"), dt=DT)


def test_recurrence_makes_spiking_activity_last_longer_than_its_membranes():
    found = {
        weight: analyse(Subject(spiking(weight), noise_data(), nulls=3), "timescales")
        for weight in (0.0, 1.6)
    }
    slow, fast = found[1.6].figures, found[0.0].figures
    assert slow["population_tau"].value > 3 * max(fast["population_tau"].value, DT)
    assert slow["next_step"].value > slow["next_step"].null + 10 * slow["next_step"].spread
    assert slow["population_tau"].null == 0 and abs(slow["next_step"].null) < 0.01


def test_a_report_says_where_nothing_is_remembered_and_is_drawn():
    x = np.random.default_rng(0).random((6, 200, 5)) < 0.3
    data = Arrays(x.astype(np.float32), np.zeros(6, np.int64), classes=("a",), dt=DT)
    net = sn.Sequential(sn.LIF(5, dt=DT, tau_mem=0.1, v_threshold=0.5))
    found = analyse(Subject(net, data, layer="layers.0"), "timescales")
    assert any("no more of itself" in line for line in found.text)
    slow = Arrays(ar1([400] * 5).transpose(1, 0, 2), np.zeros(8, np.int64), classes=("a",), dt=DT)
    told = analyse(Subject(sn.baselines.get("leaky")(5, 8), slow, nulls=1), "timescales")
    assert any("take a larger lags_ms" in line for line in told.text)
    gru = analyse(Subject(sn.baselines.get("gru")(5, 8), data), "timescales", lags_ms=40.0)
    assert not any("take a larger lags_ms" in line for line in gru.text)
    assert gru.figures["next_step"].value > 0.3 and gru.settings["lags_ms"] == 40.0
    plotting = pytest.importorskip("snnsim.plotting")
    assert plotting.report(gru).axes[0].get_title() == "autocorrelation"


def test_a_state_variable_can_be_chosen_and_units_without_time_constant_count_as_0():
    net = sn.Sequential(sn.LIF(5, dt=DT, tau_mem=20.0, v_threshold=1e6))
    subject = Subject(net, noise_data(), layer="layers.0")
    with pytest.raises(ConfigError, match="no option"):
        analyse(subject, "timescales", quantty="v")
    x = np.random.default_rng(0).standard_normal((8, 900, 5))
    data = Arrays(x, np.zeros(8, np.int64), classes=("a",), dt=DT)
    found = analyse(replace(subject, data=data), "timescales", quantity="v").figures
    assert found["unit_tau"].value == pytest.approx(20, rel=0.25) and found["fitted"].value == 1
    assert found["unit_tau"].null == 0 and found["fitted"].null < 0.2
    silent = analyse(replace(subject, data=data), "timescales").figures
    assert silent["unit_tau"].value == silent["fitted"].value == 0


def test_samples_that_are_too_short_are_refused():
    rec = recording(np.zeros((5, 2, 3)))
    with pytest.raises(ConfigError, match="3 or more"):
        timescales(rec)
    with pytest.raises(ConfigError, match="lags_ms"):
        timescales(rec, 0.0)
