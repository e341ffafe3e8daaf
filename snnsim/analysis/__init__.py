"""Tools to look inside a network: each reports figures beside those of a null.

``analyse(subject, "assemblies")`` runs a tool by name; the tools' own functions take recordings.
"""

from __future__ import annotations

import importlib
import inspect
from dataclasses import replace
from typing import Any

from snnsim.analysis.files import load_recording, save_recording
from snnsim.analysis.nulls import NULLS, shuffled
from snnsim.analysis.report import Figure, Report
from snnsim.analysis.subject import Subject
from snnsim.data import describe
from snnsim.errors import ConfigError, check_choice, nearest

ANALYSES = (
    "assemblies",
    "chunks",
    "connectivity",
    "depth",
    "dynamics",
    "memory",
    "operators",
    "recode",
    "repetition",
    "sparsity",
    "timescales",
)
"""The names of the analyses that :func:`analyse` runs."""

__all__ = [
    "ANALYSES", "NULLS", "Figure", "Report", "Subject", "analyse", "load_recording",
    "options", "save_recording", "shuffled", "title",
]  # fmt: skip


def _tool(what: str) -> Any:
    check_choice("what", what, ANALYSES)
    return importlib.import_module(f"snnsim.analysis.{what}")


def title(what: str) -> str:
    """Return what an analysis is, in a sentence.

    >>> title("assemblies")
    'Assemblies: which units act together, when, and in which samples.'
    """
    return (_tool(what).__doc__ or "").splitlines()[0]


def options(what: str) -> dict[str, Any]:
    """Return the options of an analysis and their defaults.

    >>> options("assemblies")["smooth_ms"]
    20.0
    """
    given = inspect.signature(_tool(what).analyse).parameters.values()
    return {p.name: p.default for p in given if p.kind is p.KEYWORD_ONLY}


def analyse(subject: Subject, what: str, **chosen: Any) -> Report:
    """Run an analysis by name.

    Args:
        subject: the network and the data, see :class:`Subject`.
        what: one of ``ANALYSES``.
        chosen: options of that analysis, see :func:`options`.

    Raises:
        ConfigError: for an unknown analysis or option.
    """
    known = options(what)
    for name in chosen:
        if name not in known:
            raise ConfigError(
                f"{what} has no option {name!r}{nearest(name, known)}; it has {', '.join(known)}"
            )
    found = _tool(what).analyse(subject, **chosen)
    asked = {name: getattr(subject, name) for name in ("layer", "null", "nulls", "seed")}
    about = describe(subject.data)
    asked |= {"dt": about.dt, "classes": about.classes}
    return replace(found, settings=asked | known | chosen)
