"""Networks as graphs of the Neuromorphic Intermediate Representation, both ways."""

from snnsim.interop.nir.writing import to_nir

__all__ = ["to_nir"]
