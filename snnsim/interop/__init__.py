"""Exchange with other systems."""

from snnsim.interop.dcls import from_dcls

__all__ = ["from_dcls"]
