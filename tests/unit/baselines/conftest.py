"""Double precision and the same draws for every test of a model's mechanism."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True)
def _double():
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(torch.float32)
