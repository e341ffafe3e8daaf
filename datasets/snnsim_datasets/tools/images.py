"""Still images as a data set of one step, and the file formats they come in."""

from __future__ import annotations

import gzip
import math
import struct
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from snnsim.data.events import whole_numbers
from snnsim.data.limits import check_bytes, most_bytes
from snnsim.data.protocol import Batch, DataSet, chosen
from snnsim.errors import ConfigError, DataError
from snnsim_datasets.tools.files import DAMAGE, digest, find, folder_of, locate, read_arrays
from snnsim_datasets.tools.info import Info
from snnsim_datasets.tools.splits import check_split, held_out_numbers, part_of


@dataclass(frozen=True)
class Images(DataSet):
    """Images are recordings of one step: a batch is ``x [1, B, C * H * W]``.

    Attributes:
        pixels: ``[n, C, H, W]`` uint8.
        labels: ``[n]`` int64.
        classes: names of the classes.
        mean, std: mean that is subtracted from the pixels of each colour, which lie between 0 and
            1, and standard deviation by which they are then divided.
        flat: whether a batch is ``[1, B, C * H * W]`` or ``[1, B, C, H, W]``.
        dt: length of the step in ms.
        checksums: SHA-256 of the files that were read, by name.
        canvas: colours, rows and columns of a larger black canvas in whose middle the images
            are shown, grey ones in all colours alike; ``None`` for as they are.
    """

    pixels: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    flat: bool = True
    dt: float = 1.0
    checksums: dict[str, str] = field(default_factory=dict)
    canvas: tuple[int, int, int] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the colours, rows and columns of one image."""
        return tuple(self.pixels.shape[1:]) if self.canvas is None else self.canvas

    @property
    def channels(self) -> int:
        """Return the number of values of one image."""
        return int(np.prod(self.shape))

    @property
    def lengths(self) -> np.ndarray:
        """Return one step for each image."""
        return np.ones(len(self), dtype=np.int64)

    @property
    def speakers(self) -> np.ndarray:
        """Return -1 for each image: speakers are unknown."""
        return np.full(len(self), -1, dtype=np.int64)

    def subset(self, indices: Sequence[int] | np.ndarray) -> Images:
        """Return the images at ``indices`` (or under a boolean mask)."""
        chosen = np.arange(len(self))[np.asarray(indices)]
        return replace(self, pixels=self.pixels[chosen], labels=self.labels[chosen])

    def batch(self, indices: Sequence[int] | np.ndarray, steps: int | None = None) -> Batch:
        """Return some images, normalised; ``steps`` is ignored, since an image is one step."""
        indices = chosen(indices, len(self))
        pixels = self.pixels[indices]
        if self.canvas is not None:
            pixels = _on_canvas(pixels, self.canvas)
        x = torch.from_numpy(pixels).float().div_(255)
        mean, std = (torch.tensor(a).view(-1, 1, 1) for a in (self.mean, self.std))
        x = x.sub_(mean).div_(std)
        x = x.flatten(1) if self.flat else x
        labels = torch.from_numpy(self.labels[indices])
        return Batch(x.unsqueeze(0), labels, torch.ones(len(indices), dtype=torch.int64))


def _on_canvas(pixels: np.ndarray, canvas: tuple[int, int, int]) -> np.ndarray:
    colours, *size = canvas
    room = [large - small for large, small in zip(size, pixels.shape[2:], strict=True)]
    if min(room) < 0 or pixels.shape[1] not in (1, colours):
        raise ConfigError(
            f"images {pixels.shape[1:]} do not fit a canvas of {canvas}; choose one of at least "
            "their rows and columns, with as many colours"
        )
    borders = ((0, 0), (0, 0), *((free // 2, free - free // 2) for free in room))
    padded = np.pad(pixels, borders)
    return np.broadcast_to(padded, (len(padded), *canvas)).copy()


def read_idx(path: Path) -> np.ndarray:
    """Read an array of bytes in the IDX format of MNIST, packed with gzip or not."""
    size = path.stat().st_size
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            content = file.read(most_bytes(size) + 1)
        check_bytes(str(path), len(content), size)
        zero, kind, axes = struct.unpack(">HBB", content[:4])
        shape = struct.unpack(f">{axes}I", content[4 : 4 + 4 * axes])
        values = np.frombuffer(content, np.uint8, offset=4 + 4 * axes)
        if zero or kind != 8 or not axes or values.size != math.prod(shape):
            raise ValueError(f"{values.size} bytes for an array of shape {shape}, kind {kind}")
    except DAMAGE as error:
        raise DataError(f"{path} is not a readable IDX file ({error})") from error
    return values.reshape(shape)


def read_npz(path: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Read images ``[n, C, H, W]`` and labels from arrays ``x_<part>`` and ``y_<part>``."""
    x, y = read_arrays(path, (f"x_{part}", f"y_{part}"), ".npz file of images")
    colours = 1 if x.ndim == 3 else x.shape[-1] if x.ndim == 4 else 0
    if x.dtype != np.uint8 or colours not in (1, 3) or not x.size:
        raise DataError(
            f"{path}: x_{part} is {x.dtype} of shape {x.shape}, but bytes [n, H, W] or "
            "[n, H, W, C] of 1 or 3 colours were expected"
        )
    try:
        labels = whole_numbers(f"y_{part} (labels)", y, len(x))
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    x = x[:, None] if x.ndim == 3 else x.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(x), labels


def read_cifar(
    path: Path, members: Sequence[str], label_bytes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Read images and labels from CIFAR's binary archive; the last label byte is the class."""
    size = label_bytes + 3 * 32 * 32
    try:
        with tarfile.open(path) as archive:
            names, held = {}, 0
            for member in archive:  # each is looked at before it is unpacked
                held += member.size
                check_bytes(str(path), held, path.stat().st_size)
                if member.isfile():
                    names[Path(member.name).name] = member
            parts = []
            for name in members:
                file = archive.extractfile(names[name])
                assert file is not None
                parts.append(np.frombuffer(file.read(), np.uint8).reshape(-1, size))
    except DAMAGE as error:
        raise DataError(f"{path} is not a readable binary CIFAR archive ({error})") from error
    rows = np.concatenate(parts)
    labels = rows[:, label_bytes - 1].astype(np.int64)
    return np.ascontiguousarray(rows[:, label_bytes:].reshape(-1, 3, 32, 32)), labels


Reader = Callable[[Path, str], tuple[np.ndarray, np.ndarray]]


def cifar_reader(
    info: Info, *, train: Sequence[str], test: Sequence[str], label_bytes: int
) -> Reader:
    """Return a reader of a binary CIFAR archive.

    Args:
        info: facts about the set, whose first file is the archive.
        train, test: names of the members of the archive that make up each part.
        label_bytes: number of bytes of label before each image; the last one is the class.
    """
    members = {"train": train, "test": test}

    def read(folder: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
        return read_cifar(folder / info.remotes[0].name, members[part], label_bytes)

    return read


@dataclass(frozen=True)
class ImageSet:
    """An image set knows its facts and how its files are read.

    Attributes:
        info: facts about the set.
        packed: name of an ``.npz`` file with arrays ``x_train``, ``y_train``, ``x_test`` and
            ``y_test``, which is taken before any other file.
        read: function from the folder and ``"train"`` or ``"test"`` to images and labels.
        mean, std, flat: see :class:`Images`.
        files: names of the files that have no official address.
    """

    info: Info
    packed: str
    read: Reader
    mean: tuple[float, ...]
    std: tuple[float, ...]
    flat: bool
    files: tuple[str, ...] = ()

    def load(
        self,
        split: str,
        root: Path | str | None = None,
        *,
        flat: bool | None = None,
        download: bool = True,
        progress=None,
    ) -> Images:
        """Load a split.

        Args:
            split: ``"train"``, ``"validation"``, ``"test"`` or ``"train_all"``.
            root: folder of the official files, or of the packed one.
            flat: whether an image is one row of values or ``[C, H, W]``; ``None`` means rows for
                grey images and ``[C, H, W]`` for others.
            download, progress: as in :func:`snnsim_datasets.shd.load`.
        """
        info = self.info
        check_split(info.name, split, info.splits)
        folder = folder_of(info.name, root)
        part = "test" if split == "test" else "train"
        pixels, labels, checksums = self._read(folder, part, download, progress)
        if labels.size and not 0 <= labels.min() <= labels.max() < len(info.classes):
            raise DataError(
                f"{folder}: labels {labels.min()} .. {labels.max()} of {info.title}, but they must "
                f"be 0 .. {len(info.classes) - 1}"
            )
        if pixels.shape[1] != len(self.mean):
            raise DataError(
                f"{folder}: images of {pixels.shape[1]} colours, but {info.title} has "
                f"{len(self.mean)}"
            )
        flat = self.flat if flat is None else flat
        data = Images(
            pixels, labels, info.classes, self.mean, self.std, flat=flat, checksums=checksums
        )
        return part_of(data, split, lambda: held_out_numbers(len(data), f"snnsim-{info.name}"))

    def _read(self, folder: Path, part: str, download: bool, progress):
        path = find(folder, [self.packed])
        if path is not None:
            return *read_npz(path, part), {path.name: digest(path)}
        instead = f"put {self.packed} (arrays x_train, y_train, x_test, y_test) there"
        found = [
            locate(folder, forms(remote.name), remote, download, progress, instead)
            for remote in self.info.remotes
        ]
        found += [path for name in self.files if (path := find(folder, forms(name))) is not None]
        return *self.read(folder, part), {file.name: digest(file) for file in found}


def read_idx_pair(folder: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Read the files of one part of MNIST, or of a set in its format."""
    name = {"train": "train", "test": "t10k"}[part]
    images, labels = (
        read_idx(locate(folder, forms(f"{name}-{what}-ubyte.gz")))
        for what in ("images-idx3", "labels-idx1")
    )
    if images.ndim != 3 or not images.size or labels.shape != images.shape[:1]:
        raise DataError(
            f"{folder}: images of shape {images.shape} and labels of shape {labels.shape}, but "
            "[n, rows, columns] and [n] were expected"
        )
    return images[:, None], labels.astype(np.int64)


def forms(name: str) -> list[str]:
    """Return a file's name and, of a packed idx file, the name of its content as well."""
    return [name, name.removesuffix(".gz")] if name.endswith("-ubyte.gz") else [name]


IDX_FILES = tuple(
    f"{part}-{what}-ubyte.gz"
    for part in ("train", "t10k")
    for what in ("images-idx3", "labels-idx1")
)
