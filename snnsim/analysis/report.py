"""What an analysis says: figures, each beside the same figure of its null."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from snnsim.activity import Recording
from snnsim.analysis.nulls import shuffled


@dataclass(frozen=True)
class Figure:
    """A ``Figure`` is a number, and what the same number is where there is nothing to be found.

    Attributes:
        value: the number.
        null: the mean of the same number over surrogates; ``None`` if it has no null.
        spread: their standard deviation; ``None`` with fewer than two.
    """

    value: float
    null: float | None = None
    spread: float | None = None

    def like_null(self) -> bool:
        """Return whether the number is at most two standard deviations above that of its null.

        >>> Figure(1.0, 0.9, 0.1).like_null(), Figure(1.0).like_null()
        (True, False)
        """
        return self.null is not None and self.value <= self.null + 2 * (self.spread or 0.0)

    def __str__(self) -> str:
        if self.null is None:
            return f"{self.value:.3g}"
        about = f" ± {self.spread:.2g}" if self.spread is not None else ""
        return f"{self.value:.3g} (null {self.null:.3g}{about})"


@dataclass(frozen=True)
class Report:
    """A ``Report`` is what an analysis found.

    Attributes:
        what: the name of the analysis.
        figures: numbers by name, with their nulls.
        arrays: curves, matrices and groups by name.
        text: sentences for people.
        settings: what the analysis was asked, and ``dt`` (in ms) and ``classes`` of the data where
            these are known.
    """

    what: str
    figures: dict[str, Figure]
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    text: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return the report as plain values; what is not finite becomes ``None``."""
        return {
            "what": self.what,
            "settings": self.settings,
            "figures": {
                name: {"value": _plain(f.value), "null": _plain(f.null), "std": _plain(f.spread)}
                for name, f in self.figures.items()
            },
            "text": list(self.text),
            "arrays": {name: _plain(values.tolist()) for name, values in self.arrays.items()},
        }


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value


def beside_null(
    measure: Callable[[Recording], Mapping[str, float]],
    rec: Recording,
    how: str,
    count: int = 5,
    seed: int = 0,
) -> dict[str, Figure]:
    """Return the figures of a recording, each beside the same figure of shuffled recordings.

    Args:
        measure: from a recording to numbers by name.
        rec: the recording.
        how: how it is shuffled, see :func:`snnsim.analysis.shuffled`.
        count: number of shuffled recordings; 0 for no null.
        seed: of the first; the others' follow.
    """
    found = measure(rec)
    others = [measure(shuffled(rec, how, seed + i)) for i in range(count)]
    return {name: against(value, [o[name] for o in others]) for name, value in found.items()}


def against(value: float, nulls: list[float]) -> Figure:
    """Return a number beside the mean and standard deviation of its null."""
    if not nulls:
        return Figure(float(value))
    spread = float(np.std(nulls, ddof=1)) if len(nulls) > 1 else None
    return Figure(float(value), float(np.mean(nulls)), spread)
