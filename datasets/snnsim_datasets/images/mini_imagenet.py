"""miniImageNet: 100 classes of ImageNet at 84 x 84, 500 training and 100 test images each."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from snnsim.errors import DataError
from snnsim_datasets.tools.catalogue import INFOS
from snnsim_datasets.tools.files import DAMAGE, find
from snnsim_datasets.tools.images import ImageSet

INFO = INFOS["mini-imagenet"]


class _ArraysOnly(pickle.Unpickler):
    """Reads arrays, lists and numbers; a pickle that would run anything else is refused."""

    allowed = {("_codecs", "encode")} | {
        (module, name)
        for module in ("numpy", "numpy.core.multiarray", "numpy._core.multiarray")
        for name in ("_reconstruct", "scalar", "ndarray", "dtype")
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
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
    flat=False,
    files=("train.pkl", "test.pkl"),
)
load = SET.load
