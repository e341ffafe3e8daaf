"""What docs/coming_from says of other libraries: both sides of every row and difference are run.

A page's table marks rows with ``=`` where both programs give the same result and with ``≠`` where
they do not. Each such row has a case here of the same name (its first cell), which returns both
results; a row without a case, or a case without a row, is an error.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import snnsim as sn
from snnsim.data import Arrays
from snnsim.encoders import Delta, Latency
from snnsim.functional import readouts
from snnsim.surrogate import Boxcar, FastSigmoid, Sigmoid, Slayer, Triangle
from snnsim.training import evaluate

PAGES = Path(__file__).parents[2] / "docs" / "coming_from"
STEPS, BATCH, N = 200, 4, 16
CASES: dict[str, dict] = {"snntorch": {}, "spikingjelly": {}, "norse": {}}
LIBRARIES = list(CASES)


def case(library: str, row: str):
    """Enter a function, which returns their result and ours, as the case of a row."""

    def entered(function):
        CASES[library][row] = function
        return function

    return entered


def rows(library: str) -> dict[str, str]:
    """The rows of a page's table that claim something: from the first cell to ``=`` or ``≠``."""
    table = re.findall(
        r"^\| (.*?) \| .* \| ([=≠]) \|$", (PAGES / f"{library}.md").read_text(), re.M
    )
    assert table, library
    return dict(table)


def noise(scale: float, mean: float, size: int = N) -> Tensor:
    """Normally distributed input ``[T, B, size]`` in float64."""
    generator = torch.Generator().manual_seed(3)
    drawn = torch.randn(STEPS, BATCH, size, generator=generator, dtype=torch.float64)
    return drawn * scale + mean


def exact(value: float) -> Tensor:
    """A number that snnTorch and Norse do not round to float32."""
    return torch.tensor(value, dtype=torch.float64)


def differing(theirs: Tensor, ours: Tensor) -> float:
    """The fraction of the entries in which two results differ."""
    assert theirs.shape == ours.shape
    return float((theirs.double() != ours.double()).double().mean())


def derivative(surrogate, u: Tensor) -> Tensor:
    """The derivative of a spike at distances ``u`` from the threshold, as our kernels have it."""
    neuron = sn.IF(1, dt=1.0, surrogate=surrogate).double()
    return torch.autograd.grad(neuron((u + 1).view(1, -1, 1))[0].sum(), u)[0]


def slopes(theirs, ours) -> tuple[Tensor, Tensor]:
    """The surrogate derivatives of both sides, around the threshold."""
    # away from the corners of piecewise functions, where either side is right
    u = torch.linspace(-2, 2, 400, dtype=torch.float64).requires_grad_()
    return torch.autograd.grad(theirs(u).double().sum(), u)[0], derivative(ours, u)


def weight_gradients(theirs, ours, x: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of a weighted number of spikes at the inputs of two functions of a sequence."""
    weight = torch.linspace(0, 1, x.shape[-1], dtype=x.dtype)
    found = []
    for function in (theirs, ours):
        given = x.clone().requires_grad_()
        (found_here,) = torch.autograd.grad((function(given).double() * weight).sum(), given)
        found.append(found_here)
    return found[0], found[1]


@pytest.mark.parametrize("library", LIBRARIES)
def test_every_row_has_a_case_and_every_case_a_row(library):
    assert set(rows(library)) == set(CASES[library])


@pytest.mark.parametrize(
    ("library", "row"), [(library, row) for library in LIBRARIES for row in rows(library)]
)
def test_a_row_of_a_table(library, row):
    pytest.importorskip(library)
    torch.manual_seed(0)
    theirs, ours = CASES[library][row]()
    assert float((theirs != 0).double().mean()) > 0.02, "a result of zeros shows nothing"
    spikes = bool(((ours == 0) | (ours == 1)).all())
    if rows(library)[row] == "≠":
        assert differing(theirs, ours) > 0.02
    elif spikes:
        assert differing(theirs, ours) == 0
    else:
        torch.testing.assert_close(theirs.to(ours), ours, rtol=1e-6, atol=1e-6)


# ---------------------------------------------------------------------------------- snnTorch


def tau(decay: float, dt: float = 1.0) -> float:
    return -dt / math.log(decay)


def unrolled(cell, x: Tensor) -> Tensor:
    """The spikes of an snnTorch neuron for all steps of ``x``."""
    spikes, state = [], ()
    for now in x:
        spike, *state = cell(now, *state)
        spikes.append(spike)
    return torch.stack(spikes).double()


def leaky(reset: str, **options):
    import snntorch

    return snntorch.Leaky(beta=exact(0.9), reset_mechanism=reset, **options)


def lif(reset: str, **options):
    return sn.LIF(N, dt=1.0, tau_mem=tau(0.9), reset=reset, **options).double()


def synaptic(reset: str, **options):
    import snntorch

    decays = {"alpha": exact(0.8), "beta": exact(0.9)}
    return snntorch.Synaptic(**decays, reset_mechanism=reset, **options)


def cuba(reset: str):
    return sn.CubaLIF(N, dt=1.0, tau_syn=tau(0.8), tau_mem=tau(0.9), reset=reset).double()


DRIVE = noise(0.5, 0.25)


@case("snntorch", '`Leaky(beta=b, reset_mechanism="zero")`')
def _():
    return unrolled(leaky("zero"), DRIVE), lif("zero")(DRIVE)[0]


@case("snntorch", '`Leaky(beta=b, reset_mechanism="none")`')
def _():
    return unrolled(leaky("none"), DRIVE), lif("none")(DRIVE)[0]


@case("snntorch", "`Leaky(beta=b)`, which subtracts")
def _():
    return unrolled(leaky("subtract"), DRIVE), lif("subtract")(DRIVE)[0]


@case("snntorch", '`Leaky(beta=1.0, reset_mechanism="zero")`')
def _():
    import snntorch

    theirs = snntorch.Leaky(beta=exact(1.0), reset_mechanism="zero")
    return unrolled(theirs, DRIVE), sn.IF(N, dt=1.0, reset="zero").double()(DRIVE)[0]


@case("snntorch", "`Leaky(threshold=t)`")
def _():
    return (
        unrolled(leaky("zero", threshold=exact(0.6)), DRIVE),
        lif("zero", v_threshold=0.6)(DRIVE)[0],
    )


@case("snntorch", '`Synaptic(alpha=a, beta=b, reset_mechanism="none")`')
def _():
    return unrolled(synaptic("none"), DRIVE / 5), cuba("none")(DRIVE / 5)[0]


@case("snntorch", '`Synaptic(..., reset_mechanism="zero", reset_delay=False)`')
def _():
    return unrolled(synaptic("zero", reset_delay=False), DRIVE / 5), cuba("zero")(DRIVE / 5)[0]


@case("snntorch", '`Synaptic(..., reset_mechanism="zero")`')
def _():
    return unrolled(synaptic("zero"), DRIVE / 5), cuba("zero")(DRIVE / 5)[0]


@case("snntorch", '`Lapicque(R=r, C=c, time_step=dt, reset_mechanism="none")`')
def _():
    import snntorch

    theirs = snntorch.Lapicque(
        R=exact(2.0), C=exact(2.5), time_step=0.5, reset_mechanism="none"
    ).double()
    ours = sn.LIF(
        N, dt=0.5, tau_mem=2.0 * 2.5, discretization="euler", scale_input=True, reset="none"
    ).double()
    return unrolled(theirs, 3 * DRIVE), ours(2.0 * 3 * DRIVE)[0]


def recurrent(**options):
    """RLeaky without a bias, and ours with the same weights; in float32, as its spikes are."""
    import snntorch

    cell = snntorch.RLeaky(beta=0.9, linear_features=N, reset_mechanism="zero", **options)
    ours = sn.Recurrent(sn.LIF(N, dt=1.0, tau_mem=tau(0.9), reset="zero"))
    with torch.no_grad():
        cell.recurrent.bias.zero_()
        ours.w_rec.copy_(cell.recurrent.weight)
    spikes, spike, mem = [], None, None
    for now in DRIVE.float():
        spike, mem = cell(now, spike, mem)
        spikes.append(spike)
    return torch.stack(spikes).detach(), ours(DRIVE.float())[0].detach()


@case(
    "snntorch",
    '`RLeaky(beta=b, linear_features=n, reset_mechanism="zero", reset_delay=False)`',
)
def _():
    return recurrent(reset_delay=False)


@case("snntorch", "`learn_beta=True`, `learn_threshold=True`")
def _():
    """The gradient of the logit is that of beta times beta * (1 - beta)."""
    import snntorch

    theirs = snntorch.Leaky(beta=exact(0.9), reset_mechanism="zero", learn_beta=True)
    ours = lif("zero", learn=["tau_mem"])
    weight = torch.linspace(0, 1, N, dtype=torch.float64)
    (unrolled(theirs, DRIVE) * weight).sum().backward()
    (ours(DRIVE)[0] * weight).sum().backward()
    there, here = theirs.beta.grad, ours.raw_tau_mem.grad
    torch.testing.assert_close(there * 0.9 * 0.1, here, rtol=1e-5, atol=0)  # spikes are float32
    return there.view(1), here.view(1)


@case("snntorch", "`nn.Linear(i, o)`")
def _():
    theirs, ours = nn.Linear(N, 5).double(), sn.Dense(N, 5, bias=True).double()
    ours.load_state_dict(theirs.state_dict())
    return theirs(DRIVE), ours(DRIVE)[0]


@case("snntorch", "`nn.Conv2d(...)`")
def _():
    theirs, ours = nn.Conv2d(2, 3, 3), sn.Conv2d(2, 3, 3, bias=True)
    ours.module.load_state_dict(theirs.state_dict())
    x = torch.rand(5, 2, 2, 8, 8)
    return torch.stack([theirs(now) for now in x]), ours(x)[0]


@case("snntorch", "`nn.Dropout(p)`")
def _():
    """A mask for each step, or one for all steps."""
    ones = torch.ones(50, 4, N)
    theirs = torch.stack([nn.Dropout(0.5).train()(now) for now in ones])
    ours = sn.Dropout(0.5).train()(ones)[0]
    assert not torch.equal(theirs[0], theirs[1]) and torch.equal(ours, ours[:1].expand_as(ours))
    within = sn.OverTime(nn.Dropout(0.5)).train()(ones)[0]
    assert not torch.equal(within[0], within[1])
    return theirs, ours


def snntorch_slopes(name: str, ours, **options):
    from snntorch import surrogate

    return slopes(getattr(surrogate, name)(**options), ours)


@case("snntorch", "`surrogate.atan(alpha=2.0)`, the default")
def _():
    import snntorch

    default = snntorch.Leaky(beta=0.9).spike_grad
    torch.testing.assert_close(*slopes(default, "atan"))
    assert type(sn.LIF(1, dt=1.0).surrogate).__name__ == "ATan"
    return snntorch_slopes("atan", "atan", alpha=2.0)


@case("snntorch", "`surrogate.fast_sigmoid(slope=25)`")
def _():
    return snntorch_slopes("fast_sigmoid", "fast_sigmoid", slope=25)


@case("snntorch", "`surrogate.sigmoid(slope=25)`")
def _():
    return snntorch_slopes("sigmoid", Sigmoid(alpha=25), slope=25)


@case("snntorch", "`surrogate.triangular()`")
def _():
    theirs, ours = snntorch_slopes("triangular", "triangle")
    assert sorted(set(theirs.tolist())) == [-1, 1] and theirs[0] == 1 and theirs[-1] == -1
    return theirs, ours


def scored(loss: str, ours) -> tuple[Tensor, Tensor]:
    """A loss of snnTorch, and ours, on spikes ``[T, B, C]`` and classes."""
    from snntorch import functional

    y = (torch.rand(20, 50, 4) < 0.3).float()
    target = torch.randint(4, (50,))
    return getattr(functional, loss)()(y, target).view(1), ours(y, target).view(1)


def cross_entropy(scores: Tensor, target: Tensor) -> Tensor:
    return nn.functional.cross_entropy(scores, target)


@case("snntorch", "`SF.ce_count_loss()`")
def _():
    return scored("ce_count_loss", lambda y, t: cross_entropy(readouts.spike_count(y), t))


@case("snntorch", "`SF.ce_max_membrane_loss()`")
def _():
    return scored("ce_max_membrane_loss", lambda y, t: cross_entropy(readouts.max_over_time(y), t))


@case("snntorch", "`SF.ce_rate_loss()`")
def _():
    return scored("ce_rate_loss", lambda y, t: cross_entropy(y.flatten(0, 1), t.repeat(len(y))))


@case("snntorch", "`SF.accuracy_rate(y, target)`")
def _():
    from snntorch import functional

    y = (torch.rand(20, 50, 4) < 0.3).float()
    target = torch.randint(4, (50,))
    data = Arrays(y.transpose(0, 1).numpy(), target.numpy(), classes=tuple("abcd"), dt=1.0)
    found = evaluate(sn.Sequential(nn.Identity()), data, readout="spike_count").accuracy
    return torch.tensor([functional.accuracy_rate(y, target)]), torch.tensor([found])


@case("snntorch", "`spikegen.latency(x, num_steps=n, linear=True, normalize=True, clip=True)`")
def _():
    from snntorch import spikegen

    x = torch.rand(1000, 3)
    theirs = spikegen.latency(x, num_steps=5, linear=True, normalize=True, clip=True)
    return theirs, sn.Sequential(sn.Repeat(5), Latency(5))(x.unsqueeze(0))[0]


@case("snntorch", "`spikegen.delta(x, threshold=t, off_spike=True)`")
def _():
    """A rise of half a threshold per step gives nothing there, and a spike every 2 steps here."""
    from snntorch import spikegen

    ramp = (torch.arange(1, 51) / 16).view(-1, 1, 1)
    assert not spikegen.delta(ramp, threshold=1 / 8, off_spike=True).any()
    assert Delta(1 / 8, start=0.0)(ramp)[0][:, 0, 0].tolist() == [0, 1] * 25
    x = DRIVE.float().cumsum(0)
    theirs = spikegen.delta(x, threshold=0.1, off_spike=True)
    on, off = Delta(0.1)(x)[0].chunk(2, dim=2)
    return theirs, on - off


@case("snntorch", "`probe.OutputMonitor(net, Leaky)`")
def _():
    import snntorch
    from snntorch.functional import probe

    cell = leaky("zero", init_hidden=True)
    net = nn.Sequential(nn.Identity(), cell)
    monitor = probe.OutputMonitor(net, snntorch.Leaky)
    for now in DRIVE:
        net(now)
    ours = sn.record(sn.Sequential(lif("zero")), DRIVE)["layers.0"]
    return torch.stack(monitor.records), ours.values


@pytest.fixture(scope="module")
def snntorch():
    return pytest.importorskip("snntorch")


def test_snntorch_keeps_its_state(snntorch):
    cell = snntorch.Leaky(beta=exact(0.9), init_hidden=True, reset_mechanism="zero")
    first, second = (torch.stack([cell(now) for now in DRIVE]) for _ in range(2))
    assert differing(first, second) > 0
    cell.reset_mem()
    assert differing(first, torch.stack([cell(now) for now in DRIVE])) == 0
    ours = lif("zero")
    assert differing(ours(DRIVE)[0], ours(DRIVE)[0]) == 0


class LateReset(sn.Neuron):
    """The neuron of docs/coming_from/snntorch.md."""

    state = ("v", "z")
    tau_mem, v_threshold = sn.Tau(20.0), 1.0

    @staticmethod
    def step(x, v, z, *, decay_mem, v_threshold):
        v = decay_mem * v + x - sn.detach(z) * v_threshold
        z = sn.spike(v - v_threshold)
        return z, (v, z)


def test_snntorch_subtracts_one_step_later(snntorch):
    """That neuron has the spikes and the gradients of the default reset."""
    text = (PAGES / "snntorch.md").read_text()
    assert "v = decay_mem * v + x - sn.detach(z) * v_threshold" in text
    ours = LateReset(N, dt=1.0, tau_mem=tau(0.9)).double()
    theirs = unrolled(leaky("subtract"), DRIVE)
    assert differing(theirs, ours(DRIVE)[0]) == 0
    there, here = weight_gradients(
        lambda x: unrolled(leaky("subtract"), x), lambda x: ours(x)[0], DRIVE[:50]
    )
    torch.testing.assert_close(there, here, rtol=1e-5, atol=1e-6)  # snnTorch's spikes are float32
    early = lif("subtract")(DRIVE)[0]
    assert differing(unrolled(leaky("subtract", reset_delay=False), DRIVE), early) > 0.01


def test_snntorch_has_the_same_gradients(snntorch):
    there, here = weight_gradients(
        lambda x: unrolled(leaky("zero"), x), lambda x: lif("zero")(x)[0], DRIVE[:50]
    )
    torch.testing.assert_close(there, here, rtol=1e-5, atol=1e-6)  # snnTorch's spikes are float32


def test_snntorch_fires_above_the_threshold(snntorch):
    quarters = torch.full((5, 1, 1), 0.25)
    theirs = unrolled(snntorch.Leaky(beta=1.0, reset_mechanism="zero"), quarters)
    ours = sn.IF(1, dt=1.0, reset="zero")(quarters)[0]
    assert theirs.flatten().tolist() == [0, 0, 0, 0, 1]
    assert ours.flatten().tolist() == [0, 0, 0, 1, 0]


def test_snntorch_shows_the_membrane_before_the_reset(snntorch):
    cell, mems, state = leaky("zero"), [], ()
    for now in DRIVE:
        _, *state = cell(now, *state)
        mems.append(state[0])
    ours = lif("zero")
    torch.testing.assert_close(torch.stack(mems), ours.voltage(DRIVE), rtol=1e-12, atol=1e-12)
    assert float(ours.voltage(DRIVE).max()) > 1 > float(ours(DRIVE)[1]["v"].max())


def test_snntorch_clips_a_learned_beta(snntorch):
    """Outside of 0 .. 1 there is no gradient that would bring it back."""
    cell = snntorch.Leaky(beta=exact(1.2), reset_mechanism="zero", learn_beta=True)
    unrolled(cell, DRIVE).sum().backward()
    assert float(cell.beta.grad) == 0


def test_snntorch_writes_its_subtraction_as_a_reset_to_zero(snntorch):
    pytest.importorskip("nir")
    from snntorch.export_nir import export_to_nir

    per_neuron = {"beta": torch.full((N,), 0.9), "threshold": torch.ones(N), "init_hidden": True}
    for reset, wrong in (("zero", False), ("subtract", True)):
        net = nn.Sequential(nn.Linear(N, N), snntorch.Leaky(**per_neuron, reset_mechanism=reset))
        ours = sn.from_nir(export_to_nir(net, torch.rand(N)))
        assert ours[-1].reset.mode == "zero"
        net[1].reset_mem()
        theirs = torch.stack([net(now) for now in 4 * DRIVE.float()])
        assert (differing(theirs, ours(4 * DRIVE.float())[0]) > 0.01) == wrong
    plain = nn.Sequential(nn.Linear(N, N), snntorch.Leaky(beta=0.9, init_hidden=True))
    with pytest.raises(ValueError, match="type mismatch"):
        export_to_nir(plain, torch.rand(1, N))


# ------------------------------------------------------------------------------ SpikingJelly

EULER = {"dt": 1.0, "discretization": "euler"}
THEIRS = {
    **EULER,
    "scale_input": True,
    "reset": "zero",
    "surrogate": "sigmoid",
    "detach_reset": False,
}
STRONG = noise(0.8, 0.6)


def jelly(name: str, **options):
    """A neuron of SpikingJelly for whole sequences."""
    from spikingjelly.activation_based import neuron

    node = getattr(neuron, name)(**options).double()
    node.step_mode = "m"
    return node


def lif_node(options: dict, changes: dict) -> tuple[Tensor, Tensor]:
    """Spikes of ``LIFNode`` and of our neuron, whose gradients are compared as well."""
    ours = sn.LIF(N, tau_mem=2.0, **{**THEIRS, **changes}).double()
    gradients = weight_gradients(
        lambda x: jelly("LIFNode", tau=2.0, **options)(x), lambda x: ours(x)[0], STRONG[:50]
    )
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-12)
    return jelly("LIFNode", tau=2.0, **options)(STRONG), ours(STRONG)[0]


@case("spikingjelly", "`LIFNode(tau=t)`")
def _():
    return lif_node({}, {})


@case("spikingjelly", "`LIFNode(tau=t, decay_input=False)`")
def _():
    return lif_node({"decay_input": False}, {"scale_input": False})


@case("spikingjelly", "`LIFNode(tau=t, v_reset=None)`")
def _():
    return lif_node({"v_reset": None}, {"reset": "subtract"})


@case("spikingjelly", "`LIFNode(tau=t, v_threshold=u, v_reset=r)`")
def _():
    shifted = lif_node({"v_threshold": 0.7, "v_reset": -0.3}, {"v_threshold": 1.0})
    as_it_looks = sn.LIF(N, tau_mem=2.0, v_threshold=0.7, v_reset=-0.3, **THEIRS).double()
    assert differing(shifted[0], as_it_looks(STRONG)[0]) > 0.02
    return shifted


@case("spikingjelly", "`LIFNode(tau=t, detach_reset=True)`")
def _():
    return lif_node({"detach_reset": True}, {"detach_reset": True})


@case("spikingjelly", "`IFNode()`")
def _():
    return jelly("IFNode")(STRONG), sn.IF(N, dt=1.0, reset="zero").double()(STRONG)[0]


@case("spikingjelly", "`ParametricLIFNode(init_tau=t)`")
def _():
    theirs = jelly("ParametricLIFNode", init_tau=3.0)
    options = {"surrogate": "sigmoid", "detach_reset": False}
    ours = sn.PLIF(N, tau_mem=3.0, **EULER, **options).double()
    torch.testing.assert_close(theirs.w, -ours.raw_tau_mem, check_dtype=False)
    (spikes := theirs(2 * STRONG)).sum().backward()
    (own := ours(2 * STRONG)[0]).sum().backward()
    torch.testing.assert_close(theirs.w.grad, -ours.raw_tau_mem.grad, rtol=1e-9, atol=0)
    return spikes.detach(), own.detach()


@case("spikingjelly", "`CUBALIFNode(c_decay=c, v_decay=v)`")
def _():
    box = {"surrogate": Boxcar(width=1.0, height=1.0), "detach_reset": False}
    taus = {"tau_syn": tau(0.4), "tau_mem": tau(0.7)}
    ours = sn.CubaLIF(N, dt=1.0, **taus, v_threshold=0.5, reset="zero", **box).double()
    gradients = weight_gradients(
        lambda x: jelly("CUBALIFNode", c_decay=0.4, v_decay=0.7)(x), lambda x: ours(x)[0], STRONG
    )
    torch.testing.assert_close(*gradients)
    return jelly("CUBALIFNode", c_decay=0.4, v_decay=0.7)(STRONG), ours(STRONG)[0]


@case("spikingjelly", "`NonSpikingLIFNode(tau=t)`")
def _():
    theirs = torch.stack(list(jelly("NonSpikingLIFNode", tau=2.0)(STRONG)))
    return theirs, sn.LI(N, **EULER, tau_mem=2.0, scale_input=True).double()(STRONG)[0]


@case("spikingjelly", "`LinearRecurrentContainer(node, n, n, bias=False)`")
def _():
    from spikingjelly.activation_based import layer, neuron

    node = neuron.LIFNode(tau=2.0)
    theirs = layer.LinearRecurrentContainer(node, N, N, bias=False, step_mode="m").double()
    ours = sn.Sequential(sn.Dense(N, N), sn.Recurrent(sn.LIF(N, tau_mem=2.0, **THEIRS))).double()
    with torch.no_grad():
        theirs.rc.weight.mul_(4)
        ours.layers[0].weight.copy_(theirs.rc.weight[:, :N])
        ours.layers[1].w_rec.copy_(theirs.rc.weight[:, N:])
    return theirs(STRONG).detach(), ours(STRONG)[0].detach()


@case("spikingjelly", "`layer.Linear(i, o)`")
def _():
    from spikingjelly.activation_based import layer

    theirs, ours = layer.Linear(N, 5, step_mode="m"), sn.Dense(N, 5, bias=True)
    ours.load_state_dict(theirs.state_dict())
    return theirs(STRONG.float()), ours(STRONG.float())[0]


@case("spikingjelly", "`layer.Conv2d(...)`, `layer.SeqToANNContainer(m)`")
def _():
    from spikingjelly.activation_based import layer

    theirs, ours = layer.Conv2d(2, 3, 3, step_mode="m"), sn.Conv2d(2, 3, 3, bias=True)
    ours.module.load_state_dict(theirs.state_dict())
    x, pool = torch.rand(5, 2, 2, 8, 8), nn.AvgPool2d(2)
    assert torch.equal(layer.SeqToANNContainer(pool)(x), sn.OverTime(pool)(x)[0])
    return theirs(x), ours(x)[0]


@case("spikingjelly", "`layer.BatchNorm1d(n)`")
def _():
    from spikingjelly.activation_based import layer

    theirs, ours = layer.BatchNorm1d(N, step_mode="m"), sn.BatchNorm(N)
    result = theirs(STRONG.float()), ours(STRONG.float())[0]
    torch.testing.assert_close(theirs.running_var, ours.running_var)
    return result


@case("spikingjelly", "`layer.Delay(n)`")
def _():
    from spikingjelly.activation_based import layer

    ours = sn.Delayed(N, N, dt=1.0, max_delay_ms=4, granularity="axonal", learn_delay=False).eval()
    with torch.no_grad():
        ours.weight.copy_(torch.eye(N).unsqueeze(-1))
        ours.delay.fill_(3.0)
    x = (STRONG > 1).float()
    return layer.Delay(3, step_mode="m")(x), ours(x)[0].detach().round(decimals=5)


@case("spikingjelly", "`monitor.OutputMonitor(net, neuron.LIFNode)`")
def _():
    from spikingjelly.activation_based import monitor, neuron

    net = nn.Sequential(jelly("LIFNode", tau=2.0))
    watched = monitor.OutputMonitor(net, neuron.LIFNode)
    net(STRONG)
    ours = sn.Sequential(sn.LIF(N, tau_mem=2.0, **THEIRS).double())
    return watched.records[0], sn.record(ours, STRONG)["layers.0"].values


def jelly_slopes(name: str, ours, **options):
    from spikingjelly.activation_based import surrogate

    return slopes(getattr(surrogate, name)(**options), ours)


@case("spikingjelly", "`surrogate.Sigmoid(alpha=4.0)`, the default")
def _():
    torch.testing.assert_close(*slopes(jelly("LIFNode").surrogate_function, Sigmoid(alpha=4.0)))
    return jelly_slopes("Sigmoid", "sigmoid", alpha=4.0)


@case("spikingjelly", "`surrogate.ATan(alpha=2.0)`")
def _():
    return jelly_slopes("ATan", "atan", alpha=2.0)


@case("spikingjelly", "`surrogate.PiecewiseQuadratic(alpha=a)`")
def _():
    return jelly_slopes("PiecewiseQuadratic", Triangle(width=1 / 3, height=3.0), alpha=3.0)


@case("spikingjelly", "`surrogate.PiecewiseExp(alpha=a)`")
def _():
    return jelly_slopes("PiecewiseExp", Slayer(alpha=3.0), alpha=3.0)


@case("spikingjelly", "`surrogate.Rect(alpha=a)`")
def _():
    return jelly_slopes("Rect", Boxcar(width=1 / 3, height=3.0), alpha=3.0)


@case("spikingjelly", "`surrogate.SoftSign(alpha=a)`")
def _():
    theirs, ours = jelly_slopes("SoftSign", FastSigmoid(alpha=3.0), alpha=3.0)
    return theirs, ours * 3.0 / 2


@case("spikingjelly", "`y.mean(0)`, the firing rate")
def _():
    y = (torch.rand(20, 5, 4) < 0.3).float()
    return y.mean(0), readouts.mean(y)


@pytest.mark.parametrize(
    ("version", "profile"),
    [("gauss", "gauss"), ("max", "triangle"), ("v1", "triangle"), ("v0", "linear")],
)
def test_a_version_of_dcls_is_a_profile(version, profile):
    theirs, ours = dcls(version)
    assert ours.profile == profile
    before = nn.functional.pad(STRONG.float().permute(1, 2, 0), (24, 0))
    found = theirs(before).permute(2, 0, 1)
    torch.testing.assert_close(found, ours(STRONG.float())[0], rtol=1e-5, atol=1e-5)


def dcls(version: str):
    """A layer of DCLS with 25 taps, and ours made of it, in training mode."""
    modules = pytest.importorskip("DCLS.construct.modules")
    size = {"kernel_count": 1, "dilated_kernel_size": 25}
    theirs = modules.Dcls1d(N, 8, **size, bias=False, version=version)
    return theirs, sn.interop.from_dcls(theirs, dt=10.0).train()


@case("spikingjelly", "`Dcls1d(i, o, ...)` of DCLS")
def _():
    theirs, ours = dcls("gauss")
    assert (ours.length - 1) * ours.dt == 240
    torch.testing.assert_close(ours.delay[..., 0], 12 - theirs.P[0, ..., 0])
    before = nn.functional.pad(STRONG.float().permute(1, 2, 0), (24, 0))
    return theirs(before).permute(2, 0, 1).detach(), ours(STRONG.float())[0].detach()


def test_spikingjelly_defaults_are_others():
    """Each of the three that change spikes does so if it is forgotten."""
    pytest.importorskip("spikingjelly")
    theirs = jelly("LIFNode", tau=2.0)(STRONG)
    for forgotten in ("discretization", "scale_input", "reset"):
        kept = {name: value for name, value in THEIRS.items() if name != forgotten}
        ours = sn.LIF(N, tau_mem=2.0, **kept).double()(STRONG)[0]
        assert differing(theirs, ours) > 0.005, forgotten
    ours = sn.LIF(N, tau_mem=2.0, **{**THEIRS, "detach_reset": True}).double()
    there, here = weight_gradients(
        lambda x: jelly("LIFNode", tau=2.0)(x), lambda x: ours(x)[0], STRONG[:50]
    )
    assert not torch.allclose(there, here, rtol=1e-2, atol=1e-3)


def test_spikingjelly_keeps_its_state():
    pytest.importorskip("spikingjelly")
    from spikingjelly.activation_based import functional

    node = jelly("LIFNode", tau=2.0)
    first, second = node(STRONG), node(STRONG)
    assert differing(first, second) > 0
    functional.reset_net(node)
    assert differing(first, node(STRONG)) == 0


def test_spikingjelly_takes_a_sequence_for_one_step():
    """In single-step mode, what it returns for the last step knows nothing of those before."""
    pytest.importorskip("spikingjelly")
    node = jelly("LIFNode", tau=2.0)
    node.step_mode = "s"
    alone = jelly("LIFNode", tau=2.0)
    assert torch.equal(node(STRONG)[-1], alone(STRONG[-1:])[0])
    with pytest.raises(sn.SnnsimError, match="T, B"):
        sn.LIF(N, dt=1.0).double()(STRONG[0])


def test_spikingjelly_drops_the_same_neurons_in_all_steps():
    pytest.importorskip("spikingjelly")
    from spikingjelly.activation_based import layer

    for dropped in (
        layer.Dropout(0.5, step_mode="m").train()(torch.ones(9, 4, N)),
        sn.Dropout(0.5).train()(torch.ones(9, 4, N))[0],
    ):
        assert torch.equal(dropped, dropped[:1].expand_as(dropped)) and (dropped == 0).any()


def test_spikingjelly_files_are_read_without_a_wrong_spike():
    pytest.importorskip("spikingjelly")
    pytest.importorskip("nir")
    from spikingjelly.activation_based import layer, neuron, nir_exchange

    net = nn.Sequential(layer.Linear(N, N, step_mode="m"), neuron.LIFNode(tau=2.0, step_mode="m"))
    with torch.no_grad():
        net[0].weight.mul_(4)
    ours = sn.from_nir(nir_exchange.export_to_nir(net, torch.rand(1, 1, N)))
    theirs = net(STRONG.float())
    assert theirs.any() and differing(theirs, ours(STRONG.float())[0]) == 0


# ------------------------------------------------------------------------------------- Norse

VIVID = noise(1.5, 1.0)
SUPER = {"reset": "zero", "detach_reset": False, "surrogate": FastSigmoid(alpha=1.0)}
MEMBRANE = {**EULER, "scale_input": True, "tau_mem": 10.0}
CURRENT = {**MEMBRANE, "tau_syn": 5.0}


def norse_lif(**voltages):
    """Norse's LIF with its default time constants in float64."""
    import norse.torch as norse

    times = {"tau_syn_inv": exact(200.0), "tau_mem_inv": exact(100.0)}
    return norse.LIF(norse.LIFParameters(**times, **{k: exact(v) for k, v in voltages.items()}))


def stepped(cell, x: Tensor) -> Tensor:
    """The outputs of a Norse cell for all steps of ``x``."""
    outputs, state = [], None
    for now in x:
        y, state = cell(now, state)
        outputs.append(y)
    return torch.stack(outputs)


@case("norse", "`LIF(p)`, `LIFCell(p)`")
def _():
    import norse.torch as norse

    layer, ours = norse_lif(), sn.CubaLIF(N, **CURRENT, **SUPER).double()
    gradients = weight_gradients(lambda x: layer(x)[0], lambda x: ours(x)[0], VIVID[:50])
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-12)
    theirs = layer(VIVID)[0].detach()
    assert torch.equal(theirs, stepped(norse.LIFCell(layer.p), VIVID).detach())
    return theirs, ours(VIVID)[0]


def norse_box(**options) -> Tensor:
    import norse.torch as norse

    cell = norse.LIFBoxCell(norse.LIFBoxParameters(tau_mem_inv=exact(100.0), **options))
    return stepped(cell, VIVID).detach()


@case("norse", "`LIFBoxCell(p)`")
def _():
    return norse_box(), sn.LIF(N, **MEMBRANE, **SUPER).double()(VIVID)[0]


@case("norse", "`LIFBoxParameters(reset_method=reset_subtract)`")
def _():
    from norse.torch.functional.reset import reset_subtract

    subtracting = {**SUPER, "reset": "subtract"}
    ours = sn.LIF(N, **MEMBRANE, **subtracting).double()(VIVID)[0]
    return norse_box(reset_method=reset_subtract), ours


@case("norse", "`LIFParameters(v_leak=l, v_th=u, v_reset=r)`")
def _():
    theirs = norse_lif(v_leak=0.4, v_th=1.2, v_reset=0.1)(VIVID)[0].detach()
    shifted = sn.CubaLIF(N, **CURRENT, **SUPER, v_threshold=1.2 - 0.4, v_reset=0.1 - 0.4)
    as_it_looks = sn.CubaLIF(N, **CURRENT, **SUPER, v_threshold=1.2, v_reset=0.1)
    assert differing(theirs, as_it_looks.double()(VIVID)[0]) > 0.02
    return theirs, shifted.double()(VIVID)[0]


@case("norse", "`LIFRecurrent(i, n, p)`")
def _():
    import norse.torch as norse

    theirs = norse.LIFRecurrent(N, N, p=norse_lif().p).double()
    neurons = sn.CubaLIF(N, **CURRENT, **{**SUPER, "detach_reset": True})
    ours = sn.Sequential(sn.Dense(N, N), sn.Recurrent(neurons, self_connections=False)).double()
    with torch.no_grad():
        ours.layers[0].weight.copy_(theirs.input_weights)
        ours.layers[1].w_rec.copy_(theirs.recurrent_weights)
    gradients = weight_gradients(lambda x: theirs(x)[0], lambda x: ours(x)[0], VIVID[:20])
    torch.testing.assert_close(*gradients, rtol=1e-8, atol=1e-10)
    return theirs(VIVID)[0].detach(), ours(VIVID)[0].detach()


@case("norse", "`LI(p)`")
def _():
    import norse.torch as norse

    p = norse.LIParameters(tau_syn_inv=exact(200.0), tau_mem_inv=exact(100.0))
    synapse = sn.LI(N, **EULER, tau_mem=5.0)
    ours = sn.Sequential(synapse, sn.LI(N, **MEMBRANE)).double()
    return norse.LI(p)(VIVID)[0].detach(), ours(VIVID)[0]


@case("norse", "`LIBoxCell(p)`")
def _():
    import norse.torch as norse
    from norse.torch.functional.leaky_integrator_box import LIBoxParameters

    cell = norse.LIBoxCell(LIBoxParameters(tau_mem_inv=exact(100.0)))
    return stepped(cell, VIVID).detach(), sn.LI(N, **MEMBRANE).double()(VIVID)[0]


@case("norse", "`IAF()`")
def _():
    import norse.torch as norse

    theirs = norse.IAF()(VIVID / 5)[0].detach()
    return theirs, sn.IF(N, dt=1.0, reset="zero").double()(VIVID / 5)[0]


@case("norse", "`Lift(module)`")
def _():
    import norse.torch as norse

    conv, x = nn.Conv2d(2, 3, 3), torch.rand(5, 2, 2, 8, 8)
    return norse.Lift(conv)(x), sn.OverTime(conv)(x)[0]


@case("norse", "`nn.Linear(i, o)`")
def _():
    theirs, ours = nn.Linear(N, 5), sn.Dense(N, 5, bias=True)
    ours.load_state_dict(theirs.state_dict())
    return theirs(VIVID.float()), ours(VIVID.float())[0]


def norse_slopes(method: str, alpha: float, ours):
    from norse.torch.functional.threshold import threshold

    return slopes(lambda u: threshold(u, method, alpha), ours)


@case("norse", '`method="super"`')
def _():
    """Its alpha is not used."""
    wide, narrow = (norse_slopes("super", alpha, FastSigmoid(alpha=1.0)) for alpha in (1.0, 100.0))
    assert torch.equal(wide[0], narrow[0])
    return narrow


@case("norse", '`method="triangle"`')
def _():
    return norse_slopes("triangle", 0.3, Triangle(width=1.0, height=0.3))


@pytest.fixture(scope="module")
def norse():
    pytest.importorskip("norse")
    import norse.torch

    return norse.torch


def test_norse_has_a_current_in_its_lif(norse):
    theirs = norse_lif()(VIVID)[0].detach()
    assert differing(theirs, sn.LIF(N, **MEMBRANE, **SUPER).double()(VIVID)[0]) > 0.1


def test_norse_counts_in_seconds(norse):
    """A step of 0.001 is one of 1 ms; taken as 0.001 ms, nearly nothing decays."""
    theirs = norse_lif()(VIVID)[0].detach()
    mistaken = {**CURRENT, "dt": 0.001}
    assert differing(theirs, sn.CubaLIF(N, **mistaken, **SUPER).double()(VIVID)[0]) > 0.1


def test_norse_takes_euler_steps_and_divides_the_input(norse):
    theirs = norse_lif()(VIVID)[0].detach()
    for forgotten in ("discretization", "scale_input"):
        kept = {name: value for name, value in CURRENT.items() if name != forgotten}
        assert differing(theirs, sn.CubaLIF(N, **kept, **SUPER).double()(VIVID)[0]) > 0.01


def test_norse_fires_above_the_threshold(norse):
    quarters = torch.full((6, 1, 1), 0.25)
    assert norse.IAF()(quarters)[0].flatten().tolist() == [0, 0, 0, 0, 1, 0]
    ours = sn.IF(1, dt=1.0, reset="zero")(quarters)[0]
    assert ours.flatten().tolist() == [0, 0, 0, 1, 0, 0]


def test_norse_keeps_no_state(norse):
    layer = norse_lif()
    assert torch.equal(layer(VIVID)[0], layer(VIVID)[0])


def test_norse_writes_time_constants_that_are_wrong_by_dt(norse):
    pytest.importorskip("nir")
    graph = norse.to_nir(
        norse.SequentialState(nn.Linear(N, 5), norse.LIFBoxCell()), VIVID[0].float()
    )
    (node,) = [node for node in graph.nodes.values() if hasattr(node, "tau")]
    assert float(node.tau) == pytest.approx(0.01 * 0.001)  # 0.01 s was meant
