"""MNIST."""

from __future__ import annotations

from snnsim_datasets.tools.files import Remote
from snnsim_datasets.tools.images import SPLITS, ImageSet, read_idx_pair
from snnsim_datasets.tools.info import Info

_URL = "https://ossci-datasets.s3.amazonaws.com/mnist/"

INFO = Info(
    name="mnist",
    title="MNIST",
    kind="28 x 28 grey images of digits; 60000 training and 10000 test images",
    channels=784,
    classes=tuple("0123456789"),
    splits=SPLITS,
    licence="CC BY-SA 3.0 (as usually stated)",
    citation="LeCun, Bottou, Bengio & Haffner 1998, doi:10.1109/5.726791",
    remotes=(
        Remote(
            "train-images-idx3-ubyte.gz",
            (_URL + "train-images-idx3-ubyte.gz",),
            "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        ),
        Remote(
            "train-labels-idx1-ubyte.gz",
            (_URL + "train-labels-idx1-ubyte.gz",),
            "d53e105ee54ea40749a09fcbcd1e9432",
        ),
        Remote(
            "t10k-images-idx3-ubyte.gz",
            (_URL + "t10k-images-idx3-ubyte.gz",),
            "9fb629c4189551a2d022fa330f9573f3",
        ),
        Remote(
            "t10k-labels-idx1-ubyte.gz",
            (_URL + "t10k-labels-idx1-ubyte.gz",),
            "ec29112dd5afa0611ce80d1b7f02629c",
        ),
    ),
    note="'validation' is a tenth of the training part, chosen by a hash of the image's number "
    "('train_all' is the whole).",
)


SET = ImageSet(INFO, "mnist_full.npz", read_idx_pair, (0.1307,), (0.3081,), flat=True)
load = SET.load
