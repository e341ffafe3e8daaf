"""CIFAR-10."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from snnsim_datasets.tools.files import Remote
from snnsim_datasets.tools.images import SPLITS, ImageSet, read_cifar
from snnsim_datasets.tools.info import Info

_ARCHIVE = "cifar-10-binary.tar.gz"
_MEMBERS = {"train": [f"data_batch_{i}.bin" for i in range(1, 6)], "test": ["test_batch.bin"]}

INFO = Info(
    name="cifar10",
    title="CIFAR-10",
    kind="32 x 32 colour images of 10 classes; 50000 training and 10000 test images",
    channels=3072,
    classes=(
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    ),
    splits=SPLITS,
    licence="none stated",
    citation="Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images",
    remotes=(
        Remote(
            _ARCHIVE,
            (f"https://www.cs.toronto.edu/~kriz/{_ARCHIVE}",),
            "c32a1d4ab5d03f1284b67883e8d87530",
        ),
    ),
    note="'validation' is a tenth of the training part, chosen by a hash of the image's number "
    "('train_all' is the whole).",
)


def _read(folder: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    return read_cifar(folder / _ARCHIVE, _MEMBERS[part], 1)


SET = ImageSet(
    INFO, "cifar10_small.npz", _read, (0.4914, 0.4822, 0.4461), (0.2471, 0.2435, 0.2616), flat=False
)
load = SET.load
