"""SVHN: street view house numbers, cropped digits."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from snnsim.data.limits import check_bytes
from snnsim.errors import DataError
from snnsim_datasets.tools.catalogue import INFOS
from snnsim_datasets.tools.files import DAMAGE
from snnsim_datasets.tools.images import ImageSet

INFO = INFOS["svhn"]
WIDEST = 8  # bytes of a number


def _read(folder: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    try:
        from scipy.io import loadmat, whosmat
    except ImportError as error:
        raise DataError("SVHN's .mat files need scipy: pip install scipy") from error
    path = folder / f"{part}_32x32.mat"
    try:
        held = sum(WIDEST * math.prod(shape) for _, shape, _ in whosmat(path))
        check_bytes(str(path), held, path.stat().st_size)
        content = loadmat(path, variable_names=("X", "y"))
        pixels, labels = content["X"].transpose(3, 2, 0, 1), content["y"].ravel() % 10
    except DAMAGE as error:
        raise DataError(f"{path} is not a readable SVHN file ({error})") from error
    return np.ascontiguousarray(pixels), labels.astype(np.int64)


SET = ImageSet(
    INFO, "svhn.npz", _read, mean=(0.4377, 0.4438, 0.4728), std=(0.198, 0.201, 0.197), flat=False
)
load = SET.load
