"""Every neuron model against a plain loop over time, and the default LIF's gradient against an
adjoint worked out by hand. The loops are written from the sources' equations."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import snnsim as sn

STEPS, BATCH, N = 60, 3, 4


pytestmark = pytest.mark.usefixtures("float64")


def reset(mode, u, z, threshold, to):
    """The membrane after a step: ``u`` where there was no spike."""
    if mode == "subtract":
        return np.where(z > 0, u - threshold, u)
    return np.where(z > 0, to, u) if mode == "zero" else u


def decay(tau, dt, kind):
    return 1 - dt / tau if kind == "euler" else np.exp(-dt / tau)


def fires(u, threshold):
    return np.where(u >= threshold, 1.0, 0.0)


def loop_if(x, s, p, mode, **_):
    v = s["v"]
    for now in x:
        u = v + now
        z = fires(u, p["v_threshold"])
        v = reset(mode, u, z, p["v_threshold"], p["v_reset"])
        yield z, {"v": v}


def loop_lif(x, s, p, mode, dt, kind):
    v, d = s["v"], decay(p["tau_mem"], dt, kind)
    gain = 1 - d if p["scale_input"] else 1.0
    for now in x:
        u = d * v + gain * now
        z = fires(u, p["v_threshold"])
        v = reset(mode, u, z, p["v_threshold"], p["v_reset"])
        yield z, {"v": v}


def loop_cuba(x, s, p, mode, dt, kind):
    i, v = s["i"], s["v"]
    d, e = decay(p["tau_mem"], dt, kind), decay(p["tau_syn"], dt, kind)
    gain = 1 - d if p["scale_input"] else 1.0
    for now in x:
        i = e * i + now
        u = d * v + gain * i
        z = fires(u, p["v_threshold"])
        v = reset(mode, u, z, p["v_threshold"], p["v_reset"])
        yield z, {"i": i, "v": v}


def loop_alif(x, s, p, mode, dt, kind):
    v, a = s["v"], s["a"]
    d, e = decay(p["tau_mem"], dt, kind), decay(p["tau_adapt"], dt, kind)
    for now in x:
        u = d * v + now
        z = fires(u, p["v_threshold"] + p["adaptation"] * a)  # the threshold of the step before
        v = reset(mode, u, z, p["v_threshold"], p["v_reset"])
        a = e * a + z
        yield z, {"v": v, "a": a}


def loop_adlif(x, s, p, mode, dt, kind):
    v, w = s["v"], s["w"]
    d, e = decay(p["tau_mem"], dt, kind), decay(p["tau_adapt"], dt, kind)
    for now in x:
        u = d * v + (1 - d) * (now - w)
        z = fires(u, p["v_threshold"])
        w = e * w + p["a"] * u + p["b"] * z  # the membrane before its reset
        v = reset(mode, u, z, p["v_threshold"], p["v_reset"])
        yield z, {"v": v, "w": w}


def loop_se_adlif(x, s, p, mode, dt, kind):
    v, w = s["v"], s["w"]
    d, e = decay(p["tau_mem"], dt, kind), decay(p["tau_adapt"], dt, kind)
    for now in x:
        u = d * v + (1 - d) * (now - w)
        z = fires(u, p["v_threshold"])
        v = reset(mode, u, z, p["v_threshold"], p["v_reset"])
        w = e * w + (1 - e) * (p["a"] * v + p["b"] * z)  # the membrane after its reset
        yield z, {"v": v, "w": w}


def loop_brf(x, s, p, mode, dt, kind):
    v, i, q = s["v"], s["i"], s["q"]
    h = dt / 1000
    boundary = (np.sqrt(1 - (h * p["omega"]) ** 2) - 1) / h
    for now in x:
        b = boundary - p["damping_offset"] - q
        v, i = v + h * (b * v - p["omega"] * i + now), i + h * (p["omega"] * v + b * i)
        z = fires(v, p["v_threshold"] + q)
        q = p["refractory"] * q + z
        yield z, {"v": v, "i": i, "q": q}


def loop_izhikevich(x, s, p, mode, dt, kind):
    v, w = s["v"], s["w"]
    for now in x:
        u = v + dt * (0.04 * v**2 + 5 * v + 140 - w + now)
        w = w + dt * p["a"] * (p["b"] * v - w)
        z = fires(u, p["v_threshold"])
        v, w = np.where(z > 0, p["c"], u), np.where(z > 0, w + p["d"], w)
        yield z, {"v": v, "w": w}


def loop_li(x, s, p, mode, dt, kind):
    v, d = s["v"], decay(p["tau_mem"], dt, kind)
    gain = 1 - d if p["scale_input"] else 1.0
    for now in x:
        v = d * v + gain * now
        yield v, {"v": v}


EACH = np.linspace(0.8, 1.3, N)  # a factor for every neuron
MEMBRANE = {"v_threshold": 0.9 * EACH, "v_reset": -0.3 * EACH}
LIFS = {"tau_mem": 4.0 * EACH, **MEMBRANE}
ADAPTIVE = {**LIFS, "tau_adapt": 12.0 * EACH}
ALL = ("subtract", "zero", "none")
# loop, parameters, resets, scale of the input
MODELS = {
    "IF": (loop_if, MEMBRANE, ALL, 1.0),
    "LIF": (loop_lif, LIFS | {"scale_input": False}, ALL, 1.0),
    "LIF scaled": (loop_lif, LIFS | {"scale_input": True}, ALL, 5.0),
    "PLIF": (loop_lif, {**MEMBRANE, "tau_mem": 6.0, "scale_input": True}, ALL, 5.0),
    "PLIF not scaled": (loop_lif, {**MEMBRANE, "tau_mem": 6.0, "scale_input": False}, ALL, 1.0),
    "CubaLIF": (loop_cuba, LIFS | {"tau_syn": 3.0 * EACH, "scale_input": False}, ALL, 0.5),
    "CubaLIF scaled": (loop_cuba, LIFS | {"tau_syn": 3.0 * EACH, "scale_input": True}, ALL, 3.0),
    "ALIF": (loop_alif, ADAPTIVE | {"adaptation": 0.4 * EACH}, ALL, 1.5),
    "AdLIF": (loop_adlif, ADAPTIVE | {"a": 0.3 * EACH, "b": 0.7 * EACH}, ALL, 8.0),
    "SEAdLIF": (loop_se_adlif, ADAPTIVE | {"a": 2.0 * EACH, "b": 5.0 * EACH}, ALL, 8.0),
    "BRF": (
        loop_brf,
        {"omega": 30 * EACH, "damping_offset": 2 * EACH, "refractory": 0.6 * EACH,
         "v_threshold": 0.7 * EACH},
        ("none",), 250.0,
    ),
    "Izhikevich": (
        loop_izhikevich,
        {"a": 0.1 * EACH, "b": 0.25 * EACH, "c": -55 * EACH, "d": 3 * EACH, "v_threshold": 25.0},
        ("zero",), 60.0,
    ),
    "LI": (loop_li, {"tau_mem": 4.0 * EACH, "scale_input": False}, ("none",), 1.0),
    "LI scaled": (loop_li, {"tau_mem": 4.0 * EACH, "scale_input": True}, ("none",), 1.0),
}  # fmt: skip
CASES = [(name, mode) for name, (_, _, modes, _) in MODELS.items() for mode in modes]
STARTS = {"Izhikevich": {"v": -65.0, "w": -13.0}}


def make(name, mode, dt, **options):
    given = {
        key: value if isinstance(value, bool) else torch.as_tensor(value)
        for key, value in MODELS[name][1].items()
    }
    return getattr(sn, name.split()[0])(N, dt=dt, reset=mode, **given, **options)


def drive(scale, seed):
    return scale * (np.random.default_rng(seed).random((STEPS, BATCH, N)) - 0.2)


@pytest.mark.parametrize("kind", ["exponential", "euler"])
@pytest.mark.parametrize(("name", "mode"), CASES)
def test_a_layer_is_the_loop_over_its_equations(name, mode, kind):
    loop, parameters, _, scale = MODELS[name]
    dt = 0.5 if name == "Izhikevich" else 1.5
    neuron = make(name, mode, dt, discretization=kind)
    x = drive(scale, seed=len(name))
    rest = {key: np.full((BATCH, N), STARTS.get(name, {}).get(key, 0.0)) for key in neuron.state}
    expected = list(loop(x, rest, parameters, mode, dt=dt, kind=kind))
    y, final = neuron(torch.from_numpy(x))
    wanted = np.stack([output for output, _ in expected])
    np.testing.assert_allclose(y.detach(), wanted, rtol=0, atol=1e-10)
    assert set(final) == set(expected[-1][1])
    for key, value in expected[-1][1].items():
        np.testing.assert_allclose(final[key].detach(), value, rtol=1e-10, atol=1e-10)
    if name.split()[0] != "LI":  # or the reset was not met
        assert 0.02 < wanted.mean() < 0.97
        assert (wanted.sum((0, 1)) > 0).all()


@pytest.mark.parametrize("name", MODELS)
def test_a_layer_goes_on_from_the_state_it_is_given(name):
    loop, parameters, modes, scale = MODELS[name]
    dt, seed = 0.5 if name == "Izhikevich" else 1.5, 7
    neuron = make(name, modes[0], dt)
    random = np.random.default_rng(seed)
    start = {
        key: STARTS.get(name, {}).get(key, 0.0) + 0.5 * random.random((BATCH, N))
        for key in neuron.state
    }
    x = drive(scale, seed)
    *_, (_, expected) = loop(x, start, parameters, modes[0], dt=dt, kind="exponential")
    given = {key: torch.from_numpy(value) for key, value in start.items()}
    _, final = neuron(torch.from_numpy(x), given)
    for key, value in expected.items():
        np.testing.assert_allclose(final[key].detach(), value, rtol=1e-10, atol=1e-10)


def adjoint_of_lif(x, v0, d, threshold, c, g):
    """Gradients of ``sum(c z) + sum(g v_end)`` for subtraction with a detached reset.

    u_t = d v_{t-1} + x_t, z_t = H(u_t - th), v_t = u_t - [z_t] th, where [z] is a constant and H
    has the slope s(e) = 1 / (1 + (pi e)^2).
    """
    v, before, spikes, slopes = v0, [], [], []
    for now in x:
        before.append(v)
        u = d * v + now
        z = (u >= threshold).astype(float)
        spikes.append(z)
        slopes.append(1 / (1 + (np.pi * (u - threshold)) ** 2))
        v = u - z * threshold
    to_v, to_d, to_threshold, to_x = g, 0.0, 0.0, np.zeros_like(x)
    for t in reversed(range(len(x))):
        to_threshold = to_threshold - (to_v * spikes[t] + c[t] * slopes[t]).sum(0)
        to_u = to_v + c[t] * slopes[t]
        to_x[t] = to_u
        to_d = to_d + (to_u * before[t]).sum(0)
        to_v = d * to_u
    return to_x, to_v, to_d, to_threshold


@pytest.mark.parametrize("backend", ["reference", "auto"])
def test_the_gradient_of_a_lif_with_its_defaults_is_the_adjoint_worked_out_by_hand(backend):
    random = np.random.default_rng(11)
    tau, threshold = 5.0 * EACH, 0.9 * EACH
    values = {"tau_mem": torch.from_numpy(tau), "v_threshold": torch.from_numpy(threshold)}
    lif = sn.LIF(N, dt=1.0, learn=tuple(values), backend=backend, **values)
    x, c = random.random((STEPS, BATCH, N)), random.standard_normal((STEPS, BATCH, N))
    v0, g = random.random((BATCH, N)), random.standard_normal((BATCH, N))
    leaf, start = (torch.from_numpy(a).requires_grad_() for a in (x, v0))
    z, end = lif(leaf, {"v": start})
    loss = (z * torch.from_numpy(c)).sum() + (end["v"] * torch.from_numpy(g)).sum()
    loss.backward()
    d = np.exp(-1.0 / tau)
    to_x, to_v, to_d, to_threshold = adjoint_of_lif(x, v0, d, threshold, c, g)
    assert 0.05 < float(z.detach().mean()) < 0.8
    exactly = {"rtol": 1e-10, "atol": 1e-10}
    np.testing.assert_allclose(leaf.grad, to_x, **exactly)
    np.testing.assert_allclose(start.grad, to_v, **exactly)
    np.testing.assert_allclose(lif.raw_v_threshold.grad, to_threshold, **exactly)
    # what is stored is the logit of the decay
    np.testing.assert_allclose(lif.raw_tau_mem.grad, to_d * d * (1 - d), **exactly)
