"""How a network runs on a sound that arrives in pieces, and what it answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from snnsim.errors import ConfigError, ShapeError
from snnsim.functional.readouts import get_readout
from snnsim.inference import CompiledNetwork
from snnsim.inference import compile as compiled_network
from snnsim.layer import evaluating
from snnsim.training import predict as predict_scores
from snnsim_experiments.run_folder import Trained


class Inference(Protocol):
    """An ``Inference`` is one run of a network, on one sound."""

    def push(self, x: Tensor) -> None:
        """Run the network on further steps ``[T, 1, channels]``."""

    def scores(self) -> Tensor:
        """Return the class scores ``[1, C]`` of the sound, which has ended."""


class WholeInference:
    """A ``WholeInference`` runs a network that cannot continue from a state, at the sound's end."""

    def __init__(self, trained: Trained):
        self._trained = trained
        self._steps: list[Tensor] = []

    def push(self, x: Tensor) -> None:
        """Keep further steps ``[T, 1, channels]``."""
        self._steps.append(x)

    def scores(self) -> Tensor:
        """Return the class scores ``[1, C]`` of the sound, which has ended."""
        x, trained = torch.cat(self._steps), self._trained
        lengths = torch.tensor([len(x)])
        x = torch.cat([x, x.new_zeros(max(0, trained.steps - len(x)), *x.shape[1:])])
        return predict_scores(trained.net, x, trained.readout, lengths, trained.mask_padding)


Run = Callable[[Tensor, Any], tuple[Tensor, Any]]


@dataclass(frozen=True)
class StreamingNetwork:
    """A ``StreamingNetwork`` runs step by step, with a state.

    Attributes:
        run: from further steps ``[T, 1, channels]`` and a state to outputs and the next state.
        tail: the number of steps by which the outputs of a sound are longer than the sound.
        after: from the state at the end of the padded sound to the outputs of these steps.
    """

    run: Run
    tail: int
    after: Callable[[Any], Tensor]


class StreamedInference:
    """A ``StreamedInference`` runs a streaming network while the sound arrives."""

    def __init__(self, net: StreamingNetwork, trained: Trained):
        self._net, self._trained = net, trained
        self._state: Any = None
        self._steps = 0
        self.outputs: list[Tensor] = []

    def push(self, x: Tensor) -> None:
        """Run the network on further steps ``[T, 1, channels]``."""
        if not len(x):
            return
        y, self._state = self._net.run(x, self._state)
        self._steps += len(x)
        self.outputs.append(y)

    def scores(self) -> Tensor:
        """Return the class scores ``[1, C]`` of the sound, which has ended.

        A masked read-out counts the steps of the sound, and those by which delays make it longer.
        Another counts all steps, after padding to the longest recording of training.
        """
        masked, steps = self._trained.mask_padding, self._steps
        padding = self._net.tail if masked else self._trained.steps - steps
        self.push(torch.zeros(max(0, padding), 1, self._trained.channels))
        if not masked and self._net.tail:
            self.outputs.append(self._net.after(self._state))
        ends = torch.tensor([steps + self._net.tail]) if masked else None
        return get_readout(self._trained.readout)(torch.cat(self.outputs), ends)


def streaming(trained: Trained, compiled: bool = True) -> StreamingNetwork | None:
    """Return a network that runs step by step, or ``None`` if it needs the whole sound.

    Args:
        trained: the network.
        compiled: whether to compile it, if it can be compiled.
    """
    if hasattr(trained.net, "output_lengths"):  # it looks at the whole sound
        return None
    if compiled:
        try:
            return _compiled(compiled_network(trained.net))
        except ConfigError:
            pass  # it runs as it is
    return _as_it_is(trained)


def _compiled(net: CompiledNetwork) -> StreamingNetwork:
    return StreamingNetwork(net.steps, sum(stage.tail for stage in net.stages), net.finish)


def _as_it_is(trained: Trained) -> StreamingNetwork | None:
    """The network itself, if outputs in pieces are those of the whole."""
    net = trained.net

    @torch.no_grad()
    def run(x: Tensor, state: Any) -> tuple[Tensor, Any]:
        with evaluating(net):
            return net(x, state)

    x = torch.rand(32, 1, trained.channels, generator=torch.Generator().manual_seed(0))
    try:
        whole = run(x, None)[0]
        first, state = run(x[:16], None)
        together = torch.cat([first, run(x[16:], state)[0]])
    except (ConfigError, ShapeError):
        return None
    alike = together.shape == whole.shape and torch.allclose(together, whole, atol=1e-4)
    return StreamingNetwork(run, 0, lambda state: whole[:0]) if alike else None
