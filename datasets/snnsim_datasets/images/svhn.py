"""SVHN: street view house numbers, cropped digits."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from snnsim.data.limits import check_bytes
from snnsim.errors import DataError
from snnsim_datasets.tools.files import DAMAGE, Remote
from snnsim_datasets.tools.images import SPLITS, ImageSet
from snnsim_datasets.tools.info import Info

WIDEST = 8  # bytes of a number
_URL = "http://ufldl.stanford.edu/housenumbers/"

INFO = Info(
    name="svhn",
    title="SVHN",
    kind="32 x 32 colour images of digits; 73257 training and 26032 test images",
    channels=3072,
    classes=tuple("0123456789"),
    splits=SPLITS,
    licence="for non-commercial use",
    citation="Netzer, Wang, Coates, Bissacco, Wu & Ng 2011",
    remotes=(
        Remote("train_32x32.mat", (_URL + "train_32x32.mat",), "e26dedcc434d2e4c54c9b2d4a06d8373"),
        Remote("test_32x32.mat", (_URL + "test_32x32.mat",), "eb5a983be6a315427106f1b164d9cef3"),
    ),
    note="The .mat files need scipy (pip install scipy). 'validation' is a tenth of the training "
    "part, chosen by a hash of the image's number ('train_all' is the whole).",
)


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


SET = ImageSet(INFO, "svhn.npz", _read, (0.4377, 0.4438, 0.4728), (0.198, 0.201, 0.197), flat=False)
load = SET.load
