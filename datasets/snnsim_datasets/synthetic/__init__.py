"""Generated data: tasks whose answers are known."""

from snnsim.data import Arrays as Sequences  # its former name
from snnsim_datasets.synthetic.arithmetic import SpokenSums
from snnsim_datasets.synthetic.assemblies import Assemblies, assemblies
from snnsim_datasets.synthetic.bits import match_to_sample, parity
from snnsim_datasets.synthetic.counting import counting
from snnsim_datasets.synthetic.facts import facts
from snnsim_datasets.synthetic.garden_path import garden_path
from snnsim_datasets.synthetic.hidden_states import HiddenStates, hidden_states
from snnsim_datasets.synthetic.lorenz96 import FastScale, level_crossings, lorenz96
from snnsim_datasets.synthetic.moving_bar import moving_bar
from snnsim_datasets.synthetic.reber import reber
from snnsim_datasets.synthetic.recall import delayed_recall
from snnsim_datasets.synthetic.sudoku import sudoku

__all__ = [
    "Assemblies",
    "FastScale",
    "HiddenStates",
    "Sequences",
    "SpokenSums",
    "assemblies",
    "counting",
    "delayed_recall",
    "facts",
    "garden_path",
    "hidden_states",
    "level_crossings",
    "lorenz96",
    "match_to_sample",
    "moving_bar",
    "parity",
    "reber",
    "sudoku",
]
