"""Shared by all tests: one thread each, a cache of their own kept between runs of the suite."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch

torch.set_num_threads(1)

REAL_DATA = Path(os.environ.get("SNNSIM_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))


@pytest.fixture
def real_data():
    """A function from a name to a folder of real data; skips (or fails, in CI) without it."""

    def folder(name: str) -> Path:
        path = REAL_DATA / name
        if not path.exists():
            message = f"real data: {name} is absent (looked in {REAL_DATA})"
            if os.environ.get("SNNSIM_REQUIRE_DATA") == "1":
                pytest.fail(message)
            pytest.skip(message)
        return path

    return folder
