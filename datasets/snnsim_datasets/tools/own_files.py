"""What data sets have in common that are files of a user: who is in which split, what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from snnsim.errors import DataError
from snnsim_datasets.tools import files
from snnsim_datasets.tools.audio import AUDIO
from snnsim_datasets.tools.listing import Listing, listed, place_of
from snnsim_datasets.tools.rows import Finding, Row, findings_of_all, relative
from snnsim_datasets.tools.splits import check_trained, divide

DEFAULTS = {"speaker": "", "held_out": 0.2, "split_seed": 0, "split_by": "auto"}


class Divided(NamedTuple):
    """Recordings in files are divided into splits before any is read.

    Attributes:
        place: what lists them, a folder or a table.
        found: the recordings.
        parts: the split of each, ``[n]``.
    """

    place: Path
    found: Listing
    parts: np.ndarray

    @property
    def checksums(self) -> dict[str, str]:
        """Return the checksums of all recordings, and of the table that lists them."""
        return self.found.checksums(self.place)

    def rows(self) -> list[Row]:
        """Return a row for each recording."""
        found = self.found
        told = zip(found.paths, found.labels, self.parts, strict=True)
        return [
            Row(relative(path, found.folder), found.classes[label], found.speaker_of(i), str(part))
            for i, (path, label, part) in enumerate(told)
        ]

    def findings(
        self, look: Callable[[Path], Iterable[str]], progress: Any = None
    ) -> Iterator[Finding]:
        """Read every recording and tell what is wrong with which.

        Args:
            look: a function that reads a recording and gives what is odd about it; it raises
                :class:`DataError` for one that cannot be used.
            progress: a function of (recordings so far, recordings in all).
        """
        told, digests = self.rows(), []
        for number, (path, row) in enumerate(zip(self.found.paths, told, strict=True), 1):
            try:
                yield from (Finding(row.file, text) for text in look(path))
                digests.append(files.digest(path))
            except DataError as error:
                digests.append("")
                yield Finding(row.file, str(error), bad=True)
            if progress is not None:
                progress(number, len(told))
        yield from findings_of_all(told, digests)


def divided(
    name: str,
    root: Path | str | None,
    endings: tuple[str, ...] = AUDIO,
    **options: Any,
) -> Divided:
    """List the recordings of a place and divide them.

    Args:
        name: the data set, whose usual folder is taken where there is no root.
        root: a folder or table, see :func:`snnsim_datasets.tools.listing.listed`.
        endings: those of the names of files that are recordings.
        options: ``speaker`` of :func:`snnsim_datasets.tools.listing.listed`, and ``held_out``,
            ``split_seed`` and ``split_by`` of :func:`snnsim_datasets.tools.splits.divide`; others
            are ignored.

    Raises:
        DataError: if there are none, or a class has none for training.
    """
    given = {key: options.get(key, default) for key, default in DEFAULTS.items()}
    place = place_of(files.folder_of(name, root))
    found = listed(place, given["speaker"], endings=endings)
    how = given["held_out"], given["split_seed"], given["split_by"]
    parts = divide(found.labels, found.speakers, found.parts, *how)
    check_trained(found.labels, parts, found.classes)
    return Divided(place, found, parts)
