"""ReGENN: coupled channels are forecast better, and their coupling is found (2008.12833)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from snnsim.baselines.forecast import Forecaster
from snnsim.baselines.models.lstm import LSTM
from snnsim.baselines.models.regenn import GraphMixer
from snnsim.training import set_seed
from snnsim_experiments.baselines.checks.outcome import Outcome, batches, optimise

CHANNELS, WINDOW, STRIDE = 12, 20, 5
RATE, MARGIN = 3e-3, 0.3  # learning rate; correlation above the control


def coupling() -> np.ndarray:
    """Return the coupling of three blocks of four channels, each a ring, ``[12, 12]``."""
    found = np.zeros((CHANNELS, CHANNELS))
    for i in range(CHANNELS):
        block, place = divmod(i, 4)
        found[i, 4 * block + (place - 1) % 4] = 0.75
    return found


def counts(steps: int, seed: int) -> np.ndarray:
    """Draw Poisson counts driven by the neighbour's two steps before, ``[steps, 12]``."""
    random, w = np.random.default_rng(seed), coupling()
    x = np.ones((steps, CHANNELS))
    for t in range(2, steps):
        x[t] = random.poisson(np.minimum(0.3 + 0.1 * x[t - 1] + w @ x[t - 2], 8.0))
    return x.astype(np.float32)


def windows(series: np.ndarray) -> tuple[Tensor, Tensor]:
    """Cut a series into pasts ``[WINDOW, n, 12]`` and what follows, ``[STRIDE, n, 12]``."""
    starts = range(0, len(series) - WINDOW - STRIDE, 2)
    past = np.stack([series[s : s + WINDOW] for s in starts], axis=1)
    next_ = np.stack([series[s + WINDOW : s + WINDOW + STRIDE] for s in starts], axis=1)
    return torch.from_numpy(past), torch.from_numpy(next_)


def run(seed: int = 0, short: bool = False) -> Outcome:
    """Measure the error of forecasts, and how the learnt graph correlates with the coupling."""
    x, y = windows(counts(500 if short else 6000, 2 * seed))
    past, following = windows(counts(2000, 2 * seed + 1))
    errors: dict[str, float] = {}
    steps = 3 if short else 800
    graph = np.zeros((CHANNELS, CHANNELS))
    for name in ("with the graph", "each channel by itself", "LSTM of all channels"):
        set_seed(seed)
        mixer = GraphMixer(CHANNELS)
        mixer.count_together(x)
        if name == "each channel by itself":
            mixer.requires_grad_(False)
            mixer.scale.data.zero_()
        whole = name == "LSTM of all channels"
        core = LSTM(CHANNELS if whole else 1, 48 if whole else 16)
        net = Forecaster(core, WINDOW, STRIDE, None if whole else mixer)
        order = batches(x.shape[1], 64, seed)

        def loss(net: Forecaster = net, order=order) -> Tensor:
            chosen = next(order)
            return (net(x[:, chosen]) - y[:, chosen]).square().mean()

        optimise(net, loss, steps, RATE)
        with torch.no_grad():
            errors[name] = float((net(past) - following).abs().mean())
        if name == "with the graph":
            graph = mixer.graph().detach().abs().numpy()
    off = ~np.eye(CHANNELS, dtype=bool)
    coupled = (coupling() > 0)[off]
    found = float(np.corrcoef(graph[off], coupled)[0, 1])
    shuffled = np.random.default_rng(seed).permutation(graph[off])
    control = {
        "error, each channel by itself": errors["each channel by itself"],
        "error, persistence": float((past[-1:] - following).abs().mean()),
        "error, each channel's own mean": float((past.mean(0) - following).abs().mean()),
        "correlation, shuffled": float(np.corrcoef(shuffled, coupled)[0, 1]),
    }
    return Outcome(
        "the graph of channels makes forecasts better, and it correlates with the true coupling, "
        f"by {MARGIN} more than one in another order",
        errors["with the graph"] < min(v for k, v in control.items() if k.startswith("error"))
        and found > control["correlation, shuffled"] + MARGIN,
        {
            "error, with the graph": errors["with the graph"],
            "error, LSTM of all channels": errors["LSTM of all channels"],
            "correlation of graph and coupling": found,
        },
        control,
        f"{steps} steps of 64 windows at a rate of {RATE:g} for each network",
    )
