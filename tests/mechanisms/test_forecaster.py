"""The forecaster of ReGENN: Spadon et al. 2021, a linear part, a shared core, and a graph."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from models_by_hand import arrays, close, normal, randomised

from snnsim.baselines.forecast import Forecaster
from snnsim.baselines.models.elman import Elman
from snnsim.baselines.models.regenn import GraphMixer

pytestmark = pytest.mark.usefixtures("float64")

WINDOW, STRIDE, CHANNELS = 6, 3, 4


def last_state(p, x):
    """The Elman core after one sample ``[T, n]``."""
    h = np.zeros(len(p["core.module.weight_hh_l0"]))
    bias = p["core.module.bias_ih_l0"] + p["core.module.bias_hh_l0"]
    for now in x:
        h = np.tanh(p["core.module.weight_ih_l0"] @ now + p["core.module.weight_hh_l0"] @ h + bias)
    return h


def mixed(p, x):
    """Every step of one sample through the graph; channels were counted to be active alone."""
    codes = [p["mixer.code.weight"] @ e + p["mixer.code.bias"] for e in np.eye(CHANNELS)]
    codes = [code / np.linalg.norm(code) for code in codes]
    graph = np.array([[a @ b for b in codes] for a in codes])
    graph = graph * p["mixer.scale"] + p["mixer.shift"]
    return np.array([np.maximum(now + graph @ now, 0) for now in x])


def by_hand(p, x, with_graph):
    """Forecasts ``[stride, channels]`` of one sample ``[window, channels]``."""
    x = mixed(p, x) if with_graph else x
    if with_graph:  # the same core for each channel by itself
        said = [p["out.weight"] @ last_state(p, x[:, [c]]) + p["out.bias"] for c in range(CHANNELS)]
        added = np.stack(said, 1)
    else:
        said = p["out.weight"] @ last_state(p, x) + p["out.bias"]
        added = said.reshape(STRIDE, CHANNELS)
    y = np.zeros((STRIDE, CHANNELS))
    for step in range(STRIDE):
        for c in range(CHANNELS):
            own = sum(p["own"][step, t] * x[t, c] for t in range(WINDOW))
            y[step, c] = max(own + added[step, c], 0.0)
    return y


def make(with_graph, seed=0):
    core = Elman(1 if with_graph else CHANNELS, 5)
    mixer = GraphMixer(CHANNELS, code=3) if with_graph else None
    return randomised(Forecaster(core, WINDOW, STRIDE, mixer), seed=seed)


@pytest.mark.parametrize("with_graph", [False, True])
def test_a_forecaster_is_its_equations(with_graph):
    net, x = make(with_graph), normal(WINDOW, 2, CHANNELS)
    y = net(x)
    for b in range(2):
        close(y[:, b], by_hand(arrays(net), x[:, b].numpy(), with_graph), 1e-12)


def test_the_linear_part_forecasts_where_the_core_says_nothing():
    net, x = make(False), normal(WINDOW, 2, CHANNELS).abs()
    with torch.no_grad():
        net.out.weight.zero_()
        net.out.bias.zero_()
        net.own.zero_()
        net.own[:, -1] = 1.0  # as at the last step
    close(net(x), x[-1:].expand(STRIDE, -1, -1).numpy(), 1e-12)


def test_only_the_graph_carries_information_between_channels():
    net, x = make(True, seed=1), normal(WINDOW, 1, CHANNELS).abs()
    changed = x.clone()
    changed[..., 0] += 1.0
    with torch.no_grad():
        net.out.bias.fill_(3.0)  # above 0, where the rectifier hides nothing
    assert float((net(changed) - net(x)).detach()[..., 1:].abs().max()) > 1e-3
    with torch.no_grad():
        net.mixer.scale.zero_()
        net.mixer.shift.zero_()
    moved = (net(changed) - net(x)).detach().abs().amax((0, 1))
    assert moved[0] > 1e-3 and not moved[1:].any()
