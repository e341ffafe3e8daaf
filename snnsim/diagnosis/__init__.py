"""Why does a network learn nothing? Measurements of one pass, and what follows from them."""

from __future__ import annotations

from snnsim.diagnosis.examination import diagnose
from snnsim.diagnosis.findings import KINDS, Diagnosis, Finding

__all__ = ["KINDS", "Diagnosis", "Finding", "diagnose"]
