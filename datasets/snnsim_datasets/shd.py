"""Spiking Heidelberg Digits: spoken digits in English and German as cochlea spikes."""

from snnsim_datasets.tools.catalogue import INFOS
from snnsim_datasets.tools.cochlear_sets import CochlearSet

INFO = INFOS["shd"]
load = CochlearSet(INFO).load
