"""What a data set says of itself."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Remote:
    """A file of a data set: its name, official addresses and checksum."""

    name: str
    urls: tuple[str, ...]
    checksum: str  # hexadecimal
    algorithm: str = "md5"


@dataclass(frozen=True)
class Info:
    """Facts about a data set, printed by ``snnsim <name> info``."""

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
