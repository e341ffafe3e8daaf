"""Where files are kept that no command names: the folders of the user for data and for caches."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import platformdirs

NAME = "snnsim"


def data_folder() -> Path:
    """Return the folder of data sets: ``$SNNSIM_DATA``, or that of the operating system.

    The latter is ``$XDG_DATA_HOME/snnsim`` or ``~/.local/share/snnsim`` on Linux,
    ``~/Library/Application Support/snnsim`` on macOS and ``%LOCALAPPDATA%\\snnsim`` on Windows.

    Raises:
        RuntimeError: if there is no home folder.
    """
    return _given("SNNSIM_DATA") or _own(platformdirs.user_data_path)


def cache_folder() -> Path:
    """Return the folder of caches: ``$SNNSIM_CACHE_DIR``, or that of the operating system.

    The latter is ``$XDG_CACHE_HOME/snnsim`` or ``~/.cache/snnsim`` on Linux,
    ``~/Library/Caches/snnsim`` on macOS and ``%LOCALAPPDATA%\\snnsim\\Cache`` on Windows.

    Raises:
        RuntimeError: if there is no home folder.
    """
    return _given("SNNSIM_CACHE_DIR") or _own(platformdirs.user_cache_path)


def _given(variable: str) -> Path | None:
    folder = os.environ.get(variable)
    return Path(folder) if folder else None


def _own(folder_of: Callable[..., Path]) -> Path:
    Path.home()  # platformdirs would make a folder that is called ~
    return folder_of(NAME, appauthor=False)
