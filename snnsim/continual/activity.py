"""A store of hidden activity: spike trains, a bit per spike or none."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from snnsim.errors import ConfigError
from snnsim.layer import run_layer
from snnsim.networks import Sequential
from snnsim.neurons.neuron import Neuron
from snnsim.synapses import Recurrent
from snnsim.training.rules.dsr import RateLIF


class Trunk:
    """Splits a network in two: up to its first neurons, and what follows them.

    Args:
        net: the network, with spiking neurons and at least one layer behind the first of them.
    """

    def __init__(self, net: Sequential):
        self.net = net
        found = [i for i, m in enumerate(net) if isinstance(m, Neuron | Recurrent | RateLIF)]
        if not found or found[0] == len(net) - 1:
            raise ConfigError(
                "hidden spikes can be stored of networks with a layer of neurons and further "
                "layers behind it, in one snnsim.Sequential; give the network another layer"
            )
        self.cut = found[0] + 1

    @torch.no_grad()
    def early(self, x: Tensor) -> Tensor:
        """Return the spikes ``[T, B, ...]`` of the first neurons in answer to ``x``."""
        return self._run(x, 0, self.cut)

    def late(self, z: Tensor) -> Tensor:
        """Return the output of the network for spikes of its first neurons."""
        return self._run(z, self.cut, len(self.net))

    def _run(self, x: Tensor, first: int, last: int) -> Tensor:
        for layer in list(self.net)[first:last]:
            x, _ = run_layer(layer, x, None)
        return x


def pack(z: Tensor) -> dict[str, Tensor]:
    """Store spikes ``[T, B, ...]``, all of one height, as bits.

    >>> z = (torch.rand(5, 2, 3) < 0.5) * 6.0
    >>> torch.equal(unpack(pack(z)), z)
    True
    """
    height = float(z.max())
    if not bool(((z == 0) | (z == height)).all()):
        raise ConfigError(
            "only spikes, all of one height, can be packed as bits, but these values have several; "
            "store the output of spiking neurons"
        )
    bits = np.packbits((z != 0).flatten(2).cpu().numpy(), axis=2)
    return {
        "bits": torch.from_numpy(bits),
        "height": torch.tensor(height),
        "shape": torch.tensor(z.shape[2:]),
    }


def unpack(packed: dict[str, Tensor]) -> Tensor:
    """Return the spikes that :func:`pack` has stored."""
    shape: Any = packed["shape"].tolist()
    count = int(np.prod(shape))
    bits = np.unpackbits(packed["bits"].numpy(), axis=2, count=count)
    spikes = torch.from_numpy(bits).float() * packed["height"]
    return spikes.reshape(*spikes.shape[:2], *shape)
