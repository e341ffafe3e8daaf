"""Fine-tuning: each task is trained as if there were no others; the lower bound."""

from __future__ import annotations

from snnsim.continual.method import Method


class FineTuning(Method):
    """Does nothing against forgetting."""
