"""A few hundred damaged or odd settings, weights and run folders; the seed is printed."""

from __future__ import annotations

import outcomes
import pytest
import settings

SEED = 20
COUNT = 350


@pytest.fixture(scope="module")
def results() -> list[outcomes.Outcome]:
    """Outcomes of all cases, run once."""
    found = list(outcomes.run(settings.cases(SEED, COUNT)))
    print(f"seed {SEED}\n{outcomes.table(found)}")
    return found


@pytest.mark.parametrize("kind", settings.KINDS)
def test_odd_settings_end_in_a_right_result_or_one_clear_error(results, kind):
    mine = [r for r in results if r.case.kind == f"settings {kind}"]
    assert len(mine) == COUNT // len(settings.KINDS)
    bad = [str(outcome) for outcome in mine if not outcome.good]
    assert not bad, f"{len(bad)} of {len(mine)} cases, seed {SEED}:\n" + "\n".join(bad[:5])


@pytest.mark.parametrize("kind", settings.KINDS)
def test_cases_of_a_kind_reach_an_error(results, kind):
    """So that the test above can fail: not every case is harmless."""
    mine = [r for r in results if r.case.kind == f"settings {kind}"]
    assert sum(outcome.what != "right" for outcome in mine) > len(mine) / 10


def test_the_same_seed_makes_the_same_cases():
    a, b = (settings.cases(5, 14) for _ in range(2))
    assert a == b
    drawn = [[case.rng().integers(1 << 60) for case in cases] for cases in (a, b)]
    assert drawn[0] == drawn[1] and len(set(drawn[0])) == 14
