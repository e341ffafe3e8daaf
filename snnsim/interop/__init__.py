"""Exchange with other systems."""

from snnsim.interop.dcls import from_dcls
from snnsim.interop.neurobench import for_neurobench

__all__ = ["for_neurobench", "from_dcls"]
