"""notMNIST: letters A to J in many fonts."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from snnsim_datasets.tools.files import find
from snnsim_datasets.tools.images import IDX_FILES, SPLITS, ImageSet, read_idx_pair
from snnsim_datasets.tools.info import Info
from snnsim_datasets.tools.splits import hash_fraction

INFO = Info(
    name="notmnist",
    title="notMNIST",
    kind="28 x 28 grey images of letters; as many as the files hold",
    channels=784,
    classes=tuple("ABCDEFGHIJ"),
    splits=SPLITS,
    licence="posted with the author's permission",
    citation="Bulatov 2011, yaroslavvb.blogspot.com/2011/09/notmnist-dataset.html",
    note="There is no official download in MNIST's format: put idx files named like MNIST's into "
    "the folder. Where there are only t10k files, a fifth of them (by a hash of the image's "
    "number) is the test part.",
)


def _read(folder: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    whole = [f"train-images-idx3-ubyte{ending}" for ending in (".gz", "")]
    if find(folder, whole) is not None:
        return read_idx_pair(folder, part)
    pixels, labels = read_idx_pair(folder, "test")
    held = np.asarray(
        [hash_fraction(str(i), "snnsim-notmnist-test") < 0.2 for i in range(len(labels))]
    )
    chosen = held if part == "test" else ~held
    return pixels[chosen], labels[chosen]


SET = ImageSet(INFO, "notmnist.npz", _read, (0.4254,), (0.4501,), flat=True, files=IDX_FILES)
load = SET.load
