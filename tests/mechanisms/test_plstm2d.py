"""pLSTM on a grid in the published P-mode: what leaves a node is no more than what enters it."""

from __future__ import annotations

import pytest
import torch
from toolbox import normal, random

import snnsim as sn
from snnsim.baselines.models.plstm2d import PLSTM2d, grid, weights_of
from snnsim.errors import ConfigError

pytestmark = pytest.mark.usefixtures("float64")


def mass_on_anti_diagonals(bound: str, gates: torch.Tensor, size: int) -> list[float]:
    """Write 1 to both edges out of the first node, and sum what edges carry from then on."""
    gates = gates.expand(size, 1, size, -1, 1).clone()
    gates[..., -5:-1, 0] = 1.0  # sources write all, marks read all
    gates[..., -1, 0] = 0.0  # a node reads nothing of its own
    k = torch.zeros(size, 1, size, 1, 1)
    k[0, 0, 0] = 1.0
    one = torch.ones_like(k)
    y, _ = grid(one, k, one, weights_of(gates, bound), torch.zeros(size, 1, 1, 1, 1))
    entering = y[:, 0, :, 0]  # of each node, from both edges
    return [float(entering.flip(1).diagonal(i).sum()) for i in range(size - 2, -1, -1)]


def test_a_source_of_mass_two_never_grows_on_its_way():
    gates = torch.ones(8, 1, 8, 7, 1)
    gates[:, :, :, 1] = random(8, 1, 8, 1)  # each node divides in its own way
    found = mass_on_anti_diagonals("leaving", gates, 8)
    assert found == pytest.approx([2.0] * 7)  # T = 1 loses nothing either
    gates[:, :, :, 0] = 0.5
    found = mass_on_anti_diagonals("leaving", gates, 8)
    assert found == pytest.approx([2.0 * 0.5**i for i in range(7)])


def test_a_bound_on_what_enters_an_edge_lets_the_same_source_be_copied_at_every_node():
    gates = torch.zeros(8, 1, 8, 9, 1)
    gates[..., [0, 2], :] = 1.0
    gates[..., [1, 3], :] = 0.5  # the mean of both edges that enter
    gates[0, :, :, [1, 3]] = 1.0  # only the edge from the group below has something here,
    gates[1:, :, 0, [1, 3]] = 0.0  # and here only the one from the step before
    found = mass_on_anti_diagonals("entering", gates, 8)
    assert found == pytest.approx([2.0, 4.0, 6.0, 8.0, 10.0, 12.0, 14.0])


@pytest.mark.parametrize("channels", [6, 7])
def test_the_model_is_the_equations_of_the_p_mode_node_by_node(channels):
    T, B, G, H, n, d = 6, 2, 3, 2, 3, 2
    net = PLSTM2d(channels, H * d, groups=G, heads=H, keys=n)
    with torch.no_grad():
        net.gates.bias.normal_()
    x, on = normal(T, B, channels), normal(G, B, H, n, d, seed=1)
    y, end = net(x, on)
    nodes = net.tokens(x)
    q, k, v = net.projected(nodes)
    gate = (nodes @ net.gates.weight.T + net.gates.bias).sigmoid().view(T, B, G, 7, H, 1, 1)
    on, outputs = on.clone(), torch.zeros(T, B, G, H, d)
    for t in range(T):
        up = torch.zeros(B, H, n, d)
        for g in range(G):
            total, o, source_up, source_on, mark_up, mark_on, direct = gate[t, :, g].unbind(1)
            left, here = on[g].clone(), k[t, :, g, ..., None] * v[t, :, g, :, None]
            state = mark_up * up + mark_on * left + direct * here
            outputs[t, :, g] = torch.einsum("bhn,bhnd->bhd", q[t, :, g] / n**0.5, state)
            on[g] = (1 - o) * total * (left + up) + source_on * here
            up = o * total * (left + up) + source_up * here
    torch.testing.assert_close(y, net.out(outputs.flatten(3).mean(2))[0])
    torch.testing.assert_close(end, on)


def test_the_transitions_out_of_either_edge_have_a_total_weight_of_at_most_one():
    weights = weights_of(random(5, 2, 3, 7, 4), "leaving")
    up_up, on_up, up_on, on_on = weights[..., :4, :].unbind(-2)
    assert float((up_up + up_on).max()) <= 1 and float((on_up + on_on).max()) <= 1


def test_weights_of_an_earlier_version_give_their_own_outputs(tmp_path):
    former = PLSTM2d(6, 8, bound="entering")
    net, x = PLSTM2d(6, 8), normal(5, 2, 6)
    optimizer = torch.optim.Adam(net.parameters())
    with pytest.warns(FutureWarning, match='has bound="entering" now'):
        net.load_state_dict(former.state_dict())
    assert torch.equal(net(x)[0], former(x)[0])
    net(x)[0].sum().backward()
    optimizer.step()  # of the same parameters
    assert not torch.equal(net.gates.bias, former.gates.bias)
    sn.save(net, tmp_path / "net.safetensors")
    again = sn.load(tmp_path / "net.safetensors")
    assert torch.equal(again(x)[0], net(x)[0])


def test_weights_of_another_width_are_still_refused():
    with pytest.raises(RuntimeError, match="gates"):
        PLSTM2d(6, 8).load_state_dict(PLSTM2d(6, 8, heads=2).state_dict())
    with pytest.raises(ConfigError, match="bound"):
        PLSTM2d(6, 8, bound="both")
