"""Masks on the weights of a baseline: those of any network, see :mod:`snnsim.sparsity`."""

from snnsim.sparsity import WAYS, Mask, matrices, sparsify

__all__ = ["WAYS", "Mask", "matrices", "sparsify"]
