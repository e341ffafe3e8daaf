"""What a data set says of itself."""

from __future__ import annotations

from dataclasses import dataclass

from snnsim_datasets.tools.files import Remote


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
