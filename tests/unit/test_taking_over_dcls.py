"""What of a layer of DCLS is taken over, and which layers are refused; the package is not needed.

Layers here only have the attributes of a ``Dcls1d``.
"""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from snnsim.errors import ConfigError
from snnsim.interop import from_dcls


def layer(**changes):
    generator = torch.Generator().manual_seed(0)
    given = {
        "dilated_kernel_size": (9,), "bias": None, "groups": 1, "stride": (1,),
        "version": "gauss", "in_channels": 4, "out_channels": 3, "kernel_count": 2,
        "weight": torch.randn(3, 4, 2, generator=generator).double().requires_grad_(),
        "P": (8 * torch.rand(1, 3, 4, 2, generator=generator) - 4).double().requires_grad_(),
        "SIG": torch.full((1, 3, 4, 2), 1.3).double().requires_grad_(),
    }  # fmt: skip
    return SimpleNamespace(**(given | changes))


@pytest.mark.parametrize(
    ("version", "profile", "sigma"),
    [("gauss", "gauss", 1.3), ("max", "triangle", 1.3), ("v1", "triangle", 0), ("v0", "linear", 0)],
)
def test_everything_of_a_layer_is_taken_over(version, profile, sigma):
    given = layer(version=version)
    ours = from_dcls(given, dt=2.0)
    assert (ours.n_in, ours.n_out, ours.length, ours.dt) == (4, 3, 9, 2.0)
    assert (ours.profile, ours.granularity, ours.padding, ours.tail) == (
        profile, "synaptic", "causal", 0,
    )  # fmt: skip
    assert float(ours.sigma) == pytest.approx(sigma, rel=1e-6)
    assert ours.weight.dtype == ours.delay.dtype == torch.float64
    assert torch.equal(ours.weight, given.weight)
    assert torch.equal(ours.delay, 4 - given.P[0])
    assert ours.delay.requires_grad and ours.weight.requires_grad
    with torch.no_grad():
        given.weight.zero_()
    assert ours.weight.abs().min() > 0


def test_it_may_lengthen_sequences_as_the_reference_system_does():
    ours = from_dcls(layer(), dt=1.0, padding="lengthen")
    assert (ours.padding, ours.tail) == ("lengthen", 4)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"bias": torch.zeros(3)}, "a bias"),
        ({"groups": 2}, "groups"),
        ({"stride": (2,)}, "a stride"),
        ({"dilated_kernel_size": (8,)}, "an even number of taps"),
        ({"version": "v2"}, "an unknown version"),
        ({"SIG": torch.tensor([1.0, 1.0, 2.0])}, "widths that differ between synapses"),
        ({"SIG": torch.tensor([1.0, 2.0]), "version": "max"}, "widths that differ"),
        ({"groups": 2, "bias": torch.zeros(3)}, "a bias, groups, which Delayed cannot"),
    ],
)
def test_each_reason_against_a_layer_is_named(changes, reason):
    with pytest.raises(ConfigError, match=f"this Dcls1d has {reason}"):
        from_dcls(layer(**changes), dt=1.0)


@pytest.mark.parametrize("version", ["v0", "v1"])
def test_versions_without_a_width_are_not_refused_for_theirs(version):
    from_dcls(layer(version=version, SIG=torch.tensor([1.0, 2.0])), dt=1.0)
