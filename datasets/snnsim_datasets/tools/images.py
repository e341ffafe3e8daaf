"""Still images as a data set of one step, and the file formats they come in."""

from __future__ import annotations

import gzip
import math
import struct
import tarfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from snnsim.data.events import whole_numbers
from snnsim.data.limits import check_bytes, most_bytes
from snnsim.data.protocol import Batch, DataSet, chosen
from snnsim.errors import ConfigError, DataError
from snnsim_datasets.tools.files import DAMAGE, default_root, digest, fetch, find
from snnsim_datasets.tools.info import Info
from snnsim_datasets.tools.splits import check_split, hash_fraction

SPLITS = ("train", "validation", "test", "train_all")


@dataclass(frozen=True)
class Images(DataSet):
    """Images with the interface of the recordings: a batch is ``x [1, B, C * H * W]``.

    Attributes:
        pixels: ``[n, C, H, W]`` uint8.
        labels: ``[n]`` int64.
        classes: names of the classes.
        mean, std: per colour, of pixels between 0 and 1; subtracted and divided by.
        flat: whether a batch is ``[1, B, C * H * W]`` or ``[1, B, C, H, W]``.
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
        """Of one image: colours, rows, columns."""
        return tuple(self.pixels.shape[1:]) if self.canvas is None else self.canvas

    @property
    def channels(self) -> int:
        """Values of one image."""
        return int(np.prod(self.shape))

    @property
    def lengths(self) -> np.ndarray:
        """One step each."""
        return np.ones(len(self), dtype=np.int64)

    @property
    def speakers(self) -> np.ndarray:
        """Unknown, -1."""
        return np.full(len(self), -1, dtype=np.int64)

    def subset(self, indices: Sequence[int] | np.ndarray) -> Images:
        """The images at ``indices`` (or under a boolean mask)."""
        chosen = np.arange(len(self))[np.asarray(indices)]
        return replace(self, pixels=self.pixels[chosen], labels=self.labels[chosen])

    def batch(self, indices: Sequence[int] | np.ndarray, steps: int | None = None) -> Batch:
        """Some images, normalised; ``steps`` is only there for the interface."""
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
        raise ConfigError(f"images {pixels.shape[1:]} do not fit a canvas of {canvas}")
    borders = ((0, 0), (0, 0), *((free // 2, free - free // 2) for free in room))
    padded = np.pad(pixels, borders)
    return np.broadcast_to(padded, (len(padded), *canvas)).copy()


def read_idx(path: Path) -> np.ndarray:
    """An array of bytes in the IDX format of MNIST, packed or not."""
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
    """Images ``[n, C, H, W]`` and labels from arrays ``x_<part>`` and ``y_<part>``."""
    try:
        with zipfile.ZipFile(path) as archive:
            held = sum(i.file_size for i in archive.infolist())
            check_bytes(str(path), held, path.stat().st_size)
        with np.load(path) as stored:
            x, y = stored[f"x_{part}"], stored[f"y_{part}"]
    except DAMAGE as error:
        raise DataError(f"{path} is not a readable .npz file of images ({error})") from error
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
    """Images and labels from CIFAR's binary archive; the last label byte is the class."""
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


@dataclass(frozen=True)
class ImageSet:
    """An image set: what it says of itself, and how it is read.

    Attributes:
        info: facts.
        packed: name of an ``.npz`` file with ``x_train`` and so on, which is taken first.
        read: from the folder and ``"train"`` or ``"test"`` to images and labels.
        mean, std, flat: see :class:`Images`.
        files: names of those that have no official address.
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
            flat: whether an image is one row of values or ``[C, H, W]``; ``None``: rows for
                grey images.
            download, progress: as in :func:`snnsim_datasets.shd.load`.
        """
        info = self.info
        check_split(info.name, split, info.splits)
        folder = default_root(info.name) if root is None else Path(root)
        part = "test" if split == "test" else "train"
        pixels, labels, checksums = self._read(folder, part, download, progress)
        if labels.size and not 0 <= labels.min() <= labels.max() < len(info.classes):
            raise DataError(f"{folder}: labels {labels.min()} .. {labels.max()} of {info.title}")
        if pixels.shape[1] != len(self.mean):
            raise DataError(
                f"{folder}: images of {pixels.shape[1]} colours, but {info.title} has "
                f"{len(self.mean)}"
            )
        flat = self.flat if flat is None else flat
        data = Images(
            pixels, labels, info.classes, self.mean, self.std, flat=flat, checksums=checksums
        )
        if split in ("train", "validation"):
            salt = f"snnsim-{info.name}"
            held = np.asarray([hash_fraction(str(i), salt) < 0.1 for i in range(len(data))])
            data = data.subset(held if split == "validation" else ~held)
        return data

    def _read(self, folder: Path, part: str, download: bool, progress):
        path = find(folder, [self.packed])
        if path is not None:
            return *read_npz(path, part), {path.name: digest(path)}
        for remote in self.info.remotes:
            there = find(folder, _forms(remote.name))
            if there is None and not download:
                raise DataError(
                    f"no {remote.name} in {folder}; allow the download, give --root, or put "
                    f"{self.packed} (arrays x_train, y_train, x_test, y_test) there"
                )
            if there is None or there.name == remote.name:  # what is there is checked as well
                fetch(remote, folder, progress)
        names = [*(remote.name for remote in self.info.remotes), *self.files]
        found = [path for name in names if (path := find(folder, _forms(name))) is not None]
        return *self.read(folder, part), {file.name: digest(file) for file in found}


def read_idx_pair(folder: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    """The official files of MNIST and its likes."""
    name = {"train": "train", "test": "t10k"}[part]
    images = read_idx(_either(folder, f"{name}-images-idx3-ubyte"))
    labels = read_idx(_either(folder, f"{name}-labels-idx1-ubyte"))
    if images.ndim != 3 or not images.size or labels.shape != images.shape[:1]:
        raise DataError(
            f"{folder}: images of shape {images.shape} and labels of shape {labels.shape}, but "
            "[n, rows, columns] and [n] were expected"
        )
    return images[:, None], labels.astype(np.int64)


IDX_FILES = tuple(
    f"{part}-{what}-ubyte.gz"
    for part in ("train", "t10k")
    for what in ("images-idx3", "labels-idx1")
)


def _forms(name: str) -> list[str]:
    """A file's name, and that of its content where it is a packed idx file."""
    return [name, name.removesuffix(".gz")] if name.endswith("-ubyte.gz") else [name]


def _either(folder: Path, name: str) -> Path:
    path = find(folder, _forms(f"{name}.gz"))
    if path is None:
        raise DataError(f"no {name}.gz in {folder}; put it there or give --root")
    return path
