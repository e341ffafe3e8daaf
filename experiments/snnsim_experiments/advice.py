"""What a training says by itself when it stays at chance."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from snnsim.data import Sequences, describe
from snnsim.diagnosis import Diagnosis
from snnsim.diagnosis.chance import like_chance
from snnsim.diagnosis.of_training import PATIENCE
from snnsim.errors import SnnsimError


class Advice:
    """Say once what is wrong, when training is still at chance after a few epochs.

    It is called with the row of every epoch, and judges accuracies only. The diagnosis works with
    a copy of the network and random numbers of its own, so that the training stays as it is, bit
    for bit.

    Args:
        train: the training data, which must know their labels for anything to be said.
        ask: a function that diagnoses the network as it is now.
        run: the name of the run, for the command that says more.
    """

    def __init__(self, train: Sequences, ask: Callable[[], Diagnosis], run: str):
        self.train, self.ask, self.run = train, ask, run
        self.said = False

    def __call__(self, row: dict[str, Any]) -> str | None:
        if self.said or row["epoch"] + 1 < PATIENCE or not self._at_chance(row):
            return None
        self.said = True
        try:
            worst = self.ask().worst
        except (SnnsimError, RuntimeError, MemoryError):  # such as memory for a copy
            worst = None  # advice must not end a training
        found = "" if worst is None else f" {worst}"
        return (
            f"still at chance after {row['epoch'] + 1} epochs.{found}\n"
            f"For more: snnsim diagnose {self.run}"
        )

    def _at_chance(self, row: dict[str, Any]) -> bool:
        labels = describe(self.train).labels
        if labels is None or not len(labels) or "train_accuracy" not in row:
            return False
        largest = float(np.bincount(np.asarray(labels)).max() / len(labels))
        best = max(row["train_accuracy"], row["validation_accuracy"])
        return bool(best <= like_chance(largest, len(labels)))
