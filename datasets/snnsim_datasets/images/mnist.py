"""MNIST."""

from snnsim_datasets.tools.catalogue import INFOS
from snnsim_datasets.tools.images import ImageSet, read_idx_pair

INFO = INFOS["mnist"]
SET = ImageSet(INFO, "mnist_full.npz", read_idx_pair, mean=(0.1307,), std=(0.3081,), flat=True)
load = SET.load
