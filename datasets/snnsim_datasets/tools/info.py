"""What a data set says of itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

SPLITS = ("train", "validation", "test", "train_all")  # where no validation part is official


@dataclass(frozen=True)
class Remote:
    """A remote file has a name, official addresses and a checksum.

    Attributes:
        name: name of the file in the folder of the data set.
        urls: its addresses, in the order in which they are tried.
        checksum: checksum of its content, hexadecimal.
        algorithm: algorithm of the checksum, as :mod:`hashlib` calls it.
    """

    name: str
    urls: tuple[str, ...]
    checksum: str
    algorithm: str = "md5"


@dataclass(frozen=True)
class Info:
    """The facts about a data set, which ``snnsim <name> info`` prints, say what it is and holds.

    Attributes:
        name: name by which it is loaded.
        title: name by which it was published.
        kind: what its samples are, and how many there are.
        channels: number of values per time step, before neighbouring channels are summed.
        classes: names of the classes, in the order of their labels.
        splits: names of the parts that can be loaded.
        licence: licence of the data.
        citation: where the data were published.
        remotes: files of the official source; none where nothing is downloaded.
        note: how the splits are made, and what else a user has to know.
    """

    name: str
    title: str
    kind: str
    channels: int
    classes: tuple[str, ...]
    splits: tuple[str, ...]
    licence: str
    citation: str
    remotes: tuple[Remote, ...] = ()
    note: str = ""


class Place(NamedTuple):
    """A place says which data set reads it, and how.

    Attributes:
        name: the name of the data set.
        root: what is given to it as its root; ``None`` for what comes with the package or is
            fetched.
        options: options of the data set that the place determines.
    """

    name: str
    root: str | None = None
    options: dict[str, Any] = {}
