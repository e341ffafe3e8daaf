"""Networks as graphs of the Neuromorphic Intermediate Representation (NIR), both ways."""

from snnsim.errors import SnnsimError

try:
    import nir  # noqa: F401
except ImportError as error:
    raise SnnsimError("NIR needs the package nir: pip install 'snnsim[nir]'") from error

from snnsim.interop.nir.fidelity import Finding, check
from snnsim.interop.nir.reading import from_nir
from snnsim.interop.nir.simulator import simulate
from snnsim.interop.nir.torch_nodes import node_map
from snnsim.interop.nir.writing import to_nir

__all__ = ["Finding", "check", "from_nir", "node_map", "simulate", "to_nir"]
