"""What every data set says of itself, without what it takes to read one.

The facts stand in ``catalogue.toml``. A module of a data set has its own as ``INFO``; one that is
not listed there may write it itself.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from snnsim_datasets.tools.info import SPLITS, Info, Remote

_FACTS = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
_TENTH = (
    "'validation' is a tenth of the training part, chosen by a hash of the sample's number "
    "('train_all' is the whole)."
)


def _info(name: str, facts: dict[str, Any]) -> Info:
    known = {"splits": SPLITS, **facts}
    files, address = known.pop("files", {}), known.pop("address", "")
    known["remotes"] = tuple(_remote(file, address, files[file]) for file in files)
    known["classes"] = _classes(known["classes"])
    known["splits"] = tuple(known["splits"])
    known["note"] = known["note"].replace("{tenth}", _TENTH)
    return Info(name=name, **known)


def _classes(given: int | str | list[str]) -> tuple[str, ...]:
    if isinstance(given, int):
        return tuple(f"class {i}" for i in range(given))
    return tuple(_FACTS[given]["classes"] if isinstance(given, str) else given)


def _remote(file: str, address: str | dict[str, str], checksum: str) -> Remote:
    url = address + file if isinstance(address, str) else address[file]
    algorithm, _, digits = checksum.partition(":")
    return Remote(file, (url,), digits, algorithm)


INFOS = {name: _info(name, facts) for name, facts in _FACTS.items()}
