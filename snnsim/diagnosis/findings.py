"""What a diagnosis says: findings, the worst first."""

from __future__ import annotations

import math
import textwrap
from dataclasses import dataclass, field
from typing import Any

PROBLEM, WARNING, NOTE = "problem", "warning", "note"
SEVERITIES = (PROBLEM, WARNING, NOTE)

KINDS = (
    "not time-major",
    "labels outside of outputs",
    "input not finite",
    "weights not finite",
    "activity not finite",
    "empty input",
    "constant input",
    "one class",
    "frozen",
    "learning rate zero",
    "learning rate too small",
    "exploding gradient",
    "learning rate too large",
    "input too small",
    "input too large",
    "dropout too high",
    "silent read-out",
    "saturated read-out",
    "dead layer",
    "saturated layer",
    "stuck layer",
    "surrogate too narrow",
    "no gradient",
    "vanishing gradient",
    "delays at border",
    "wide kernels",
    "padding read out",
    "labels unlike input",
    "weights do not move",
    "one answer",
    "at chance",
)
"""All kinds of findings.

Causes stand before what follows from them, so that of two findings of the same severity the one to
mend first is shown first.
"""


@dataclass(frozen=True)
class Finding:
    """A ``Finding`` is one thing that keeps a network from learning, or may do so.

    Attributes:
        what: the kind of the finding, one of :data:`snnsim.diagnosis.KINDS`.
        where: the name of a layer or parameter, or ``"input"``, ``"labels"``, ``"training"`` or
            ``"read-out"``.
        severity: ``"problem"``, ``"warning"`` or ``"note"``.
        sentence: what was measured.
        advice: what to try.
        figures: the numbers behind it, by name.
    """

    what: str
    where: str
    severity: str
    sentence: str
    advice: str
    figures: dict[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.severity}: {self.what} ({self.where}). {self.sentence} {self.advice}"


@dataclass(frozen=True)
class Diagnosis:
    """A ``Diagnosis`` says what keeps a network from learning.

    Attributes:
        findings: all findings, the worst first; of equal ones, causes before what follows.
        layers: a row of figures for each layer of neurons, in the order in which they ran.
        samples: the number of samples that the network was shown.
        loss: the mean loss on them, in training mode; NaN if it could not be computed.
        chance: the loss of the best constant answer; ``None`` where that is unknown.
    """

    findings: tuple[Finding, ...]
    layers: tuple[dict[str, Any], ...] = ()
    samples: int = 0
    loss: float = math.nan
    chance: float | None = None

    @property
    def worst(self) -> Finding | None:
        """Return the worst finding; ``None`` if there is none."""
        return self.findings[0] if self.findings else None

    @property
    def healthy(self) -> bool:
        """Return whether no finding is a problem."""
        return self.worst is None or self.worst.severity != PROBLEM

    def as_dict(self) -> dict[str, Any]:
        """Return plain values; numbers that are not finite become ``None``."""
        return {
            "healthy": self.healthy,
            "samples": self.samples,
            "loss": _plain(self.loss),
            "chance": _plain(self.chance),
            "findings": [
                {name: _plain(value) for name, value in vars(each).items()}
                for each in self.findings
            ],
            "layers": [_plain(row) for row in self.layers],
        }

    def __str__(self) -> str:
        lines = [self._headline()]
        for each in self.findings:
            lines += ["", f"{each.severity}: {each.what} ({each.where})"]
            for text in (each.sentence, each.advice):
                lines.append(textwrap.fill(text, 96, initial_indent="  ", subsequent_indent="  "))
        return "\n".join([*lines, *self._table()])

    def _headline(self) -> str:
        """The loss, and how many findings there are of each severity."""
        counts = {s: sum(f.severity == s for f in self.findings) for s in SEVERITIES}
        told = [f"{n} {s}{'s' if n > 1 else ''}" for s, n in counts.items() if n]
        loss = f"loss {self.loss:.3f}"
        if self.chance is not None:
            loss += f" (chance {self.chance:.3f})"
        state = "healthy" if self.healthy else "sick"
        return f"{state}: {', '.join(told) or 'no findings'}; {self.samples} samples, {loss}"

    def _table(self) -> list[str]:
        """A line for each layer, under the names of the columns."""
        if not self.layers:
            return []
        rows = [list(COLUMNS)]
        rows += [[_cell(row.get(name)) for name in COLUMNS] for row in self.layers]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        shown = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in rows]
        return ["", *(line.rstrip() for line in shown)]


COLUMNS = ("layer", "kind", "rate", "dead", "saturated", "membrane", "membrane 95 %", "gradient")


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value


def worst_first(findings: list[Finding]) -> tuple[Finding, ...]:
    """Return findings in the order in which they are shown.

    >>> kinds = (("at chance", "problem"), ("dead layer", "problem"), ("frozen", "note"))
    >>> [f.what for f in worst_first([Finding(k, "", s, "", "") for k, s in kinds])]
    ['dead layer', 'at chance', 'frozen']
    """
    rank = {what: place for place, what in enumerate(KINDS)}
    return tuple(sorted(findings, key=lambda f: (SEVERITIES.index(f.severity), rank[f.what])))
