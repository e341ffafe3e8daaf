"""The Hugging Face hub, through its own package."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from snnsim.errors import CheckpointError, SnnsimError

NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")


def is_hub_name(name: str) -> bool:
    """Return whether a text has the form of a name on the hub.

    >>> is_hub_name("someone/digits"), is_hub_name("digits"), is_hub_name("../runs/a")
    (True, False, False)
    """
    return NAME.fullmatch(name) is not None


def _package() -> Any:
    try:
        import huggingface_hub
    except ImportError as error:
        raise SnnsimError(
            "names of the form user/name are looked up on the Hugging Face hub, which needs its "
            "package: pip install 'snnsim[hub]'"
        ) from error
    return huggingface_hub


def download(name: str, file: str, revision: str | None = None) -> Path:
    """Return a file of the hub in the cache of its package, fetched if it is not there.

    Args:
        name: ``"user/name"``.
        file: the name of the file.
        revision: the branch, tag or commit; ``None`` for the newest.

    Raises:
        CheckpointError: if it cannot be had.
    """
    hub = _package()
    try:
        return Path(hub.hf_hub_download(name, file, revision=revision, library_name="snnsim"))
    except (OSError, ValueError, hub.errors.HFValidationError) as error:
        raise CheckpointError(
            f"{name} cannot be had from the hub: {_first_line(error)}; check its name, the "
            "connection, and for private ones the login (hf auth login)"
        ) from error


def upload(folder: Path, files: Sequence[str], name: str, private: bool = False) -> None:
    """Upload files of a folder to the hub, as one commit.

    Args:
        folder: the folder.
        files: the names of the files.
        name: ``"user/name"``; it is made if it is missing.
        private: whether only its owner sees it, if it is made.

    Raises:
        SnnsimError: if the hub refuses.
    """
    hub = _package()
    api = hub.HfApi(library_name="snnsim")
    try:
        api.create_repo(name, private=private, exist_ok=True)
        api.upload_folder(
            repo_id=name,
            folder_path=folder,
            allow_patterns=list(files),
            commit_message="Upload a network of snnsim",
        )
    except (OSError, ValueError, hub.errors.HFValidationError) as error:
        raise SnnsimError(
            f"{folder} is written but could not be uploaded to {name}: {_first_line(error)}; log "
            "in with: hf auth login"
        ) from error


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__).rstrip(".")
