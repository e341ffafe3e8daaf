"""No kernel reads or writes outside of its arrays, whatever the sizes, delays and states."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

OPERATORS = Path(__file__).parents[1] / "addresses" / "operators.py"


@pytest.mark.slow
def test_all_operators_stay_within_their_arrays(tmp_path):
    environment = os.environ | {"NUMBA_BOUNDSCHECK": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(OPERATORS)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert " passed" in done.stdout and "skipped" not in done.stdout
