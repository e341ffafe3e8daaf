"""Shared by all tests: one thread each, and figures that are drawn but not rendered."""

from __future__ import annotations

import io
import os
from importlib.util import find_spec
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch

torch.set_num_threads(1)

collect_ignore = ["golden/make_spikingjelly.py"]  # a program, which needs what it is compared with


def pytest_collection_modifyitems(items):
    """Begin with what takes longest, so that all workers end at the same time."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture
def float64():
    """Numbers are double within a test: ``pytestmark = pytest.mark.usefixtures("float64")``."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture(scope="session", autouse=True)
def _savefig():
    """Write an empty file for every figure, because rendering is most of what a small run takes.

    Figures are drawn all the same. Yields matplotlib's own function, ``None`` without matplotlib.
    """
    if find_spec("matplotlib") is None:
        yield None
        return
    from matplotlib.figure import Figure

    own = Figure.savefig
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", lambda figure, to, **_: _write_nothing(to))
        yield own


def _write_nothing(to) -> None:
    if isinstance(to, io.IOBase):
        to.write(b"")
    else:
        Path(to).write_bytes(b"")


@pytest.fixture
def rendered(_savefig, monkeypatch):
    """Figures of this test are rendered and written by matplotlib."""
    pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure

    monkeypatch.setattr(Figure, "savefig", _savefig)
