"""CIFAR-100."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from snnsim_datasets.tools.files import Remote
from snnsim_datasets.tools.images import SPLITS, ImageSet, read_cifar
from snnsim_datasets.tools.info import Info

_ARCHIVE = "cifar-100-binary.tar.gz"
_MEMBERS = {"train": ["train.bin"], "test": ["test.bin"]}

INFO = Info(
    name="cifar100",
    title="CIFAR-100",
    kind="32 x 32 colour images of 100 classes; 50000 training and 10000 test images",
    channels=3072,
    classes=tuple(f"class {i}" for i in range(100)),
    splits=SPLITS,
    licence="none stated",
    citation="Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images",
    remotes=(
        Remote(
            _ARCHIVE,
            (f"https://www.cs.toronto.edu/~kriz/{_ARCHIVE}",),
            "03b5dce01913d631647c71ecec9e9cb8",
        ),
    ),
    note="'validation' is a tenth of the training part, chosen by a hash of the image's number "
    "('train_all' is the whole).",
)


def _read(folder: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    return read_cifar(folder / _ARCHIVE, _MEMBERS[part], 2)


SET = ImageSet(
    INFO, "cifar100.npz", _read, (0.4914, 0.4824, 0.4467), (0.2471, 0.2435, 0.2616), flat=False
)
load = SET.load
