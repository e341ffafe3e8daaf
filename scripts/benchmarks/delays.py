"""One delayed connection, forward and backward."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from DCLS.construct.modules import Dcls1d

from benchmarks.measure import Case, Run
from snnsim.kernels.delay_conv import delay_conv


def connection(
    steps: int, batch: int, n: int, taps: int, rate: float, sigma: float = 0.23, peers: bool = True
) -> Case:
    """``n`` to ``n`` channels; the input spikes with probability ``rate``."""
    generator = torch.Generator().manual_seed(0)
    x = (torch.rand(steps, batch, n, generator=generator) < rate).float()
    tail = (taps - 1) // 2
    g = torch.randn(steps + tail, batch, n, generator=generator)
    weight = torch.randn(n, n, 1, generator=generator) / n**0.5
    delay = (torch.rand(n, n, 1, generator=generator) * taps).clamp(0, taps - 1)

    def ours(backend: str):
        def build() -> Run:
            def run():
                leaves = [a.detach().requires_grad_() for a in (x, weight, delay)]
                y = delay_conv(*leaves, sigma, length=taps, tail=tail, backend=backend)
                return y.detach(), *torch.autograd.grad(y, leaves, g)

            return run

        return build

    def dcls() -> Run:
        conv = Dcls1d(n, n, kernel_count=1, dilated_kernel_size=taps, bias=False, version="gauss")
        conv.SIG.requires_grad_(False)
        with torch.no_grad():
            conv.weight.copy_(weight)
            conv.P.copy_((taps // 2 - delay).unsqueeze(0))
            conv.SIG.fill_(sigma)

        def run():
            leaf = x.detach().requires_grad_()
            y = conv(F.pad(leaf.permute(1, 2, 0), (taps - 1, tail))).permute(2, 0, 1)
            g_x, g_w, g_p = torch.autograd.grad(y, (leaf, conv.weight, conv.P), g)
            return y.detach(), g_x, g_w, -g_p[0]

        return run

    def plain() -> Run:
        kernel = torch.randn(n, n, taps, generator=generator)

        def run():
            leaves = [a.detach().requires_grad_() for a in (x, kernel)]
            y = F.conv1d(F.pad(leaves[0].permute(1, 2, 0), (taps - 1, tail)), leaves[1])
            return torch.autograd.grad(y, leaves, g.permute(1, 2, 0))

        return run

    build = {"snnsim": ours("auto")}
    if peers:
        build |= {"snnsim reference": ours("reference"), "DCLS": dcls, "plain conv1d": plain}
    return Case(
        f"delays {n} -> {n}, D {taps}, T {steps}, batch {batch}, {100 * rate:g} %",
        build,
        same={"snnsim reference": 1e-4, "DCLS": 1e-4} if peers else {},
    )
