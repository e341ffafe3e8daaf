"""ReGENN: coupled channels are forecast better, and their coupling is found (2008.12833)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from snnsim.baselines.forecast import Forecaster
from snnsim.baselines.models.lstm import LSTM
from snnsim.baselines.models.regenn import ReGENN
from snnsim.training import set_seed
from snnsim_experiments.baselines.checks.outcome import Outcome, batches, optimise

CHANNELS, WINDOW, STRIDE = 12, 20, 5


def coupling() -> np.ndarray:
    """Three blocks of four channels, each a ring within its block."""
    found = np.zeros((CHANNELS, CHANNELS))
    for i in range(CHANNELS):
        block, place = divmod(i, 4)
        found[i, 4 * block + (place - 1) % 4] = 0.75
    return found


def counts(steps: int, seed: int) -> np.ndarray:
    """Poisson counts driven by those of the neighbour two steps before, ``[steps, 12]``."""
    random, w = np.random.default_rng(seed), coupling()
    x = np.ones((steps, CHANNELS))
    for t in range(2, steps):
        x[t] = random.poisson(np.minimum(0.3 + 0.1 * x[t - 1] + w @ x[t - 2], 8.0))
    return x.astype(np.float32)


def windows(series: np.ndarray) -> tuple[Tensor, Tensor]:
    """Pasts ``[WINDOW, n, 12]`` and what follows ``[STRIDE, n, 12]``."""
    starts = range(0, len(series) - WINDOW - STRIDE, 2)
    past = np.stack([series[s : s + WINDOW] for s in starts], axis=1)
    next_ = np.stack([series[s + WINDOW : s + WINDOW + STRIDE] for s in starts], axis=1)
    return torch.from_numpy(past), torch.from_numpy(next_)


def run(seed: int = 0, short: bool = False) -> Outcome:
    """Mean absolute error of forecasts, and how the learnt graph correlates with the coupling."""
    x, y = windows(counts(500 if short else 6000, 2 * seed))
    past, following = windows(counts(2000, 2 * seed + 1))
    figures: dict[str, float] = {}
    graph = np.zeros((CHANNELS, CHANNELS))
    for name, cls in (("regenn", ReGENN), ("lstm", LSTM)):
        set_seed(seed)
        net = Forecaster(cls(CHANNELS, 48), WINDOW, STRIDE)
        if isinstance(net.core, ReGENN):
            net.core.count_together(x)
        order = batches(x.shape[1], 64, seed)

        def loss(net: Forecaster = net, order=order) -> Tensor:
            chosen = next(order)
            return (net(x[:, chosen]) - y[:, chosen]).square().mean()

        optimise(net, loss, 3 if short else 800, 3e-3)
        with torch.no_grad():
            figures[f"error, {name}"] = float((net(past) - following).abs().mean())
        if isinstance(net.core, ReGENN):
            graph = net.core.graph().detach().abs().numpy()
    control = {"error, persistence": float((past[-1:] - following).abs().mean())}
    control["error, each channel's own mean"] = float((past.mean(0) - following).abs().mean())
    off = ~np.eye(CHANNELS, dtype=bool)
    blocks = np.kron(np.eye(3), np.ones((4, 4)))
    figures["correlation of graph and blocks"] = float(np.corrcoef(graph[off], blocks[off])[0, 1])
    shuffled = np.random.default_rng(seed).permutation(graph[off])
    control["correlation, shuffled"] = float(np.corrcoef(shuffled, blocks[off])[0, 1])
    return Outcome(
        "forecasts beat persistence and each channel's mean, and the graph has the blocks",
        figures["error, regenn"] < min(v for k, v in control.items() if k.startswith("error"))
        and figures["correlation of graph and blocks"] > control["correlation, shuffled"] + 0.1,
        figures,
        control,
    )
