"""Every network that can be built is saved and loaded as itself, or refused with a reason."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import torch
from models import drive, make, neuron_classes
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

import snnsim as sn
from snnsim.baselines import RateNetwork, models
from snnsim.errors import CheckpointError, ConfigError, NonFiniteError
from snnsim.layer import Layer
from snnsim.saving import TORCH
from snnsim.surrogate import ATan, Surrogate
from snnsim.training import checkpoint


def spikes(*shape: int) -> torch.Tensor:
    return (torch.rand(9, 3, *shape, generator=torch.Generator().manual_seed(1)) < 0.4).float()


class Refractory(sn.Neuron):
    """A neuron of a user's own."""

    state = ("v", "r")
    tau_mem, tau_refr = sn.Tau(20.0), sn.Tau(5.0)
    strength = sn.Parameter(1.0, low=0.0)
    fast = True

    @staticmethod
    def step(x, v, r, *, decay_mem, decay_refr, strength, fast, reset):
        u = decay_mem * v + x - strength * r
        z = sn.spike(u - 1.0)
        return z, (reset(u, z, 1.0), decay_refr * r + z)


class Gain(Layer):
    """A layer of a user's own, with arguments of several kinds."""

    def __init__(self, values, *, names=("a",), sizes=None, extra=None):
        super().__init__()
        self.gain = nn.Parameter(torch.as_tensor(values, dtype=torch.float32))
        self.names, self.sizes, self.extra = tuple(names), sizes or {}, extra

    def forward(self, x, state=None):
        return x * self.gain, None


lif = partial(sn.LIF, dt=1.0, tau_mem=3.0)


def delayed(**options):
    layer = sn.Delayed(6, 8, dt=1.0, max_delay_ms=4, kernel_count=2, **options)
    return sn.Sequential(layer, lif(8)), spikes(6)


NETWORKS = {
    "shd": lambda: (sn.shd_network(), spikes(140)),
    "ssc": lambda: (sn.ssc_network(), spikes(140)),
    "gsc": lambda: (sn.gsc_network(), spikes(140)),
    **{
        f"delays {g} {p}": partial(delayed, granularity=g, profile=p)
        for g in ("synaptic", "axonal", "dendritic")
        for p in ("gauss", "triangle", "linear")
    },
    "convolutions": lambda: (
        sn.Sequential(
            sn.Conv2d(2, 4, 3, padding=1),
            sn.BatchNorm(4),
            lif((4, 8, 8)),
            sn.AvgPool2d(2),
            sn.MaxPool2d(2),
            nn.Flatten(2),
            sn.Dense(16, 5, bias=True),
            sn.LI(5, dt=1.0),
        ),
        spikes(2, 8, 8),
    ),
    "sums": lambda: (sn.Sequential(sn.SumPool2d(2)), spikes(1, 4, 4)),
    "one dimension": lambda: (
        sn.Sequential(sn.Conv1d(2, 4, 3, padding=1), lif((4, 8)), sn.AvgPool1d(2), sn.MaxPool1d(2)),
        spikes(2, 8),
    ),
    "still": lambda: (sn.Sequential(sn.Dense(4, 3), sn.Repeat(5), lif(3)), spikes(4)[:1]),
    "skips": lambda: (
        sn.Sequential(sn.Skip(sn.Sequential(sn.Dense(4, 4), lif(4))), sn.Dropout(0.3)),
        spikes(4),
    ),
    "recurrent": lambda: (
        sn.Sequential(
            sn.Dense(4, 6),
            sn.Recurrent(sn.ALIF(6, dt=1.0, learn=["tau_adapt"]), self_connections=False),
        ),
        spikes(4),
    ),
    "torch's": lambda: (
        sn.Sequential(
            nn.Linear(4, 6, bias=False),
            nn.LayerNorm(6),
            nn.ReLU(),
            nn.Dropout(0.2),
            nn.Linear(6, 2),
        ),
        spikes(4),
    ),
    "per neuron": lambda: (
        sn.Sequential(
            sn.LIF(
                4,
                dt=1.0,
                tau_mem=torch.tensor([2.0, 3.0, 4.0, 5.0]),
                v_threshold=sn.Parameter(0.7, learnable=True, low=0.1),
                surrogate=ATan(alpha=3.0),
            )
        ),
        spikes(4),
    ),
}


def same(net, again, x) -> None:
    assert again.training is False and str(again) == str(net)
    kept, found = net.state_dict(), again.state_dict()
    assert list(kept) == list(found)
    for name, tensor in kept.items():
        assert torch.equal(tensor, found[name]) and tensor.dtype == found[name].dtype, name
    flags = [p.requires_grad for p in net.parameters()]
    assert flags == [p.requires_grad for p in again.parameters()]
    with torch.no_grad():
        (a, state), (b, other) = net.eval()(x), again(x)
    assert torch.equal(a, b)
    flat = [[], []]
    sn.map_state(flat[0].append, state)
    sn.map_state(flat[1].append, other)
    assert all(map(torch.equal, *flat))


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_comes_back_as_it_was(name, tmp_path):
    torch.manual_seed(4)
    net, x = NETWORKS[name]()
    before = torch.get_rng_state()
    sn.save(net, tmp_path / "net.safetensors")
    again = sn.load(tmp_path / "net.safetensors")
    assert torch.equal(torch.get_rng_state(), before)  # no number is drawn of the caller's
    same(net, again, x)


@pytest.mark.parametrize("cls", neuron_classes(), ids=lambda cls: cls.__name__)
def test_neurons_come_back_with_all_their_parameters(cls, tmp_path):
    net = sn.Sequential(make(cls).double())
    sn.save(net, tmp_path / "net.safetensors")
    same(net, sn.load(tmp_path / "net.safetensors"), drive(cls, 20, 2, 5, 0))


@pytest.mark.parametrize("model", models.names())
def test_baselines_come_back(model, tmp_path):
    net = RateNetwork(6, 3, model, width=16, dropout=0.1)
    sn.save(net, tmp_path / "net.safetensors")
    same(net, sn.load(tmp_path / "net.safetensors"), spikes(6))


@pytest.mark.parametrize(
    "options", [{"think": 3}, {"chunk": 4}, {"attend": 3}, {"join": "rate"}, {"density": 0.5},
                {"encoder": {"norm": "sqrt", "bins": 2}}],
)  # fmt: skip
def test_options_of_baselines_come_back(options, tmp_path):
    net = RateNetwork(6, 3, "gru", width=16, **options)
    sn.save(net, tmp_path / "net.safetensors")
    same(net, sn.load(tmp_path / "net.safetensors"), spikes(6))


def test_trained_frozen_and_narrowed_networks_come_back(tmp_path):
    net = sn.delay_network((6, 8, 3), dt=1.0, tau_mem=2.0, max_delay_ms=4, dropout=0.1)
    net[0].weight.requires_grad_(False)
    sn.narrow_delays(net, 3, 4)
    net.train()(spikes(6))
    sn.save(net, tmp_path / "net.safetensors")
    assert net.training
    same(net, sn.load(tmp_path / "net.safetensors"), spikes(6))


def test_what_came_before_the_first_layer_comes_back(tmp_path):
    about = {"classes": ["no", "yes"], "dt": 5.0, "channels": 4, "encoder": {"norm": None}}
    sn.save(sn.Sequential(sn.Dense(4, 2)), tmp_path / "a", about)
    assert sn.load(tmp_path / "a").about == about
    again = sn.load(str(tmp_path / "a"))
    sn.save(again, str(tmp_path / "b"), again.about)
    assert sn.load(tmp_path / "b").about == about
    sn.save(sn.Sequential(sn.Dense(4, 2)), tmp_path / "c")
    assert sn.load(tmp_path / "c").about == {}


def test_neurons_and_layers_of_ones_own_come_back_where_their_classes_are_given(tmp_path):
    values = torch.tensor([1.0, 2.0, 3.0])
    net = sn.Sequential(
        Refractory(3, dt=1.0, strength=0.5, fast=False, learn="tau_refr"),
        Gain(values, names=["a", "b"], sizes={"x": [1, 2]}, extra=sn.Dense(2, 2)),
        sn.Recurrent(Refractory(3, dt=1.0)),
    )
    path = tmp_path / "net"
    sn.save(net, path)
    same(net, sn.load(path, classes=[Refractory, Gain]), spikes(3))
    with pytest.raises(CheckpointError, match=r"has a Gain, .* sn.load\(path, classes=\[Gain\]\)"):
        sn.load(path, classes=[Refractory])


def test_a_saved_network_is_compiled_as_the_first_one(tmp_path):
    net = sn.shd_network().eval()
    sn.save(net, tmp_path / "net")
    x = spikes(140)
    one, other = sn.compile(net), sn.compile(sn.load(tmp_path / "net"))
    assert torch.equal(one(x)[0], other(x)[0])


# --- what is refused ------------------------------------------------------------------------------


class Odd(nn.Module):
    def forward(self, x):
        return x


def changed(net, **values):
    for name, value in values.items():
        setattr(net, name, value)
    return net


def replaced(net, index, layer):
    net.layers[index] = layer
    return net


def sharing(net, name):
    """Both layers with one tensor."""
    kept = net[1]._parameters if name in net[1]._parameters else net[1]._buffers
    kept[name] = getattr(net[0], name)
    return net


def with_forward(net):
    net[0].forward = lambda x, state=None: (x, None)
    return net


REFUSED = {
    "a module of one's own": (lambda: sn.Sequential(Odd()), "Odd cannot be saved: it is neither"),
    "torch's Sequential": (lambda: nn.Sequential(nn.Linear(2, 2)), "Sequential cannot be saved"),
    "another dropout": (
        lambda: sn.Sequential(changed(sn.Dropout(0.2), p=0.5)),
        "p of layers.0 .* is 0.5 but .* 0.2",
    ),
    "another profile": (
        lambda: sn.Sequential(changed(sn.Delayed(2, 2, dt=1.0, max_delay_ms=2), profile="one_tap")),
        "profile of layers.0 .Delayed. is 'one_tap' but it was made with 'gauss'",
    ),
    "another backend": (
        lambda: sn.Sequential(changed(lif(2), backend="cpu")),
        "backend of layers.0",
    ),
    "another layer within": (
        lambda: sn.Sequential(replaced(sn.Sequential(sn.Dense(2, 2)), 0, lif(2))),
        "layers.0.layers.0 was replaced",
    ),
    "an added layer": (
        lambda: changed(sn.Sequential(sn.Dense(2, 2)), more=sn.Dense(2, 2)),
        "was replaced",
    ),
    "an added weight": (
        lambda: changed(sn.Sequential(sn.Dense(2, 2)), more=nn.Parameter(torch.ones(2))),
        "weights were added, removed or reshaped",
    ),
    "a forward of its own": (lambda: with_forward(sn.Sequential(lif(2))), "forward of its own"),
    "a function": (lambda: sn.Sequential(Gain([1.0], extra=len)), "Gain was made with .*len"),
    "a weight of two layers": (
        lambda: sharing(sn.Sequential(sn.Dense(2, 2), sn.Dense(2, 2)), "weight"),
        "layers.0.weight and layers.1.weight are one tensor",
    ),
    "a buffer of two layers": (
        lambda: sharing(sn.Sequential(sn.BatchNorm(2), sn.BatchNorm(2)), "running_mean"),
        "layers.0.running_mean and layers.1.running_mean are one tensor",
    ),
    "two types": (
        lambda: sn.Sequential(sn.Dense(2, 2).double(), sn.Dense(2, 2)),
        "weights of several types",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_networks_that_could_not_be_made_again_are_refused_and_nothing_is_written(case, tmp_path):
    build, reason = REFUSED[case]
    with pytest.raises(ConfigError, match=reason):
        sn.save(build(), tmp_path / "net")
    assert list(tmp_path.iterdir()) == []


@dataclass(frozen=True)
class Own(Surrogate):
    """A surrogate of a user's own."""

    width: float = 2.0

    def derivative(self, u):
        return 1 / (1 + abs(u) / self.width)


def test_a_surrogate_of_ones_own_comes_back_where_its_class_is_given(tmp_path):
    net = sn.Sequential(sn.LIF(2, dt=1.0, surrogate=Own(3.0)))
    sn.save(net, tmp_path / "net")
    again = sn.load(tmp_path / "net", classes=[Own])
    assert again[0].surrogate == Own(3.0)
    with pytest.raises(CheckpointError, match=r"has a Own, .* classes=\[Own\]"):
        sn.load(tmp_path / "net")


def test_two_classes_of_one_name_are_refused(tmp_path):
    other = type("Gain", (Gain,), {"forward": lambda self, x, state=None: (x, None)})
    with pytest.raises(ConfigError, match="two classes are called Gain"):
        sn.save(sn.Sequential(Gain([1.0]), other([1.0])), tmp_path / "net")


def test_weights_that_are_not_finite_are_not_written(tmp_path):
    net = sn.Sequential(sn.Dense(2, 2))
    with torch.no_grad():
        net[0].weight[0, 0] = torch.nan
    with pytest.raises(NonFiniteError):
        sn.save(net, tmp_path / "net")
    assert list(tmp_path.iterdir()) == []


def rewritten(path: Path, change) -> Path:
    """The file with other values, and a checksum that fits them."""
    tensors, values = checkpoint.load(path)
    change(tensors, values)
    text = json.dumps(values)
    metadata = {"format": checkpoint.FORMAT, "values": text,
                "sha256": checkpoint.digest(tensors, text)}  # fmt: skip
    save_file(tensors, path, metadata=metadata)
    return path


def first(values):
    return values["network"]["positional"][0]["module"]


DAMAGE = {
    "no network": lambda t, v: v.pop("network"),
    "no class": lambda t, v: first(v).pop("class"),
    "an unknown class": lambda t, v: first(v).update({"class": "os.system"}),
    "a class of torch that is none": lambda t, v: first(v).update({"class": "torch.Module"}),
    "another size": lambda t, v: first(v).update(positional=[3, 2]),
    "a size that cannot be": lambda t, v: first(v).update(positional=[2**40, 2**40]),
    "a size beyond its weights": lambda t, v: first(v).update(positional=[2, 30_000_000]),
    "a size that is slow to start": lambda t, v: v["network"].update(
        positional=[
            {
                "module": {
                    "class": "Recurrent",
                    "positional": [
                        {
                            "module": {
                                "class": "LIF",
                                "positional": [20_000],
                                "arguments": {"dt": 1.0},
                            }
                        }
                    ],
                    "arguments": {},
                }
            }
        ]
    ),
    "a size of text": lambda t, v: first(v).update(positional=["a", 2]),
    "more arguments": lambda t, v: first(v).update(positional=[2, 2, False, 7]),
    "an unknown argument": lambda t, v: first(v)["arguments"].update(weights=1),
    "a value for a layer": lambda t, v: first(v).update({"class": "ATan", "positional": []}),
    "a layer for a value": lambda t, v: first(v)["arguments"].update(
        bias={"value": "LIF", "parts": {"n": 2, "dt": 1.0}}
    ),
    "no tensor": lambda t, v: first(v)["arguments"].update(bias={"tensor": "9"}),
    "an unknown value": lambda t, v: first(v)["arguments"].update(bias={"value": "X", "parts": {}}),
    "a list for a table": lambda t, v: v.update(network=[1]),
    "an odd type": lambda t, v: v.update(dtype="Tensor"),
    "another odd type": lambda t, v: v.update(dtype="int64"),
    "no type": lambda t, v: v.pop("dtype"),
    "about that is none": lambda t, v: v.update(about=3),
    "frozen that is none": lambda t, v: v.update(frozen=3),
    "no weights": lambda t, v: t.clear(),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_files_that_are_no_network_are_named(case, tmp_path):
    path = tmp_path / "net"
    sn.save(sn.Sequential(sn.Dense(2, 2)), path)
    with pytest.raises(CheckpointError, match=str(path)):
        sn.load(rewritten(path, DAMAGE[case]))


def test_other_files_are_named(tmp_path):
    with pytest.raises(CheckpointError, match="there is no checkpoint"):
        sn.load(tmp_path / "absent")
    (tmp_path / "text").write_text("no network")
    with pytest.raises(CheckpointError, match="damaged or not a checkpoint"):
        sn.load(tmp_path / "text")
    checkpoint.save(tmp_path / "run", {"net.weight": torch.ones(2)}, {"epoch": 3})
    with pytest.raises(CheckpointError, match="has weights but no network; .* 'snnsim predict'"):
        sn.load(tmp_path / "run")
    path = tmp_path / "net"
    sn.save(sn.Sequential(sn.Dense(2, 2)), path)
    with safe_open(path, framework="pt") as file:
        assert json.loads(file.metadata()["values"])["kind"] == "network"


def test_the_modules_of_torch_are_those_that_keep_their_arguments():
    made = [nn.Linear(2, 3), nn.Conv2d(1, 2, (3, 5), stride=2, padding="same" if 0 else 1),
            nn.MaxPool2d(2, stride=1), nn.AdaptiveAvgPool2d((2, 3)), nn.LayerNorm((2, 3)),
            nn.BatchNorm1d(4, affine=False), nn.Flatten(2, 3), nn.GELU("tanh")]  # fmt: skip
    assert {type(m) for m in made} <= set(TORCH)


# --- the face of the library ----------------------------------------------------------------------


def test_sub_packages_are_reached_without_an_import_of_their_own():
    assert sn.continual.HLOP and sn.baselines.RateNetwork and sn.data.Arrays
    assert sn.training.Trainer and sn.surrogate.ATan and sn.functional.readouts.mean
    assert {"save", "load", "data", "continual"} <= set(dir(sn))
    with pytest.raises(AttributeError, match="module 'snnsim' has no attribute 'nothing'"):
        _ = sn.nothing
