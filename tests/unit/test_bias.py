"""A bias for each channel: by itself, in pieces, in files, compiled and in NIR's place."""

from __future__ import annotations

import pytest
import torch

import snnsim as sn
from snnsim.errors import ConfigError, ShapeError


def biased():
    torch.manual_seed(0)
    late = sn.Delayed(5, 6, dt=1.0, max_delay_ms=6.0, sigma=0.2)
    net = sn.Sequential(late, sn.Bias(6), sn.LIF(6, dt=1.0)).eval()
    torch.nn.init.uniform_(net[1].bias, 0.1, 0.4)
    return net, (torch.rand(40, 2, 5) < 0.4).float()


@pytest.mark.parametrize("shape", [(7, 2, 4), (7, 2, 4, 3), (7, 2, 4, 3, 5)])
def test_each_channel_gets_its_value_at_every_step(shape):
    layer = sn.Bias(4)
    assert not layer.bias.any()
    with torch.no_grad():
        layer.bias.copy_(torch.arange(4.0))
    x = torch.rand(shape)
    y, state = layer(x)
    assert state is None
    for channel in range(4):
        assert torch.equal(y[:, :, channel], x[:, :, channel] + channel)
    (gradient,) = torch.autograd.grad(y.sum(), [layer.bias])
    assert torch.equal(gradient, torch.full((4,), x[:, :, 0].numel() * 1.0))


def test_other_channels_are_refused():
    with pytest.raises(ShapeError, match=r"\[T, B, 4"):
        sn.Bias(4)(torch.rand(3, 2, 5))
    with pytest.raises(ConfigError, match="n is 0"):
        sn.Bias(0)


def test_a_network_with_it_streams_and_is_saved(tmp_path):
    net, x = biased()
    y, _ = net(x)
    assert not torch.equal(y, sn.Sequential(net[0], net[2])(x)[0])
    first, state = net(x[:7])
    assert torch.equal(torch.cat([first, net(x[7:], state)[0]]), y)
    sn.save(net, tmp_path / "net.safetensors")
    assert torch.equal(sn.load(tmp_path / "net.safetensors")(x)[0], y)


def test_compiled_it_computes_the_same():
    net, x = biased()
    assert torch.equal(sn.compile(net)(x)[0], net(x)[0])
