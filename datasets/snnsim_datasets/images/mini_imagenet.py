"""miniImageNet: 100 classes of ImageNet at 84 x 84, 500 training and 100 test images each."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from snnsim.errors import DataError
from snnsim_datasets.tools.files import DAMAGE, find
from snnsim_datasets.tools.images import SPLITS, ImageSet
from snnsim_datasets.tools.info import Info

INFO = Info(
    name="mini-imagenet",
    title="miniImageNet",
    kind="84 x 84 colour images of 100 classes; 50000 training and 10000 test images",
    channels=21168,
    classes=tuple(f"class {i}" for i in range(100)),
    splits=SPLITS,
    licence="ImageNet's: research and education only",
    citation="Vinyals et al. 2016, arXiv:1606.04080; split into 500 and 100 images per class as "
    "in Ebrahimi et al. 2020, arXiv:2003.09553",
    note="There is no official download: put train.pkl and test.pkl (dictionaries with 'images' "
    "[n, 84, 84, 3] and 'labels'), or mini_imagenet.npz, into the folder. 'validation' is a tenth "
    "of the training part, chosen by a hash of the image's number ('train_all' is the whole).",
)


class _ArraysOnly(pickle.Unpickler):
    """Reads arrays, lists and numbers; a pickle that would run anything else is refused."""

    allowed = {("_codecs", "encode")} | {
        (module, name)
        for start in ("numpy", "numpy.core.multiarray", "numpy._core.multiarray")
        for module, name in (
            (start, "_reconstruct"),
            (start, "scalar"),
            (start, "ndarray"),
            (start, "dtype"),
        )
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.allowed:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        if name == "ndarray":
            return "ndarray"  # a name alone: the class would make an array of any size
        return _made_empty if name == "_reconstruct" else super().find_class(module, name)


def _made_empty(kind: Any, shape: Any, code: Any) -> np.ndarray:
    """An array as pickles begin it: empty; another size would be allocated unseen."""
    if tuple(shape) != (0,):
        raise pickle.UnpicklingError(f"it asks for an array of shape {shape}")
    return np.ndarray(0, np.int8)


def _read(folder: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    path = find(folder, [f"{part}.pkl"])
    if path is None:
        raise DataError(f"no {part}.pkl in {folder}; {INFO.note}")
    try:
        with path.open("rb") as file:
            stored = _ArraysOnly(file, encoding="latin1").load()
        pixels = np.asarray(stored["images"]).reshape(-1, 84, 84, 3)
        labels = np.asarray(stored["labels"], dtype=np.int64)
    except (*DAMAGE, AttributeError) as error:
        raise DataError(f"{path} is not a readable pickle of images ({error})") from error
    if pixels.dtype != np.uint8 or len(pixels) != len(labels):
        raise DataError(
            f"{path} holds {len(pixels)} images of {pixels.dtype} and {len(labels)} labels, but "
            "bytes and as many labels were expected"
        )
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)), labels


SET = ImageSet(
    INFO,
    "mini_imagenet.npz",
    _read,
    (0.485, 0.456, 0.406),
    (0.229, 0.224, 0.225),
    flat=False,
    files=("train.pkl", "test.pkl"),
)
load = SET.load
