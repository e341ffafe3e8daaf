"""What the layers of a network do in one forward and backward pass, as numbers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from snnsim.activity import neurons_of
from snnsim.finite import all_finite
from snnsim.kernels.scan import reference
from snnsim.layer import listening
from snnsim.neurons import LI, Neuron
from snnsim.surrogate import Surrogate

# a derivative that is at least this fraction of the surrogate's largest one is worth following
USABLE = 0.01
# spikes in at least this fraction of its steps make a neuron saturated: it can say nothing more
ALWAYS = 0.95


@dataclass
class LayerSeen:
    """``LayerSeen`` holds sums over batches of what one layer did.

    Attributes:
        name, kind: the name of the layer and of its class.
        spiking: whether its output is spikes.
        steps: the number of time steps seen, over all samples and without padding.
        spikes: the number of spikes of each neuron, ``[N]``.
        membranes, high: for each batch, the mean and the 95 % quantile of the membrane, where the
            threshold is 1.
        usable: whether the surrogate derivative of a neuron was worth following in any step,
            ``[N]``.
        usable_steps, all_steps: the number of neuron steps with such a derivative, and of all.
        gradient: the squared gradient of the input current, by time step ``[T]``, summed over the
            rest; it includes what comes back through time. It is that of the output where the
            input has none.
        units: the number of values that the gradient is summed over.
        finite: whether all of its outputs are finite.
    """

    name: str
    kind: str
    spiking: bool
    steps: float = 0.0
    spikes: Tensor = field(default_factory=lambda: torch.zeros(()))
    membranes: list[float] = field(default_factory=list)
    high: list[float] = field(default_factory=list)
    usable: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.bool))
    usable_steps: float = 0.0
    all_steps: float = 0.0
    gradient: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.float64))
    units: int = 0
    finite: bool = True

    @property
    def rates(self) -> Tensor:
        """Return the fraction of its steps in which each neuron spikes, ``[N]``."""
        return self.spikes / max(self.steps, 1.0)

    @property
    def dead(self) -> float:
        """Return the fraction of neurons that never spike."""
        return float((self.spikes == 0).double().mean())

    @property
    def saturated(self) -> float:
        """Return the fraction of neurons that spike in nearly every step."""
        return float((self.rates >= ALWAYS).double().mean())

    @property
    def sensitive(self) -> float | None:
        """Return the fraction of neurons whose surrogate derivative is ever worth following."""
        return float(self.usable.double().mean()) if self.all_steps else None

    @property
    def usable_fraction(self) -> float | None:
        """Return the fraction of neuron steps whose surrogate derivative is worth following."""
        return self.usable_steps / self.all_steps if self.all_steps else None

    @property
    def membrane(self) -> float | None:
        """Return the mean membrane, where the threshold is 1; ``None`` where it has none."""
        return sum(self.membranes) / len(self.membranes) if self.membranes else None

    @property
    def membrane_high(self) -> float | None:
        """Return the 95 % quantile of the membrane, where the threshold is 1."""
        return sum(self.high) / len(self.high) if self.high else None

    @property
    def gradient_size(self) -> float | None:
        """Return the root of the mean squared gradient; ``None`` where there is none."""
        return float((self.gradient.sum() / self.units).sqrt()) if self.units else None

    def row(self) -> dict[str, Any]:
        """Return the figures of the layer as plain values."""
        spiking = self.spiking and self.steps > 0
        return {
            "layer": self.name or "network",
            "kind": self.kind,
            "rate": float(self.rates.mean()) if spiking else None,
            "dead": self.dead if spiking else None,
            "saturated": self.saturated if spiking else None,
            "membrane": self.membrane,
            "membrane 95 %": self.membrane_high,
            "usable": self.usable_fraction,
            "gradient": self.gradient_size,
        }


@contextmanager
def watching(net: nn.Module, seen: dict[str, LayerSeen], lengths: Tensor) -> Iterator[list[Any]]:
    """Within this context, a run of a network adds to what is known of its layers.

    Args:
        net: the network.
        seen: what is known so far; layers that run for the first time are added.
        lengths: the number of input steps of each sample, ``[B]``.

    Yields:
        A list to which ``(layer, tensor)`` of every run is appended, whose gradient the backward
        pass keeps; it is then given to :func:`add_gradients`.
    """
    ran: list[Any] = []

    def told(name: str, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        y = output[0] if isinstance(output, tuple) else output
        layer = seen.setdefault(name, _unseen(name, module))
        for tensor in (inputs[0], y) if isinstance(module, Neuron) else (y,):
            if isinstance(tensor, Tensor) and tensor.requires_grad:
                tensor.retain_grad()
                ran.append((layer, tensor))
                break
        with torch.no_grad():
            _add(layer, module, inputs, y.detach(), lengths)

    with listening(neurons_of(net), told):
        yield ran


def add_gradients(ran: list[Any]) -> None:
    """Add the gradients of a backward pass to what is known of layers.

    Args:
        ran: what :func:`watching` yielded, after the backward pass.
    """
    for layer, tensor in ran:
        if tensor.grad is None or tensor.dim() < 2:
            continue
        by_step = tensor.grad.double().square().flatten(1).sum(1).cpu()
        longest = max(len(by_step), len(layer.gradient))
        total = by_step.new_zeros(longest)
        for part in (by_step, layer.gradient):
            total[: len(part)] += part
        layer.gradient = total
        layer.units += tensor.grad.numel()


def _unseen(name: str, module: nn.Module) -> LayerSeen:
    spiking = isinstance(module, Neuron) and not isinstance(module, LI)
    return LayerSeen(name, type(module).__name__, spiking)


def _add(
    layer: LayerSeen, module: nn.Module, inputs: tuple[Any, ...], y: Tensor, lengths: Tensor
) -> None:
    """Add one run of a layer to what is known of it."""
    layer.finite = layer.finite and all_finite(y)
    if not layer.spiking or y.dim() < 3 or y.shape[1] != len(lengths) or not layer.finite:
        return
    inside = torch.arange(len(y), device=y.device)[:, None] < lengths.to(y.device)
    chosen = y.flatten(2)[inside]  # [steps of all samples, N]
    layer.steps += len(chosen)
    layer.spikes = layer.spikes + chosen.double().sum(0).cpu()
    assert isinstance(module, Neuron)
    distance = distance_to_threshold(module, inputs)
    if distance is None:
        return
    derivative = module.surrogate.derivative(distance.flatten(2)[inside]).abs()
    peak = float(torch.as_tensor(module.surrogate.derivative(derivative.new_zeros(1))).abs())
    usable = derivative >= USABLE * peak
    layer.usable = layer.usable | usable.any(0).cpu()
    layer.usable_steps += float(usable.sum())
    layer.all_steps += usable.numel()
    if "v_threshold" in module.declared:
        threshold: Any = module.v_threshold
        membrane = (1 + distance / threshold).flatten(2)[inside].double()
        layer.membranes.append(float(membrane.mean()))
        layer.high.append(_quantile(membrane.flatten(), 0.95))


def _quantile(values: Tensor, q: float) -> float:
    """A quantile of any number of values; torch's own takes 16 million at most."""
    place = max(1, round(q * len(values)))
    return float(values.kthvalue(place).values)


def distance_to_threshold(neuron: Neuron, inputs: tuple[Any, ...]) -> Tensor | None:
    """Return what the surrogate of neurons receives: the distance to the threshold at each step.

    It is the membrane minus the threshold for every model, also where the threshold adapts.

    Args:
        neuron: the neurons.
        inputs: what they were called with: the input, the state and the feedback, if any.

    Returns:
        ``[T, B, ...]``, or ``None`` if the model does not compute one spike for each neuron and
        step.

    >>> import snnsim as sn
    >>> x = torch.tensor([0.25, 0.25]).view(2, 1, 1)
    >>> distance_to_threshold(sn.IF(1, dt=1.0), (x,)).flatten().tolist()
    [-0.75, -0.5]
    """
    received: list[Tensor] = []
    own = neuron.surrogate

    @dataclass(frozen=True, kw_only=True)
    class Noting(Surrogate):
        def derivative(self, u: Any) -> Any:
            return own.derivative(u)

        def forward(self, u: Any) -> Any:
            received.append(u)
            return own.forward(u)

    x, state, feedback = (*inputs, None, None)[:3]
    noting = replace(neuron.equations, surrogate=Noting())
    x = neuron.check_input(x)
    flat = x.reshape(*x.shape[:2], neuron.n)
    start, parameters = neuron.pack_state(x, state), neuron.packed_parameters(x)
    with torch.no_grad():
        reference.trace(noting, flat, start, parameters, feedback)
    if len(received) != len(x) or not len(x):
        return None
    return torch.stack([u.expand(x.shape[1], neuron.n) for u in received]).view(x.shape)
