"""What a method of continual learning may do, and when.

The training loop calls, for every task: ``on_task_start``; for every epoch ``on_epoch_start``; for
every batch ``on_step_start``, ``on_batch``, ``loss``, ``on_gradients`` (change gradients), the
optimiser, ``on_step_end`` (change weights); then ``on_task_end``. The objective is

    cross-entropy + alpha * output divergence + beta * parameter divergence

(Wang et al. 2024, arXiv:2403.13249), the last two added in ``loss``;
:mod:`snnsim.continual.methods.unified` has it with any combination of divergences.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from snnsim.continual.learner import Learner
from snnsim.data import Batch
from snnsim.errors import ConfigError
from snnsim.layer import Told, listening
from snnsim.renamed import renamed, up_to_date
from snnsim.synapses.delayed import DelayedConnection

# what a method of one's own may still call its hooks, for one more release
FORMER = {
    "begin_task": "on_task_start",
    "enter": "on_epoch_start",
    "begin_step": "on_step_start",
    "before_step": "on_batch",
    "after_backward": "on_gradients",
    "after_step": "on_step_end",
    "end_task": "on_task_end",
}


class Method:
    """A method that does nothing, which is fine-tuning; the base of all methods."""

    needs_scores = False  # whether it needs scores of whole sequences, or their gradients
    answers_as_trained = True  # whether it is tested with the weights that training changes
    observes = True  # false while a batch is only tried, not trained on
    _undo: ExitStack | None = None
    former: ClassVar[dict[str, str]] = {}  # names of options before; work for one more release
    formerly: ClassVar[dict[str, Any]] = {}  # options that had another effect before they existed
    rehearses = False  # whether samples of earlier tasks are trained along, and so their heads

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        own = vars(cls)
        former = {n: hook for n, hook in own.items() if n in FORMER and FORMER[n] not in own}
        for name, hook in up_to_date(former, FORMER, f"{cls.__name__}.").items():
            setattr(cls, name, hook)
        if "former" in own:
            renamed(cls.former)(cls)

    def attach(self, learner: Learner, optimizer: str = "sgd") -> None:
        """Take hold of a learner, after letting go of any other.

        Args:
            learner: the network that is going to be trained.
            optimizer: ``"sgd"`` only for plain SGD without weight decay.

        Raises:
            ConfigError: the method cannot work with this learner, which is left as it was.
        """
        self.detach()
        self.learner = learner
        try:
            if self.needs_scores and learner.learning == "ottt":
                raise ConfigError(
                    f"{type(self).__name__} needs the scores of whole sequences or their "
                    "gradients, which online training never has; use training='bptt' or 'dsr'"
                )
            self.on_attach(learner, optimizer)
        except BaseException:
            self.detach()
            raise

    def on_attach(self, learner: Learner, optimizer: str) -> None:
        """Prepare for a learner, with the arguments of :meth:`attach`; refuse what cannot work.

        What is put into the learner is taken out again by :meth:`on_detach`, also where this
        raises.
        """

    def detach(self) -> None:
        """Let go of the learner: no hook, flag or replaced answer of the method stays in it.

        What was learnt stays, as far as it is in the learner's own weights.
        """
        if self._undo is not None:
            self._undo.close()

    def on_detach(self, undo: Callable[..., Any], *arguments: Any) -> None:
        """Have something undone by :meth:`detach`; the last is undone first."""
        self._undo = self._undo or ExitStack()
        self._undo.callback(undo, *arguments)

    @contextmanager
    def unobserved(self) -> Iterator[None]:
        """While this lasts, batches are only tried: the method learns nothing of their activity."""
        before, self.observes = self.observes, False
        try:
            yield
        finally:
            self.observes = before

    def listen(self, modules: Mapping[str, Any], told: Told) -> None:
        """Hear of modules whenever they have run, until the method is detached."""
        self._undo = self._undo or ExitStack()
        self._undo.enter_context(listening(modules, told))

    def on_task_start(self, task: int) -> None: ...

    def on_epoch_start(self, task: int) -> None:
        """Is called before every epoch, and after a resumption in any case."""

    def training_data(self, task: int) -> Any:
        """Return the data that a task is trained on."""
        return self.learner.stream.tasks[task].train

    def on_step_start(self, task: int, step: int, steps: int) -> None:
        """Is called before every step, ``step`` of ``steps`` in the whole task."""

    def on_batch(self, batch: Batch, task: int) -> None:
        """Is called with a batch before anything is computed from it."""

    def loss(
        self, ce: Tensor, batch: Batch, scores: Tensor | None, task: int, chosen: np.ndarray
    ) -> Tensor:
        """Return the objective of a batch, made from its cross-entropy.

        Args:
            ce: the mean cross-entropy; 0 in online training, which has taken its gradient already.
            batch: the samples, with ``x [T, B, ...]``, ``target [B]`` and ``lengths [B]``.
            scores: class scores ``[B, C]``; ``None`` in online training.
            task: the number of the task.
            chosen: the numbers of the samples in the task's training data.
        """
        return ce

    def on_gradients(self, task: int) -> None: ...

    def on_step_end(self, task: int) -> None: ...

    def on_task_end(self, task: int) -> None: ...

    def trains(self, name: str, parameter: nn.Parameter, task: int) -> bool:
        """Say whether a parameter (``name`` is that in the learner) is trained in a task."""
        return True

    def parameters(self, task: int) -> dict[str, nn.Parameter]:
        """Return the parameters that the task may train, by name."""
        tasks = range(task + 1) if self.rehearses else (task,)
        trained = {id(p) for each in tasks for p in self.learner.trained_parameters(each)}
        return {
            name: p
            for name, p in self.learner.named_parameters()
            if id(p) in trained and self.trains(name, p, task)
        }

    def allowed(self, parameter: nn.Parameter, change: Tensor) -> Tensor:
        """Return the part of a parameter's change that spares what the method protects."""
        return change

    @property
    def device(self) -> torch.device:
        """Return the device on which the learner computes."""
        return next(self.learner.parameters()).device

    def tensors(self) -> dict[str, Tensor]:
        """Return all that the method remembers, to be stored and counted."""
        return {}

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Take over what :meth:`tensors` has returned; the tensors come on the CPU."""

    def memory_bytes(self) -> int:
        """Return the bytes held from task to task besides the network itself."""
        return bytes_of(self.tensors().values())


class Remembering(Method):
    """A method that remembers nothing but named tensors, ``kept``."""

    kept: dict[str, Tensor]

    def tensors(self) -> dict[str, Tensor]:
        return dict(self.kept)

    def load(self, tensors: dict[str, Tensor]) -> None:
        self.kept = {name: tensor.clone().to(self.device) for name, tensor in tensors.items()}


def bytes_of(tensors: Iterable[Tensor]) -> int:
    """Return the memory of some tensors in bytes."""
    return sum(t.numel() * t.element_size() for t in tensors)


def options_of(method: Method) -> dict[str, Any]:
    """Return the arguments a method was made with, by name, as far as it keeps them."""
    made = inspect.signature(type(method).__init__).parameters
    found = {name: getattr(method, name) for name in made if hasattr(method, name)}
    found |= getattr(method, "options", {})
    return {
        name: options_of(value) if isinstance(value, Method) else _plain(value)
        for name, value in found.items()
        if isinstance(value, Method | int | float | str | list | tuple | None)
    }


def under_todays_names(method: Method, stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return options that an earlier version stored of a method, under today's names.

    An option that did not exist then has the value that was in effect.
    """
    found = {method.former.get(name, name): value for name, value in stored.items()}
    mine, defaults = options_of(method), default_options(type(method))
    found |= {k: v for k, v in defaults.items() if k in mine and k not in found}
    inner = getattr(method, "inner", None)
    if isinstance(inner, Method) and "inner" in found:
        found["inner"] = under_todays_names(inner, found["inner"])
    return found


def default_options(method: type[Method]) -> dict[str, Any]:
    """Return what the options of a method were where an earlier version stored none, by name.

    These are the defaults of those that are single plain values, but for what
    ``method.formerly`` says.

    >>> default_options(Method)
    {}
    """
    made = inspect.signature(method.__init__).parameters
    found = {name: parameter.default for name, parameter in made.items()}
    plain = {name: v for name, v in found.items() if isinstance(v, int | float | str)}
    return plain | method.formerly


def _plain(value: Any) -> Any:
    """As it comes back from a file."""
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value


@contextmanager
def keeping_buffers(net: nn.Module) -> Iterator[None]:
    """Undo, at the end of the context, what happened to buffers such as batch statistics."""
    before = [(buffer, buffer.clone()) for buffer in net.buffers()]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in before:
                buffer.copy_(value)


def freeze_statistics(method: Method, task: int) -> None:
    """Freeze batch statistics, and delays at whole steps, after the first task.

    They stay frozen until the method is detached. Methods call this in ``on_epoch_start``, and so
    also after a resumption.
    """
    for module in method.learner.modules() if task > 0 else ():
        if hasattr(module, "running_mean") and module.training:  # ours or torch's
            method.on_detach(_train_as, module, method.learner)
            module.eval()
        if isinstance(module, DelayedConnection) and module.profile != "one_tap":
            method.on_detach(setattr, module, "profile", module.profile)
            module.round_()
            module.profile = "one_tap"  # as evaluation has it


def _train_as(module: nn.Module, learner: Learner) -> None:
    """Put a module into the mode that its learner is in by now."""
    module.train(learner.training)
