"""CIFAR-10."""

from snnsim_datasets.tools.catalogue import INFOS
from snnsim_datasets.tools.images import ImageSet, cifar_reader

INFO = INFOS["cifar10"]
SET = ImageSet(
    INFO,
    "cifar10_small.npz",
    cifar_reader(
        INFO,
        train=[f"data_batch_{i}.bin" for i in range(1, 6)],
        test=["test_batch.bin"],
        label_bytes=1,
    ),
    mean=(0.4914, 0.4822, 0.4461),
    std=(0.2471, 0.2435, 0.2616),
    flat=False,
)
load = SET.load
