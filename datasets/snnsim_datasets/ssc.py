"""Spiking Speech Commands: Google Speech Commands as cochlea spikes."""

from snnsim_datasets.tools.catalogue import INFOS
from snnsim_datasets.tools.cochlear_sets import CochlearSet

INFO = INFOS["ssc"]
load = CochlearSet(INFO).load
