"""SHARP: a sparse network whose settled units stay, with replay of hidden spikes.

Every task goes through phases. In each, of the units that have not settled, the most active
ones (those that hold a fraction ``tau`` of a layer's activity) become learners, the rest stays
plastic; connections from plastic units to others are dropped and grown anew, at weight 0, into
plastic units. ``tau`` falls from phase to phase: ``(1 + cos(pi p / k)) / 2`` in phase
``p = 0 .. k - 1``, not below a floor (in phase 0 all learn). A unit that has learned for more
tasks than are replayed settles: what leads into it never changes again. Plastic units start
afresh with every task. This holds for every layer, also for the first, whose spikes are stored:
those of its settled units stay what they would answer, those of the others are replayed as they
once were. With ``settle_first`` the first layer learns in the first task only.

Features (the mean output of the body) are trained by the supervised contrastive loss, on new
samples and on hidden spikes kept of some samples per class of the last tasks. There is no head: a
sample is answered by its nearest neighbours among codes kept of every class, each compared
within the units that matter to its class. Source: Gurbuz et al. 2023 (arXiv:2305.18563).
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from snnsim import checkpoint
from snnsim.continual.activity import Trunk, pack, unpack
from snnsim.continual.buffer import first_of_each_class
from snnsim.continual.codes import Codes, encode, most_active, nearest
from snnsim.continual.learner import Learner
from snnsim.continual.method import Method, bytes_of, freeze_statistics
from snnsim.continual.presynaptic import weight_of
from snnsim.continual.units import Block, Units
from snnsim.data import Batch
from snnsim.errors import ConfigError, check_number
from snnsim.functional.losses import supervised_contrastive
from snnsim.functional.readouts import mean
from snnsim.layer import evaluating
from snnsim.training import distributed


class SHARP(Method):
    """SHARP trains a sparse network whose units settle, and replays hidden activity.

    Args:
        density: fraction of the connections of every block of weights that exist, in (0, 1];
            constant.
        phases: number of phases per task, evenly over its steps.
        floor: smallest fraction of a layer's activity that the learners of a task hold, in (0, 1].
        horizon: number of past tasks that are replayed; a unit settles when it has learned in
            more tasks than that.
        per_class: number of samples kept per class, for replay and as codes.
        temperature: temperature of the contrastive loss, > 0.
        neighbours: number of nearest codes that answer.
        relevance: fraction of a class's activity held by the units that matter to it, in (0, 1].
        samples: number of a task's samples by whose activity units are ranked.
        settle_first: whether the first layer settles as a whole after the first task, so that all
            stored spikes stay what it would answer; ``False`` as published.
    """

    needs_scores = True
    formerly: ClassVar[dict[str, Any]] = {"settle_first": True}

    def __init__(
        self,
        density: float = 0.4,
        phases: int = 5,
        floor: float = 0.3,
        horizon: int = 1,
        per_class: int = 25,
        temperature: float = 0.1,
        neighbours: int = 5,
        relevance: float = 0.9,
        samples: int = 250,
        settle_first: bool = False,
    ):
        fractions = {"density": density, "floor": floor, "relevance": relevance}
        for name, fraction in fractions.items():
            check_number(name, fraction, most=1, above=0)
        counts = {"phases": phases, "per_class": per_class, "neighbours": neighbours}
        for name, count in (counts | {"samples": samples}).items():
            check_number(name, count, 1)
        check_number("horizon", horizon, 0)
        check_number("temperature", temperature, above=0)
        self.density, self.floor, self.phases, self.horizon = density, floor, phases, horizon
        self.per_class, self.temperature, self.neighbours = per_class, temperature, neighbours
        self.relevance, self.samples, self.settle_first = relevance, samples, settle_first
        self.spikes: dict[int, dict[str, Tensor]] = {}  # task -> packed, labels, lengths
        self.codes: dict[int, Codes] = {}  # of each task

    def on_attach(self, learner: Learner, optimizer: str) -> None:
        if distributed.size() > 1:
            raise ConfigError(
                "SHARP stores spikes and runs in one process, but this run has "
                f"{distributed.size()}; use one process"
            )
        self.units, self.trunk = Units(learner.body), Trunk(learner.body)
        self.age = [torch.zeros(size, dtype=torch.int64) for size in self.units.sizes]
        self.learns = [torch.zeros(size, dtype=torch.bool) for size in self.units.sizes]
        for block in self.units.blocks:
            self._kept(block)  # or it is refused
        self.features = torch.zeros(0)
        self.on_detach(setattr, learner, "answer", learner.answer)
        learner.answer = self.answer
        self.listen({"body": learner.body}, self._keep_features)
        self.settled_rows: list[tuple[nn.Parameter, Tensor, Tensor]] = []

    def _kept(self, block: Block) -> int:
        """How many of a block's pairs stay connected."""
        mask, count = block.mask, round(self.density * block.mask.numel())
        if count < 2:
            raise ConfigError(
                f"density {self.density} leaves {count} connections of the {mask.numel()} between "
                f"{mask.shape[1]} and {mask.shape[0]} units; give a larger density"
            )
        return count

    @torch.no_grad()
    def _thin(self, block: Block) -> None:
        """Keep a random ``density`` of the pairs, at weights larger by ``density^-1/2``."""
        mask, count = block.mask, self._kept(block)
        chosen = torch.randperm(mask.numel())[:count]
        mask.fill_(False).view(-1)[chosen] = True
        weight_of(block.module).mul_(block.full(mask) * self.density**-0.5)

    def _keep_features(self, name: str, module: nn.Module, inputs: Any, output: Any) -> None:
        if module.training and torch.is_grad_enabled():
            self.features = output[0]

    def settled(self, layer: int) -> Tensor:
        """Return a mask of the units of a layer that never change again."""
        return self.age[layer] > self.horizon

    def plastic(self, layer: int) -> Tensor:
        """Return a mask of the units of a layer that learn no task and have learned none."""
        if layer < 0:
            return torch.zeros(self.units.blocks[0].mask.shape[1], dtype=torch.bool)
        return (self.age[layer] == 0) & ~self.learns[layer]

    def on_task_start(self, task: int) -> None:
        if task == 0:
            for block in self.units.blocks:
                self._thin(block)
        for learns in self.learns:
            learns.fill_(False)

    def on_step_start(self, task: int, step: int, steps: int) -> None:
        starts = [-(-phase * steps // self.phases) for phase in range(self.phases)]
        if step not in starts:
            return
        phase = max(p for p, start in enumerate(starts) if start == step)
        fraction = max(0.5 * (1 + math.cos(math.pi * phase / self.phases)), self.floor)
        activity = self._activity(task)
        for layer, active in enumerate(activity):
            free = ~self.settled(layer)
            everything = phase == 0 or (layer == 0 and self.settle_first)
            self.learns[layer] = free if everything else most_active(active * free, fraction) & free
        for block in self.units.blocks:
            self._rewire(block)

    def _activity(self, task: int) -> list[Tensor]:
        data = self.learner.stream.tasks[task].train
        chosen = torch.randperm(len(data))[: self.samples].numpy()
        with evaluating(self.learner):
            found = self.units.activity(data.batch(chosen).x.to(self.device))
        return [active.cpu() for active in found]

    @torch.no_grad()
    def _rewire(self, block: Block) -> None:
        """Cut off plastic units from the others; grow as many connections into plastic ones.

        What finds no place there grows into learners, from units that are not plastic.
        """
        after, before = self.plastic(block.after), self.plastic(block.before)
        dropped = block.mask & ~after[:, None] & before
        block.mask &= ~dropped
        allowed = after[:, None] | ~before
        allowed = allowed & ~self.settled(block.after)[:, None] & ~block.mask
        first = (allowed & after[:, None]).flatten().nonzero()[:, 0]
        second = (allowed & ~after[:, None]).flatten().nonzero()[:, 0]
        places = torch.cat([p[torch.randperm(len(p))] for p in (first, second)])
        grown = places[: int(dropped.sum())]
        block.mask.view(-1)[grown] = True
        changed = dropped.clone()
        changed.view(-1)[grown] = True
        weight = weight_of(block.module)
        weight.masked_fill_(block.full(changed), 0)

    def on_epoch_start(self, task: int) -> None:
        freeze_statistics(self, task)
        self.settled_rows = [
            (parameter, rows, parameter.detach()[rows].clone())
            for block in self.units.blocks
            for parameter in block.rows()
            if len(rows := self.settled(block.after).nonzero()[:, 0].to(parameter.device))
        ]

    def trains(self, name: str, parameter: nn.Parameter, task: int) -> bool:
        """Train, after the first task, only what has a row for every unit."""
        if name.startswith("heads."):
            return False
        rows = (p for block in self.units.blocks for p in block.rows())
        return task == 0 or any(parameter is p for p in rows)

    @torch.no_grad()
    def on_step_end(self, task: int) -> None:
        for block in self.units.blocks:
            weight = weight_of(block.module)
            weight.mul_(block.full(block.mask))
        for parameter, rows, values in self.settled_rows:
            parameter[rows] = values

    def loss(
        self, ce: Tensor, batch: Batch, scores: Tensor | None, task: int, chosen: np.ndarray
    ) -> Tensor:
        features = [mean(self.features, self.learner.within(batch.x, batch.lengths))]
        labels = [self._class(batch.target, task)]
        for past, kept in self.spikes.items():
            features.append(self._late(kept))
            labels.append(self._class(kept["labels"], past).to(self.device))
        self.features = torch.zeros(0)
        joint = torch.cat(features)
        lasting = joint * ~_of_features(self.plastic(len(self.age) - 1).to(self.device), joint)
        return supervised_contrastive(lasting, torch.cat(labels), self.temperature)

    def _class(self, labels: Tensor, task: int) -> Tensor:
        """Labels that differ between tasks where each has classes of its own."""
        return labels + (0 if self.learner.shares_head else 1000 * task)

    def _late(self, kept: dict[str, Tensor]) -> Tensor:
        spikes = unpack(kept).to(self.device)
        return mean(self.trunk.late(spikes), kept["lengths"] if len(kept["lengths"]) else None)

    @torch.no_grad()
    def on_task_end(self, task: int) -> None:
        for layer, learns in enumerate(self.learns):
            self.age[layer] += (learns | (self.age[layer] > 0)).long()
        if self.settle_first:
            self.age[0].fill_(self.horizon + 1)
        for block in self.units.blocks:
            self._restart(block)
        with evaluating(self.learner):
            self.spikes[task] = self._store(task)
            for past in list(self.spikes):
                kept = self.spikes[past]
                features = self._late(kept).cpu()
                lasting = _of_features(self.age[-1] > 0, features)
                self.codes[past] = encode(features, kept["labels"], self.relevance, lasting)
                if past <= task - self.horizon:
                    del self.spikes[past]

    def _restart(self, block: Block) -> None:
        """New weights, of the spread of the present ones, into plastic units."""
        weight = weight_of(block.module)
        into = block.mask & (self.age[block.after] == 0)[:, None]
        chosen = block.full(into)
        spread = weight[block.full(block.mask)].std()
        weight.copy_(torch.where(chosen, spread * torch.randn_like(weight), weight))

    def _store(self, task: int) -> dict[str, Tensor]:
        data = self.learner.stream.tasks[task].train
        order = np.asarray(torch.randperm(len(data)))
        batch = data.batch(first_of_each_class(data, self.per_class, order))
        lengths = self.learner.within(batch.x, batch.lengths)
        lengths = torch.zeros(0, dtype=torch.int64) if lengths is None else lengths
        kept = pack(self.trunk.early(batch.x.to(self.device)))
        return kept | {"labels": batch.target, "lengths": lengths}

    def answer(self, x: Tensor, task: int, lengths: Tensor | None = None) -> Tensor:
        """Score by the nearest codes, ``[B, C]``: of all tasks, or of one with its own classes."""
        outputs = self.learner.classes(task)
        known = sorted(self.codes) if self.learner.shares_head else [task]
        codes = [self.codes[t] for t in known if t in self.codes]
        if not codes:
            return torch.zeros(x.shape[1], outputs, device=x.device)
        features = mean(self.learner.body(x)[0], self.learner.within(x, lengths))
        return nearest(features, codes, self.neighbours, outputs)

    def tensors(self) -> dict[str, Tensor]:
        found = {f"age.{i}": a for i, a in enumerate(self.age)}
        found |= {f"learns.{i}": a for i, a in enumerate(self.learns)}
        found |= {f"mask.{i}": block.mask for i, block in enumerate(self.units.blocks)}
        for task, kept in self._stores():
            found |= checkpoint.prefixed(task, kept)
        return found

    def load(self, tensors: dict[str, Tensor]) -> None:
        self.age = [tensors[f"age.{i}"].clone() for i in range(len(self.age))]
        self.learns = [tensors[f"learns.{i}"].clone() for i in range(len(self.learns))]
        for i, block in enumerate(self.units.blocks):
            block.mask.copy_(tensors[f"mask.{i}"])
        for task in _tasks_of("codes", tensors):
            self.codes[task] = Codes(*(tensors[f"codes.{task}.{f}"] for f in Codes._fields))
        for task in _tasks_of("spikes", tensors):
            self.spikes[task] = checkpoint.without_prefix(f"spikes.{task}", tensors)

    def _stores(self) -> list[tuple[str, dict[str, Tensor]]]:
        spikes = [(f"spikes.{task}", kept) for task, kept in self.spikes.items()]
        return spikes + [(f"codes.{task}", codes._asdict()) for task, codes in self.codes.items()]

    def memory_bytes(self) -> int:
        """Count spikes (a bit each), codes, a bit per pair of units, and a byte per age."""
        stored = bytes_of(tensor for _, store in self._stores() for tensor in store.values())
        return stored + sum(b.mask.numel() for b in self.units.blocks) // 8 + sum(self.units.sizes)


def _of_features(units: Tensor, features: Tensor) -> Tensor:
    """A mask of units as one of features ``[B, N]``, of which a channel may have several."""
    return units.repeat_interleave(features.shape[1] // len(units))


def _tasks_of(kind: str, tensors: dict[str, Tensor]) -> list[int]:
    """The tasks in names ``"<kind>.<task>.<what>"``, in their order."""
    return sorted({int(key.split(".")[1]) for key in tensors if key.startswith(f"{kind}.")})
