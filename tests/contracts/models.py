"""The models that the contracts run over: whatever lies in the package's folder."""

from __future__ import annotations

import importlib
import inspect
import pkgutil

import torch

import snnsim.neurons
from snnsim.neurons import Neuron
from snnsim.neurons.parameters import Parameter, Tau


def neuron_classes() -> list[type[Neuron]]:
    """Every neuron model defined in a file of ``snnsim/neurons``."""
    found = []
    for module in pkgutil.iter_modules(snnsim.neurons.__path__):
        loaded = importlib.import_module(f"snnsim.neurons.{module.name}")
        for _, cls in inspect.getmembers(loaded, inspect.isclass):
            own = cls.__module__ == loaded.__name__
            if own and issubclass(cls, Neuron) and cls is not Neuron:
                found.append(cls)
    return sorted(found, key=lambda cls: cls.__name__)


def value_away_from_default(spec: Parameter, n: int, dt: float, generator: torch.Generator):
    """A per-neuron value different from the default and within its range."""
    shake = 0.8 + 0.4 * torch.rand(n, generator=generator)
    start = torch.as_tensor(spec.default, dtype=torch.get_default_dtype())
    value = start * shake + (0.05 if float(start) == 0 else 0.0) * shake
    if isinstance(spec, Tau):
        return value.clamp(min=1.5 * dt)
    if spec.high is not None:
        value = value.clamp(max=spec.high - 0.02)
    return value


def make(cls: type[Neuron], n: int = 5, dt: float = 1.0, seed: int = 0, **options) -> Neuron:
    """A model with non-default, per-neuron, learnable parameters (float64 while testing)."""
    generator = torch.Generator().manual_seed(seed)
    values = {
        name: value_away_from_default(spec, n, dt, generator)
        for name, spec in cls._declared.items()
    }
    return cls(n, dt=dt, learn=tuple(values), **{**values, **options})


def drive(cls: type[Neuron], steps: int, batch: int, n: int, seed: int) -> torch.Tensor:
    """Input that makes the model fire now and then."""
    scales = {"Izhikevich": 60.0, "BRF": 1500.0, "AdLIF": 30.0, "SEAdLIF": 30.0, "PLIF": 30.0}
    scale = scales.get(cls.__name__, 1.2)
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(steps, batch, n, generator=generator, dtype=torch.float64)
