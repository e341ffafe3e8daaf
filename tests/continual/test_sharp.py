"""SHARP: what settles, what is constant, what is replayed."""

from itertools import pairwise

import pytest
import torch
from small import CHANNELS, blobs, dense, learner, lif, stream

import snnsim as sn
from snnsim.continual import (
    ContinualTrainer,
    ContinualWatcher,
    Learner,
    dense_head,
    permuted,
    split_by_class,
    task_recipe,
)
from snnsim.continual.activity import Trunk, pack, unpack
from snnsim.continual.codes import encode, nearest
from snnsim.continual.methods.fine_tuning import FineTuning
from snnsim.continual.methods.replay import Replay
from snnsim.continual.methods.sharp import SHARP
from snnsim.continual.presynaptic import weight_of
from snnsim.errors import ConfigError
from snnsim.functional.losses import supervised_contrastive
from snnsim.training.rules import prepare

RECIPE = task_recipe(epochs=10, batch_size=21, lr=0.005, optimizer="adam")


class Snapshots(ContinualWatcher):
    """What stands in the network after every task."""

    def __init__(self):
        self.taken = []

    def tested(self, task, row):
        method = self.method
        self.taken.append(
            {
                "settled": [method.settled(i).clone() for i in range(len(method.age))],
                "parameters": [
                    [_as_evaluated(p, block) for p in block.rows()] for block in method.units.blocks
                ],
                "connections": [int(block.mask.sum()) for block in method.units.blocks],
                "replayed": sum(kept["bits"].numel() for kept in method.spikes.values()),
                "weights": [int((weight_of(b.module) != 0).sum()) for b in method.units.blocks],
            }
        )


def _as_evaluated(parameter, block):
    """Delays count as the whole numbers that evaluation makes of them."""
    value = parameter.detach().clone()
    return value.round() if parameter is getattr(block.module, "delay", None) else value


def train(body, scenario="class", recipe=RECIPE, **options):
    torch.manual_seed(3)
    watcher, method = Snapshots(), SHARP(**options)
    watcher.method = method
    learns = Learner(
        body, dense_head(body[-1].neuron.n if hasattr(body[-1], "neuron") else 24), stream(scenario)
    )
    trainer = ContinualTrainer(learns, method, recipe, watcher=watcher)
    return trainer.run(), method, watcher.taken


def deep():
    torch.manual_seed(0)
    return sn.Sequential(
        dense(CHANNELS, 40),
        lif(40),
        dense(40, 30),
        lif(30),
        dense(30, 24),
        lif(24),
    )


def recurrent():
    torch.manual_seed(0)
    return sn.Sequential(
        dense(CHANNELS, 40),
        lif(40),
        dense(40, 24, bias=True),
        sn.Recurrent(lif(24)),
    )


def delayed(granularity):
    torch.manual_seed(0)
    synapses = sn.Delayed(40, 24, dt=1.0, max_delay_ms=2.0, granularity=granularity, kernel_count=2)
    return sn.Sequential(dense(CHANNELS, 40), lif(40), synapses, sn.BatchNorm(24), lif(24))


BODIES = {
    "deep": deep,
    "recurrent": recurrent,
    "axonal": lambda: delayed("axonal"),
    "synaptic": lambda: delayed("synaptic"),
}


@pytest.mark.parametrize("kind", BODIES)
def test_what_leads_into_settled_units_is_bit_identical_later(kind):
    _, method, taken = train(BODIES[kind](), horizon=0)
    compared = 0
    for before, after in pairwise(taken):
        for block, old, new in zip(
            method.units.blocks, before["parameters"], after["parameters"], strict=True
        ):
            rows = before["settled"][block.after]
            for a, b in zip(old, new, strict=True):
                assert torch.equal(a[rows], b[rows])
                compared += int(rows.sum())
    assert compared > 0
    moved = zip(taken[0]["parameters"][-1], taken[-1]["parameters"][-1], strict=True)
    assert any(not torch.equal(a, b) for a, b in moved)  # the others go on learning


def test_settled_units_answer_old_samples_as_before():
    torch.manual_seed(1)
    body = deep()
    learns = Learner(body, dense_head(24), stream("class"))
    method = SHARP(horizon=0)
    x = learns.stream.tasks[0].test.batch(range(20)).x
    answers = []

    class Record(ContinualWatcher):
        def tested(self, task, row):
            learns.eval()
            answers.append((method.settled(2).clone(), learns.body(x)[0].detach()))

    ContinualTrainer(learns, method, RECIPE, watcher=Record()).run()
    settled = answers[0][0]
    assert 0 < int(settled.sum()) < 24
    for _, later in answers[1:]:
        assert torch.equal(answers[0][1][..., settled], later[..., settled])


def test_batch_statistics_stay_after_the_first_task():
    body, taken = delayed("axonal"), []

    class Record(Snapshots):
        def tested(self, task, row):
            taken.append([b.clone() for b in body.buffers()])

    torch.manual_seed(3)
    learns = Learner(body, dense_head(24), stream("class"))
    ContinualTrainer(learns, SHARP(), RECIPE, watcher=Record()).run()
    for first, last in zip(taken[0], taken[-1], strict=True):
        assert torch.equal(first, last)


def test_density_and_replay_stay_constant():
    _, method, taken = train(deep(), density=0.5)
    for each in taken:
        assert each["connections"] == taken[0]["connections"] == [240, 600, 360]
        assert all(w <= c for w, c in zip(each["weights"], each["connections"], strict=True))
        assert each["replayed"] == taken[0]["replayed"] > 0
    assert set(method.spikes) == {2} and set(method.codes) == {0, 1, 2}


def test_no_plastic_unit_leads_into_others():
    _, method, _ = train(deep())
    for block in method.units.blocks[1:]:
        after, before = method.plastic(block.after), method.plastic(block.before)
        assert not bool((block.mask & ~after[:, None] & before).any())


class LastTaskReplay(Replay):
    """Replays samples of the task before only."""

    def on_task_start(self, task):
        self.buffer.size = self.size * max(task, 1)
        keep = self.buffer.tasks == task - 1
        self.buffer.tasks, self.buffer.numbers = (
            kept[keep][: self.size] for kept in (self.buffer.tasks, self.buffer.numbers)
        )
        self.buffer.seen = len(self.buffer)

    def loss(self, ce, batch, scores, task, chosen):
        if task > 0:
            ce = ce + self.replayed(task)
        self.taken = getattr(self, "taken", {}) | {task: chosen}
        return ce

    def on_task_end(self, task):
        x = self.learner.stream.tasks[task].train.batch(self.taken[task]).x
        self.buffer.add(task, self.taken[task], x)


def test_it_forgets_less_than_fine_tuning_and_than_replay_of_the_last_task():
    def accuracy(method):
        torch.manual_seed(2)
        learns = Learner(deep(), dense_head(24), stream("class"))
        return ContinualTrainer(learns, method, RECIPE).run()

    # as many bits as SHARP's spikes: 2 classes x 25 samples of 40 spikes, against 12 bytes a step
    size = 50 * 40 // (8 * CHANNELS)
    sharp, naive = accuracy(SHARP(floor=0.5)), accuracy(FineTuning())
    last = accuracy(LastTaskReplay(size=size, batch_size=21))
    assert sharp["acc"] > naive["acc"]
    assert sharp["acc"] > last["acc"], (sharp["matrix"], last["matrix"])
    assert sharp["matrix"][-1][0] > 30 > naive["matrix"][-1][0]


def test_supervised_contrastive_loss_is_its_formula():
    torch.manual_seed(0)
    x, labels = torch.randn(7, 4), torch.tensor([0, 0, 1, 1, 1, 2, 0])
    unit = x / x.norm(dim=1, keepdim=True)
    total, counted = 0.0, 0
    for i in range(7):
        others = [a for a in range(7) if a != i]
        below = sum(torch.exp(unit[i] @ unit[a] / 0.2) for a in others)
        alike = [p for p in others if labels[p] == labels[i]]
        if alike:
            logs = [torch.log(torch.exp(unit[i] @ unit[p] / 0.2) / below) for p in alike]
            total, counted = total - sum(logs) / len(alike), counted + 1
    expected = total / counted
    assert float(supervised_contrastive(x, labels, 0.2)) == pytest.approx(float(expected), rel=1e-5)


def test_a_lone_class_gives_no_loss_and_no_nan():
    x = torch.randn(3, 4, requires_grad=True)
    loss = supervised_contrastive(x, torch.tensor([0, 1, 2]))
    loss.backward()
    assert float(loss.detach()) == 0 and bool(torch.isfinite(x.grad).all())


def test_stored_spikes_are_exact_and_small():
    torch.manual_seed(0)
    body = prepare(deep())
    trunk = Trunk(body)
    x = (torch.rand(6, 5, CHANNELS) < 0.5).float()
    spikes = trunk.early(x)
    packed = pack(spikes)
    assert torch.equal(unpack(packed), spikes) and packed["bits"].numel() == 6 * 5 * 40 // 8
    assert torch.equal(trunk.late(spikes), body(x)[0])
    with pytest.raises(ConfigError, match="only spikes"):
        pack(torch.rand(2, 2, 3))


def test_codes_are_compared_within_their_units():
    features = torch.tensor([[1.0, 0.0, 9.0], [0.0, 1.0, 9.0]])
    labels, allowed = torch.tensor([0, 1]), torch.tensor([True, True, False])
    codes = encode(features, labels, 1.0, allowed)
    assert codes.relevant.tolist() == [[True, False, False], [False, True, False]]
    scores = nearest(torch.tensor([[0.2, 0.0, 5.0]]), [codes], 1, 3)
    assert scores.argmax(1).tolist() == [0]


def test_images_are_answered_behind_convolutions():
    """Features are then several per channel."""
    torch.manual_seed(0)
    data = stream("class").tasks[0].train.data
    images = split_by_class("blobs", (_Images(data), None, _Images(data)), 2, "class")
    body = sn.Sequential(
        sn.Conv2d(1, 5, 3, padding=1), lif((5, 3, 4)), sn.Conv2d(5, 6, 3, padding=1),
        lif((6, 3, 4)), torch.nn.Flatten(2),
    )  # fmt: skip
    with torch.no_grad():
        for weight in body.parameters():
            weight.mul_(3)
    method = SHARP(density=0.8, per_class=5)
    trainer = ContinualTrainer(Learner(body, dense_head(72), images), method, RECIPE)
    summary = trainer.run()
    assert summary["matrix"][0][0] > 75
    assert method.codes[0].relevant.shape[1] == 72


class _Images:
    def __init__(self, data):
        self.data, self.classes = data, data.classes
        self.labels, self.lengths = data.labels, data.lengths

    def __len__(self):
        return len(self.data)

    def batch(self, indices, steps=None):
        batch = self.data.batch(indices, steps)
        return batch._replace(x=batch.x.unflatten(2, (1, 3, 4)))


def test_what_is_kept_of_many_tasks_comes_back_in_their_order():
    torch.manual_seed(0)
    layers = (dense(CHANNELS, 10), lif(10), dense(10, 10), lif(10))
    tasks = permuted("many", (blobs(24, 0), None, blobs(6, 1)), 12)
    learns = Learner(sn.Sequential(*layers), dense_head(10), tasks)
    method = SHARP(horizon=3, per_class=2, samples=20)
    ContinualTrainer(learns, method, task_recipe(batch_size=24, lr=0.005)).run()
    again = SHARP(horizon=3, per_class=2, samples=20)
    again.attach(learns)
    again.load(dict(sorted(method.tensors().items())))  # "10" before "9", as a file has them
    assert list(again.spikes) == list(method.spikes) == [9, 10, 11]
    assert list(again.codes) == list(method.codes) == list(range(12))


def test_a_density_that_leaves_no_network_is_refused():
    with pytest.raises(ConfigError, match="leaves 0 connections of the 192"):
        SHARP(density=0.001).attach(learner("class"))


def test_what_cannot_be_done_is_said():
    with pytest.raises(ConfigError, match="density is 0"):
        SHARP(density=0.0)
    shallow = sn.Sequential(dense(CHANNELS, 10), lif(10))
    with pytest.raises(ConfigError, match="another layer"):
        SHARP().attach(Learner(shallow, dense_head(10), stream("task")))
    skipped = sn.Skip(sn.Sequential(dense(10, 10)))
    skipping = sn.Sequential(dense(CHANNELS, 10), lif(10), skipped)
    with pytest.raises(ConfigError, match="skips"):
        SHARP().attach(Learner(skipping, dense_head(10), stream("task")))
    with pytest.raises(ConfigError, match="online"):
        SHARP().attach(learner("class", training="ottt"))
