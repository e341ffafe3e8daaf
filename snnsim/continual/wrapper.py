"""A method on top of another."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor, nn

from snnsim.continual.learner import Learner
from snnsim.continual.method import Method
from snnsim.data import Batch
from snnsim.errors import ConfigError


class Wrapper(Method):
    """Passes every call on to the method within; base of what can be put on any method.

    Args:
        inner: the method within.
    """

    def __init__(self, inner: Method):
        self.inner = inner

    def attach(self, learner: Learner, optimizer: str = "sgd") -> None:
        super().attach(learner, optimizer)
        self.inner.attach(learner, optimizer)
        if learner.answer is not None:
            self.detach()
            raise ConfigError(
                f"{type(self).__name__} trains class scores, but {type(self.inner).__name__} "
                "answers without any; put it on another method"
            )

    def detach(self) -> None:
        self.inner.detach()
        super().detach()

    @property
    def answers_as_trained(self) -> bool:  # type: ignore[override]
        """That of the method within."""
        return self.inner.answers_as_trained

    @property
    def rehearses(self) -> bool:  # type: ignore[override]
        """That of the method within."""
        return self.inner.rehearses

    def allowed(self, parameter: nn.Parameter, change: Tensor) -> Tensor:
        return self.inner.allowed(parameter, change)

    def begin_task(self, task: int) -> None:
        self.inner.begin_task(task)

    def enter(self, task: int) -> None:
        self.inner.enter(task)

    def training_data(self, task: int) -> Any:
        return self.inner.training_data(task)

    def begin_step(self, task: int, step: int, steps: int) -> None:
        self.inner.begin_step(task, step, steps)

    def before_step(self, batch: Batch, task: int) -> None:
        self.inner.before_step(batch, task)

    def loss(
        self, ce: Tensor, batch: Batch, scores: Tensor | None, task: int, chosen: np.ndarray
    ) -> Tensor:
        return self.inner.loss(ce, batch, scores, task, chosen)

    def after_backward(self, task: int) -> None:
        self.inner.after_backward(task)

    def after_step(self, task: int) -> None:
        self.inner.after_step(task)

    def end_task(self, task: int) -> None:
        self.inner.end_task(task)

    def trains(self, name: str, parameter: nn.Parameter, task: int) -> bool:
        return self.inner.trains(name, parameter, task)

    def tensors(self) -> dict[str, Tensor]:
        return {f"inner.{key}": value for key, value in self.inner.tensors().items()}

    def load(self, tensors: dict[str, Tensor]) -> None:
        self.inner.load(of_prefix(tensors, "inner."))

    def memory_bytes(self) -> int:
        return self.inner.memory_bytes()


def of_prefix(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose name starts with ``prefix``, without it."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
