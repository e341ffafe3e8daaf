"""Low-rank adapters, the hypernetwork and SHARP: options, bookkeeping, single steps."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from small import CHANNELS, STEPS, dense, learner, lif, stream

import snnsim as sn
from snnsim.continual import ContinualTrainer, Learner, dense_head, methods, task_recipe
from snnsim.continual.activity import unpack
from snnsim.continual.codes import nearest
from snnsim.continual.methods.hypernetwork import Generator, Hypernetwork
from snnsim.continual.methods.ilora import ILoRA, LowRank
from snnsim.continual.methods.sharp import SHARP
from snnsim.continual.presynaptic import weight_of
from snnsim.functional.losses import supervised_contrastive

ZERO = torch.zeros(())


# --- low-rank adapters ---------------------------------------------------------------------------


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
        method.on_step_end(task)
    assert method.steps == 3
    again = ILoRA()
    again.attach(learner("class"))
    again.load(method.tensors())
    assert again.steps == 3


# --- the hypernetwork ----------------------------------------------------------------------------


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
    method.on_task_start(0)
    method.on_epoch_start(0)
    assert method.kept == {} and method.held == [] and method.tensors() == {}
    assert float(method.loss(ZERO + 2, None, None, 0, np.arange(1))) == 2.0
    method.on_task_start(1)
    kept = {name: t.clone() for name, t in method.tensors().items()}
    with torch.no_grad():
        for p in method.generator.parameters():
            p.add_(1)
    assert all(torch.equal(t, kept[name]) for name, t in method.tensors().items())
    method.on_epoch_start(1)
    assert len(method.held) == 1
    again = Hypernetwork(chunk=64, hidden=6, embedding=3)
    again.attach(learner("task"))
    again.load(kept)
    again.on_epoch_start(1)
    for name, weight in method.held[0].items():
        torch.testing.assert_close(again.held[0][name], weight)


# --- SHARP ---------------------------------------------------------------------------------------


def sharp(scenario="class", **options):
    torch.manual_seed(4)
    layers = (
        dense(CHANNELS, 20),
        lif(20),
        dense(20, 16),
        lif(16),
        dense(16, 12),
        lif(12),
    )
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
    method.on_task_start(0)
    for block, weight in zip(method.units.blocks, before, strict=True):
        assert int(block.mask.sum()) == round(0.3 * weight.numel())
        expected = weight * block.mask * 0.3**-0.5
        torch.testing.assert_close(weight_of(block.module).detach(), expected)
    masks = [b.mask.clone() for b in method.units.blocks]
    assert not method.learns[0].any()
    method.on_task_start(1)
    assert all(torch.equal(b.mask, m) for b, m in zip(method.units.blocks, masks, strict=True))


@pytest.mark.parametrize("settle_first", [False, True])
@pytest.mark.parametrize(("phases", "steps"), [(5, 10), (5, 7), (4, 3), (1, 6)])
def test_phases_start_evenly_over_the_steps_and_ask_for_a_falling_fraction(
    phases, steps, settle_first, monkeypatch
):
    _, method = sharp(phases=phases, floor=0.2, settle_first=settle_first)
    method.on_task_start(0)
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
        method.on_step_start(0, step, steps)
        assert len(changed) == (3 if step in starts else 0)
        if step in starts:
            phase = max(p for p in range(phases) if starts[p] == step)
            share = max((1 + math.cos(math.pi * phase / phases)) / 2, 0.2)
            ranked = 2 if settle_first else 3  # layers
            assert asked == ([] if phase == 0 else pytest.approx([share] * ranked))
        else:
            assert asked == []


@pytest.mark.parametrize("settle_first", [False, True])
def test_learners_are_the_most_active_units_that_have_not_settled(settle_first, monkeypatch):
    _, method = sharp(phases=2, floor=0.1, horizon=1, settle_first=settle_first)
    method.on_task_start(0)
    activity = [torch.rand(size) for size in method.units.sizes]
    activity[0], activity[1] = torch.eye(20)[3], torch.arange(16.0)
    monkeypatch.setattr(method, "_activity", lambda task: activity)
    monkeypatch.setattr(method, "_rewire", lambda block: None)
    method.age[1][12:] = 2  # settled: older than the horizon
    method.age[1][11] = 1
    method.on_step_start(0, 0, 4)
    assert [learns.sum().item() for learns in method.learns] == [20, 12, 12]
    assert not method.learns[1][12:].any()
    assert method.settled(1).tolist() == [False] * 12 + [True] * 4
    method.on_step_start(0, 1, 4)  # nothing starts here
    assert int(method.learns[1].sum()) == 12
    method.on_step_start(0, 2, 4)  # half of 66: 11 + 10 + 9 + 8 = 38, without 8 it is 30
    assert method.learns[1].nonzero()[:, 0].tolist() == [8, 9, 10, 11]
    assert method.learns[0].nonzero()[:, 0].tolist() == (list(range(20)) if settle_first else [3])
    plastic = method.plastic(1)
    assert plastic.nonzero()[:, 0].tolist() == [0, 1, 2, 3, 4, 5, 6, 7]
    assert method.plastic(-1).tolist() == [False] * CHANNELS


def test_rewiring_drops_what_leads_out_of_plastic_units_and_grows_as_much_into_them():
    _, method = sharp(density=0.5)
    method.on_task_start(0)
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
    method.on_task_start(0)
    block = method.units.blocks[1]
    method.learns[0][:16], method.learns[1][:15] = True, True
    method.age[1][0] = 5
    block.mask[15:] = True
    before = block.mask.clone()
    method._rewire(block)
    grown = block.mask & ~before
    assert int(grown.sum()) == int((before[:15, 16:]).sum()) > 0
    assert not grown[0].any() and not grown[:, 16:].any()


@pytest.mark.parametrize("settle_first", [False, True])
def test_units_age_with_every_task_they_were_part_of_and_the_first_layer_may_settle(settle_first):
    _, method = sharp(horizon=2, per_class=3, settle_first=settle_first)
    method.on_task_start(0)
    method.learns[0][:2] = True
    method.learns[1][:3] = True
    method.age[1][5] = 1
    method.on_task_end(0)
    assert method.age[1].tolist() == [1, 1, 1, 0, 0, 2] + [0] * 10
    assert method.age[0].tolist() == ([3] * 20 if settle_first else [1, 1] + [0] * 18)
    assert method.age[2].tolist() == [0] * 12


def test_plastic_units_start_afresh_at_the_spread_of_the_connected_weights():
    _, method = sharp(density=0.5, per_class=2)
    method.on_task_start(0)
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
    method.on_task_start(0)
    for age in method.age:
        age.fill_(1)
    method.age[2][3] = 0  # plastic: does not count
    method.on_task_end(0)
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
    method.on_task_start(0)
    for task in range(3):
        method.on_task_end(task)
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
        method.on_task_start(0)
        for task in range(3):
            method.on_task_end(task)
        assert set(method.spikes) == expected


@pytest.mark.parametrize("scenario", ["class", "task", "domain"])
def test_answers_are_of_all_codes_or_those_of_the_tasks_own(scenario):
    made, method = sharp(scenario, per_class=4, neighbours=3)
    x = made.stream.tasks[1].test.batch(range(5)).x
    none = method.answer(x, 2)
    assert none.shape == (5, made.classes(2)) and not none.any()
    method.on_task_start(0)
    for learns in method.learns:
        learns.fill_(True)
    method.on_task_end(0)
    method.on_task_end(1)
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
    method.on_task_start(0)
    method.on_step_start(0, 0, 4)
    method.on_task_end(0)
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
    method.on_task_start(0)
    method.age[1][:4] = 9
    method.on_epoch_start(1)
    weight = weight_of(method.units.blocks[1].module)
    before = weight.detach().clone()
    with torch.no_grad():
        for p in made.body.parameters():
            p.add_(1)
    method.on_step_end(1)
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
        layers = (dense(CHANNELS, 10), lif(10))
        made = Learner(sn.Sequential(*layers), dense_head(10), one)
        recipe = task_recipe(batch_size=21)
        found = ContinualTrainer(made, methods.get(name)(), recipe).run()
        assert (found["bwt"], found["forgetting"]) == (0.0, 0.0)
