"""Files of values over time, such as mel bands: what an encoder makes that sends no spikes.

An ``.npz`` file without pickles:

    values [sum of T, C] float32, offsets [n + 1]      the steps of each sample, one after another
    labels, speakers [n] int64                         -1 for an unknown speaker
    splits [n], classes                                texts; "" where a split is not known
    dt                                                 length of a step in ms
    encoder                                            JSON text, {"kind": ..., options}
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from snnsim.data.events import offsets_of
from snnsim.errors import naming
from snnsim_datasets.tools.files import atomic


@dataclass(frozen=True)
class ValueFile:
    """A file of values holds sequences of one width, and says where they come from.

    Attributes:
        values: the values of each sample, ``[T, C]``.
        labels: the class of each sample, ``[n]``.
        speakers: the speaker of each sample, ``[n]``; -1 where unknown.
        classes: the names of the classes; may be empty.
        splits: ``"train"``, ``"validation"``, ``"test"`` or ``""`` for each sample.
        dt: the length of a step in ms.
        encoder: how the values were made, ``{"kind": ..., options}``.
    """

    values: Sequence[np.ndarray]
    labels: np.ndarray
    speakers: np.ndarray
    classes: tuple[str, ...]
    splits: tuple[str, ...]
    dt: float
    encoder: Mapping[str, Any]


def write(path: Path, content: ValueFile) -> str:
    """Write a file of values and return the SHA-256 of its arrays; equal content, equal bytes.

    Args:
        path: path of the file, which ends in ``.npz``.
        content: what it will hold.

    Raises:
        OSError: if it cannot be written.
    """
    arrays = {
        "values": np.concatenate(content.values).astype("<f4"),
        "offsets": offsets_of([len(each) for each in content.values]).astype("<i8"),
        "labels": content.labels.astype("<i8"),
        "classes": np.array(content.classes, dtype=str),
        "speakers": content.speakers.astype("<i8"),
        "splits": np.array(content.splits, dtype=str),
        "dt": np.array(content.dt),
        "encoder": np.array(json.dumps(dict(content.encoder), sort_keys=True)),
    }
    state = hashlib.sha256()
    for name, array in arrays.items():
        state.update(f"{name} {array.dtype.str} {array.shape}\n".encode() + array.tobytes())
    with naming(path), atomic(path) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
    return state.hexdigest()
