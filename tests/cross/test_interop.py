"""Layers taken over from DCLS compute what they computed there."""

from __future__ import annotations

import pytest
import torch

from snnsim.errors import ConfigError
from snnsim.interop import from_dcls

modules = pytest.importorskip("DCLS.construct.modules")


def peer(version="gauss", **changes):
    torch.manual_seed(0)
    options = {"kernel_count": 2, "dilated_kernel_size": 9, "bias": False, **changes}
    return modules.Dcls1d(4, 3, version=version, **options).double()


@pytest.mark.parametrize("version", ["gauss", "max", "v1", "v0"])
def test_output_is_the_same(version):
    layer = peer(version)
    if version in ("gauss", "max"):
        torch.nn.init.constant_(layer.SIG, 1.3)
    ours = from_dcls(layer, dt=1.0).train()
    x = torch.randn(11, 2, 4).double()
    padded = torch.nn.functional.pad(x.permute(1, 2, 0), (8, 0))
    expected = layer(padded).permute(2, 0, 1)
    assert torch.allclose(ours(x)[0], expected, atol=1e-12)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"bias": True}, "a bias"),
        ({"dilated_kernel_size": 8}, "even number"),
        ({"stride": 2}, "a stride"),
    ],
)
def test_what_cannot_be_represented_is_refused(changes, reason):
    with pytest.raises(ConfigError, match=reason):
        from_dcls(peer(**changes), dt=1.0)
