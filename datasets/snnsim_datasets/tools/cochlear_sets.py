"""Loading of data sets that come as one file in the Heidelberg layout for each official part."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from snnsim.data.events import BinnedEvents, bin_all
from snnsim.errors import ConfigError
from snnsim_datasets.tools import files, heidelberg
from snnsim_datasets.tools.info import Info
from snnsim_datasets.tools.splits import by_speaker, check_split, part_of

ENDINGS = (".h5", ".h5.gz", ".h5.zip")
_PARTS = {"train": "train", "validation": "valid", "test": "test"}  # in the names of files


def locate(info: Info, stem: str, root: Path | str | None, download: bool, progress=None) -> Path:
    """Return the file ``<stem>.h5[.gz|.zip]`` in the root, downloaded if absent and allowed."""
    return files.locate(
        files.folder_of(info.name, root),
        [stem + ending for ending in ENDINGS],
        next((remote for remote in info.remotes if remote.name.startswith(f"{stem}.")), None),
        download,
        progress,
    )


@dataclass(frozen=True)
class CochlearSet:
    """A set of cochlea spikes is read from the files ``<name>_<part>.h5``, packed or not.

    Where the facts list ``train_all`` among the splits, there is no official validation part: it
    is whole speakers of the training file.

    Attributes:
        info: facts about the set.
        embedded: folder of a set that comes with the package.
    """

    info: Info
    embedded: Path | None = None

    def load(
        self,
        split: str,
        root: Path | str | None = None,
        *,
        dt: float = 10.0,
        pool: int = 5,
        binning: str = "grid",
        download: bool = True,
        progress=None,
    ) -> BinnedEvents:
        """Load a split.

        Args:
            split: ``"train"``, ``"validation"``, ``"test"`` or, where there is no official
                validation part, ``"train_all"``.
            root: folder of the files (``.h5``, ``.h5.gz`` or ``.h5.zip``); ``None`` for a set that
                comes with the package.
            dt: length of a time step in ms.
            pool: number of neighbouring channels that are summed into one; must divide their
                number.
            binning: how events become steps; see :func:`snnsim.data.events.bin_events`.
            download: whether to fetch missing files from the official source.
            progress: optional function of (bytes so far, bytes in all).
        """
        info = self.info
        if self.embedded is not None and root is not None:
            raise ConfigError(f"{info.name} comes with the package and takes no root; leave it out")
        check_split(info.name, split, info.splits)
        carved = "train_all" in info.splits
        name = info.name.replace("-", "_")
        paths = {
            part: locate(info, f"{name}_{_PARTS[part]}", self.embedded or root, download, progress)
            for part in (("train", "test") if carved else (split,))
        }
        path = paths[split] if split in paths else paths["train"]
        events, checksum = heidelberg.read(path, info.classes, info.channels)
        if carved:
            events = part_of(events, split, lambda: by_speaker(events.speakers))
        return bin_all(events, dt, pool, binning, {path.name: checksum})
