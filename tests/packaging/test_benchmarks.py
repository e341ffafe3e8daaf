"""What ``./scripts/bench`` measures of snnsim runs with the snnsim of today."""

from __future__ import annotations

from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parent.parent.parent / "scripts"
CASES = {
    "a training step": ("networks", "training_step", (2, 0.23)),
    "evaluation": ("networks", "evaluation", (2,)),
    "a stream": ("networks", "stream", (5,)),
    "neurons": ("neurons", "lif", (10, 2, 4)),
    "a linear layer and neurons": ("neurons", "lif", (10, 2, 4, True)),
    "a recurrent layer": ("neurons", "recurrent", (10, 2, 4, 6)),
    "a delayed connection": ("delays", "connection", (10, 2, 6, 5, 0.2)),
    "HLOP by BPTT": ("continual", "hlop_step", (1,)),
    "HLOP by DSR": ("continual", "hlop_step", (1, "dsr")),
    "a batch": ("data", "batch", ()),
    "binning": ("data", "binning", (3, 50)),
    "hearing": ("data", "hearing", (0.1, 20)),
}


@pytest.mark.parametrize("case", CASES)
def test_every_contestant_of_ours_runs(case, monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    pytest.importorskip("spikingjelly")  # one of the peers, which cases are built with
    module, maker, sizes = CASES[case]
    benchmarks = pytest.importorskip(f"benchmarks.{module}", exc_type=ImportError)
    found = getattr(benchmarks, maker)(*sizes)
    ours = [name for name in found.build if name.startswith("snnsim")]
    assert ours[0] == "snnsim"
    for name in ours:
        found.build[name]()()
