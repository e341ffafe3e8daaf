"""Fashion-MNIST."""

from snnsim_datasets.tools.catalogue import INFOS
from snnsim_datasets.tools.images import ImageSet, read_idx_pair

INFO = INFOS["fashion-mnist"]
SET = ImageSet(INFO, "fashion_full.npz", read_idx_pair, mean=(0.286,), std=(0.353,), flat=True)
load = SET.load
