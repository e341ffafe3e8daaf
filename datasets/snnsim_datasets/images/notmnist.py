"""notMNIST: letters A to J in many fonts."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from snnsim_datasets.tools.catalogue import INFOS
from snnsim_datasets.tools.files import find
from snnsim_datasets.tools.images import IDX_FILES, ImageSet, forms, read_idx_pair
from snnsim_datasets.tools.splits import held_out_numbers

INFO = INFOS["notmnist"]


def _read(folder: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    if find(folder, forms("train-images-idx3-ubyte.gz")) is not None:
        return read_idx_pair(folder, part)
    pixels, labels = read_idx_pair(folder, "test")
    held = held_out_numbers(len(labels), "snnsim-notmnist-test", 0.2)
    chosen = held if part == "test" else ~held
    return pixels[chosen], labels[chosen]


SET = ImageSet(
    INFO, "notmnist.npz", _read, mean=(0.4254,), std=(0.4501,), flat=True, files=IDX_FILES
)
load = SET.load
