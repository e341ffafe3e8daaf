"""Experiments as values, and the ``snnsim`` command line that runs them."""

import importlib
import os
from typing import Any

from snnsim.portable import take_one_path

# Idle OpenMP threads spin by default. On a machine with other work every barrier then waits for
# a core that another process holds, and training slows down tenfold. Read when torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Large memory pages for large tensors: fresh ordinary ones cost more than what is computed in
# them. Only Linux heeds it.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
take_one_path()
# What Python programs need; imported when it is first asked for, so that the command line is quick.
_WHERE = {
    "Budget": "budget", "Choice": "candidates", "Experiment": "experiment",
    "Listener": "listening.listener", "Place": "place",
    "compare": "comparison", "compare_networks": "comparison", "fit": "budget",
    "look_at": "build", "resolve": "configuration", "run": "runs", "share": "report.sharing",
    "write_report": "report.page",
}  # fmt: skip
__all__ = sorted(_WHERE)


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_WHERE[name]}"), name)
