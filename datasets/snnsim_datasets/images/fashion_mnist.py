"""Fashion-MNIST."""

from __future__ import annotations

from snnsim_datasets.tools.files import Remote
from snnsim_datasets.tools.images import SPLITS, ImageSet, read_idx_pair
from snnsim_datasets.tools.info import Info

_URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"

INFO = Info(
    name="fashion-mnist",
    title="Fashion-MNIST",
    kind="28 x 28 grey images of clothes; 60000 training and 10000 test images",
    channels=784,
    classes=(
        "T-shirt",
        "trouser",
        "pullover",
        "dress",
        "coat",
        "sandal",
        "shirt",
        "sneaker",
        "bag",
        "ankle boot",
    ),
    splits=SPLITS,
    licence="MIT",
    citation="Xiao, Rasul & Vollgraf 2017, arXiv:1708.07747",
    remotes=(
        Remote(
            "train-images-idx3-ubyte.gz",
            (_URL + "train-images-idx3-ubyte.gz",),
            "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        ),
        Remote(
            "train-labels-idx1-ubyte.gz",
            (_URL + "train-labels-idx1-ubyte.gz",),
            "25c81989df183df01b3e8a0aad5dffbe",
        ),
        Remote(
            "t10k-images-idx3-ubyte.gz",
            (_URL + "t10k-images-idx3-ubyte.gz",),
            "bef4ecab320f06d8554ea6380940ec79",
        ),
        Remote(
            "t10k-labels-idx1-ubyte.gz",
            (_URL + "t10k-labels-idx1-ubyte.gz",),
            "bb300cfdad3c16e7a12a480ee83cd310",
        ),
    ),
    note="'validation' is a tenth of the training part, chosen by a hash of the image's number "
    "('train_all' is the whole).",
)


SET = ImageSet(INFO, "fashion_full.npz", read_idx_pair, (0.286,), (0.353,), flat=True)
load = SET.load
