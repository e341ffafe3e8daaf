"""Generated data: tasks whose answers are known."""

from snnsim.data import Arrays as Sequences  # its former name
from snnsim_datasets.synthetic.ahead import ahead, assemblies_ahead, lorenz96_ahead
from snnsim_datasets.synthetic.arithmetic import SpokenSums, spoken_sums
from snnsim_datasets.synthetic.assemblies import Assemblies, assemblies
from snnsim_datasets.synthetic.bits import match_to_sample, parity
from snnsim_datasets.synthetic.counting import counting
from snnsim_datasets.synthetic.documents import documents
from snnsim_datasets.synthetic.facts import facts
from snnsim_datasets.synthetic.few_shot import few_shot
from snnsim_datasets.synthetic.garden_path import garden_path
from snnsim_datasets.synthetic.hidden_states import HiddenStates, hidden_states
from snnsim_datasets.synthetic.lorenz96 import FastScale, level_crossings, lorenz96
from snnsim_datasets.synthetic.moving_bar import moving_bar
from snnsim_datasets.synthetic.patterns import patterns
from snnsim_datasets.synthetic.reber import reber
from snnsim_datasets.synthetic.recall import delayed_recall
from snnsim_datasets.synthetic.series import series
from snnsim_datasets.synthetic.sudoku import sudoku, sudoku_cell

__all__ = [
    "Assemblies",
    "FastScale",
    "HiddenStates",
    "Sequences",
    "SpokenSums",
    "ahead",
    "assemblies",
    "assemblies_ahead",
    "counting",
    "delayed_recall",
    "documents",
    "facts",
    "few_shot",
    "garden_path",
    "hidden_states",
    "level_crossings",
    "lorenz96",
    "lorenz96_ahead",
    "match_to_sample",
    "moving_bar",
    "parity",
    "patterns",
    "reber",
    "series",
    "spoken_sums",
    "sudoku",
    "sudoku_cell",
]
