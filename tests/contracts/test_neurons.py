"""What every neuron model keeps: rungs agree, chunks add up, gradients are right."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field

import pytest
import torch
from models import drive, make, neuron_classes

import snnsim.neurons
from snnsim.errors import ConfigError, ShapeError
from snnsim.surrogate import ATan, get_surrogate

MODELS = neuron_classes()
each_model = pytest.mark.parametrize("cls", MODELS, ids=lambda c: c.__name__)


pytestmark = pytest.mark.usefixtures("float64")


def run(neuron, x, state=None, seed=3):
    """Outputs, final state and the gradients of everything, for one random cotangent."""
    x = x.clone().requires_grad_()
    y, final = neuron(x, state)
    generator = torch.Generator().manual_seed(seed)
    outputs = [y, *final.values()]
    cotangents = [torch.randn(o.shape, generator=generator) for o in outputs]
    wanted = [x, *neuron.parameters()]
    gradients = torch.autograd.grad(outputs, wanted, cotangents, allow_unused=True)
    return [o.detach() for o in outputs], [
        torch.zeros_like(w) if g is None else g for w, g in zip(wanted, gradients, strict=True)
    ]


def assert_close(a, b, tolerance=1e-10):
    for one, other in zip(a, b, strict=True):
        scale = max(1.0, float(one.abs().max()) if one.numel() else 1.0)
        assert one.shape == other.shape
        assert one.numel() == 0 or float((one - other).abs().max()) <= tolerance * scale


def test_exports_are_the_folder():
    in_folder = {cls.__name__ for cls in MODELS}
    exported = {
        name
        for name in snnsim.neurons.__all__
        if isinstance(getattr(snnsim.neurons, name), type)
        and issubclass(getattr(snnsim.neurons, name), snnsim.neurons.Neuron)
    }
    assert exported - {"Neuron"} == in_folder
    assert in_folder <= set(snnsim.__all__)


@each_model
@pytest.mark.parametrize("size", [1, 5, 257])
def test_cpu_rung_equals_reference(cls, size):
    x = drive(cls, 11, 3, size, seed=1)
    reference = run(make(cls, size, backend="reference"), x)
    compiled = run(make(cls, size, backend="cpu"), x)
    assert_close(reference[0], compiled[0])
    assert_close(reference[1], compiled[1])


@each_model
def test_chunks_add_up_with_gradients(cls):
    neuron = make(cls, 4)
    x = drive(cls, 12, 2, 4, seed=2)
    whole_x, cut_x = x.clone().requires_grad_(), x.clone().requires_grad_()
    whole, final = neuron(whole_x)
    state, pieces = None, []
    for part in cut_x.split([5, 1, 6]):
        y, state = neuron(part, state)
        pieces.append(y)
    pieces = torch.cat(pieces)
    assert torch.equal(whole, pieces)
    assert all(torch.equal(final[name], state[name]) for name in final)
    g = torch.randn(whole.shape, generator=torch.Generator().manual_seed(0))
    parameters = list(neuron.parameters())
    a = torch.autograd.grad(whole, [whole_x, *parameters], g, allow_unused=True)
    b = torch.autograd.grad(pieces, [cut_x, *parameters], g, allow_unused=True)
    for one, other in zip(a, b, strict=True):
        assert one is None or float((one - other).abs().max()) <= 1e-10 * max(
            1, float(one.abs().max())
        )


@each_model
def test_gradcheck_with_the_primitive_for_the_step(cls):
    neuron = make(cls, 2, surrogate=get_surrogate("sigmoid").smoothed(), detach_reset=False)
    x = (drive(cls, 4, 2, 2, seed=5) * 0.3).requires_grad_()
    assert torch.autograd.gradcheck(lambda a: neuron(a)[0], (x,), atol=1e-6, rtol=1e-5)


@each_model
def test_future_input_has_no_influence(cls):
    neuron = make(cls, 3)
    x = drive(cls, 8, 2, 3, seed=6)
    other = x.clone()
    other[5:] += 1.0
    assert torch.equal(neuron(x)[0][:5], neuron(other)[0][:5])


@each_model
def test_samples_do_not_mix(cls):
    neuron = make(cls, 3)
    x = drive(cls, 8, 4, 3, seed=7)
    order = torch.tensor([2, 0, 3, 1])
    assert torch.equal(neuron(x)[0][:, order], neuron(x[:, order])[0])


@each_model
@pytest.mark.parametrize("shape", [(0, 2, 3), (1, 2, 3), (4, 0, 3), (1, 1, 3)])
def test_empty_and_single_sizes(cls, shape):
    neuron = make(cls, 3)
    x = torch.zeros(shape, requires_grad=True)
    y, state = neuron(x)
    assert y.shape == x.shape
    assert all(value.shape == (shape[1], 3) for value in state.values())
    (y.sum() + sum(v.sum() for v in state.values())).backward()
    assert x.grad.shape == x.shape
    assert bool(torch.isfinite(x.grad).all())


@each_model
def test_views_and_strides_make_no_difference(cls):
    neuron = make(cls, 3)
    x = drive(cls, 6, 4, 3, seed=8)
    strided = x.permute(1, 0, 2).contiguous().permute(1, 0, 2)
    assert not strided.is_contiguous()
    a, b = run(neuron, x), run(neuron, strided)
    assert_close(a[0], b[0], 0.0)
    assert_close(a[1], b[1], 1e-14)
    y, _ = neuron(x.clone().requires_grad_())
    y.sum().backward()  # an expanded gradient, stride 0


@each_model
def test_poisoned_memory_is_never_read(cls, monkeypatch):
    poison = torch.empty_like

    def poisoned(*args, **kwargs):
        return poison(*args, **kwargs).fill_(torch.nan)

    expected = run(make(cls, 3), drive(cls, 6, 2, 3, seed=9))
    monkeypatch.setattr(torch, "empty_like", poisoned)
    found = run(make(cls, 3), drive(cls, 6, 2, 3, seed=9))
    assert_close(expected[0], found[0], 0.0)
    assert_close(expected[1], found[1], 0.0)


@each_model
def test_state_dict_deepcopy_and_same_bits(cls):
    neuron, other = make(cls, 3, seed=0), make(cls, 3, seed=1)
    x = drive(cls, 9, 2, 3, seed=10)
    neuron(x)
    other.load_state_dict(neuron.state_dict())
    for same in (neuron, other, copy.deepcopy(neuron)):
        assert torch.equal(neuron(x)[0], same(x)[0])
    assert all(key != "v" and "state" not in key for key in neuron.state_dict())


@each_model
def test_trace_ends_in_the_final_state(cls):
    neuron = make(cls, 3)
    x = drive(cls, 9, 2, 3, seed=11)
    y, final = neuron(x)
    traced, states = neuron.trace(x)
    assert torch.equal(y, traced)
    assert all(torch.allclose(states[name][-1], final[name], atol=1e-12) for name in final)


@each_model
def test_wrong_input_is_refused_by_name(cls):
    neuron = make(cls, 3)
    with pytest.raises(ShapeError, match=f"x has 4 channels but {cls.__name__} was built for 3"):
        neuron(torch.zeros(5, 2, 4))
    with pytest.raises(ShapeError, match="float32"):
        neuron(torch.zeros(5, 2, 3, dtype=torch.float32))
    with pytest.raises(ShapeError, match="state=None"):
        neuron(torch.zeros(5, 2, 3), neuron(torch.zeros(5, 4, 3))[1])
    with pytest.raises(
        ConfigError, match="did you mean 'v_threshold'|has no parameter 'v_treshold'"
    ):
        cls(3, dt=1.0, v_treshold=1.0)
    with pytest.raises(ConfigError, match="dt is 0"):
        cls(3, dt=0)


@dataclass(frozen=True, kw_only=True)
class Probe(ATan):
    """A surrogate that writes down every distance to the threshold it is asked for."""

    seen: list = field(default_factory=list, compare=False, hash=False)

    def forward(self, u):
        self.seen.append(u.detach().clone())
        return super().forward(u)


@pytest.mark.parametrize("cls", [m for m in MODELS if m.__name__ != "LI"], ids=lambda c: c.__name__)
def test_float32_differs_from_float64_only_at_ties(cls, record_property):
    """In each lane: equal spikes up to the first mismatch, and a tiny margin there."""
    probe = Probe()
    exact = make(cls, 16, backend="reference", surrogate=probe)
    x = drive(cls, 40, 4, 16, seed=12)
    z, _ = exact(x)
    margin = torch.stack(probe.seen)
    single = make(cls, 16, backend="cpu", surrogate="atan").float()
    rough = single(x.float())[0].double()
    differs = (z != rough).detach()
    first = differs & (differs.cumsum(0) == 1)
    record_property("equal_spikes", 1 - float(differs.double().mean()))
    assert bool((margin[first].abs() < 1e-5 * margin.abs().max().clamp(min=1)).all())


def test_a_float32_tie_is_decided_like_the_reference():
    """Exactly at the threshold a neuron fires, on every rung."""
    x = torch.full((3, 1, 8), 0.5, dtype=torch.float32)
    for backend in ("reference", "cpu"):
        z, _ = snnsim.neurons.IF(8, dt=1.0, backend=backend).float()(x)
        assert z[:, 0, 0].tolist() == [0.0, 1.0, 0.0]
