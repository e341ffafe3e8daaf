"""The problems that the checks of baselines are trained and tested on are what they say."""

from __future__ import annotations

import numpy as np
import pytest
import snnsim_datasets
import torch
from snnsim_experiments.baselines.checks import (
    associative_recall,
    few_shot,
    forecast,
    fsmn,
    parity,
    ponder,
    sampler,
    sasrec,
    spoken_sums,
)

# --- associative recall -------------------------------------------------------------------------


def test_pairs_are_written_and_their_values_are_asked_for_by_key_alone():
    x, answers = associative_recall.queries(300, 4)
    assert x.shape == (12, 300, 24) and answers.shape == (6, 300)
    assert x.dtype == torch.float32
    orders, used = set(), set()
    for b in range(300):
        keys, values = x[:6, b, :16].argmax(1).tolist(), x[:6, b, 16:].argmax(1).tolist()
        assert x[:6, b, :16].sum(1).tolist() == x[:6, b, 16:].sum(1).tolist() == [1.0] * 6
        assert len(set(keys)) == 6  # no key has two values
        asked = x[6:, b, :16].argmax(1).tolist()
        assert sorted(asked) == sorted(keys) and not x[6:, b, 16:].any()
        assert answers[:, b].tolist() == [values[keys.index(key)] for key in asked]
        orders.add(tuple(keys.index(key) for key in asked))
        used |= set(values)
    assert len(orders) > 200 and used == set(range(8))


# --- spikes in order ----------------------------------------------------------------------------


def test_each_of_two_channels_spikes_once_and_the_label_is_the_first():
    data = fsmn.pulses(2000, 1)
    batch = data.batch(range(2000))
    assert batch.x.shape == (20, 2000, 2) and batch.x.sum(0).unique().tolist() == [1.0]
    assert batch.lengths.tolist() == [20] * 2000
    times = batch.x.argmax(0)
    assert batch.labels.tolist() == times.argmin(1).tolist()
    assert data.classes == ("0 first", "1 first")
    assert (times[:, 0] - times[:, 1]).abs().unique().tolist() == list(range(1, 9))
    assert times.min(1).values.unique().tolist() == list(range(11))  # the other one still fits
    assert 0.45 < float(batch.labels.float().mean()) < 0.55


# --- a new speaker ------------------------------------------------------------------------------


def test_one_speaker_shifts_the_bumps_of_all_classes_alike():
    random, distances = np.random.default_rng(0), np.zeros((0, 16))
    shifts = set()
    for _ in range(60):
        x, labels = few_shot.utterances(300, random)
        assert x.shape == (8, 300, 16) and x.dtype == torch.float32
        assert set(labels.tolist()) == {0, 1, 2, 3}
        means = np.stack([x[:, labels == c].mean((0, 1)).numpy() for c in range(4)])
        places = [int(p) for p in means.argmax(1)]
        assert [(p - places[0]) % 16 for p in places] == [0, 4, 8, 12]
        shifts.add(places[0])
        around = [np.roll(row, 8 - place) for row, place in zip(means, places, strict=True)]
        distances = np.concatenate([distances, around])
    assert shifts == {0, 4}  # the second turns every class into the next
    expected = 1.5 * np.exp(-0.5 * np.arange(-8, 8) ** 2.0)
    np.testing.assert_allclose(distances.mean(0), expected, atol=0.02)


# --- coupled channels ---------------------------------------------------------------------------


def test_the_coupling_is_three_rings_of_four():
    ring = np.array([[0, 0, 0, 1], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]])
    np.testing.assert_array_equal(forecast.coupling(), 0.75 * np.kron(np.eye(3), ring))


def test_counts_are_driven_by_their_own_last_step_and_the_neighbour_two_steps_before():
    x = forecast.counts(8000, 3)
    assert x.shape == (8000, 12) and x.dtype == np.float32
    assert (x[:2] == 1).all()
    now, own, before = x[2:], x[1:-1], x[:-2]
    before = np.stack([before[:, i - 1 if i % 4 else i + 3] for i in range(12)], 1)
    rate = np.minimum(0.3 + 0.1 * own + 0.75 * before, 8)
    for part in (rate < 0.5, (rate >= 0.5) & (rate < 1.5), (rate >= 1.5) & (rate < 3), rate >= 3):
        assert part.sum() > 1000
        noise = np.sqrt(rate[part].mean() / part.sum())
        assert abs(float((now - rate)[part].mean())) < 4 * noise
    spread = ((now - rate) ** 2).mean() / rate.mean()
    assert 0.95 < spread < 1.05  # of Poisson counts
    assert not np.array_equal(x, forecast.counts(8000, 4))


def test_counts_that_drive_each_other_up_end_at_8_per_step(monkeypatch):
    monkeypatch.setattr(forecast, "coupling", lambda: 3 * np.eye(12))
    x = forecast.counts(1500, 0)[100:]
    assert float(x.mean()) == pytest.approx(8, abs=0.1)
    assert float(x.var()) == pytest.approx(8, abs=0.4)


def test_windows_start_every_other_step_and_what_follows_them_is_next():
    series = np.arange(40.0, dtype=np.float32)[:, None] * np.ones((1, 12), np.float32)
    past, following = forecast.windows(series)
    assert past.shape == (20, 8, 12) and following.shape == (5, 8, 12)
    for n in range(8):
        assert past[:, n, 0].tolist() == list(range(2 * n, 2 * n + 20))
        assert following[:, n, 3].tolist() == list(range(2 * n + 20, 2 * n + 25))


# --- curricula of parity ------------------------------------------------------------------------


@pytest.mark.parametrize("memory", [2, 3, 6])
def test_bits_have_the_parity_of_their_last_ones_for_every_number_up_to_the_largest(memory):
    random, lengths = np.random.default_rng(5), set()
    for _ in range(60):
        x, labels = parity.bits(memory, random)
        lengths.add(len(x))
        assert x.shape[1:] == (128, 1) and labels.shape == (memory - 1, 128)
        for row, n in enumerate(range(2, memory + 1)):
            assert labels[row].tolist() == (x[-n:, :, 0].sum(0) % 2).tolist()
        densities = x.mean((0, 2))
        assert float(densities.min()) < 0.3 and float(densities.max()) > 0.7
    assert min(lengths) == memory + 2 and max(lengths) == 4 * memory + 2


# --- sums since a mark --------------------------------------------------------------------------


def test_sums_start_anew_at_every_mark_and_lags_count_the_steps_since():
    x, totals, lags = ponder.sums(400, 24, 5, 2)
    assert x.shape == (24, 400, 5) and x.dtype == torch.float32
    assert (x[..., :4].sum(-1) == 1).all()
    digits, marks = x[..., :4].argmax(-1), x[..., 4] == 1
    assert marks[0].all()
    for b in range(400):
        total = lag = 0
        for t in range(24):
            total, lag = (0, 0) if marks[t, b] else (total, lag + 1)
            total += int(digits[t, b])
            assert int(totals[t, b]) == total % 4 and int(lags[t, b]) == lag
    assert lags.unique().tolist() == [0, 1, 2, 3, 4, 5]
    gaps = [np.diff(np.flatnonzero(marks[:, b])) for b in range(400)]
    found, counts = np.unique(np.concatenate(gaps), return_counts=True)
    assert found.tolist() == [1, 2, 3, 4, 5, 6] and counts.min() > 0.7 * counts.max()


# --- sequences to go on with --------------------------------------------------------------------


def test_sequences_are_fibonacci_numbers_modulo_7():
    found = sampler.sequences(200, 1)
    assert found.shape == (24, 200)
    assert torch.equal(found[2:], (found[1:-1] + found[:-2]) % 7)
    assert {tuple(pair) for pair in found[:2].T.tolist()} == {
        (a, b) for a in range(7) for b in range(7)
    }


def test_an_item_of_a_chain_follows_from_the_third_before_it_four_times_of_five():
    items = sasrec.chains(2000, 1)
    assert items.shape == (40, 2000) and set(items.unique().tolist()) == set(range(20))
    follows = torch.from_numpy(np.random.default_rng(5).permutation(20))
    assert sorted(follows.tolist()) == list(range(20))
    for lag in range(1, 6):
        same = (items[5:] == follows[items[5 - lag : 40 - lag]]).float().mean()
        assert float(same) == pytest.approx(0.8 + 0.2 / 20 if lag == 3 else 1 / 20, abs=0.03)
    assert float((items[3] == follows[items[0]]).float().mean()) == pytest.approx(0.81, abs=0.03)
    again = sasrec.chains(2000, 2)  # the rule is the same for every seed
    assert float((again[3:] == follows[again[:-3]]).float().mean()) == pytest.approx(0.81, abs=0.01)


# --- sums of spoken digits ----------------------------------------------------------------------


def test_pairs_of_recordings_are_of_the_digits_whose_sum_is_asked_for():
    data = snnsim_datasets.load("spoken-digits", "train_all")
    seen = {}
    for held_out in (False, True):
        random, seen[held_out] = np.random.default_rng(3), set()
        for _ in range(8):
            first, second, total = spoken_sums.pairs(data, held_out, random)
            assert first.x.shape[1:] == second.x.shape[1:] == (40, data.channels)
            assert total.tolist() == ((first.labels + second.labels) % 10).tolist()
            seen[held_out] |= set(zip(first.labels.tolist(), second.labels.tolist(), strict=True))
    grid = np.random.default_rng(7).permutation(100)
    allowed = {False: grid[:60], True: grid[60:]}
    for held_out, found in seen.items():
        assert found <= {divmod(int(c), 10) for c in allowed[held_out]}
        assert len(found) > 35


def test_the_recordings_of_a_pair_are_drawn_from_all_of_their_digit():
    data = snnsim_datasets.load("spoken-digits", "validation")
    random, heard = np.random.default_rng(0), set()
    for _ in range(30):
        first, _, _ = spoken_sums.pairs(data, False, random)
        heard |= {each.numpy().tobytes() for each in first.x.sum(0)}
    of_digits = int((data.labels < 10).sum())
    assert len(heard) > 0.9 * of_digits
