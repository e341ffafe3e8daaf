"""Spoken digits of a speech synthesiser as cochlea spikes; comes with the package."""

from pathlib import Path

from snnsim_datasets.tools.catalogue import INFOS
from snnsim_datasets.tools.cochlear_sets import CochlearSet

INFO = INFOS["spoken-digits"]
load = CochlearSet(INFO, embedded=Path(__file__).parent / "data").load
