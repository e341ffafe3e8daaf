"""What every model in ``snnsim/baselines/models`` must do; being there is enough."""

from __future__ import annotations

import copy
from inspect import signature

import pytest
import torch
from torch.func import functional_call
from torch.nn.utils import parametrize

from snnsim.baselines import models
from snnsim.baselines.baseline import Baseline
from snnsim.errors import ShapeError
from snnsim.layer import auxiliary_losses, map_state

AHEAD = [n for n in models.names() if "look_ahead" in signature(models.get(n)).parameters]
NAMES = models.names() + [f"{name} looking ahead" for name in AHEAD]
N_IN, N_OUT, T, B = 6, 8, 13, 3
CLOSE = {"rtol": 1e-9, "atol": 1e-10}

pytestmark = pytest.mark.usefixtures("float64")


def make(name: str, seed: int = 0) -> Baseline:
    torch.manual_seed(seed)
    model, _, ahead = name.partition(" ")
    options = {"look_ahead": True} if ahead else {}
    return models.get(model)(N_IN, N_OUT, **options).eval()


STREAMING = [n for n in NAMES if make(n).streaming == "exact"]
WHOLE = [n for n in NAMES if n not in STREAMING]
LINEAR = [n for n in NAMES if hasattr(make(n), "ltv")]


def counts(steps: int = T, batch: int = B, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.poisson(torch.full((steps, batch, N_IN), 0.7), generator=generator)


def flat(state) -> list[torch.Tensor]:
    found: list[torch.Tensor] = []
    map_state(lambda a: found.append(a) or a, state)
    return found


@pytest.mark.parametrize("name", NAMES)
def test_shapes_types_and_what_the_model_says_of_itself(name):
    net = make(name)
    y, _ = net(counts())
    assert y.shape == (T, B, N_OUT) and y.dtype == torch.float64
    assert bool(torch.isfinite(y).all())
    assert net.source and net.streaming in ("exact", "none")
    assert net.causal or net.streaming == "none"
    assert type(net).__doc__ and ">>>" in type(net).__doc__


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("steps", [0, 1, 2, 7])
def test_any_number_of_steps(name, steps):
    y, _ = make(name)(counts(steps))
    assert y.shape == (steps, B, N_OUT)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_call_twice_gives_the_same_bits(name):
    net, x = make(name), counts()
    first, state = net(x)
    kept = map_state(lambda a: a.clone(), state)
    second, _ = net(x)
    assert torch.equal(first, second)
    assert all(map(torch.equal, flat(kept), flat(state))), "a call changed a state it was given"


@pytest.mark.parametrize("name", STREAMING)
def test_a_state_has_an_effect_and_stays_as_it_was_given(name):
    net, x = make(name), counts()
    first, state = net(x)
    kept = map_state(lambda a: a.clone(), state)
    assert not torch.equal(first, net(x, state)[0]), "the state has no effect"
    assert all(map(torch.equal, flat(kept), flat(state))), "a call changed a state it was given"


@pytest.mark.parametrize("name", [n for n in NAMES if not make(n).causal])
def test_what_is_not_causal_has_no_steps(name):
    with pytest.raises(ShapeError, match="whole sequence"):
        make(name).step(counts()[0])


@pytest.mark.parametrize("name", WHOLE)
def test_what_does_not_stream_takes_no_state(name):
    with pytest.raises(ShapeError, match="state=None"):
        make(name)(counts(), ())


@pytest.mark.parametrize("name", STREAMING)
def test_steps_and_chunks_equal_the_whole(name):
    net, x = make(name), counts()
    whole, end = net(x)
    state, outputs = None, []
    for frame in x:
        y, state = net.step(frame, state)
        outputs.append(y)
    torch.testing.assert_close(torch.stack(outputs), whole, **CLOSE)
    for one, two in zip(flat(state), flat(end), strict=True):
        torch.testing.assert_close(one, two, **CLOSE)
    first, state = net(x[:5])
    second, _ = net(x[5:], state)
    torch.testing.assert_close(torch.cat([first, second]), whole, **CLOSE)


@pytest.mark.parametrize("name", STREAMING)
def test_the_initial_state_is_what_none_stands_for(name):
    net, x = make(name), counts()
    assert torch.equal(net(x)[0], net(x, net.initial_state(B))[0])


@pytest.mark.parametrize("name", NAMES)
def test_no_output_of_a_causal_model_depends_on_the_future(name):
    net = make(name)
    x = counts().requires_grad_()
    y, _ = net(x)
    for t in (0, T // 2, T - 2):
        (g,) = torch.autograd.grad(y[t].sum(), x, retain_graph=True)
        leak = g[t + 1 :].abs().max()
        assert leak == 0 if net.causal else leak > 0
        other = x.detach().clone()
        other[t + 1 :] += 1
        same = torch.allclose(net(other)[0][: t + 1], y[: t + 1], **CLOSE)
        assert same == net.causal


@pytest.mark.parametrize("name", NAMES)
def test_samples_do_not_see_each_other(name):
    net, x = make(name), counts(batch=5)
    order = torch.tensor([3, 0, 4, 1, 2])
    y, _ = net(x)
    torch.testing.assert_close(net(x[:, order])[0], y[:, order], **CLOSE)
    torch.testing.assert_close(net(x[:, :1])[0], y[:, :1], **CLOSE)


@pytest.mark.parametrize("name", NAMES)
def test_padding_changes_nothing_within_a_sample(name):
    net, x = make(name), counts()
    lengths = torch.tensor([T, 9, 4])
    padded = torch.cat([x, torch.randn(4, B, N_IN)])
    for i, length in enumerate(lengths):
        padded[length:, i] = torch.randn(T + 4 - int(length), N_IN)
    y, _ = net(padded, lengths=lengths)
    for i, length in enumerate(lengths):
        alone, _ = net(padded[:length, i : i + 1])
        torch.testing.assert_close(y[:length, i], alone[:, 0], **CLOSE)
        assert bool((y[length:, i] == 0).all())


@pytest.mark.parametrize("name", STREAMING)
def test_the_streaming_state_does_not_grow(name):
    net = make(name)
    shapes = []
    for steps in (1, 2, 40):
        _, state = net(counts(steps))
        shapes.append([tuple(a.shape) for a in flat(state)])
    assert shapes[0] == shapes[1] == shapes[2]
    assert [tuple(a.shape) for a in flat(net.initial_state(B))] == shapes[0]
    assert net.state_size == sum(a.numel() for a in flat(net.initial_state(1)))


@pytest.mark.parametrize("name", NAMES)
def test_silence_and_what_comes_after_it_have_usual_gradients(name):
    net = make(name)
    x = counts(seed=4)
    x[3:9] = 0
    (g,) = torch.autograd.grad(weighted(net, x.requires_grad_()), x)
    assert g[3:9].abs().max() < 1e3 * g.abs().median().clamp(min=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_large_counts_do_not_overflow(name):
    net = make(name).float()
    x = torch.full((60, 2, N_IN), 1e5, dtype=torch.float32)
    x[::7] = 0
    (g,) = torch.autograd.grad(weighted(net, x.requires_grad_()), x)
    y, _ = net(x)
    assert bool(torch.isfinite(y).all()) and bool(torch.isfinite(g).all())


@pytest.mark.parametrize("name", NAMES)
def test_no_samples_and_inference_mode_are_inputs_too(name):
    net = make(name)
    assert net(counts(batch=0))[0].shape == (T, 0, N_OUT)
    expected, _ = net(counts())
    with torch.inference_mode():
        torch.testing.assert_close(net(counts())[0], expected, **CLOSE)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_reach_every_parameter_and_are_finite(name):
    net = make(name).train()
    x = counts(seed=3).requires_grad_()
    with auxiliary_losses() as extra:
        y, _ = net(x)
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(1))
    ((y * weights).sum() + sum(extra.values())).backward()
    assert x.grad is not None and bool(torch.isfinite(x.grad).all())
    for parameter, p in net.named_parameters():
        if parameter.startswith(net.conditional):
            continue
        assert p.grad is not None, f"{parameter} has no gradient"
        assert bool(torch.isfinite(p.grad).all()), parameter
    silent, _ = net(torch.zeros_like(x))
    assert bool(torch.isfinite(silent).all())


@pytest.mark.parametrize("name", NAMES)
def test_the_gradient_of_the_input_is_right(name):
    net, x = make(name), counts(6, 1, seed=5) + 0.1
    (g,) = torch.autograd.grad(weighted(net, x.requires_grad_()), x)
    direction = torch.randn(x.shape, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        eps = 1e-6
        rise = (weighted(net, x + eps * direction) - weighted(net, x - eps * direction)) / (2 * eps)
    torch.testing.assert_close((g * direction).sum(), rise, rtol=2e-5, atol=1e-7)


def weighted(net, x):
    y, _ = net(x)
    return (y * torch.linspace(-1, 1, y.numel()).view_as(y)).sum()


@pytest.mark.parametrize("name", NAMES)
def test_copies_weights_and_functional_calls(name):
    net, x = make(name), counts()
    y, _ = net(x)
    assert torch.equal(copy.deepcopy(net)(x)[0], y)
    other = make(name, seed=1)
    assert not torch.equal(other(x)[0], y)
    other.load_state_dict(net.state_dict())
    assert torch.equal(other(x)[0], y)
    doubled = {n: 2 * p for n, p in net.named_parameters()}
    changed, _ = functional_call(net, doubled, (x,))
    assert not torch.allclose(changed, y)
    assert torch.equal(net(x)[0], y)
    for parameter, p in net.named_parameters():
        other.get_parameter(parameter).data = 2 * p.data
    torch.testing.assert_close(other(x)[0], changed, **CLOSE)


class Half(torch.nn.Module):
    def forward(self, w):
        return w / 2


@pytest.mark.parametrize("name", NAMES)
def test_weights_can_be_parametrised(name):
    net, x = make(name), counts()
    halved = make(name)
    matrices = [n for n, p in net.named_parameters() if p.dim() > 1]
    for parameter in matrices:
        owner, _, last = parameter.rpartition(".")
        with torch.no_grad():
            net.get_parameter(parameter).div_(2)
        parametrize.register_parametrization(halved.get_submodule(owner), last, Half())
    torch.testing.assert_close(halved(x)[0], net(x)[0], **CLOSE)
    halved(x)[0].sum().backward()
    originals = {n: p for n, p in halved.named_parameters() if n.endswith("original")}
    assert len(originals) == len(matrices)
    for parameter, p in originals.items():
        moved = parameter.startswith(tuple(f"parametrizations.{c}" for c in net.conditional))
        assert p.grad is not None or moved or parameter.startswith(net.conditional), parameter


@pytest.mark.parametrize("name", NAMES)
def test_wrong_input_is_refused_by_name(name):
    net = make(name)
    with pytest.raises(ShapeError, match=rf"{type(net).__name__}.*\[T, B, {N_IN}\]"):
        net(torch.zeros(4, 2, N_IN + 1))
    with pytest.raises(ShapeError, match="1 or more"):
        type(net)(0, N_OUT)


@pytest.mark.parametrize("name", LINEAR)
def test_matrices_reproduce_the_linear_models(name):
    from snnsim.baselines.ltv import simulate

    net, x = make(name), counts()
    if getattr(net, "finish", None) is not None:
        net.finish = None  # the norm behind the recurrence is not linear
    bias = getattr(getattr(net, "out", None), "bias", None)
    found = simulate(net.ltv(x), x)
    expected = net(x)[0] - (0 if bias is None else bias)
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("name", NAMES)
def test_a_long_constant_input_does_not_blow_up(name):
    net = make(name)
    x = torch.cat([torch.zeros(1000, 1, N_IN), torch.ones(1000, 1, N_IN)], 1)
    with torch.no_grad():
        y, _ = net(x)
    limit = 1000 if name == "mbat" else 100  # a sum that never decays
    assert float(y.abs().max()) < limit
