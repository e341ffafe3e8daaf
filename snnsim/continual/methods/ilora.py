"""I-LoRA: a fast and a slow low-rank adapter of every weight, and replay.

    W + (scale / rank) B A                          with the fast A, B in training
    slow <- keep slow + (1 - keep) fast             after every step; the slow ones in evaluation
    (CE + CE_replay) / 2 + strength |h - max(h, h_slow)|^2      on replayed samples

``h`` are the features before the head, or with ``pull="hidden"``, as published, the states of all
layers of neurons; they are pulled up where the slow adapter's are larger. The first task trains
the weights themselves, as the language model's pretraining does in the original, and delays.
Source: Ren et al. 2024 (arXiv:2402.18865), section 3; ``keep = min(1 - 1 / (step + 1), max_keep)``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from snnsim.activity import neurons_of, recording
from snnsim.continual.learner import Learner, joined
from snnsim.continual.methods.replay import Replay
from snnsim.continual.presynaptic import Connection, Part, owner_of, shared_connections, weight_of
from snnsim.data import Batch
from snnsim.errors import ConfigError, check_choice, check_number
from snnsim.synapses import Dense, Recurrent
from snnsim.training.rules import PlasticConnection

PULLS = ("features", "hidden")


class LowRank(nn.Module):
    """Adds ``(scale / rank) B A`` to a weight, in training the fast pair, else the slow one."""

    slow_a: Tensor
    slow_b: Tensor

    def __init__(self, weight: Tensor, rank: int, scale: float):
        super().__init__()
        n_out, n_in = weight.flatten(1).shape
        rank = min(rank, n_out, n_in)
        self.factor = scale / rank
        self.a = nn.Parameter(weight.new_empty(rank, n_in).normal_(0, n_in**-0.5))
        self.b = nn.Parameter(weight.new_zeros(n_out, rank))
        self.register_buffer("slow_a", self.a.detach().clone())
        self.register_buffer("slow_b", self.b.detach().clone())

    def forward(self, weight: Tensor) -> Tensor:
        a, b = (self.a, self.b) if self.training else (self.slow_a, self.slow_b)
        return weight + self.factor * (b @ a).view_as(weight)

    @torch.no_grad()
    def follow(self, keep: float) -> None:
        """Move the slow pair one step towards the fast one."""
        self.slow_a.mul_(keep).add_(self.a, alpha=1 - keep)
        self.slow_b.mul_(keep).add_(self.b, alpha=1 - keep)


def _merge(module: nn.Module, name: str, order: list[str]) -> None:
    """Put what the slow pair has learnt into the weight itself, and take the adapter off.

    The module has its parameters in their former order again, by which optimisers are stored.
    """
    if not parametrize.is_parametrized(module, name):
        return
    steps: Any = getattr(module, "parametrizations")[name]  # noqa: B009
    with torch.no_grad():
        value = steps[0].eval()(steps.original)
    parametrize.remove_parametrizations(module, name, leave_parametrized=False)
    with torch.no_grad():
        getattr(module, name).copy_(value)
    for each in order:
        module._parameters[each] = module._parameters.pop(each)


class ILoRA(Replay):
    """I-LoRA trains a fast low-rank adapter of every weight and answers by a slow one.

    Args:
        rank: rank of the adapters.
        scale: factor of the adapters, divided by their rank, > 0.
        max_keep: largest fraction that the slow pair keeps in a step, from 0 to 1.
        strength: weight of the pull towards the slow adapter's states, >= 0.
        size, batch_size: as in :class:`~snnsim.continual.methods.replay.Replay`.
        pull: which states are pulled: ``"features"``, those before the head, or ``"hidden"``, as
            published: the features and the outputs of all neurons and rate-coded models in the
            body, read out over time; the pull is then the mean over these layers.
    """

    answers_as_trained = False
    former: ClassVar[dict[str, str]] = {"most": "max_keep"}

    def __init__(
        self,
        rank: int = 8,
        scale: float = 8.0,
        max_keep: float = 0.25,
        strength: float = 1.0,
        size: int = 500,
        batch_size: int = 64,
        pull: str = "features",
    ):
        super().__init__(size, batch_size)
        check_choice("pull", pull, PULLS)
        check_number("rank", rank, 1)
        check_number("scale", scale, above=0)
        check_number("max_keep", max_keep, 0, 1)
        check_number("strength", strength, 0)
        self.rank, self.scale, self.max_keep, self.strength = rank, scale, max_keep, strength
        self.pull, self.steps = pull, 0

    def on_attach(self, learner: Learner, optimizer: str) -> None:
        super().on_attach(learner, optimizer)
        found = shared_connections(learner)
        if not found:
            raise ConfigError(
                "the network has no connection to adapt; give it a layer such as snnsim.Dense"
            )
        modules = [self._adaptable(name, connection) for name, connection in found.items()]
        self.adapters = [
            self._adapt(module, connection)
            for module, connection in zip(modules, found.values(), strict=True)
        ]

    @staticmethod
    def _adaptable(name: str, connection: Connection) -> nn.Module:
        if isinstance(connection, Part):
            raise ConfigError(
                f"{name} is within a layer of torch.nn, whose weights cannot be given an adapter; "
                "use a layer of this project, such as snnsim.Recurrent"
            )
        module: nn.Module = owner_of(connection)
        ruled = isinstance(connection, PlasticConnection) and connection.feedback != "backprop"
        if ruled and not isinstance(module, Dense):
            raise ConfigError(
                f"{name} is a convolution with feedback {connection.feedback!r}, which adapters "
                "are not built for; use feedback='backprop'"
            )
        return module

    def _adapt(self, module: nn.Module, connection: Connection) -> LowRank:
        own = "w_rec" if isinstance(module, Recurrent) else "weight"
        adapter = LowRank(weight_of(connection).detach(), self.rank, self.scale)
        self.on_detach(_merge, module, own, list(module._parameters))
        parametrize.register_parametrization(module, own, adapter)
        return adapter

    def trains(self, name: str, parameter: nn.Parameter, task: int) -> bool:
        adapter = ".parametrizations." in name and not name.endswith(".original")
        own_head = name.startswith("heads.") and not self.learner.shares_head
        return adapter if task > 0 and not own_head else own_head or not adapter

    def loss(
        self, ce: Tensor, batch: Batch, scores: Tensor | None, task: int, chosen: np.ndarray
    ) -> Tensor:
        if task > 0:
            ce = (ce + self.replayed(task)) / 2 + self.strength * self._pull()
        self.buffer.add(task, chosen, batch.x, scores)
        return ce

    def _pull(self) -> Tensor | float:
        drawn = self.buffer.draw(self.batch_size)
        if not drawn:
            return 0.0
        x, lengths = joined([past.batch for past in drawn])
        x, counted = x.to(self.device), self.learner.within(x, lengths)
        fast = self._states(x, counted)
        with torch.no_grad(), self._slow():
            slow = self._states(x, counted)
        distances = [
            (h - torch.maximum(h.detach(), h_slow)).square().mean()
            for h, h_slow in zip(fast, slow, strict=True)
        ]
        return torch.stack(distances).mean()

    def _states(self, x: Tensor, lengths: Tensor | None) -> list[Tensor]:
        """The features and, where they are pulled too, the states of the layers before them."""
        body = self.learner.body
        layers = neurons_of(body) if self.pull == "hidden" else {}
        with recording(body, layers) as activity:
            features, _ = body(x)
        hidden = [each.values for each in activity.values() if each.values is not features]
        return [self.learner.readout(h.flatten(2), lengths) for h in (*hidden, features)]

    @contextmanager
    def _slow(self) -> Iterator[None]:
        """The slow pairs instead of the fast ones for a while."""
        modes = [adapter.training for adapter in self.adapters]
        try:
            for adapter in self.adapters:
                adapter.eval()
            yield
        finally:
            for adapter, mode in zip(self.adapters, modes, strict=True):
                adapter.train(mode)

    def on_step_end(self, task: int) -> None:
        if task > 0:
            self.steps += 1
            for adapter in self.adapters:
                adapter.follow(min(1 - 1 / (self.steps + 1), self.max_keep))

    def tensors(self) -> dict[str, Tensor]:
        return super().tensors() | {"steps": torch.tensor(self.steps)}

    def load(self, tensors: dict[str, Tensor]) -> None:
        super().load(tensors)
        self.steps = int(tensors["steps"])

    def memory_bytes(self) -> int:
        slow = sum(a.slow_a.numel() + a.slow_b.numel() for a in self.adapters)
        return super().memory_bytes() + 4 * slow
