"""A method on top of another."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from torch import Tensor, nn

from snnsim import checkpoint
from snnsim.continual.learner import Learner
from snnsim.continual.method import Method
from snnsim.data import Batch
from snnsim.errors import ConfigError


class Wrapper(Method):
    """Passes every call on to an inner method; the base of what can be put on any method.

    Args:
        inner: the inner method.
    """

    def __init__(self, inner: Method):
        self.inner = inner

    def on_attach(self, learner: Learner, optimizer: str) -> None:
        self.inner.attach(learner, optimizer)
        if learner.answer is not None:
            raise ConfigError(
                f"{type(self).__name__} trains class scores, but {type(self.inner).__name__} "
                "answers without any; put it on another method"
            )

    def detach(self) -> None:
        self.inner.detach()
        super().detach()

    @property
    def answers_as_trained(self) -> bool:  # type: ignore[override]
        """Say the same as the inner method."""
        return self.inner.answers_as_trained

    @property
    def rehearses(self) -> bool:  # type: ignore[override]
        """Say the same as the inner method."""
        return self.inner.rehearses

    @contextmanager
    def unobserved(self) -> Iterator[None]:
        with super().unobserved(), self.inner.unobserved():
            yield

    def allowed(self, parameter: nn.Parameter, change: Tensor) -> Tensor:
        return self.inner.allowed(parameter, change)

    def on_task_start(self, task: int) -> None:
        self.inner.on_task_start(task)

    def on_epoch_start(self, task: int) -> None:
        self.inner.on_epoch_start(task)

    def training_data(self, task: int) -> Any:
        return self.inner.training_data(task)

    def on_step_start(self, task: int, step: int, steps: int) -> None:
        self.inner.on_step_start(task, step, steps)

    def on_batch(self, batch: Batch, task: int) -> None:
        self.inner.on_batch(batch, task)

    def loss(
        self, ce: Tensor, batch: Batch, scores: Tensor | None, task: int, chosen: np.ndarray
    ) -> Tensor:
        return self.inner.loss(ce, batch, scores, task, chosen)

    def on_gradients(self, task: int) -> None:
        self.inner.on_gradients(task)

    def on_step_end(self, task: int) -> None:
        self.inner.on_step_end(task)

    def on_task_end(self, task: int) -> None:
        self.inner.on_task_end(task)

    def trains(self, name: str, parameter: nn.Parameter, task: int) -> bool:
        return self.inner.trains(name, parameter, task)

    def tensors(self) -> dict[str, Tensor]:
        return checkpoint.prefixed("inner", self.inner.tensors())

    def load(self, tensors: dict[str, Tensor]) -> None:
        self.inner.load(checkpoint.without_prefix("inner", tensors))

    def memory_bytes(self) -> int:
        return self.inner.memory_bytes()
