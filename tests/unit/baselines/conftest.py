"""Double precision and the same draws for every test of a model's mechanism."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True)
def _seeded(float64):
    torch.manual_seed(0)
