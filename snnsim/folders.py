"""Where files are kept that no command names: the folders of the user for data and for caches."""

from __future__ import annotations

import os
import secrets
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


def new_beside(path: Path) -> str:
    """Return the name of a new, empty file in the folder of a path, which nobody can foresee.

    What is written to it takes the name of the path when it is complete. Its permissions are those
    that the user gives to new files; the ones of the module ``tempfile`` would close what is kept
    in a shared folder to others.
    """
    name = f"{path}{secrets.token_hex(8)}.tmp"
    os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    return name


def _given(variable: str) -> Path | None:
    folder = os.environ.get(variable)
    return Path(folder) if folder else None


def _own(folder_of: Callable[..., Path]) -> Path:
    Path.home()  # platformdirs would make a folder that is called ~
    return folder_of(NAME, appauthor=False)
