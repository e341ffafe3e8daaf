"""The unified objective: output divergences and a parameter divergence, in any combination.

    CE + sum_j alpha_j D_Phi_j(h(x), z) + beta D_Psi(theta, theta_old)

with Bregman divergences ``D_Phi(a, b) = Phi(a) - Phi(b) - <grad Phi(b), a - b>``:

    scores    Phi = |h|^2 / n: squared distance of replayed samples' scores to those they had
    labels    Phi = sum_c p_c log p_c: divergence of replayed samples' answers from their labels,
              which is their cross-entropy
    answers   the same Phi: divergence of new samples' answers from those of the network before
              the task, softened by a temperature
    fisher    Psi = theta' F theta / 2, with the diagonal Fisher information F of past tasks
    squared   Psi = |theta|^2 / 2

``fisher`` alone is EWC, ``scores`` and ``labels`` DER++, ``labels`` experience replay, ``answers``
LwF. Source: Wang et al. 2024 (arXiv:2403.13249), section 3.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from snnsim import checkpoint
from snnsim.continual.learner import Learner
from snnsim.continual.method import Method
from snnsim.continual.methods.der import DER
from snnsim.continual.methods.ewc import EWC
from snnsim.continual.methods.lwf import LwF
from snnsim.continual.methods.replay import Replay
from snnsim.data import Batch
from snnsim.errors import ConfigError, check_choice, check_number

OUTPUTS = ("scores", "labels", "answers")
PARAMETERS = ("fisher", "squared")


class _Squared(EWC):
    """EWC in which all weights matter alike; their places are those after the last task."""

    def fisher(self, task: int) -> dict[str, Tensor]:
        return {name: torch.ones_like(p) for name, p in self.parameters(task).items()}


class Unified(Method):
    """The unified objective adds output divergences and a parameter divergence to the loss.

    The defaults are DER++ with its own defaults, and EWC of strength 1.

    Args:
        outputs: the output divergences, some of ``"scores"``, ``"labels"`` and ``"answers"``.
        alphas: weight of each of them, >= 0.
        parameters: the parameter divergence, ``"fisher"`` or ``"squared"``.
        beta: weight of the parameter divergence, >= 0; 0 for none.
        temperature: temperature of the ``"answers"``, as in
            :class:`~snnsim.continual.methods.lwf.LwF`.
        size, batch_size: the buffer of ``"scores"`` and ``"labels"``, as in
            :class:`~snnsim.continual.methods.replay.Replay`.
        online, decay, samples: of the parameter divergence, as in
            :class:`~snnsim.continual.methods.ewc.EWC`.
    """

    needs_scores = True

    def __init__(
        self,
        outputs: Sequence[str] = ("scores", "labels"),
        alphas: Sequence[float] = (0.5, 0.5),
        parameters: str = "fisher",
        beta: float = 1.0,
        temperature: float = 2.0,
        size: int = 500,
        batch_size: int = 64,
        online: bool = True,
        decay: float = 1.0,
        samples: int = 200,
    ):
        _check_outputs(outputs, alphas)
        check_choice("parameters", parameters, PARAMETERS)
        check_number("beta", beta, 0)
        self.options = {
            "outputs": list(outputs), "alphas": list(alphas), "parameters": parameters,
            "beta": beta, "temperature": temperature, "size": size, "batch_size": batch_size,
            "online": online, "decay": decay, "samples": samples,
        }  # fmt: skip
        self.alphas, self.beta = dict(zip(outputs, alphas, strict=True)), beta
        self.buffer = DER(size, batch_size) if "scores" in outputs else Replay(size, batch_size)
        self.teacher = LwF(temperature=temperature)
        self.weights = (EWC if parameters == "fisher" else _Squared)(1.0, online, decay, samples)
        self.rehearses = bool({"scores", "labels"} & set(outputs))
        self.parts: dict[str, Method] = {"buffer": self.buffer} if self.rehearses else {}
        self.parts |= {"teacher": self.teacher} if "answers" in outputs else {}
        self.parts |= {"weights": self.weights} if beta else {}

    def on_attach(self, learner: Learner, optimizer: str) -> None:
        for part in self.parts.values():
            self.on_detach(part.detach)
            part.attach(learner, optimizer)

    def on_task_start(self, task: int) -> None:
        for part in self.parts.values():
            part.on_task_start(task)

    def on_task_end(self, task: int) -> None:
        for part in self.parts.values():
            part.on_task_end(task)

    def loss(
        self, ce: Tensor, batch: Batch, scores: Tensor | None, task: int, chosen: np.ndarray
    ) -> Tensor:
        for name, alpha in self.alphas.items():
            ce = ce + alpha * self.output_divergence(name, batch, task)
        if self.beta:
            ce = ce + self.beta * self.parameter_divergence()
        if self.rehearses:
            self.buffer.buffer.add(task, chosen, batch.x, scores)
        return ce

    def output_divergence(self, name: str, batch: Batch, task: int) -> Tensor | float:
        """Compute ``D_Phi`` of the scores, by its name; 0 without a past."""
        if name == "answers":
            return self.teacher.divergence(batch, task)
        if name == "scores":
            assert isinstance(self.buffer, DER)
            return self.buffer.distance(task)
        return self.buffer.replayed(task)

    def parameter_divergence(self) -> Tensor | float:
        """Compute ``D_Psi`` of the weights; 0 without a past."""
        return self.weights.divergence() / 2

    def tensors(self) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        for name, part in self.parts.items():
            found |= checkpoint.prefixed(name, part.tensors())
        return found

    def load(self, tensors: dict[str, Tensor]) -> None:
        for name, part in self.parts.items():
            part.load(checkpoint.without_prefix(name, tensors))

    def memory_bytes(self) -> int:
        """Sum what the buffer, the network before the task and the Fisher information take."""
        return sum(part.memory_bytes() for part in self.parts.values())


def _check_outputs(outputs: Sequence[str], alphas: Sequence[float]) -> None:
    if len(outputs) != len(alphas) or len(set(outputs)) != len(outputs):
        raise ConfigError(
            f"outputs are {list(outputs)} and alphas {list(alphas)}, but every output divergence "
            "is named once and has one weight; give two lists of the same length"
        )
    for name, alpha in zip(outputs, alphas, strict=True):
        check_choice("an entry of outputs", name, OUTPUTS)
        check_number(f"the alpha of {name}", alpha, 0)
