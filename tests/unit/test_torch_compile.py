"""torch.compile traces through the package's operators without a break."""

import pytest
import torch
from toolbox import assert_same, gradients

import snnsim as sn

NETWORKS = {
    "delayed": lambda: sn.Sequential(
        sn.Delayed(4, 8, dt=1.0, max_delay_ms=8), sn.BatchNorm(8), sn.LIF(8, dt=1.0),
        sn.Dropout(0.0), sn.Dense(8, 2), sn.LI(2, dt=1.0),
    ),
    "recurrent": lambda: sn.Sequential(sn.Dense(4, 8), sn.Recurrent(sn.LIF(8, dt=1.0))),
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_one_graph_with_the_same_outputs_and_gradients(name):
    torch.manual_seed(0)
    net = NETWORKS[name]().double()
    x = torch.rand(40, 3, 4, dtype=torch.float64)
    traced = torch.compile(net, fullgraph=True, backend="aot_eager")
    results = []
    for run in (net, traced):
        net.zero_grad()
        leaf = x.clone().requires_grad_()
        y, _ = run(leaf)
        y.square().sum().backward()
        results.append({"y": y, "x.grad": leaf.grad, **gradients(net)})
    assert_same(*results, rtol=1e-5, atol=1e-12)
    assert results[0]["y"].count_nonzero() > 0
