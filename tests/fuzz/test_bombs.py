"""What a file unpacks, declares or makes be allocated has a bound, and the error says so."""

from __future__ import annotations

import pytest
from bombs import BOMBS
from outcomes import Case, run

pytestmark = pytest.mark.slow

BOUND = 1 << 30  # bytes
SECONDS = 12.0


@pytest.fixture(scope="module")
def outcomes():
    cases = [Case(name, 0, 0, f"bombs:{f}", args) for name, (f, args) in BOMBS.items()]
    return {o.case.kind: o for o in run(cases, seconds=SECONDS, limit=BOUND)}


@pytest.mark.parametrize("name", BOMBS)
def test_a_small_file_that_asks_for_much_is_refused_within_the_bound(outcomes, name):
    assert outcomes[name].what == "error", outcomes[name]


@pytest.mark.parametrize(
    "name", [n for n in BOMBS if n not in ("sound", "late-1e300", "pixels-declared")]
)
def test_the_error_says_that_there_is_a_bound(outcomes, name):
    message = outcomes[name].message.lower()
    words = ("limit", "bound", "at most", "more than", "too many", "too large", "exceed")
    assert outcomes[name].what == "error" and any(word in message for word in words), message
