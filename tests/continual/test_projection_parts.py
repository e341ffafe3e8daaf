"""HLOP, GPM and OWM: options, bookkeeping and single steps against plain computations."""

import inspect
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from small import CHANNELS, learner, lif, named_copy, stream

import snnsim as sn
from snnsim.continual import HLOP, Learner, dense_head, methods
from snnsim.continual.methods.gpm import GPM
from snnsim.continual.methods.ilora import ILoRA
from snnsim.continual.methods.owm import OWM
from snnsim.continual.methods.refresh import Refresh
from snnsim.continual.methods.sharp import SHARP
from snnsim.continual.presynaptic import weight_of
from snnsim.errors import ConfigError

DEFAULTS = {
    "der": {"size": 500, "batch_size": 64, "alpha": 0.5, "beta": 0.5},
    "ewc": {"strength": 1000.0, "online": True, "decay": 1.0, "samples": 200},
    "fine-tuning": {},
    "gpm": {"fraction": 0.03, "samples": 250},
    "hlop": {
        "sizes": None, "rates": 0.01, "solver": "hebbian", "fraction": 0.02, "iterations": 5,
        "levels": 0, "max_rows": 0, "orthonormal": True, "projection": "auto",
    },
    "hypernetwork": {"strength": 0.1, "embedding": 16, "hidden": 32, "chunk": 512},
    "ilora": {
        "rank": 8, "scale": 8.0, "max_keep": 0.25, "strength": 1.0, "size": 500, "batch_size": 64,
        "pull": "features",
    },
    "joint": {},
    "lwf": {"strength": 1.0, "temperature": 2.0},
    "owm": {"alpha": 1e-3},
    "refresh": {
        "on": "der", "inner": None, "size": 1e-5, "noise": 1e-3, "damping": 1e-3, "decay": 1e-5,
        "samples": 200,
    },
    "rehearsal": {
        "on": "fine-tuning", "inner": None, "per_class": 50, "epochs": 20, "batch_size": 50,
        "lr": 1e-3,
    },
    "replay": {"size": 500, "batch_size": 64},
    "sharp": {
        "density": 0.4, "phases": 5, "floor": 0.3, "horizon": 1, "per_class": 25,
        "temperature": 0.1, "neighbours": 5, "relevance": 0.9, "samples": 250,
        "settle_first": False,
    },
    "si": {"strength": 1.0, "damping": 0.1},
    "unified": {
        "outputs": ("scores", "labels"), "alphas": (0.5, 0.5), "parameters": "fisher", "beta": 1.0,
        "temperature": 2.0, "size": 500, "batch_size": 64, "online": True, "decay": 1.0,
        "samples": 200,
    },
}  # fmt: skip


def test_the_defaults_of_every_method_are_pinned():
    found = {}
    for name in methods.names():
        made = inspect.signature(methods.get(name)).parameters
        found[name] = {key: p.default for key, p in made.items()}
    assert found == DEFAULTS


@pytest.mark.parametrize("name", DEFAULTS)
def test_what_a_method_needs_and_does_is_said(name):
    method = methods.get(name)()
    scores = {"der", "ewc", "hypernetwork", "ilora", "joint", "lwf", "refresh", "rehearsal",
              "replay", "sharp", "unified"}  # fmt: skip
    assert method.needs_scores == (name in scores)
    assert method.rehearses == (name in {"der", "ilora", "joint", "refresh", "replay", "unified"})
    assert method.answers_as_trained == (name != "ilora")


def test_values_at_the_ends_of_their_range_are_taken():
    HLOP(fraction=1, iterations=0, levels=0, max_rows=0, sizes=[[0]])
    HLOP(fraction=0)
    SHARP(density=1.0, floor=1.0, relevance=1.0, horizon=0)
    ILoRA(max_keep=0, strength=0)
    Refresh(on="si", size=0, noise=0, damping=0)
    for name, options in {"ewc": {"strength": 0, "decay": 0, "samples": 1}, "si": {"strength": 0},
                          "der": {"alpha": 0, "beta": 0}, "hypernetwork": {"strength": 0},
                          "lwf": {"strength": 0}}.items():  # fmt: skip
        methods.get(name)(**options)
    for name, options in {"rehearsal": {"batch_size": 0}, "sharp": {"floor": 0},
                          "hlop": {"projection": "both"}}.items():  # fmt: skip
        with pytest.raises(ConfigError, match=next(iter(options))):
            methods.get(name)(**options)
    for options in ({"relevance": 1.1}, {"floor": 2}, {"density": 1.01}):
        with pytest.raises(ConfigError, match=next(iter(options))):
            SHARP(**options)
    with pytest.raises(ConfigError, match="solver"):
        HLOP(solver="both")


# --- HLOP ----------------------------------------------------------------------------------------


def hlop(scenario="domain", kind="dense", optimizer="sgd", method=None, **options):
    torch.manual_seed(3)
    made, method = learner(scenario, kind), method or HLOP(**options)
    method.attach(made, optimizer)
    return made, method


def test_sizes_are_a_tenth_or_those_of_the_task_and_the_last_for_later_ones():
    _, method = hlop()
    assert [s.size for s in method.subspaces.values()] == [12, 16, 10]
    assert method.sizes_of(3, 3) == [1, 1, 1]
    method.subspaces["body.0"].size = 59
    assert method.sizes_of(0, 3)[0] == 5
    method.subspaces["body.0"].size = 9
    assert method.sizes_of(0, 3)[0] == 1
    given = HLOP(sizes=[[1, 2, 3], [4, 5, 6]])
    assert [given.sizes_of(task, 3) for task in range(3)] == [[1, 2, 3], [4, 5, 6], [4, 5, 6]]


def test_every_subspace_has_its_rate_and_the_options():
    options = {"solver": "iteration", "iterations": 3, "levels": 7, "max_rows": 9,
               "orthonormal": False}  # fmt: skip
    _, method = hlop(rates=[0.1, 0.2, 0.3], **options)
    assert list(method.subspaces) == ["body.0", "body.2", "head"]
    assert [s.rate for s in method.subspaces.values()] == [0.1, 0.2, 0.3]
    for made in method.subspaces.values():
        assert {name: getattr(made, name) for name in options} == options
    assert [s.rate for s in hlop(rates=0.7)[1].subspaces.values()] == [0.7] * 3
    assert list(hlop("task")[1].subspaces) == ["body.0", "body.2"]
    with pytest.raises(ConfigError, match="rates has 2 entries but the network has 3 connections"):
        hlop(rates=[0.1, 0.2])
    with pytest.raises(ConfigError, match="sizes has 4 entries"):
        hlop(sizes=[[1, 2, 3], [1, 2, 3, 4]])


@pytest.mark.parametrize(("projection", "optimizer", "modes"), [
    ("auto", "sgd", ["input", "gradient", "gradient"]), ("auto", "adam", ["update"] * 3),
    ("input", "sgd", ["input", "input", "gradient"]), ("gradient", "sgd", ["gradient"] * 3),
    ("update", "sgd", ["update"] * 3), ("update", "sgd with weight decay", ["update"] * 3),
])  # fmt: skip
def test_what_is_projected_depends_on_optimiser_size_and_kind(projection, optimizer, modes):
    layers = (
        sn.Dense(CHANNELS, 64), lif(64), sn.Dense(64, 63), lif(63),
        torch.nn.Unflatten(2, (1, 63)), sn.Conv1d(1, 70, 3), torch.nn.Flatten(2),
    )  # fmt: skip
    made = Learner(sn.Sequential(*layers), dense_head(70 * 61), stream("task"))
    method = HLOP(projection=projection)
    method.attach(made, optimizer)
    assert list(method.modes.values()) == modes


def test_only_steps_within_their_samples_are_learned_from():
    _, method = hlop()
    x, lengths = torch.zeros(3, 2, 12), torch.tensor([2, 3])
    rows = torch.arange(24.0).view(12, 2)  # two rows per step and sample
    assert method.within(rows, x) is rows
    method.on_batch(SimpleNamespace(x=x, lengths=lengths), 0)
    assert method.within(rows, x).tolist() == rows[:10][[0, 1, 2, 3, 4, 5, 6, 7]].tolist() + (
        rows[10:].tolist()
    )  # fmt: skip
    assert method.within(rows, x[:1]) is rows
    assert method.within(rows, x[:, :1]) is rows
    method.on_batch(SimpleNamespace(x=x[:1], lengths=torch.tensor([0, 0])), 0)
    assert method.within(rows[:2], x[:1]) is not None and len(method.within(rows, x[:1])) == 12


def test_rows_grow_at_the_start_and_are_taken_at_the_end_of_a_task():
    _, method = hlop(sizes=[[1, 2, 3], [3, 2, 1]])
    for task, sizes, frozen in ((0, [1, 2, 3], 0), (1, [3, 2, 1], 6), (2, [3, 2, 1], 12)):
        method.on_task_start(task)
        assert [len(s.rows) for s in method.subspaces.values()] == sizes
        assert sum(len(s.frozen) for s in method.subspaces.values()) == frozen
    _, method = hlop(solver="covariance", fraction=0.25, sizes=[[1, 20, 3]])
    for unlimited in (False, True):
        method.sizes = None if unlimited else method.sizes
        asked = []
        for subspace in method.subspaces.values():
            subspace.finish = lambda most, share: asked.append((most, share))  # noqa: B023
        method.on_task_start(0)
        assert [len(s.rows) for s in method.subspaces.values()] == [0, 0, 0]
        method.on_task_end(0)
        sizes = [12, 16, 10] if unlimited else [1, 20, 3]
        assert asked == [(size, 0.25) for size in sizes]


def frozen(method, count=3):
    """Give every subspace some frozen rows."""
    for seed, subspace in enumerate(method.subspaces.values()):
        generator = torch.Generator().manual_seed(seed)
        axes = torch.linalg.qr(torch.randn(subspace.size, count, generator=generator))[0]
        subspace.frozen = axes.t().contiguous()


def test_only_protected_weights_and_own_heads_learn_after_the_first_task():
    for scenario in ("domain", "task"):
        made, method = hlop(scenario, "axonal")
        names = [name for name, _ in made.named_parameters()]
        assert all(method.trains(n, made.get_parameter(n), 0) for n in names)
        later = {n for n in names if method.trains(n, made.get_parameter(n), 1)}
        own = {n for n in names if n.startswith("heads.")}
        first = next(n for n in names if made.get_parameter(n) is weight_of(made.body[0]))
        assert later == own | {first} and len(names) > len(later)
    biased = Learner(sn.Sequential(sn.Dense(12, 4, bias=True)), dense_head(4), stream("domain"))
    method.attach(biased)
    trained = [n for n, p in biased.named_parameters() if method.trains(n, p, 2)]
    assert len(trained) == 2 and all(n.endswith("weight") for n in trained)


@pytest.mark.parametrize("projection", ["gradient", "update"])
def test_changes_are_projected_from_the_second_task_on(projection):
    for task in (0, 1):
        made, method = hlop(projection=projection)
        frozen(method)
        start = named_copy(made)
        for p in made.parameters():
            p.grad = torch.randn_like(p)
        gradients = {n: p.grad.clone() for n, p in made.named_parameters()}
        method.on_gradients(task)
        with torch.no_grad():
            for p in made.parameters():
                p.sub_(0.5 * p.grad)
        method.on_step_end(task)
        for name, module in method.connections.items():
            key = next(n for n, p in made.named_parameters() if p is weight_of(module))
            rows = method.subspaces[name].frozen
            expected = -0.5 * gradients[key]
            if task:
                expected = expected - expected @ rows.t() @ rows
            found = weight_of(module).detach() - start[key]
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_what_is_allowed_of_a_change_is_what_the_projection_leaves():
    _, method = hlop(levels=3)
    frozen(method)
    weight, change = weight_of(method.connections["head"]), torch.randn(6, 10)
    rows = method.subspaces["head"].frozen
    method.on_epoch_start(0)
    assert method.allowed(weight, change) is change
    method.on_epoch_start(2)
    expected = change - change @ rows.t() @ rows
    torch.testing.assert_close(method.allowed(weight, change), expected)
    other = torch.nn.Parameter(torch.zeros(6, 10))
    assert method.allowed(other, change) is change


def test_a_subspace_comes_back_as_it_was_and_counts_its_rows():
    _, method = hlop(solver="iteration", sizes=[[2, 2, 2]])
    frozen(method)
    method.on_task_start(1)
    for s in method.subspaces.values():
        s.learn(torch.randn(5, s.size))
    stored = method.tensors()
    kept = {name: t.clone() for name, t in stored.items()}
    assert set(stored) == {
        f"{name}.{what}" for name in ("body.0", "body.2", "head")
        for what in ("frozen", "rows", "momentum", "batches", "covariance")
    }  # fmt: skip
    assert method.memory_bytes() == 4 * 5 * (12 + 16 + 10)
    _, again = hlop(solver="iteration", sizes=[[2, 2, 2]])
    again.load(stored)
    for name, t in again.tensors().items():
        assert torch.equal(t, kept[name])
        t.add_(1)
    assert all(torch.equal(t, kept[name]) for name, t in method.tensors().items())


@pytest.mark.parametrize("training", ["bptt", "ottt"])
def test_what_is_shown_to_a_subspace_is_what_carries_the_update(training):
    torch.manual_seed(0)
    made, seen = learner("domain", training=training), []
    method = HLOP()
    method.attach(made)
    method.learn = lambda name, rows, rest: seen.append((name, rows, rest))
    batch = made.stream.tasks[0].train.batch(range(4))
    x = batch.x if training == "bptt" else batch.x[:1]
    method.on_batch(batch._replace(lengths=torch.tensor([6, 2, 1, 5])), 0)
    made.train()
    for state in (None, {"trace": torch.ones(4, 16)}):
        seen.clear()
        z = (torch.rand(len(x), 4, 16) < 0.5).float()
        made.body[2](z, state if training == "ottt" else None)
        ((name, rows, rest),) = seen
        assert name == "body.2" and rest is None
        if training == "bptt":
            inside = torch.arange(6)[:, None] < torch.tensor([6, 2, 1, 5])
            assert torch.equal(rows, z[inside])
        else:
            trace = z[0] + (0 if state is None else 0.5)
            assert torch.equal(rows, torch.cat([z[0], trace]))
    seen.clear()
    with method.unobserved():
        made.body[2](z)
    made.eval()
    made.body[2](z)
    assert seen == []


# --- GPM -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("samples", "parts"), [(7, [7]), (250, [42]), (42, [42])])
def test_gpm_looks_once_at_samples_as_they_are_from_now_on(samples, parts):
    made, method = hlop("task", "axonal", method=GPM(samples=samples, fraction=0.2))
    assert method.options["solver"] == "covariance" and method.fraction == 0.2
    seen, learnt, original = [], [], made.scores
    norm = next(m for m in made.modules() if isinstance(m, sn.BatchNorm))

    def scores(x, task, lengths):
        seen.append((x.shape[1], task, made.body[0].profile, norm.training, made.training))
        assert len(method.inside[0]) == x.shape[1]
        return original(x, task, lengths)

    made.scores = scores
    method_learn = method.learn

    def learn(name, rows, rest):
        before = method.subspaces[name].covariance.clone()
        method_learn(name, rows, rest)
        learnt.append(not torch.equal(before, method.subspaces[name].covariance))

    method.learn = learn
    made.train()
    method.on_task_start(0)
    method.on_epoch_start(0)
    original(made.stream.tasks[0].train.batch([0, 1]).x, 0)
    assert learnt == [False]
    made.eval()
    method.on_task_end(0)
    assert [n for n, *_ in seen] == parts
    assert {tuple(each[1:]) for each in seen} == {(0, "one_tap", False, True)}
    assert not method.learning_now
    assert learnt == [False] + [True] * len(parts)
    assert all(len(s.rows) for s in method.subspaces.values())


def test_gpm_takes_its_samples_fifty_at_a_time():
    made, method = hlop("domain", method=GPM(samples=120))
    sizes, numbers, data = [], [], made.stream.tasks[1].train
    made.scores = lambda x, task, lengths: sizes.append(x.shape[1])
    original = type(data).batch

    def batch(view, chosen, steps=None):
        numbers.extend(np.asarray(chosen).tolist())
        return original(view, chosen, steps)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(data), "batch", batch)
        method.on_task_end(1)
    assert sizes == [50, 50, 20]
    assert len(set(numbers)) == 120 and max(numbers) < 126
    made.scores = lambda *_: 1 / 0
    with pytest.raises(ZeroDivisionError):
        method.on_task_end(1)
    assert not method.learning_now


# --- OWM -----------------------------------------------------------------------------------------


def test_owm_counts_its_projectors_and_stores_both_kinds():
    _, method = hlop(method=OWM(alpha=0.5))
    method.learn("head", torch.randn(4, 10), None)
    assert torch.equal(method.projectors["head"], torch.eye(10))
    method.on_task_start(1)
    method.learn("head", torch.randn(4, 10), None)
    assert method.memory_bytes() == 4 * (12**2 + 16**2 + 10**2)
    stored = method.tensors()
    assert not torch.equal(stored["projector.head"], stored["pending.head"])
    kept = {name: t.clone() for name, t in stored.items()}
    _, again = hlop(method=OWM(alpha=0.5))
    again.load(stored)
    again.learn("head", torch.randn(4, 10), None)
    assert all(torch.equal(t, kept[name]) for name, t in stored.items())
    assert torch.equal(again.projectors["head"], kept["projector.head"])
