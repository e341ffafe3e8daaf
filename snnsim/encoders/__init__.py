"""What turns sounds and series into spikes."""

from snnsim.encoders.cochlea import Cochlea, CochleaState, Spikes

__all__ = ["Cochlea", "CochleaState", "Spikes"]
