"""Nothing here reaches a network: opening an address is an error."""

from __future__ import annotations

import sys
import urllib.request
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def no_network_and_a_cache_of_its_own(tmp_path, monkeypatch):
    def opened(request, *_, **__):
        raise AssertionError(f"a test reached for {getattr(request, 'full_url', request)}")

    monkeypatch.setattr(urllib.request, "urlopen", opened)
    monkeypatch.setenv("SNNSIM_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("SNNSIM_DATA", str(tmp_path / "default"))
