"""Watchers of training on a stream: one that ignores everything, and one that keeps weights."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from snnsim import checkpoint
from snnsim.continual.learner import Learner
from snnsim.continual.method import Method
from snnsim.errors import ConfigError, check_number


class ContinualWatcher:
    """A watcher is told how training goes; this one ignores everything.

    ``writing`` comes before every checkpoint, and may raise to stop it.
    """

    def writing(self) -> None: ...

    def task_started(self, task: int, steps: int) -> None: ...

    def step_done(self, task: int, step: int, loss: float) -> None: ...

    def tested(self, task: int, row: list[float]) -> None: ...


def weights_of(learner: Learner) -> dict[str, Tensor]:
    """Return a copy of all that a learner's ``state_dict`` holds: its weights and statistics."""
    return {name: value.detach().clone() for name, value in learner.state_dict().items()}


class WeightsOfTasks(ContinualWatcher):
    """This watcher keeps a copy of a learner's weights after every task.

    In memory they are in ``taken``. In a folder, each task has a file ``task<n>.safetensors``, from
    1, which also holds what the method remembers; it is written as checkpoints are, with a checksum
    and under a temporary name first.

    Args:
        learner: the learner that is trained.
        method: its method, whose memory is kept as well; ``None`` for weights only.
        folder: the folder of the files; ``None`` to keep everything in memory.
    """

    def __init__(self, learner: Learner, method: Method | None = None, folder: Path | None = None):
        self.learner, self.method, self.folder = learner, method, folder
        self.taken: list[dict[str, Tensor]] = []
        self._memories: list[dict[str, Tensor]] = []

    def tested(self, task: int, row: list[float]) -> None:
        weights = weights_of(self.learner)
        memory = {} if self.method is None else self.method.tensors()
        if self.folder is None:
            self.taken.append(weights)
            self._memories.append({name: value.clone() for name, value in memory.items()})
            return
        tensors = checkpoint.prefixed("learner", weights) | checkpoint.prefixed("method", memory)
        checkpoint.save(self._file(task), tensors, {"task": task})

    def of(self, task: int) -> dict[str, Tensor]:
        """Return the weights after a task, counted from 0.

        Raises:
            ConfigError: if there are none of this task.
            CheckpointError: if their file is damaged.
        """
        return checkpoint.without_prefix("learner", self._kept(task))

    def restore(self, task: int) -> None:
        """Give the learner and its method what they had after a task, counted from 0.

        Raises:
            ConfigError: if nothing is kept of this task.
            CheckpointError: if the file is damaged or of another network.
        """
        kept, file = self._kept(task), self._file(task)
        checkpoint.load_weights(self.learner, checkpoint.without_prefix("learner", kept), file)
        if self.method is not None:
            with checkpoint.reading(file):
                self.method.load(checkpoint.without_prefix("method", kept))

    def _file(self, task: int) -> Path:
        return (self.folder or Path()) / f"task{task + 1}.safetensors"

    def _kept(self, task: int) -> dict[str, Tensor]:
        if self.folder is None:
            check_number("task", task, 0, len(self.taken) - 1)
            weights = checkpoint.prefixed("learner", self.taken[task])
            return weights | checkpoint.prefixed("method", self._memories[task])
        if not self._file(task).exists():
            count = len(list(self.folder.glob("task*.safetensors")))
            raise ConfigError(
                f"there are no weights after task {task + 1} in {self.folder}, which has those "
                f"after {count} tasks; choose one of them, or continue the run with --resume"
            )
        return checkpoint.load(self._file(task))[0]
