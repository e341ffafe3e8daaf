"""CIFAR-100."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from snnsim_datasets.tools.files import Remote
from snnsim_datasets.tools.images import SPLITS, Images, load_images, read_cifar
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
NORMAL = ((0.4914, 0.4824, 0.4467), (0.2471, 0.2435, 0.2616))


def load(
    split: str,
    root: Path | str | None = None,
    *,
    flat: bool = False,
    download: bool = True,
    progress=None,
) -> Images:
    """Load a split.

    Args:
        split: ``"train"``, ``"validation"``, ``"test"`` or ``"train_all"``.
        root: folder of the official binary archive, or of ``cifar100.npz``.
        flat: whether an image is one row of 3072 values or ``[3, 32, 32]``.
        download, progress: as in :func:`snnsim_datasets.shd.load`.
    """
    return load_images(
        INFO, split, root, ("cifar100.npz",), _read, NORMAL,
        flat=flat, download=download, progress=progress,
    )  # fmt: skip


def _read(folder: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    return read_cifar(folder / _ARCHIVE, _MEMBERS[part], 2)
