"""Event cameras as input of a network: pixels that are joined, and events on a grid of time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from snnsim.data.events import BinnedEvents, Events, bin_all, seconds
from snnsim.errors import DataError, short
from snnsim_datasets.tools.cameras import LARGEST, CameraRecording, read

KIND = "camera"  # of an encoder


class Camera(NamedTuple):
    """A camera has pixels, which are joined in squares until there are few enough.

    Attributes:
        height, width: the numbers of rows and columns of pixels.
        size: the largest number of rows and of columns that are left.
    """

    height: int
    width: int
    size: int

    @classmethod
    def of(cls, encoder: dict[str, Any]) -> Camera:
        """Return the camera of an encoder, see :attr:`CameraEvents.encoder`.

        Raises:
            DataError: if it is not one.
        """
        found: list[Any] = [encoder.get(name) for name in cls._fields]
        if not all(type(value) is int and 0 < value <= LARGEST for value in found):
            raise DataError(
                f"the camera of a network is {short(encoder)}, but its height, width and size must "
                f"be 1 .. {LARGEST}"
            )
        height, width, size = map(int, found)
        return cls(height, width, size)

    @property
    def factor(self) -> int:
        """Return the number of rows, and of columns, that become one."""
        return -(-max(self.height, self.width) // self.size)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Return the shape of a step: polarities, rows and columns.

        >>> Camera(260, 346, 34).shape
        (2, 24, 32)
        """
        return (2, -(-self.height // self.factor), -(-self.width // self.factor))

    @property
    def channels(self) -> int:
        """Return the number of values of a step."""
        return int(np.prod(self.shape))

    def events(self, recording: CameraRecording) -> tuple[np.ndarray, np.ndarray]:
        """Return the events of a recording: their times in seconds, and their channels.

        Raises:
            DataError: if it was made with another camera, or has events outside of this one.
        """
        pixels = f"{self.width} x {self.height} pixels"
        if recording.height and (recording.height, recording.width) != (self.height, self.width):
            raise DataError(
                f"it was made with a camera of {recording.width} x {recording.height} pixels, but "
                f"those of one of {pixels} are needed"
            )
        for name, values, most in (("x", recording.x, self.width), ("y", recording.y, self.height)):
            if len(values) and values.max() >= most:
                raise DataError(
                    f"it has an event at {name} = {values.max()}, but those of a camera of "
                    f"{pixels} are needed"
                )
        _, rows, columns = self.shape
        row, column = recording.y // self.factor, recording.x // self.factor
        return seconds(recording.t), (recording.p * rows + row) * columns + column

    def binned(
        self, events: Events, dt: float, binning: str, checksums: dict[str, str] | None = None
    ) -> CameraEvents:
        """Return recordings on a grid of time, with the arguments of :func:`bin_all`."""
        found = bin_all(events, dt, 1, binning, checksums)
        return CameraEvents(**vars(found) | {"shape": self.shape, "camera": self})


ONE_PIXEL = Camera(1, 1, 1)


@dataclass(frozen=True)
class CameraEvents(BinnedEvents):
    """Holds recordings of one camera on a time grid.

    Attributes:
        camera: the camera.
    """

    camera: Camera = ONE_PIXEL

    @property
    def encoder(self) -> dict[str, Any]:
        """Say how a recording becomes input."""
        return {"kind": KIND, "binning": self.binning, **self.camera._asdict()}


def sensor_of(paths: Sequence[Path]) -> tuple[int, int]:
    """Return the numbers of rows and columns of the camera that made some recordings.

    Where no file says it, they are the smallest that have room for all events.

    Raises:
        DataError: if recordings are of cameras of different sizes, or none has an event.
    """
    said: dict[tuple[int, int], Path] = {}
    height = width = 0
    for path in paths:
        recording = read(path)
        if recording.height:
            said.setdefault((recording.height, recording.width), path)
        elif len(recording.t):
            height = max(height, int(recording.y.max()) + 1)
            width = max(width, int(recording.x.max()) + 1)
    if len(said) > 1:
        (one, first), (other, second), *_ = said.items()
        raise DataError(
            f"{first} is of a camera of {one[1]} x {one[0]} pixels, but {second} of one of "
            f"{other[1]} x {other[0]}; put recordings of different cameras into different folders"
        )
    if said:
        ((height, width), path) = next(iter(said.items()))
    if not height or not width:
        raise DataError(f"none of the recordings, such as {paths[0]}, has an event")
    return height, width
