"""Writes ``spikingjelly.json``: traces of SpikingJelly's neurons in float64.

Run by hand when a case is added: ``python tests/golden/make_spikingjelly.py``.
"""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path

import torch
from spikingjelly.activation_based import neuron, surrogate

CASES = {
    "LIF hard reset, decayed input": (neuron.LIFNode, {"tau": 3.0, "v_reset": 0.0}),
    "LIF soft reset, decayed input": (neuron.LIFNode, {"tau": 3.0, "v_reset": None}),
    "LIF hard reset, whole input": (neuron.LIFNode, {"tau": 1.5, "decay_input": False}),
    "LIF hard reset to -0.2": (neuron.LIFNode, {"tau": 4.0, "v_reset": -0.2, "v_threshold": 0.7}),
    "IF soft reset": (neuron.IFNode, {"v_reset": None}),
    "PLIF": (neuron.ParametricLIFNode, {"init_tau": 2.5}),
}


def main() -> None:
    torch.set_default_dtype(torch.float64)
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(24, generator=generator) * 2.2 - 0.2
    traces = {}
    for name, (cls, options) in CASES.items():
        peer = cls(
            step_mode="m", store_v_seq=True, surrogate_function=surrogate.ATan(2.0), **options
        ).double()
        leaf = x.clone().view(-1, 1).requires_grad_()
        z = peer(leaf)
        (z * torch.arange(24.0).view(-1, 1)).sum().backward()
        traces[name] = {
            "z": z.detach().flatten().tolist(),
            "v": peer.v_seq.detach().flatten().tolist(),
            "g_x": leaf.grad.flatten().tolist(),
        }
    provenance = (
        f"spikingjelly {metadata.version('spikingjelly')}, torch {torch.__version__}, float64"
    )
    content = {"provenance": provenance, "x": x.tolist(), "traces": traces}
    Path(__file__).with_name("spikingjelly.json").write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
