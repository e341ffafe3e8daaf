"""CIFAR-100."""

from snnsim_datasets.tools.catalogue import INFOS
from snnsim_datasets.tools.images import ImageSet, cifar_reader

INFO = INFOS["cifar100"]
SET = ImageSet(
    INFO,
    "cifar100.npz",
    cifar_reader(INFO, train=["train.bin"], test=["test.bin"], label_bytes=2),
    mean=(0.4914, 0.4824, 0.4467),
    std=(0.2471, 0.2435, 0.2616),
    flat=False,
)
load = SET.load
