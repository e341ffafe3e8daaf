"""Normalisation, neuron and dropout as one operator against the layers by themselves."""

import pytest
import torch
from toolbox import assert_same, gradients

import snnsim as sn
from snnsim.errors import ConfigError
from snnsim.kernels.normalised_scan import Normalisation, moments, normalised, normalised_scan
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
    found = {"y": y, "x.grad": leaf.grad, **state[1], **gradients(net), **dict(net.named_buffers())}
    return found, state


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
    assert_same(*results, atol=1e-10, rtol=1e-9)


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
        Normalisation(norm.weight, norm.bias, 1e-5),
        neuron.learnt(),
        "auto",
    )
    assert y.shape == x.shape
    key = sn.kernels.dispatch.key_of(equations)
    arguments = (x, state, params, norm.weight, norm.bias, 1e-5, key, neuron.learnt(), "cpu")
    torch.library.opcheck(torch.ops.snnsim.normalised_scan.default, arguments)


def listen(layer, heard):
    """The ways in which somebody may want to know of a layer, or to replace what it does."""

    def note(*_):
        heard.append(1)

    def instead(x, state=None):
        heard.append(1)
        return type(layer).forward(layer, x, state)

    anywhere = torch.nn.modules.module
    return {
        "forward hook": lambda: layer.register_forward_hook(note),
        "forward hook with keywords": lambda: layer.register_forward_hook(
            lambda m, a, k, y: heard.append(1), with_kwargs=True
        ),
        "hook before": lambda: layer.register_forward_pre_hook(note),
        "backward hook": lambda: layer.register_full_backward_hook(note),
        "hook before backward": lambda: layer.register_full_backward_pre_hook(note),
        "global hook": lambda: anywhere.register_module_forward_hook(note),
        "global hook before": lambda: anywhere.register_module_forward_pre_hook(note),
        "global backward hook": lambda: anywhere.register_module_full_backward_hook(note),
        "forward of its own": lambda: setattr(layer, "forward", instead),
    }


WAYS = list(listen(torch.nn.Identity(), []))


@pytest.mark.parametrize("index", [0, 1, 2])
@pytest.mark.parametrize("way", WAYS)
def test_no_way_of_listening_to_a_layer_is_passed_over(way, index, monkeypatch):
    net, heard = block("LIF", 0.4), []
    x = torch.randn(5, 2, 7, generator=torch.Generator().manual_seed(8)).double()
    wanted, _ = run(block("LIF", 0.4), x, True, monkeypatch)
    handle = listen(net[index], heard)[way]()
    try:
        found, _ = run(net, x, True, monkeypatch)
    finally:
        handle.remove() if handle is not None else None
    assert heard
    assert_same(found, wanted, atol=1e-10, rtol=1e-9)


class Doubled(LIF):
    """A neuron with a forward around its step."""

    def forward(self, x, state=None):
        y, state = super().forward(x, state)
        return 2 * y, state


class Normed(BatchNorm):
    def forward(self, x, state=None):
        y, state = super().forward(x, state)
        return y + 1, state


class Wider(Sequential):
    def forward(self, x, state=None):
        y, state = super().forward(x, state)
        return y + 1, state


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("index", [0, 1, 2, 3])
def test_compiling_refuses_what_it_would_pass_over(way, index):
    net = Sequential(sn.Dense(4, 7), BatchNorm(7), LIF(7, dt=1.0), Dropout(0.2)).eval()
    sn.compile(net)
    handle = listen(net[index], [])[way]()
    try:
        with pytest.raises(ConfigError, match="hook or a forward of its own"):
            sn.compile(net)
    finally:
        handle.remove() if handle is not None else None


@pytest.mark.parametrize("made", [
    lambda: Sequential(sn.Dense(4, 7), Doubled(7, dt=1.0)),
    lambda: Sequential(sn.Dense(4, 7), Normed(7), LIF(7, dt=1.0)),
    lambda: Wider(sn.Dense(4, 7), LIF(7, dt=1.0)),
    lambda: Sequential(Wider(sn.Dense(4, 7), LIF(7, dt=1.0))),
])  # fmt: skip
def test_compiling_refuses_a_subclass_with_a_forward_of_its_own(made):
    with pytest.raises(ConfigError, match="forward of its own"):
        sn.compile(made().eval())


def test_a_recurrent_layer_refuses_what_it_would_pass_over():
    with pytest.raises(ConfigError, match="forward of their own"):
        sn.Recurrent(Doubled(7, dt=1.0))
    layer = sn.Recurrent(LIF(7, dt=1.0))
    layer.neuron.forward = lambda x, state=None: (x, state)
    with pytest.raises(ConfigError, match="forward of their own"):
        layer(torch.ones(3, 2, 7))


@pytest.mark.parametrize("way", [w for w in WAYS if w != "forward of its own"])
def test_hooks_of_the_neurons_within_a_recurrent_layer_are_called(way):
    layer, heard = sn.Recurrent(LIF(7, dt=1.0)), []
    x = torch.rand(9, 2, 7, requires_grad=True)
    before, _ = layer(x)
    handle = listen(layer.neuron, heard)[way]()
    try:
        y, _ = layer(x)
        y.sum().backward()
    finally:
        handle.remove()
    assert heard and torch.equal(y, before)


def test_a_hook_sees_what_the_neurons_within_a_recurrent_layer_say():
    layer, seen = sn.Recurrent(LIF(7, dt=1.0)), []
    layer.neuron.register_forward_hook(lambda m, inputs, output: seen.append(output[0]))
    y, _ = layer(torch.ones(9, 2, 7))
    assert len(seen) == 1 and torch.equal(seen[0], y) and y.any()


def test_a_raster_and_a_diagnosis_name_a_recurrent_layer():
    pytest.importorskip("matplotlib")
    from snnsim import plotting
    from snnsim.training.finite import first_culprit

    net = Sequential(sn.Dense(4, 7), sn.Recurrent(LIF(7, dt=1.0)))
    figure = plotting.raster(net, torch.rand(9, 2, 4), 1.0)
    assert [axis.get_ylabel() for axis in figure.axes] == ["input", "layer 1: LIF"]
    torch.nn.init.constant_(net[1].w_rec, float("nan"))
    assert "layers.1" in first_culprit(net, torch.rand(9, 2, 4))


@pytest.mark.parametrize("frozen", ["weight", "bias"])
@pytest.mark.parametrize("training", [True, False])
def test_of_a_normalisation_of_which_a_part_is_frozen_the_other_has_its_gradient(training, frozen):
    torch.manual_seed(0)
    net = Sequential(BatchNorm(3), LIF(3, dt=1.0)).double().train(training)
    getattr(net[0], frozen).requires_grad_(False)
    x, g = torch.randn(9, 4, 3).double(), torch.randn(9, 4, 3).double()
    other = getattr(net[0], "bias" if frozen == "weight" else "weight")
    (found,) = torch.autograd.grad((net(x)[0] * g).sum(), other)
    y, _ = net[1](net[0](x)[0])  # one by one
    (expected,) = torch.autograd.grad((y * g).sum(), other)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    assert bool(expected.abs().min() > 1e-3)
