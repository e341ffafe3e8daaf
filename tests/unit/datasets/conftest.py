"""Nothing here reaches a network: opening an address is an error."""

from __future__ import annotations

import urllib.request
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def no_network_and_a_cache_of_its_own(tmp_path, monkeypatch):
    def opened(request, *_, **__):
        raise AssertionError(f"a test reached for {getattr(request, 'full_url', request)}")

    monkeypatch.setattr(urllib.request, "urlopen", opened)
    monkeypatch.setenv("SNNSIM_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("SNNSIM_DATA", str(tmp_path / "default"))


@pytest.fixture
def folder(tmp_path) -> Path:
    for name, content in (("b/1.wav", b"one"), ("a/2.wav", b"two"), ("a/1.wav", b"three")):
        path = tmp_path / "folder" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path / "folder"
