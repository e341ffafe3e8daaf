"""Normalisation, neuron and dropout as one operator against the layers by themselves."""

import pytest
import torch

import snnsim as sn
from snnsim.kernels.normalised_scan import moments, normalised, normalised_scan
from snnsim.networks import BatchNorm, Dropout, Sequential, fusion
from snnsim.neurons import LI, LIF, AdLIF

NEURONS = {
    "LIF": lambda: LIF(7, dt=1.0, reset="zero"),
    "LI": lambda: LI(7, dt=1.0),
    "AdLIF": lambda: AdLIF(7, dt=1.0, learn=("tau_mem",)),
}


def block(neuron, p, seed=0):
    torch.manual_seed(seed)
    norm = BatchNorm(7)
    torch.nn.init.uniform_(norm.weight, 0.5, 2.0)
    torch.nn.init.normal_(norm.bias)
    return Sequential(norm, NEURONS[neuron](), Dropout(p)).double()


def run(net, x, fused, monkeypatch):
    """Outputs, state, running averages and all gradients."""
    for layer in net:
        for p in layer.parameters():
            p.grad = None
    with monkeypatch.context() as patch:
        if not fused:
            patch.setattr(fusion, "fusable", lambda layers: 0)
        torch.manual_seed(1)
        leaf = x.clone().requires_grad_()
        y, state = net(leaf)
        g = torch.randn(y.shape, generator=torch.Generator().manual_seed(2)).to(y)
        final = sum(v.sin().sum() for v in state[1].values())
        ((y * g).sum() + final).backward()
    learnt = [p.grad for p in net.parameters()]
    return [y, *state[1].values(), leaf.grad, *learnt, *net.buffers()], state


@pytest.mark.parametrize("neuron", NEURONS)
@pytest.mark.parametrize("p", [0.0, 0.4])
@pytest.mark.parametrize("training", [True, False])
def test_fused_equals_the_layers_by_themselves(neuron, p, training, monkeypatch):
    x = 3 + 2 * torch.randn(23, 5, 7, generator=torch.Generator().manual_seed(3)).double()
    results = []
    for fused in (True, False):
        net = block(neuron, p).train(training)
        found, state = run(net, x, fused, monkeypatch)
        results.append(found)
        assert (state[2] is not None) == (training and p > 0)
    for a, b in zip(*results, strict=True):
        assert torch.allclose(a, b, atol=1e-10, rtol=1e-9)


def test_a_sequence_in_chunks_keeps_state_and_mask():
    net = block("LIF", 0.4).train()
    net[0].eval()  # statistics of chunks are not those of the whole
    x = 3 * torch.randn(20, 5, 7, generator=torch.Generator().manual_seed(4)).double()
    torch.manual_seed(5)
    whole, _ = net(x)
    torch.manual_seed(5)
    first, state = net(x[:8])
    second, _ = net(x[8:], state)
    assert torch.equal(whole, torch.cat([first, second]))


def test_gradients_of_statistics_are_confirmed_by_differences():
    net = Sequential(BatchNorm(3), LI(3, dt=1.0)).double()
    x = torch.randn(4, 2, 3, generator=torch.Generator().manual_seed(6)).double()
    assert fusion.fusable(list(net)) == 2 and fusion.can_run(list(net), x)
    net[0].momentum = 0.0  # so that every call is alike
    assert torch.autograd.gradcheck(lambda a: net(a)[0], (x.requires_grad_(),))


def test_whoever_listens_gets_the_layers_by_themselves():
    net = block("LIF", 0.4)
    heard = []
    handle = net[1].register_forward_hook(lambda *_: heard.append(1))
    net(torch.randn(5, 2, 7).double())
    assert heard == [1]
    handle.remove()
    assert fusion.fusable(list(net)) == 3
    assert fusion.fusable([torch.nn.Identity(), net[1]]) == 0


def test_moments_keep_their_digits_far_from_zero():
    x = 1e4 + torch.randn(50, 40, 6, generator=torch.Generator().manual_seed(7))
    mean, var = moments(x)
    exact = x.double().flatten(0, 1)
    assert torch.allclose(mean.double(), exact.mean(0), rtol=1e-7)
    assert torch.allclose(var.double(), exact.var(0, correction=0), rtol=1e-5)


def test_operator_follows_the_rules_of_torch():
    neuron = LIF(3, dt=1.0).double()
    equations = normalised(neuron.equations, False)
    x = torch.randn(5, 2, 3).double().requires_grad_()
    norm = BatchNorm(3).double()
    state, params = neuron.pack_state(x, None), neuron.packed_parameters(x)
    y, *_ = normalised_scan(
        neuron.equations,
        x,
        state,
        None,
        params,
        norm.weight,
        norm.bias,
        1e-5,
        neuron.learnt(),
        "auto",
    )
    assert y.shape == x.shape
    key = sn.kernels.dispatch.key_of(equations)
    arguments = (x, state, params, norm.weight, norm.bias, 1e-5, key, neuron.learnt(), "cpu")
    torch.library.opcheck(torch.ops.snnsim.normalised_scan.default, arguments)
