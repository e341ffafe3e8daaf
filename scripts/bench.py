"""Times snnsim against its peers in one process: equality first, then alternating runs.

Prints a Markdown table of medians and ratios and, with --json, writes everything to a file.
Times are process (CPU) time; the wall time stands beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import numpy as np
import torch
from DCLS.construct.modules import Dcls1d
from snnsim_datasets import load
from spikingjelly.activation_based import functional, neuron, surrogate
from torch import nn

import snnsim as sn
from snnsim.kernels.delay_conv import delay_conv
from snnsim.surrogate import ATan


def measure(
    contestants: dict[str, Callable[[], None]], repeats: int
) -> dict[str, dict[str, float]]:
    """Median CPU and wall seconds, the contestants taking turns."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in contestants}
    for turn in range(repeats + 1):
        for name, run in contestants.items():
            cpu, wall = time.process_time(), time.perf_counter()
            run()
            if turn:  # the first turn compiles and warms up
                times[name].append((time.process_time() - cpu, time.perf_counter() - wall))
    return {
        name: {
            "cpu_s": statistics.median(cpu for cpu, _ in runs),
            "wall_s": statistics.median(wall for _, wall in runs),
        }
        for name, runs in times.items()
    }


def lif_case(steps: int, batch: int, n: int) -> dict[str, Callable[[], None]]:
    """Forward and backward of a LIF layer."""
    x = torch.randn(steps, batch, n)
    ours = sn.LIF(
        n, dt=10.0, tau_mem=20.0, discretization="euler", reset="zero", surrogate=ATan(alpha=5.0)
    )
    peer = neuron.LIFNode(
        tau=2.0,
        decay_input=False,
        detach_reset=True,
        step_mode="m",
        surrogate_function=surrogate.ATan(5.0),
    )

    def run_ours():
        leaf = x.clone().requires_grad_()
        z, _ = ours(leaf)
        z.sum().backward()
        return z.detach(), leaf.grad

    def run_peer():
        functional.reset_net(peer)
        leaf = x.clone().requires_grad_()
        z = peer(leaf)
        z.sum().backward()
        return z.detach(), leaf.grad

    (z, g), (z_peer, g_peer) = run_ours(), run_peer()
    same = (z == z_peer).float().mean()
    assert same > 0.9999, f"spikes differ: {same}"
    assert torch.allclose(g, g_peer, atol=1e-4), "gradients differ"
    return {"snnsim": run_ours, "SpikingJelly": run_peer}


def delay_case(
    steps: int, batch: int, n: int, taps: int, rate: float
) -> dict[str, Callable[[], None]]:
    """Forward and backward of one delayed connection."""
    x = (torch.rand(steps, batch, n) < rate).float()
    peer = Dcls1d(n, n, kernel_count=1, dilated_kernel_size=taps, bias=False, version="gauss")
    peer.SIG.requires_grad_(False)
    weight = peer.weight.detach().clone().requires_grad_()
    delay = (taps // 2 - peer.P.detach()[0]).requires_grad_()
    tail = (taps - 1) // 2

    def run(backend: str):
        def go():
            weight.grad = delay.grad = None
            leaf = x.clone().requires_grad_()
            y = delay_conv(leaf, weight, delay, 0.23, length=taps, tail=tail, backend=backend)
            y.sum().backward()
            return y.detach(), weight.grad

        return go

    def run_peer():
        peer.zero_grad()
        leaf = x.clone().requires_grad_()
        padded = nn.functional.pad(leaf.permute(1, 2, 0), (taps - 1, tail))
        y = peer(padded).permute(2, 0, 1)
        y.sum().backward()
        return y.detach(), peer.weight.grad

    (y, g), (y_peer, g_peer) = run("auto")(), run_peer()
    assert torch.allclose(y, y_peer, atol=1e-4), "outputs differ"
    assert float((g - g_peer).abs().max() / g_peer.abs().max()) < 1e-4, "gradients differ"
    return {"snnsim": run("auto"), "snnsim reference": run("reference"), "DCLS": run_peer}


class PeerNetwork(nn.Module):
    """The SHD network out of SpikingJelly's and DCLS's layers."""

    def __init__(self, ours: sn.Sequential):
        super().__init__()
        self.convs, self.norms, self.neurons = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for mine in ours.layers[::4]:
            conv = Dcls1d(
                mine.n_in,
                mine.n_out,
                kernel_count=1,
                dilated_kernel_size=25,
                bias=False,
                version="gauss",
            )
            conv.SIG.requires_grad_(False)
            with torch.no_grad():
                conv.weight.copy_(mine.weight)
                conv.P.copy_((12 - mine.delay).unsqueeze(0))
                conv.SIG.fill_(12)
            self.convs.append(conv)
            last = mine is ours.layers[-2]
            self.norms.append(nn.Identity() if last else nn.BatchNorm1d(mine.n_out))
            self.neurons.append(
                neuron.LIFNode(
                    tau=1.005,
                    decay_input=False,
                    v_threshold=1e9 if last else 1.0,
                    detach_reset=True,
                    step_mode="m",
                    store_v_seq=last,
                    surrogate_function=surrogate.ATan(5.0),
                )
            )

    def forward(self, x):
        functional.reset_net(self)
        for conv, norm, lif in zip(self.convs, self.norms, self.neurons, strict=True):
            y = conv(nn.functional.pad(x.permute(1, 2, 0), (24, 12))).permute(2, 0, 1)
            y = norm(y.flatten(0, 1)).view_as(y)
            x = lif(y)
        return self.neurons[-1].v_seq


def step_case(batch: int) -> dict[str, Callable[[], None]]:
    """One training step of the SHD network (no dropout, so that both compute the same)."""
    torch.manual_seed(0)
    ours = sn.shd_network(dropout=0.0)
    peer = PeerNetwork(ours)
    x = (torch.rand(101, batch, 140) < 0.08).float()
    labels = torch.randint(0, 20, (batch,))

    def runner(forward: Callable, parameters: list[nn.Parameter]):
        optimizer = torch.optim.Adam(parameters, lr=0.0)

        def run():
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(forward(x).softmax(-1).sum(0), labels)
            loss.backward()
            optimizer.step()
            return float(loss.detach())

        return run

    trained = [p for p in peer.parameters() if p.requires_grad]
    mine = runner(lambda a: ours(a)[0], list(ours.parameters()))
    theirs = runner(peer, trained)
    a, b = mine(), theirs()
    assert abs(a - b) < 1e-3, f"losses differ: {a} and {b}"
    return {"snnsim": mine, "SpikingJelly + DCLS": theirs}


def data_case() -> dict[str, Callable[[], None]]:
    """Making a batch of 256 embedded recordings."""
    data = load("spoken-digits", "train")
    indices = np.arange(256)
    return {"snnsim": lambda: data.batch(indices)}


def cases(quick: bool) -> dict[str, Callable[[], dict[str, Callable[[], None]]]]:
    """All cases by name."""
    batch = 32 if quick else 256
    return {
        f"SHD training step, batch {batch}": lambda: step_case(batch),
        "LIF 100 x 256 x 256": lambda: lif_case(100, 256, 256),
        "LIF 500 x 16 x 512": lambda: lif_case(500, 16, 512),
        "LIF 1000 x 32 x 128": lambda: lif_case(1000, 32, 128),
        "delays 256 -> 256, D 25, T 100, batch 64, 5 %": lambda: delay_case(100, 64, 256, 25, 0.05),
        "batch of 256 recordings": data_case,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5, help="timed turns per contestant")
    parser.add_argument("--threads", type=int, default=1, help="torch threads")
    parser.add_argument("--quick", action="store_true", help="smaller batch for the training step")
    parser.add_argument("--only", default="", help="run the cases whose name contains this")
    parser.add_argument("--json", type=Path, help="write all figures here")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = {}
    print("| case | contestant | CPU s | wall s | ratio to snnsim |\n|---|---|---|---|---|")
    for name, make in cases(options.quick).items():
        if options.only not in name:
            continue
        torch.manual_seed(0)
        rows[name] = measure(make(), options.repeats)
        own = rows[name]["snnsim"]["cpu_s"]
        for contestant, row in rows[name].items():
            times = f"{row['cpu_s']:.4f} | {row['wall_s']:.4f} | {row['cpu_s'] / own:.1f}"
            print(f"| {name} | {contestant} | {times} |")
    report = {
        "cases": rows,
        "threads": options.threads,
        "load": os.getloadavg(),
        "processor": platform.processor() or platform.machine(),
        "versions": {
            p: metadata.version(p) for p in ("snnsim", "torch", "numba", "spikingjelly", "dcls")
        },
    }
    print(f"\nthreads {options.threads}, load {report['load'][0]:.1f}, {report['versions']}")
    if options.json:
        options.json.write_text(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
