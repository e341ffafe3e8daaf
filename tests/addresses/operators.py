"""Every operator at sizes, delays and states drawn at random, run with numba's bounds checking.

Run by ``tests/unit/test_addresses.py`` in a process of its own: numba reads the setting only once.
An address outside of an array is an IndexError there, also within the vector operations.
"""

from __future__ import annotations

import numba
import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import snnsim as sn
from snnsim.kernels.cochlea import cpu, membrane, reference
from snnsim.kernels.cochlea.parameters import HairCell, Membrane, Nerve
from snnsim.kernels.cochlea.state import at_rest
from snnsim.kernels.delay_conv import delay_conv

assert numba.config.BOUNDSCHECK, "set NUMBA_BOUNDSCHECK=1"
ordinary = settings(max_examples=25, deadline=None, derandomize=True, database=None)
sizes = st.integers(1, 9)
steps = st.one_of(st.integers(1, 40), st.sampled_from([63, 64, 65, 511, 512, 513, 1030]))
lengths = st.sampled_from([1, 3, 5, 25, 49])
seeds = st.integers(0, 2**31)


def spikes(generator, *shape, rate):
    return (torch.rand(*shape, generator=generator) < rate).float()


@ordinary
@given(
    steps, sizes, sizes, st.sampled_from([1, 7, 16, 17, 40, 70]), st.integers(1, 3), lengths,
    st.sampled_from(["spectral", "events", "one_tap", "auto"]), st.booleans(), seeds,
    st.sampled_from([0.0, 0.02, 0.5, 1.0]), st.sampled_from(["inside", "low", "high"]),
    st.booleans(),
)  # fmt: skip
def test_delays(T, B, I, O, K, length, backend, tailed, seed, rate, where, triangle):  # noqa: E741
    generator = torch.Generator().manual_seed(seed)
    x = spikes(generator, T, B, I, rate=rate).requires_grad_()
    weight = torch.randn(O, I, K, generator=generator).requires_grad_()
    delay = torch.rand(O, I, K, generator=generator) * (length - 1)
    delay = {"inside": delay, "low": 0 * delay, "high": 0 * delay + length - 1}[where]
    wide = 3.0 if backend in ("spectral", "auto") else 0.1
    profile = "one_tap" if backend == "one_tap" else "triangle" if triangle else "gauss"
    tail = (length - 1) // 2 if tailed else 0
    results = []
    for rung in (backend, "reference"):
        leaves = [a.detach().clone().requires_grad_() for a in (x, weight, delay)]
        y = delay_conv(
            *leaves, wide, length=length, profile=profile, tail=tail, backend=rung
        )  # fmt: skip
        y.square().sum().backward()
        results.append([y.detach(), *(a.grad for a in leaves[:2])])
    for found, expected in zip(*results, strict=True):
        scale = 1 + float(expected.abs().max())
        assert torch.allclose(found, expected, atol=2e-4 * scale)


@ordinary
@given(steps, sizes, st.sampled_from([1, 3, 40, 1025]), st.booleans(), seeds)
def test_scans(T, B, N, recurrent, seed):
    generator = torch.Generator().manual_seed(seed)
    n = min(N, 40) if recurrent else N
    results = []
    x = torch.rand(min(T, 70), B, n, generator=generator)
    for backend in ("cpu", "reference"):
        torch.manual_seed(seed)
        neuron = sn.ALIF(n, dt=1.0, backend=backend, learn="tau_mem")
        layer = sn.Recurrent(neuron, gain=0.3) if recurrent else neuron
        leaf = x.clone().requires_grad_()
        y, state = layer(leaf)
        (y.sum() + state["v"].sum()).backward()
        results.append(y.detach())
    assert (results[0] == results[1]).float().mean() > 0.99  # spikes at ties


@ordinary
@given(
    steps, st.sampled_from([1, 2, 65]), sizes, st.sampled_from(["delayed", "dense", "recurrent"]),
    st.booleans(), seeds, st.sampled_from([0.0, 0.03, 0.6]),
)  # fmt: skip
def test_compiled_networks(T, B, I, kind, normalised, seed, rate):  # noqa: E741
    torch.manual_seed(seed)
    connection = sn.Dense(I, 7) if kind == "dense" else sn.Delayed(I, 7, dt=1.0, max_delay_ms=6)
    neuron = sn.LIF(7, dt=1.0)
    layers = [connection, sn.BatchNorm(7)] if normalised else [connection]
    net = sn.Sequential(*layers, sn.Recurrent(neuron) if kind == "recurrent" else neuron).eval()
    x = spikes(torch.Generator().manual_seed(seed), T, B, I, rate=rate)
    fast = sn.compile(net)
    whole, _ = fast(x)
    first, state = fast(x[: T // 2])
    second, state = fast(x[T // 2 :], state)
    assert torch.equal(torch.cat([first, second]).count_nonzero() > 0, whole.count_nonzero() > 0)
    for t in range(min(T, 5)):
        _, state = fast.step(x[t], state)


@ordinary
@given(steps, sizes, st.sampled_from([1, 5, 130]), seeds, st.booleans())
def test_normalised_scans(T, B, N, seed, dropped):
    torch.manual_seed(seed)
    net = sn.Sequential(
        sn.BatchNorm(N), sn.LIF(N, dt=1.0), sn.Dropout(0.3 if dropped else 0.0)
    ).train()
    x = torch.rand(T, B + 1, N, requires_grad=True)
    y, _ = net(x)
    y.sum().backward()
    assert y.shape == x.shape == x.grad.shape


def test_the_check_itself_notices_an_address_outside():
    """Of a vector that begins inside of its array and ends beyond it."""
    import numpy as np

    from snnsim.kernels.vector import load_narrow, store

    @numba.njit
    def beyond(a, place):
        store(a, place, load_narrow(a, place))

    a = np.zeros(20, np.float32)
    beyond(a, np.int64(12))
    for place in (13, 19, 20, 1000):
        try:
            beyond(a, np.int64(place))
        except IndexError:
            continue
        raise AssertionError(place)


@ordinary
@given(steps, sizes, st.sampled_from([16000, 24000]), seeds)
def test_cells_of_a_cochlea(T, C, per_second, seed):
    velocity = 100 * np.random.default_rng(seed).normal(size=(T, C))
    state = at_rest(C, per_second, HairCell(), Nerve())
    (found, after), (expected, _) = (
        rung.respond(velocity, per_second, (seed, 5), state) for rung in (cpu, reference)
    )
    assert np.array_equal(found, expected)
    assert np.isfinite(after.potential).all()


@ordinary
@given(sizes, st.integers(2, 40))
def test_responses_of_a_membrane(places, bins):
    factor, constant = np.zeros((2, bins), dtype=complex)
    out = np.zeros((places, bins), dtype=complex)
    membrane.entrance(20000 / bins, Membrane(), factor, constant, 0, bins)
    positions = membrane.places(places, Membrane())
    membrane.responses(positions, 20000 / bins, Membrane(), factor, constant, out, 0, places)
    assert np.isfinite(out).all() and np.all(out[:, 0] == 0)
