"""Batch normalisation, a neuron's scan and dropout as one operator; see README.md."""

from snnsim.kernels.normalised_scan.operator import (
    MASK,
    NORM,
    affine_scan,
    moments,
    normalised,
    normalised_scan,
)
from snnsim.kernels.normalised_scan.reference import Normalisation

__all__ = [
    "MASK", "NORM", "Normalisation", "affine_scan", "moments", "normalised", "normalised_scan",
]  # fmt: skip
