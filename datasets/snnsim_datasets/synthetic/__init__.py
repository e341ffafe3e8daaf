"""Generated data: tasks whose answers are known."""

from snnsim_datasets.synthetic.bits import match_to_sample, parity
from snnsim_datasets.synthetic.sequences import Sequences

__all__ = ["Sequences", "match_to_sample", "parity"]
