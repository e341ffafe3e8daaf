"""Some hundred spoiled data files: a right answer, or one error that names the file."""

from __future__ import annotations

import pytest
from files import KINDS
from main import cases
from outcomes import run, table

pytestmark = pytest.mark.slow

# of seed 1: files in which the library went round for ever
ENDLESS = [("hdf5-bytes", 62), ("hdf5-bytes", 1037), ("hdf5-bytes", 1271), ("hdf5-packed", 212)]
SEED, EACH = 20, 40
MANY = {"hdf5-bytes": 120, "hdf5-packed": 60, "hdf5-structure": 80}


@pytest.fixture(scope="module")
def outcomes():
    every = [c for kind in KINDS for c in cases(kind, SEED, range(MANY.get(kind, EACH)))]
    return list(run(every))


@pytest.mark.parametrize("kind", KINDS)
def test_a_spoiled_file_is_read_right_or_refused_by_its_name(outcomes, kind):
    mine = [o for o in outcomes if o.case.kind == kind]
    bad = [str(o) for o in mine if not o.good]
    assert not bad, f"seed {SEED}, {len(bad)} of {len(mine)}\n{table(mine)}\n" + "\n".join(bad[:20])


@pytest.mark.parametrize("kind", KINDS)
def test_some_files_are_still_read_and_some_are_refused(outcomes, kind):
    """So that the cases are neither all good nor all hopeless."""
    what = {o.what for o in outcomes if o.case.kind == kind}
    assert what >= {"right", "error"}


def test_files_in_which_the_library_never_ends_are_cut_off(monkeypatch):
    monkeypatch.setenv("SNNSIM_READ_SECONDS", "2")
    chosen = [case for kind, index in ENDLESS for case in cases(kind, 1, range(index, index + 1))]
    bad = [str(o) for o in run(chosen, seconds=8) if not o.good]
    assert not bad, "\n".join(bad)
