"""A network that generates the weights of each task from an embedding of it.

An LSTM walks over the connections, chunk by chunk: its input is the task's embedding and one of
the chunk, its output, through a linear map, the chunk's weights. Its state is the dependency
between layers that the method is named after: a layer's weights depend on the embeddings of all
layers before it. Delays and what else is no matrix learn in the first task only. While task ``t``
is learned, the weights of earlier tasks are held:

    CE + (strength / t) sum_(s < t) |H(e_s; phi*) - H(e_s; phi)|^2

with ``phi*`` from before the task. Source: Chandra, Varshney, Srijith & Gupta 2023 (WACV,
arXiv:2209.07712) for the recurrent generator; von Oswald et al. 2020 (ICLR, arXiv:1906.00695),
equation 2, for the penalty. Their importance-weighted form and the growing of the generator are
left out.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from snnsim.continual.learner import Learner
from snnsim.continual.method import Remembering, bytes_of, freeze_statistics
from snnsim.data import Batch
from snnsim.errors import ConfigError, check_number
from snnsim.synapses.delayed import delayed_layers


class Generator(nn.Module):
    """A generator makes the weights of all connections from the embedding of a task.

    Args:
        targets: the parameters to generate, by name; the first output has their spread.
        tasks: number of tasks, each of which has an embedding.
        embedding: size of the embeddings of tasks and chunks.
        hidden: number of units of the LSTM.
        chunk: number of weights that a step of the LSTM generates.
    """

    scales: Tensor

    def __init__(
        self, targets: dict[str, Tensor], tasks: int, embedding: int, hidden: int, chunk: int
    ):
        super().__init__()
        self.shapes = {name: tuple(t.shape) for name, t in targets.items()}
        self.counts = [-(-t.numel() // chunk) for t in targets.values()]
        self.tasks = nn.ParameterList(torch.randn(embedding) for _ in range(tasks))
        self.chunks = nn.Parameter(torch.randn(sum(self.counts), embedding))
        self.walker = nn.LSTM(2 * embedding, hidden)
        self.emit = nn.Linear(hidden, chunk)
        self.register_buffer("scales", torch.ones(len(targets)))
        with torch.no_grad():
            made = self(0).values()
            wanted = [t.std() for t in targets.values()]
            self.scales.copy_(torch.stack([w / m.std() for w, m in zip(wanted, made, strict=True)]))

    def forward(self, task: int) -> dict[str, Tensor]:
        embedding = self.tasks[task].expand(len(self.chunks), -1)
        steps, _ = self.walker(torch.cat([embedding, self.chunks], 1))
        parts = self.emit(steps).split(self.counts)
        found = {}
        for (name, shape), part, scale in zip(self.shapes.items(), parts, self.scales, strict=True):
            size = int(np.prod(shape))
            found[name] = scale * part.flatten()[:size].view(shape)
        return found


class Hypernetwork(Remembering):
    """A hypernetwork generates the weights of all connections of the body, for each task anew.

    Args:
        strength: weight of the penalty (squares summed over all weights), >= 0.
        embedding, hidden, chunk: sizes of the generator, see :class:`Generator`.
    """

    needs_scores = True

    def __init__(
        self, strength: float = 0.1, embedding: int = 16, hidden: int = 32, chunk: int = 512
    ):
        check_number("strength", strength, 0)
        for name, value in (("embedding", embedding), ("hidden", hidden), ("chunk", chunk)):
            check_number(name, value, 1)
        self.strength = strength
        self.sizes = {"embedding": embedding, "hidden": hidden, "chunk": chunk}
        self.kept = {}  # the generator before the task

    def on_attach(self, learner: Learner, optimizer: str) -> None:
        if learner.stream.scenario != "task":
            raise ConfigError(
                "a hypernetwork generates the weights of a task it is told of, but in the scenario "
                f"{learner.stream.scenario!r} the task is not known at test time; use 'task'"
            )
        delays = {id(layer.delay) for layer in delayed_layers(learner.body)}
        body = {name: p for name, p in learner.body.named_parameters() if id(p) not in delays}
        targets = {name: p.detach() for name, p in body.items() if p.dim() > 1}
        if not targets:
            raise ConfigError(
                "the network has no connection whose weights could be generated; give it a layer "
                "such as snnsim.Dense"
            )
        self.generator = Generator(targets, len(learner.stream), **self.sizes)
        self.on_detach(setattr, learner, "generate", learner.generate)
        self.on_detach(learner._modules.pop, "generator", None)
        learner.add_module("generator", self.generator.to(next(iter(targets.values()))))
        learner.generate = self.generator.__call__  # the module itself would be registered twice
        self.targets = {f"body.{name}" for name in targets}

    def on_epoch_start(self, task: int) -> None:
        freeze_statistics(self, task)
        with torch.no_grad():
            earlier = range(task) if self.kept else ()
            self.held = [functional_call(self.generator, self.kept, (s,)) for s in earlier]

    def on_task_start(self, task: int) -> None:
        if task > 0:
            self.kept = {k: v.detach().clone() for k, v in self.generator.state_dict().items()}

    def trains(self, name: str, parameter: nn.Parameter, task: int) -> bool:
        if name.startswith("generator.tasks."):
            return name == f"generator.tasks.{task}"
        if name.startswith("body."):
            return task == 0 and name not in self.targets
        return True

    def loss(
        self, ce: Tensor, batch: Batch, scores: Tensor | None, task: int, chosen: np.ndarray
    ) -> Tensor:
        for earlier, held in enumerate(self.held):
            drift = self.drift(earlier, held)
            ce = ce + self.strength / task * drift
        return ce

    def drift(self, task: int, held: dict[str, Tensor]) -> Tensor:
        """Return the squared distance of a task's generated weights to ``held``."""
        now = self.generator(task)
        return torch.stack([(now[name] - held[name]).square().sum() for name in held]).sum()

    def memory_bytes(self) -> int:
        """Count the generator's copy from before the task, and the embeddings."""
        return bytes_of(self.generator.parameters())
