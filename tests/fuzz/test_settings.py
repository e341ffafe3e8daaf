"""A few hundred damaged or odd settings, weights and run folders; the seed is printed."""

from __future__ import annotations

import pytest
from main import cases
from outcomes import Outcome, run, table
from settings import KINDS

pytestmark = pytest.mark.slow

SEED, EACH = 20, 50


@pytest.fixture(scope="module")
def outcomes() -> list[Outcome]:
    """Of all cases, run once."""
    return list(run(case for kind in KINDS for case in cases(kind, SEED, range(EACH))))


@pytest.mark.parametrize("kind", KINDS)
def test_odd_settings_end_in_a_right_result_or_one_clear_error(outcomes, kind):
    mine = [o for o in outcomes if o.case.kind == kind]
    bad = [str(o) for o in mine if not o.good]
    assert not bad, f"seed {SEED}, {len(bad)} of {len(mine)}\n{table(mine)}\n" + "\n".join(bad[:20])


@pytest.mark.parametrize("kind", KINDS)
def test_cases_of_a_kind_reach_an_error(outcomes, kind):
    """So that the test above can fail: not every case is harmless."""
    mine = [o for o in outcomes if o.case.kind == kind]
    assert len(mine) == EACH
    assert sum(o.what != "right" for o in mine) > EACH / 10
