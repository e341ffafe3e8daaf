"""Every method's options, bookkeeping and single steps, against plain computations."""

import inspect
import math
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).parent))
from small import CHANNELS, STEPS, learner, lif, named_copy, precise, stream

import snnsim as sn
from snnsim.continual import HLOP, ContinualRecipe, ContinualTrainer, Learner, dense_head, methods
from snnsim.continual.activity import unpack
from snnsim.continual.codes import nearest
from snnsim.continual.method import Method
from snnsim.continual.methods.ewc import EWC
from snnsim.continual.methods.gpm import GPM
from snnsim.continual.methods.hypernetwork import Generator, Hypernetwork
from snnsim.continual.methods.ilora import ILoRA, LowRank
from snnsim.continual.methods.joint import Joint
from snnsim.continual.methods.owm import OWM
from snnsim.continual.methods.refresh import Refresh
from snnsim.continual.methods.rehearsal import Rehearsal
from snnsim.continual.methods.sharp import SHARP
from snnsim.continual.methods.si import SI
from snnsim.continual.presynaptic import weight_of
from snnsim.errors import ConfigError
from snnsim.functional.losses import supervised_contrastive

ZERO = torch.zeros(())

DEFAULTS = {
    "der": {"size": 500, "batch_size": 64, "alpha": 0.5, "beta": 0.5},
    "ewc": {"strength": 1000.0, "online": True, "decay": 1.0, "samples": 200},
    "fine-tuning": {},
    "gpm": {"share": 0.03, "samples": 250},
    "hlop": {
        "sizes": None, "rates": 0.01, "solver": "hebbian", "share": 0.02, "iterations": 5,
        "levels": 0, "most_rows": 0, "orthonormal": True, "projection": "auto",
    },
    "hypernetwork": {"strength": 0.1, "embedding": 16, "hidden": 32, "chunk": 512},
    "ilora": {
        "rank": 8, "scale": 8.0, "most": 0.25, "strength": 1.0, "size": 500, "batch_size": 64,
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
    },
    "si": {"strength": 1.0, "damping": 0.1},
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
              "replay", "sharp"}  # fmt: skip
    assert method.needs_scores == (name in scores)
    assert method.rehearses == (name in {"der", "ilora", "joint", "refresh", "replay"})
    assert method.answers_as_trained == (name != "ilora")


def test_values_at_the_ends_of_their_range_are_taken():
    HLOP(share=1, iterations=0, levels=0, most_rows=0, sizes=[[0]])
    HLOP(share=0)
    SHARP(density=1.0, floor=1.0, relevance=1.0, horizon=0)
    ILoRA(most=0, strength=0)
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


# --- HLOP ---


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
    options = {"solver": "iteration", "iterations": 3, "levels": 7, "most_rows": 9,
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
    method.look_at(SimpleNamespace(x=x, lengths=lengths))
    assert method.within(rows, x).tolist() == rows[:10][[0, 1, 2, 3, 4, 5, 6, 7]].tolist() + (
        rows[10:].tolist()
    )  # fmt: skip
    assert method.within(rows, x[:1]) is rows
    assert method.within(rows, x[:, :1]) is rows
    method.look_at(SimpleNamespace(x=x[:1], lengths=torch.tensor([0, 0])))
    assert method.within(rows[:2], x[:1]) is not None and len(method.within(rows, x[:1])) == 12


def test_rows_grow_at_the_start_and_are_taken_at_the_end_of_a_task():
    _, method = hlop(sizes=[[1, 2, 3], [3, 2, 1]])
    for task, sizes, frozen in ((0, [1, 2, 3], 0), (1, [3, 2, 1], 6), (2, [3, 2, 1], 12)):
        method.begin_task(task)
        assert [len(s.rows) for s in method.subspaces.values()] == sizes
        assert sum(len(s.frozen) for s in method.subspaces.values()) == frozen
    _, method = hlop(solver="covariance", share=0.25, sizes=[[1, 20, 3]])
    for unlimited in (False, True):
        method.sizes = None if unlimited else method.sizes
        asked = []
        for subspace in method.subspaces.values():
            subspace.finish = lambda most, share: asked.append((most, share))  # noqa: B023
        method.begin_task(0)
        assert [len(s.rows) for s in method.subspaces.values()] == [0, 0, 0]
        method.end_task(0)
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
        method.after_backward(task)
        with torch.no_grad():
            for p in made.parameters():
                p.sub_(0.5 * p.grad)
        method.after_step(task)
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
    method.enter(0)
    assert method.allowed(weight, change) is change
    method.enter(2)
    expected = change - change @ rows.t() @ rows
    torch.testing.assert_close(method.allowed(weight, change), expected)
    other = torch.nn.Parameter(torch.zeros(6, 10))
    assert method.allowed(other, change) is change


def test_a_subspace_comes_back_as_it_was_and_counts_its_rows():
    _, method = hlop(solver="iteration", sizes=[[2, 2, 2]])
    frozen(method)
    method.begin_task(1)
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
    method.look_at(batch._replace(lengths=torch.tensor([6, 2, 1, 5])))
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
    with made.unobserved():
        made.body[2](z)
    made.eval()
    made.body[2](z)
    assert seen == []


# --- GPM ---


@pytest.mark.parametrize(("samples", "parts"), [(7, [7]), (250, [42]), (42, [42])])
def test_gpm_looks_once_at_samples_as_they_are_from_now_on(samples, parts):
    made, method = hlop("task", "axonal", method=GPM(samples=samples, share=0.2))
    assert method.options["solver"] == "covariance" and method.share == 0.2
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
    method.begin_task(0)
    method.enter(0)
    original(made.stream.tasks[0].train.batch([0, 1]).x, 0)
    assert learnt == [False]
    made.eval()
    method.end_task(0)
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
        method.end_task(1)
    assert sizes == [50, 50, 20]
    assert len(set(numbers)) == 120 and max(numbers) < 126
    made.scores = lambda *_: 1 / 0
    with pytest.raises(ZeroDivisionError):
        method.end_task(1)
    assert not method.learning_now


# --- OWM ---


def test_owm_counts_its_projectors_and_stores_both_kinds():
    _, method = hlop(method=OWM(alpha=0.5))
    method.learn("head", torch.randn(4, 10), None)
    assert torch.equal(method.projectors["head"], torch.eye(10))
    method.begin_task(1)
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


# --- EWC and SI ---


@pytest.mark.parametrize("method", [EWC(), SI()])
def test_what_is_remembered_of_weights_stands_alone(method):
    made = learner("task")
    method.attach(made)
    method.begin_task(0)
    method.after_backward(0)
    method.after_step(0)
    method.end_task(0)
    kept = {name: t.clone() for name, t in method.tensors().items()}
    assert kept and not any(t.requires_grad for t in kept.values())
    with torch.no_grad():
        for p in made.parameters():
            p.add_(1)
    assert all(torch.equal(t, kept[name]) for name, t in method.tensors().items())
    assert not any("heads.1" in name for name in kept)
    again = type(method)()
    again.attach(learner("task"))
    again.load(kept)
    assert again.tensors().keys() == kept.keys()
    again.begin_task(1)
    assert any("heads.1" in n for n in again.tensors()) == isinstance(method, SI)


def test_si_of_a_later_task_keeps_the_importance_and_starts_its_path_anew():
    made, method = learner("task"), SI()
    method.attach(made)
    method.begin_task(0)
    names = list(method.parameters(0))
    for name in names:
        method.kept[f"importance.{name}"].fill_(2.0)
        method.kept[f"path.{name}"].fill_(3.0)
    method.begin_task(1)
    for name in set(names) & set(method.parameters(1)):
        assert (method.kept[f"importance.{name}"] == 2).all()
        assert not method.kept[f"path.{name}"].any()


# --- joint training ---


def test_joint_training_counts_every_value_of_all_earlier_tasks():
    made, method = learner("class"), Joint()
    method.attach(made)
    assert method.memory_bytes() == (42 + 42) * STEPS * CHANNELS
    found = method.loss(ZERO + 3, None, None, 0, np.arange(5))
    assert float(found) == 3.0
    drawn = method._any(1, 9)
    assert len(drawn.labels) == 9 and set(drawn.labels.tolist()) <= {2, 3}


# --- refresh ---


@pytest.mark.parametrize("known", [False, True])
def test_refresh_goes_up_the_loss_by_its_size_with_noise_and_damping(known):
    made = precise("domain")
    method = Refresh(inner=Method(), size=0.03, noise=0.2, damping=0.5)
    method.attach(made)
    batch = made.stream.tasks[0].train.batch(range(9))
    named = dict(made.named_parameters())
    if known:
        method.information.kept = {
            f"0.fisher.{n}": torch.rand_like(p) * 4 for n, p in named.items()
        }
    before = named_copy(made)
    loss = functional.cross_entropy(made.scores(batch.x, 0, batch.lengths), batch.labels)
    gradients = torch.autograd.grad(loss, list(named.values()))
    made.zero_grad()
    torch.manual_seed(8)
    method.before_step(batch, 0)
    torch.manual_seed(8)
    for (name, p), g in zip(named.items(), gradients, strict=True):
        away = g * (before[name].norm() / g.norm()) + 0.2 * torch.randn_like(g)
        if known:
            away = away / (1 + 0.5 * method.information.kept[f"0.fisher.{name}"])
        torch.testing.assert_close(p.detach(), before[name] + 0.03 * away, rtol=1e-9, atol=1e-12)
        assert p.grad is None


def test_refresh_passes_its_options_on_and_counts_half_of_the_information():
    method = Refresh(on="si", decay=0.3, samples=9)
    assert method.information.decay == 0.3 and method.information.samples == 9
    assert method.information.online
    made = learner("task")
    method.attach(made)
    method.inner.begin_task(0)
    method.inner.before = {}
    method.end_task(0)
    info = sum(t.numel() * 4 for t in method.information.tensors().values())
    assert info > 0 and method.memory_bytes() == method.inner.memory_bytes() + info // 2
    stored = method.tensors()
    assert any(n.startswith("fisher.0.fisher.") for n in stored)
    again = Refresh(on="si")
    again.attach(learner("task"))
    again.load(stored)
    assert again.tensors().keys() == stored.keys()


# --- rehearsal ---


def test_rehearsal_goes_through_the_longest_memory_and_leaves_out_tasks_that_are_through():
    made, method = learner("task"), Rehearsal(inner=Method(), epochs=2, batch_size=4, lr=0.05)
    method.attach(made)
    method.kept = {0: torch.arange(6), 1: torch.arange(3, 14), 2: torch.arange(2)}
    seen, original = [], made.scores_of

    def scores_of(batches, tasks, present):
        assert not made.training
        seen.append((list(tasks), [len(b.labels) for b in batches], present))
        return original(batches, tasks, present)

    made.scores_of = scores_of
    made.train()
    method._rehearse(2)
    assert made.training
    epoch = [([0, 1, 2], [4, 4, 2], 2), ([0, 1], [2, 4], 2), ([1], [3], 2)]
    assert seen == epoch * 2


def test_rehearsal_draws_a_new_order_of_its_own_samples_in_every_epoch():
    made, method = learner("task"), Rehearsal(inner=Method(), epochs=3, batch_size=100)
    method.attach(made)
    method.kept = {0: torch.tensor([1, 4, 7, 9, 12, 20, 33])}
    orders, original = [], method._step
    method._step = lambda o, *rest: (orders.append(o[0].tolist()), original(o, *rest))[1]
    torch.manual_seed(2)
    method._rehearse(1)
    assert [sorted(o) for o in orders] == [[1, 4, 7, 9, 12, 20, 33]] * 3
    assert len({tuple(o) for o in orders}) == 3


def test_rehearsal_counts_its_samples_and_brings_them_back():
    made, method = learner("class"), Rehearsal(on="si", per_class=3, epochs=1)
    method.attach(made)
    inner = method.inner.memory_bytes()
    method.kept = {0: torch.tensor([0, 2, 5]), 1: torch.tensor([7])}
    assert method.memory_bytes() == inner + 4 * STEPS * CHANNELS
    stored = method.tensors()
    again = Rehearsal(on="si")
    again.attach(learner("class"))
    again.load(stored)
    again.kept[0].zero_()
    assert {t: n.tolist() for t, n in method.kept.items()} == {0: [0, 2, 5], 1: [7]}
    assert list(again.kept) == [0, 1]


# --- low-rank adapters ---


def test_an_adapter_has_the_rank_that_fits_and_the_scale_of_it():
    torch.manual_seed(0)
    for shape, rank in (((7, 500), 3), ((2, 500), 2), ((7, 2, 2, 1), 3), ((7, 2), 2)):
        adapter = LowRank(torch.zeros(shape), 3, 6.0)
        n_in = math.prod(shape[1:])
        assert adapter.a.shape == (rank, n_in) and adapter.b.shape == (shape[0], rank)
        assert adapter.factor == 6 / rank
        assert not adapter.b.any() and torch.equal(adapter.slow_a, adapter.a)
        with torch.no_grad():
            adapter.b.normal_()
        change = (6 / rank * adapter.b @ adapter.a).view(shape)
        torch.testing.assert_close(adapter(torch.ones(shape)), 1 + change)
        assert torch.equal(adapter.eval()(torch.ones(shape)), torch.ones(shape))
    wide = LowRank(torch.zeros(50, 400), 40, 1.0)
    assert float(wide.a.std()) == pytest.approx(1 / 20, rel=0.03)


@pytest.mark.parametrize("scenario", ["task", "class"])
def test_adapters_learn_after_the_first_task_and_weights_in_it(scenario):
    made, method = learner(scenario), ILoRA(rank=2)
    method.attach(made)
    found = {
        task: {n for n, p in made.named_parameters() if method.trains(n, p, task)}
        for task in (0, 1)
    }
    names = {n for n, _ in made.named_parameters()}
    adapters = {n for n in names if n.endswith((".0.a", ".0.b"))}
    assert len(adapters) == (4 if scenario == "task" else 6)
    heads = {n for n in names if n.startswith("heads.")} if scenario == "task" else set()
    assert found == {0: names - adapters, 1: adapters | heads}
    slow = sum(a.slow_a.numel() + a.slow_b.numel() for a in method.adapters)
    assert method.memory_bytes() == 4 * slow
    assert method._pull() == 0.0
    batch = made.stream.tasks[0].train.batch([0, 1])
    assert float(method.loss(ZERO + 2, batch, None, 0, np.array([0, 1]))) == 2.0
    assert method.memory_bytes() == 4 * slow + 2 * STEPS * CHANNELS


def test_steps_of_the_slow_adapters_are_stored():
    made, method = learner("class"), ILoRA()
    method.attach(made)
    for task in (0, 1, 1, 1):
        method.after_step(task)
    assert method.steps == 3
    again = ILoRA()
    again.attach(learner("class"))
    again.load(method.tensors())
    assert again.steps == 3


# --- the hypernetwork ---


def test_only_the_generator_and_the_present_embedding_learn_after_the_first_task():
    made, method = learner("task", "axonal"), Hypernetwork(chunk=16, hidden=6, embedding=3)
    method.attach(made)
    names = {n for n, _ in made.named_parameters()}
    for task in range(3):
        found = {n for n in names if method.trains(n, made.get_parameter(n), task)}
        assert {n for n in found if ".tasks." in n} == {f"generator.tasks.{task}"}
        shared = {n for n in names if n.startswith("generator.") and ".tasks." not in n}
        assert shared <= found and not found & method.targets
        others = {n for n in names if n.startswith("body.")} - method.targets
        assert others and others & found == (others if task == 0 else set())
        assert all(n in found for n in names if n.startswith("heads."))
    own = sum(p.numel() for p in method.generator.parameters())
    assert method.memory_bytes() == 4 * own


def test_a_generator_gives_chunk_after_chunk_at_the_scale_of_each_weight():
    torch.manual_seed(0)
    targets = {"a": torch.randn(3, 4), "b": 5 * torch.randn(2, 3)}
    made = Generator(targets, tasks=2, embedding=4, hidden=5, chunk=5)
    assert made.counts == [3, 2] and made.chunks.shape == (5, 4) and len(made.tasks) == 2
    joint = torch.cat([made.tasks[1].expand(5, 4), made.chunks], 1)
    steps = made.emit(made.walker(joint)[0])
    found = made(1)
    torch.testing.assert_close(found["a"], made.scales[0] * steps[:3].flatten()[:12].view(3, 4))
    torch.testing.assert_close(found["b"], made.scales[1] * steps[3:].flatten()[:6].view(2, 3))


def test_what_a_hypernetwork_holds_is_from_the_start_of_the_task():
    made, method = learner("task"), Hypernetwork(chunk=64, hidden=6, embedding=3)
    method.attach(made)
    method.begin_task(0)
    method.enter(0)
    assert method.before == {} and method.held == [] and method.tensors() == {}
    assert float(method.loss(ZERO + 2, None, None, 0, np.arange(1))) == 2.0
    method.begin_task(1)
    kept = {name: t.clone() for name, t in method.tensors().items()}
    with torch.no_grad():
        for p in method.generator.parameters():
            p.add_(1)
    assert all(torch.equal(t, kept[name]) for name, t in method.tensors().items())
    method.enter(1)
    assert len(method.held) == 1
    again = Hypernetwork(chunk=64, hidden=6, embedding=3)
    again.attach(learner("task"))
    again.load(kept)
    again.enter(1)
    for name, weight in method.held[0].items():
        torch.testing.assert_close(again.held[0][name], weight)


# --- SHARP ---


def sharp(scenario="class", **options):
    torch.manual_seed(4)
    layers = (sn.Dense(CHANNELS, 20), lif(20), sn.Dense(20, 16), lif(16), sn.Dense(16, 12), lif(12))
    made = Learner(sn.Sequential(*layers), dense_head(12), stream(scenario))
    with torch.no_grad():
        for p in made.body.parameters():
            p.mul_(3)
    method = SHARP(**options)
    method.attach(made)
    return made, method


def test_a_density_of_the_pairs_stays_at_weights_so_much_larger():
    _, method = sharp(density=0.3)
    before = [weight_of(b.module).detach().clone() for b in method.units.blocks]
    method.learns[0].fill_(True)
    method.begin_task(0)
    for block, weight in zip(method.units.blocks, before, strict=True):
        assert int(block.mask.sum()) == round(0.3 * weight.numel())
        expected = weight * block.mask * 0.3**-0.5
        torch.testing.assert_close(weight_of(block.module).detach(), expected)
    masks = [b.mask.clone() for b in method.units.blocks]
    assert not method.learns[0].any()
    method.begin_task(1)
    assert all(torch.equal(b.mask, m) for b, m in zip(method.units.blocks, masks, strict=True))


@pytest.mark.parametrize(("phases", "steps"), [(5, 10), (5, 7), (4, 3), (1, 6)])
def test_phases_start_evenly_over_the_steps_and_ask_for_a_falling_share(phases, steps, monkeypatch):
    _, method = sharp(phases=phases, floor=0.2)
    method.begin_task(0)
    asked = []
    monkeypatch.setattr(
        "snnsim.continual.methods.sharp.most_active",
        lambda activity, share: (asked.append(share), activity >= 0)[1],
    )
    changed = []
    monkeypatch.setattr(method, "_rewire", lambda block: changed.append(step))
    starts = [math.ceil(p * steps / phases) for p in range(phases)]
    for step in range(steps):
        asked.clear()
        changed.clear()
        method.begin_step(0, step, steps)
        assert len(changed) == (3 if step in starts else 0)
        if step in starts:
            phase = max(p for p in range(phases) if starts[p] == step)
            share = max((1 + math.cos(math.pi * phase / phases)) / 2, 0.2)
            assert asked == ([] if phase == 0 else pytest.approx([share] * 2))
        else:
            assert asked == []


def test_learners_are_the_most_active_units_that_have_not_settled(monkeypatch):
    _, method = sharp(phases=2, floor=0.1, horizon=1)
    method.begin_task(0)
    activity = [torch.rand(size) for size in method.units.sizes]
    activity[1] = torch.arange(16.0)
    monkeypatch.setattr(method, "_activity", lambda task: activity)
    monkeypatch.setattr(method, "_rewire", lambda block: None)
    method.age[1][12:] = 2  # settled: older than the horizon
    method.age[1][11] = 1
    method.begin_step(0, 0, 4)
    assert [learns.sum().item() for learns in method.learns] == [20, 12, 12]
    assert not method.learns[1][12:].any()
    assert method.settled(1).tolist() == [False] * 12 + [True] * 4
    method.begin_step(0, 1, 4)  # nothing starts here
    assert int(method.learns[1].sum()) == 12
    method.begin_step(0, 2, 4)  # half of 66: 11 + 10 + 9 + 8 = 38, without 8 it is 30
    assert method.learns[1].nonzero()[:, 0].tolist() == [8, 9, 10, 11]
    assert method.learns[0].all()
    plastic = method.plastic(1)
    assert plastic.nonzero()[:, 0].tolist() == [0, 1, 2, 3, 4, 5, 6, 7]
    assert method.plastic(-1).tolist() == [False] * CHANNELS


def test_rewiring_drops_what_leads_out_of_plastic_units_and_grows_as_much_into_them():
    _, method = sharp(density=0.5)
    method.begin_task(0)
    block = method.units.blocks[1]
    method.learns[0][:10], method.learns[1][:6] = True, True  # the other units are plastic
    method.age[1][0] = 5  # settled
    before, weight = block.mask.clone(), weight_of(block.module).detach().clone()
    method._rewire(block)
    after, now = block.mask, weight_of(block.module).detach()
    assert int(after.sum()) == int(before.sum())
    assert not after[:6, 10:].any()
    dropped, grown = before & ~after, after & ~before
    assert torch.equal(dropped, before & (torch.arange(16) < 6)[:, None] & (torch.arange(20) >= 10))
    assert int(grown.sum()) == int(dropped.sum()) > 0
    assert grown[6:].sum() == grown.sum()  # there was place
    assert not now[dropped].any() and not now[grown].any()
    assert torch.equal(now[before & after], weight[before & after])


def test_what_finds_no_place_in_plastic_units_grows_into_learners_that_have_not_settled():
    _, method = sharp(density=0.5)
    method.begin_task(0)
    block = method.units.blocks[1]
    method.learns[0][:16], method.learns[1][:15] = True, True
    method.age[1][0] = 5
    block.mask[15:] = True
    before = block.mask.clone()
    method._rewire(block)
    grown = block.mask & ~before
    assert int(grown.sum()) == int((before[:15, 16:]).sum()) > 0
    assert not grown[0].any() and not grown[:, 16:].any()


def test_units_age_with_every_task_they_were_part_of_and_the_first_layer_settles():
    _, method = sharp(horizon=2, per_class=3)
    method.begin_task(0)
    method.learns[1][:3] = True
    method.age[1][5] = 1
    method.end_task(0)
    assert method.age[1].tolist() == [1, 1, 1, 0, 0, 2] + [0] * 10
    assert method.age[0].tolist() == [3] * 20
    assert method.age[2].tolist() == [0] * 12


def test_plastic_units_start_afresh_at_the_spread_of_the_connected_weights():
    _, method = sharp(density=0.5, per_class=2)
    method.begin_task(0)
    block = method.units.blocks[1]
    method.age[1][:8] = 1
    weight = weight_of(block.module).detach()
    before = weight.clone()
    with torch.no_grad():
        method._restart(block)
    assert torch.equal(weight[:8], before[:8])
    assert torch.equal(weight[~block.mask], before[~block.mask])
    fresh = weight[8:][block.mask[8:]]
    assert not (fresh == before[8:][block.mask[8:]]).any()
    spread = float(before[block.mask].std())
    assert float(fresh.std()) == pytest.approx(spread, rel=0.3)


@pytest.mark.parametrize("scenario", ["class", "task"])
def test_the_loss_is_the_contrastive_one_of_new_and_stored_features(scenario):
    made, method = sharp(scenario, temperature=0.3, per_class=4, horizon=2)
    method.begin_task(0)
    for age in method.age:
        age.fill_(1)
    method.age[2][3] = 0  # plastic: does not count
    method.end_task(0)
    made.train()
    batch = made.stream.tasks[1].train.batch(range(9))
    batch = batch._replace(lengths=torch.tensor([6, 3, 1, 2, 5, 6, 4, 2, 6]))
    features = made.body(batch.x)[0]
    found = method.loss(ZERO, batch, None, 1, np.arange(9))
    inside = (torch.arange(6)[:, None] < batch.lengths)[..., None]
    new = (features * inside).sum(0) / batch.lengths[:, None]
    kept = method.spikes[0]
    old = method.trunk.late(unpack(kept)).mean(0)
    labels = batch.labels + (1000 if scenario == "task" else 0)
    joint = torch.cat([new, old])
    joint[:, 3] = 0
    expected = supervised_contrastive(joint, torch.cat([labels, kept["labels"]]), 0.3)
    assert float(expected) > 0.1
    torch.testing.assert_close(found, expected)
    assert method.features.numel() == 0


def test_samples_of_every_class_are_stored_as_long_as_they_are_replayed():
    made, method = sharp(horizon=1, per_class=3)
    method.begin_task(0)
    for task in range(3):
        method.end_task(task)
        kept = method.spikes[task]
        assert kept["labels"].bincount().tolist() == [0] * 2 * task + [3, 3]
        assert kept["lengths"].tolist() == [STEPS] * 6
        assert set(method.spikes) == {task}
        assert set(method.codes) == set(range(task + 1))
    assert made.training
    stored = [t for _, store in method._stores() for t in store.values()]
    size = sum(t.numel() * t.element_size() for t in stored)
    pairs = 12 * 20 + 20 * 16 + 16 * 12
    assert method.memory_bytes() == size + pairs // 8 + 48
    for horizon, expected in ((0, set()), (2, {1, 2})):
        _, method = sharp(horizon=horizon, per_class=3)
        method.begin_task(0)
        for task in range(3):
            method.end_task(task)
        assert set(method.spikes) == expected


@pytest.mark.parametrize("scenario", ["class", "task", "domain"])
def test_answers_are_of_all_codes_or_those_of_the_tasks_own(scenario):
    made, method = sharp(scenario, per_class=4, neighbours=3)
    x = made.stream.tasks[1].test.batch(range(5)).x
    none = method.answer(x, 2)
    assert none.shape == (5, made.classes(2)) and not none.any()
    method.begin_task(0)
    for learns in method.learns:
        learns.fill_(True)
    method.end_task(0)
    method.end_task(1)
    made.eval()
    features = made.body(x)[0]
    lengths = torch.tensor([6, 2, 1, 4, 6])
    inside = (torch.arange(6)[:, None] < lengths)[..., None]
    mean = (features * inside).sum(0) / lengths[:, None]
    for task in (0, 1):
        known = [task] if scenario == "task" else [0, 1]
        expected = nearest(mean, [method.codes[t] for t in known], 3, made.classes(1))
        found = method.answer(x, task if scenario == "task" else 1, lengths)
        assert float(expected.max()) > 0.5
        torch.testing.assert_close(found, expected)
    assert method.answer(x, 2).any() == (scenario != "task")


def test_what_sharp_remembers_comes_back_and_stands_alone():
    _, method = sharp(per_class=3)
    method.begin_task(0)
    method.begin_step(0, 0, 4)
    method.end_task(0)
    stored = method.tensors()
    kept = {name: t.clone() for name, t in stored.items()}
    assert {n.split(".")[0] for n in stored} == {"age", "learns", "mask", "spikes", "codes"}
    _, again = sharp(per_class=3)
    again.load(stored)
    assert again.tensors().keys() == kept.keys()
    assert all(torch.equal(t, kept[n]) for n, t in again.tensors().items())
    again.age[0].add_(1)
    again.learns[1].fill_(False)
    again.units.blocks[0].mask.fill_(False)
    assert all(torch.equal(t, kept[n]) for n, t in method.tensors().items())


def test_settled_rows_and_missing_connections_are_put_back_after_every_step():
    made, method = sharp(density=0.5)
    method.begin_task(0)
    method.age[1][:4] = 9
    method.enter(1)
    weight = weight_of(method.units.blocks[1].module)
    before = weight.detach().clone()
    with torch.no_grad():
        for p in made.body.parameters():
            p.add_(1)
    method.after_step(1)
    assert torch.equal(weight[:4], before[:4])
    mask = method.units.blocks[1].mask
    assert not weight[~mask].any()
    assert torch.equal(weight[4:][mask[4:]], (before + 1)[4:][mask[4:]])
    trained = {n for n, p in made.named_parameters() if method.trains(n, p, 0)}
    assert trained == {n for n, _ in made.named_parameters() if not n.startswith("heads.")}


def test_units_are_ranked_by_the_activity_of_so_many_samples():
    made, method = sharp(samples=11)
    seen = []
    method.units.activity = lambda x: (seen.append((x.shape[1], made.training)), [x])[1]
    method._activity(0)
    assert seen == [(11, False)] and made.training


def test_a_run_of_one_task_needs_no_past():
    one = replace(stream("class"), tasks=stream("class").tasks[:1])
    for name in ("joint", "replay", "ewc", "rehearsal"):
        torch.manual_seed(1)
        layers = (sn.Dense(CHANNELS, 10), lif(10))
        made = Learner(sn.Sequential(*layers), dense_head(10), one)
        recipe = ContinualRecipe(batch_size=21)
        found = ContinualTrainer(made, methods.get(name)(), recipe).run()
        assert (found["bwt"], found["forgetting"]) == (0.0, 0.0)
