"""Universal Transformer: more thinking for what is harder (1807.03819, 1603.08983)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from snnsim.baselines import RateNetwork
from snnsim.layer import auxiliary_losses
from snnsim.training import set_seed
from snnsim_experiments.baselines.checks.outcome import Outcome, optimise

BITS = 6


def vectors(samples: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Parity within one step of 1 to 6 given bits of ±1, 0 for those not given.

    After the parity task of Graves 2016: how many bits there are decides how hard it is.
    """
    random = np.random.default_rng(seed)
    given = random.integers(1, BITS + 1, samples)
    x = np.where(random.random((samples, BITS)) < 0.5, 1.0, -1.0)
    x[np.arange(BITS) >= given[:, None]] = 0
    labels = (x == 1).sum(1) % 2
    return torch.from_numpy(x).float()[None], torch.from_numpy(labels), torch.from_numpy(given)


def run(seed: int = 0, short: bool = False) -> Outcome:
    """Depths that are used for few and for many bits, after training with a price on depth."""
    set_seed(seed)
    net = RateNetwork(
        BITS, 2, "universal", width=32, options={"depths": 6, "reach": 1, "ponder": 0.02}
    )
    drawn = {"batch": 0}

    def loss() -> Tensor:
        drawn["batch"] += 1
        x, labels, _ = vectors(128, 10**6 * seed + drawn["batch"])
        with auxiliary_losses() as extra:
            y, _ = net(x)
        return nn.functional.cross_entropy(y[0], labels) + sum(extra.values())

    optimise(net, loss, 3 if short else 2500, 2e-3)
    x, labels, given = vectors(3000, 10**9 + seed)
    net.eval()
    body: nn.Module = net.layers[0]
    with torch.no_grad():
        right = (net(x)[0][0].argmax(1) == labels).float()
        ponder = body.think(x).ponder[0]  # type: ignore[operator]
    figures = {"accuracy %": 100 * float(right.mean())}
    for low, high in ((1, 2), (3, 4), (5, 6)):
        figures[f"ponder, {low} to {high} bits"] = float(
            ponder[(given >= low) & (given <= high)].mean()
        )
    return Outcome(
        "more bits are thought about longer",
        figures["accuracy %"] > 90
        and figures["ponder, 5 to 6 bits"] > figures["ponder, 1 to 2 bits"] + 0.1,
        figures,
    )
