"""A fifth of a network's weights learns again what all could: the check ``sparsity`` of baselines.

It is reachable from here because ``analyse RUN sparsity`` cuts in the same way.
"""

from __future__ import annotations

from snnsim_experiments.baselines.checks.sparsity import run

__all__ = ["run"]
