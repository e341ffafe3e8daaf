"""snnsim: layer-wise spiking networks with learnable delays.

Tensors are time-major, ``[T, B, N]``, and times are in milliseconds. State is explicit: ``net(x,
state)`` returns ``(y, state)``, and nothing is remembered between calls.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from snnsim.activity import Recording, record, recording
    from snnsim.costing import cost
    from snnsim.diagnosis import diagnose
    from snnsim.equations import detach, spike
    from snnsim.errors import SnnsimError
    from snnsim.inference import CompiledNetwork, compile
    from snnsim.layer import Layer, detach_state, map_state
    from snnsim.networks import (
        BatchNorm,
        Dropout,
        Repeat,
        Sequential,
        Skip,
        StochasticDepth,
        conv_delay_network,
        delay_network,
        gsc_network,
        run_checkpointed,
        shd_network,
        ssc_network,
    )
    from snnsim.neurons import (
        ALIF,
        BRF,
        IF,
        LI,
        LIF,
        PLIF,
        AdLIF,
        CubaLIF,
        Izhikevich,
        Neuron,
        Parameter,
        Reset,
        SEAdLIF,
        Tau,
    )
    from snnsim.pretrained import from_pretrained, save_pretrained
    from snnsim.saving import load, save
    from snnsim.synapses import (
        AvgPool1d,
        AvgPool2d,
        Bias,
        Conv1d,
        Conv2d,
        Delayed,
        DelayedConv2d,
        Dense,
        Linear,
        MaxPool1d,
        MaxPool2d,
        OverTime,
        Recurrent,
        SumPool2d,
        TimeDistributed,
        narrow_delays,
    )


__version__ = "0.1.0"

# where names are looked for once they are asked for, so that the help of a command needs no torch
_MODULES = (
    "errors", "equations", "layer", "neurons", "synapses", "networks", "inference", "activity",
    "saving", "costing", "diagnosis", "pretrained",
)  # fmt: skip
# names that need a package which not everybody has, and are therefore not in __all__
_EXTRAS = {"from_nir": "interop.nir", "to_nir": "interop.nir"}
_PACKAGES = {module.name for module in pkgutil.iter_modules(__path__)}

__all__ = [
    "ALIF",
    "BRF",
    "IF",
    "LI",
    "LIF",
    "PLIF",
    "AdLIF",
    "AvgPool1d",
    "AvgPool2d",
    "BatchNorm",
    "Bias",
    "CompiledNetwork",
    "Conv1d",
    "Conv2d",
    "CubaLIF",
    "Delayed",
    "DelayedConv2d",
    "Dense",
    "Dropout",
    "Izhikevich",
    "Layer",
    "Linear",
    "MaxPool1d",
    "MaxPool2d",
    "Neuron",
    "OverTime",
    "Parameter",
    "Recording",
    "Recurrent",
    "Repeat",
    "Reset",
    "SEAdLIF",
    "Sequential",
    "Skip",
    "SnnsimError",
    "StochasticDepth",
    "SumPool2d",
    "Tau",
    "TimeDistributed",
    "compile",
    "conv_delay_network",
    "cost",
    "delay_network",
    "detach",
    "detach_state",
    "diagnose",
    "from_pretrained",
    "gsc_network",
    "load",
    "map_state",
    "narrow_delays",
    "record",
    "recording",
    "run_checkpointed",
    "save",
    "save_pretrained",
    "shd_network",
    "spike",
    "ssc_network",
]


def __getattr__(name: str) -> Any:
    """Find a public name, or a sub-package, when it is first used."""
    if name in _PACKAGES:
        return importlib.import_module(f"snnsim.{name}")
    given = (_EXTRAS[name],) if name in _EXTRAS else _MODULES if name in __all__ else ()
    for module in given:
        found = vars(importlib.import_module(f"snnsim.{module}"))
        if name in found:
            globals()[name] = found[name]
            return found[name]
    raise AttributeError(f"module 'snnsim' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_PACKAGES, *_EXTRAS, *__all__})
