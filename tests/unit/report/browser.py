"""A headless Chromium for the tests of pages, if there is one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
QUIET = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
)  # fmt: skip


def _missing(what: str) -> None:
    if os.environ.get("SNNSIM_REQUIRE_BROWSER"):
        pytest.fail(f"SNNSIM_REQUIRE_BROWSER is set, but {what}")
    pytest.skip(what)


@contextmanager
def chromium() -> Iterator:
    """A browser of playwright that drives the Chromium of the system."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        _missing("playwright is not installed")
    path = next((found for name in NAMES if (found := shutil.which(name))), None)
    if path is None:
        _missing(f"there is none of {', '.join(NAMES)}")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=list(QUIET))
        yield browser
        browser.close()
