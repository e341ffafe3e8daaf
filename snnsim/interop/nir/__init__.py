"""Networks as graphs of the Neuromorphic Intermediate Representation, both ways."""

from snnsim.interop.nir.reading import from_nir
from snnsim.interop.nir.simulator import simulate
from snnsim.interop.nir.writing import to_nir

__all__ = ["from_nir", "simulate", "to_nir"]
