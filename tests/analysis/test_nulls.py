"""Shuffled recordings lose one kind of structure and keep the others."""

from __future__ import annotations

import pytest
import torch

from snnsim.activity import Recording
from snnsim.analysis import NULLS, shuffled
from snnsim.errors import ConfigError

T, S, N = 40, 6, 5
LENGTHS = torch.tensor([40, 40, 30, 21, 1, 40])


def spikes(seed: int = 0) -> Recording:
    """Spikes of units with rates of their own; nothing after the end of a sample."""
    generator = torch.Generator().manual_seed(seed)
    rates = torch.linspace(0.1, 0.5, N)
    values = (torch.rand(T, S, N, generator=generator) < rates).float()
    rec = Recording(values, "spikes", "layer", "output", LENGTHS, torch.arange(S), 1.0)
    return Recording(values * rec.inside().unsqueeze(2), *list(vars(rec).values())[1:])


@pytest.mark.parametrize("how", NULLS)
def test_a_seed_is_an_order_and_another_seed_another(how):
    rec = spikes()
    again = [shuffled(rec, how, seed).values for seed in (3, 3, 4)]
    assert torch.equal(again[0], again[1]) and not torch.equal(again[0], again[2])
    assert not torch.equal(again[0], rec.values)
    changed = shuffled(rec, how)
    assert torch.equal(changed.lengths, rec.lengths) and torch.equal(changed.target, rec.target)


def test_a_shift_keeps_every_units_spikes_and_their_intervals():
    rec = spikes()
    found = shuffled(rec, "shift")
    for sample, length in enumerate(LENGTHS.tolist()):
        for unit in range(N):
            before = rec.values[:length, sample, unit]
            after = found.values[:length, sample, unit]
            assert any(torch.equal(after, before.roll(by)) for by in range(length))
        assert not found.values[length:, sample].any()


def test_a_shift_moves_units_apart():
    together = torch.zeros(T, 1, N)
    together[5] = 1.0
    rec = Recording(together, "spikes", "", "output", torch.tensor([T]))
    assert shuffled(rec, "shift").values.sum(2).max() < N


def test_trials_keep_what_a_unit_does_at_a_time_over_all_samples():
    rec = spikes()
    whole = Recording(rec.values, *list(vars(rec).values())[1:4], torch.full((S,), T))
    found = shuffled(whole, "trials")
    assert torch.equal(found.values.sum(1), whole.values.sum(1))
    columns = {tuple(c) for c in whole.values[:, :, 2].t().tolist()}
    assert {tuple(c) for c in found.values[:, :, 2].t().tolist()} == columns


def test_trials_put_nothing_behind_the_end_of_a_sample():
    rec = spikes()
    assert not shuffled(rec, "trials").values[~rec.inside()].any()


def test_units_keep_what_all_do_together():
    rec = spikes()
    found = shuffled(rec, "units")
    assert torch.equal(found.values.sum(2), rec.values.sum(2))
    assert torch.equal(found.values.sort(2).values, rec.values.sort(2).values)


def test_steps_keep_what_happens_together_and_stay_within_a_sample():
    rec = spikes()
    found = shuffled(rec, "steps")
    for sample, length in enumerate(LENGTHS.tolist()):
        before, after = (r.values[:length, sample].tolist() for r in (rec, found))
        assert sorted(before) == sorted(after) and (length == 1 or before != after)
    assert not found.values[~rec.inside()].any()


def test_units_of_a_plane_are_shuffled_as_one_row():
    rec = spikes()
    plane = Recording(rec.values[..., :4].reshape(T, S, 2, 2), *list(vars(rec).values())[1:])
    found = shuffled(plane, "units")
    assert found.values.shape == (T, S, 2, 2)
    assert torch.equal(found.values.sum((2, 3)), plane.values.sum((2, 3)))


def test_an_unknown_null_is_refused():
    with pytest.raises(ConfigError, match="how"):
        shuffled(spikes(), "jitter")
