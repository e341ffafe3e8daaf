"""A file in the folder of models is all that a new model needs."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import snnsim

SOURCE = '''"""Leaky sum: ``y[t] = 0.9 y[t-1] + W x[t]``."""

from snnsim.baselines.baseline import Cell, linear


class LeakySum(Cell):
    """A leaky sum of its input.

    >>> LeakySum(2, 3).n_out
    3
    """

    source = "nobody"

    def __init__(self, n_in, n_out):
        super().__init__(n_in, n_out)
        self.w_in = linear(n_in, n_out, bias=False)

    def initial_state(self, batch):
        return self.zeros(batch, self.n_out)

    def project(self, x):
        return self.w_in(x)[0]

    def cell(self, p, state):
        state = 0.9 * state + p
        return state, state
'''


def test_a_new_file_is_listed_and_tested_without_another_edit(tmp_path):
    package = Path(snnsim.__file__).parent
    shutil.copytree(package, tmp_path / "snnsim", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "snnsim" / "baselines" / "models" / "leaky_sum.py").write_text(SOURCE)
    shutil.copy(Path(__file__).parent / "test_baselines.py", tmp_path)
    shutil.copy(Path(__file__).parent.parent / "conftest.py", tmp_path)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "leaky-sum"]
    answer = subprocess.run(
        [*command, "test_baselines.py"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    text = (Path(__file__).parent / "test_baselines.py").read_text()
    tests = text.count('"name", NAMES)') + text.count('"name", STREAMING)')
    assert f"{tests + 3} passed" in answer.stdout, answer.stdout  # one runs for four lengths
