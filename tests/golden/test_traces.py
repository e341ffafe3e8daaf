"""Traces of SpikingJelly's neurons, stored with their provenance; see ``make_spikingjelly.py``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import snnsim as sn

GOLDEN = json.loads(Path(__file__).with_name("spikingjelly.json").read_text())
EULER = {"dt": 1.0, "discretization": "euler", "detach_reset": False}
OURS = {
    "LIF hard reset, decayed input": (
        sn.LIF,
        {"tau_mem": 3.0, "scale_input": True, "reset": "zero"},
    ),
    "LIF soft reset, decayed input": (sn.LIF, {"tau_mem": 3.0, "scale_input": True}),
    "LIF hard reset, whole input": (sn.LIF, {"tau_mem": 1.5, "reset": "zero"}),
    # SpikingJelly starts at and decays towards v_reset: v + (x - (v - v_reset)) / tau
    "LIF hard reset to -0.2": (
        sn.LIF,
        {"tau_mem": 4.0, "scale_input": True, "reset": "zero", "v_reset": 0.0, "v_threshold": 0.9},
    ),
    "IF soft reset": (sn.IF, {"reset": "subtract"}),
    "PLIF": (sn.PLIF, {"tau_mem": 2.5}),
}


def test_every_stored_trace_is_compared():
    assert set(OURS) == set(GOLDEN["traces"])


@pytest.mark.parametrize("name", OURS)
def test_trace_spikes_and_gradient(name):
    cls, options = OURS[name]
    golden = {k: torch.tensor(v).double() for k, v in GOLDEN["traces"][name].items()}
    shift = -0.2 if "-0.2" in name else 0.0  # ours decays towards 0, so move the origin
    neuron = cls(1, surrogate="atan", **EULER, **options).double()
    x = torch.tensor(GOLDEN["x"]).double().view(-1, 1, 1)
    leaf = x.clone().requires_grad_()
    z, _ = neuron(leaf)
    _, states = neuron.trace(x)
    assert torch.equal(z.detach().flatten(), golden["z"])
    assert torch.allclose(states["v"].flatten() + shift, golden["v"], atol=1e-12)
    (z.flatten() * torch.arange(24.0).double()).sum().backward()
    assert torch.allclose(leaf.grad.flatten(), golden["g_x"], atol=1e-10)
