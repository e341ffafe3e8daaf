"""Which files a command is given: single ones, folders, and tables that list them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from snnsim_datasets.tools.audio import AUDIO
from snnsim_datasets.tools.listing import PARTS, TABLES, listed

from snnsim.errors import ConfigError, DataError, check_choice

SPIKES = (".h5", ".gz", ".zip", ".npz")


class Given(NamedTuple):
    """A ``Given`` is one file, with what the folder or table around it says.

    Attributes:
        path: the file.
        label: the name of its class; empty where that is not known.
    """

    path: Path
    label: str = ""


def expanded(paths: Sequence[Path], split: str = "") -> list[Given]:
    """Return the files that are named, or that lie in the folders and tables that are named.

    Args:
        paths: files, folders and tables. A folder has either a folder for each class, or files
            whose classes are not known; a table (``.csv``, ``.tsv``) has the columns ``file`` and
            ``label``, see :func:`snnsim_datasets.tools.listing.listed`.
        split: ``"train"``, ``"validation"`` or ``"test"`` takes only recordings that a folder or
            table says to be of that part; empty takes all.

    Raises:
        ConfigError: if nothing is named, or a file has no part.
        DataError: if a folder or table has no files.
    """
    if not paths:
        raise ConfigError("no file is given; name files, folders or tables to classify")
    if split:
        check_choice("split", split, PARTS)
    return [given for path in paths for given in _expanded(path, split)]


def _expanded(path: Path, split: str) -> list[Given]:
    table = path.is_file() and path.suffix.lower() in TABLES
    if table or (path.is_dir() and any(_shown(path, folders=True))):
        return _listed(path, split)
    if split:
        raise ConfigError(
            f"split is {split!r}, but nothing says which part {path} belongs to; remove --split"
        )
    if not path.is_dir():
        return [Given(path)]
    found = [each for each in _shown(path) if each.suffix.lower() in (*SPIKES, *AUDIO)]
    if not found:
        raise DataError(
            f"{path} has no files that can be classified; their names must end in one of "
            f"{', '.join((*SPIKES, *AUDIO))}"
        )
    return [Given(each) for each in found]


def _shown(folder: Path, folders: bool = False) -> list[Path]:
    """The files (or folders) in a folder that are not hidden, in order."""
    found = (each for each in folder.iterdir() if each.is_dir() == folders)
    return sorted(each for each in found if not each.name.startswith("."))


def _listed(path: Path, split: str) -> list[Given]:
    """The recordings of classes, in folders or a table."""
    found = listed(path, least=1)
    if split and split not in found.parts:
        raise ConfigError(
            f"split is {split!r}, but {path} has no recordings that are said to be of it; remove "
            "--split to take all"
        )
    return [
        Given(each, found.classes[label])
        for each, label, part in zip(found.paths, found.labels, found.parts, strict=True)
        if part == split or not split
    ]
