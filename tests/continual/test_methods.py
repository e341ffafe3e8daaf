"""The loop over tasks, and what every method keeps."""

import copy
import dataclasses
import itertools
import json

import numpy as np
import pytest
import torch
from small import learner, stream
from toolbox import assert_same, gradients

import snnsim as sn
from snnsim.continual import (
    ContinualTrainer,
    ContinualWatcher,
    Method,
    methods,
    metrics,
    task_recipe,
)
from snnsim.continual.learner import Learner, dense_head
from snnsim.continual.presynaptic import connections_of, weight_of
from snnsim.continual.stream import split_by_class, split_by_speaker
from snnsim.errors import CheckpointError, ConfigError
from snnsim.functional.readouts import last
from snnsim.synapses import Delayed

RECIPE = task_recipe(epochs=2, batch_size=21, lr=0.1)
SCENARIOS = ("task", "domain", "class")


def run(name, scenario, recipe=RECIPE, **options):
    torch.manual_seed(1)
    trainer = ContinualTrainer(learner(scenario, **options), methods.get(name)(), recipe)
    return trainer, trainer.run()


REFUSED = {("hypernetwork", "domain"), ("hypernetwork", "class")}


@pytest.mark.parametrize(("name", "scenario"), sorted(REFUSED))
def test_a_scenario_that_is_not_a_methods_is_refused(name, scenario):
    with pytest.raises(ConfigError, match="not known at test time"):
        run(name, scenario)


@pytest.mark.parametrize(
    ("name", "scenario"),
    [pair for pair in itertools.product(methods.names(), SCENARIOS) if pair not in REFUSED],
)
def test_every_method_runs_every_other_scenario(name, scenario):
    trainer, summary = run(name, scenario)
    matrix = np.array(summary["matrix"])
    assert matrix.shape == (3, 3)
    assert np.isfinite(matrix).all()
    assert summary["acc"] == pytest.approx(matrix[-1].mean())
    assert all(torch.isfinite(p).all() for p in trainer.learner.parameters())
    if name not in ("fine-tuning",):
        assert summary["memory_bytes"] > 0
    json.dumps(summary)


@pytest.mark.parametrize("name", methods.names())
def test_a_run_that_is_interrupted_goes_on_bit_for_bit(name, tmp_path):
    class Stop(Exception):
        pass

    recipe = task_recipe(epochs=2, batch_size=21, lr=0.1, momentum=0.5, checkpoint_steps=1)
    scenario = "task" if name == "hypernetwork" else "class"
    whole, expected = run(name, scenario, recipe)

    def start():
        torch.manual_seed(1)
        return ContinualTrainer(
            learner(scenario), methods.get(name)(), recipe, out=tmp_path, seed=0
        )

    trainer = start()

    class Stopper:
        def task_started(self, *_): ...

        def tested(self, *_): ...

        def step_done(self, task, step, loss):
            if (task, step) == (1, 2):
                trainer.save()
                raise Stop

    trainer.watcher = Stopper()
    with pytest.raises(Stop):
        trainer.run()
    again = start()
    torch.manual_seed(77)  # the stored state decides
    assert again.resume()
    found = again.run()
    assert found["matrix"] == expected["matrix"]
    found, wanted = (dict(t.learner.named_parameters()) for t in (again, whole))
    assert_same(found, wanted)


def test_resuming_with_another_recipe_is_refused(tmp_path):
    trainer = ContinualTrainer(learner("class"), Method(), RECIPE, out=tmp_path)
    trainer.save()
    other = ContinualTrainer(learner("class"), Method(), task_recipe(), out=tmp_path)
    with pytest.raises(CheckpointError, match="another recipe"):
        other.resume()


def test_resuming_another_method_or_stream_is_refused(tmp_path):
    ContinualTrainer(learner("class"), methods.get("ewc")(), RECIPE, out=tmp_path).save()
    other = ContinualTrainer(learner("class"), methods.get("si")(), RECIPE, out=tmp_path)
    with pytest.raises(CheckpointError, match="another method: 'EWC' and not 'SI'"):
        other.resume()
    other = ContinualTrainer(learner("task"), methods.get("ewc")(), RECIPE, out=tmp_path)
    with pytest.raises(CheckpointError, match="another stream"):
        other.resume()


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (methods.get("replay")(size=50), methods.get("replay")(size=60)),
        (methods.get("hlop")(solver="iteration"), methods.get("hlop")()),
        (methods.get("hlop")(sizes=[[2, 2, 2]]), methods.get("hlop")(sizes=[[2, 2, 3]])),
        (
            methods.get("refresh")(on="ewc"),
            methods.get("refresh")(inner=methods.get("ewc")(strength=2)),
        ),
    ],
)
def test_resuming_with_other_options_of_the_method_is_refused(one, two, tmp_path):
    again = copy.deepcopy(one)
    ContinualTrainer(learner("class"), one, RECIPE, out=tmp_path).save()
    with pytest.raises(CheckpointError, match="another method's options"):
        ContinualTrainer(learner("class"), two, RECIPE, out=tmp_path).resume()
    assert ContinualTrainer(learner("class"), again, RECIPE, out=tmp_path).resume()


@pytest.mark.parametrize("name", ["replay", "der", "ilora", "joint", "refresh"])
def test_heads_of_earlier_tasks_learn_where_their_samples_come_back(name):
    torch.manual_seed(1)
    trainer = ContinualTrainer(learner("task"), methods.get(name)(), RECIPE)
    trainer._run_task()
    before = [head.weight.detach().clone() for head in trainer.learner.heads]
    trainer._run_task()
    moved = [
        not torch.equal(a, h.weight) for a, h in zip(before, trainer.learner.heads, strict=True)
    ]
    assert moved == [True, True, False]


def test_forward_transfer_is_said_only_where_tasks_share_their_outputs():
    assert run("fine-tuning", "domain")[1]["fwt"] is not None
    assert run("fine-tuning", "class")[1]["fwt"] is None
    assert run("fine-tuning", "task")[1]["fwt"] is None


def test_learning_rates_of_delays_need_delays():
    with pytest.raises(ConfigError, match="no delays"):
        ContinualTrainer(learner("class"), Method(), task_recipe(lr_delay=0.1))


def test_ending_early_is_refused_where_answers_come_after_the_task():
    held = dataclasses.replace(stream("class"), tasks=tuple(
        dataclasses.replace(t, validation=t.test) for t in stream("class").tasks
    ))  # fmt: skip
    made = learner("class")
    made.stream = held
    recipe = dataclasses.replace(RECIPE, until=0.9)
    with pytest.raises(ConfigError, match="answers only after it"):
        ContinualTrainer(made, methods.get("sharp")(), recipe)


@pytest.mark.parametrize("kind", ["axonal", "dendritic", "synaptic", "recurrent"])
@pytest.mark.parametrize("name", ["ilora", "hypernetwork"])
def test_delays_stay_in_range_and_every_weight_learns(name, kind):
    torch.manual_seed(1)
    options = {"rank": 2} if name == "ilora" else {"strength": 0.0}
    method, seen = methods.get(name)(**options), []

    class Watch(ContinualWatcher):
        def tested(self, task, row):
            seen.append(_weights(trainer.learner, task))

    recipe = task_recipe(epochs=3, batch_size=21, lr=0.5)
    trainer = ContinualTrainer(learner("task", kind), method, recipe, watcher=Watch())
    trainer.run()
    for key in seen[0]:
        assert "delay" not in key
        assert not torch.equal(seen[0][key], seen[2][key]), key
    for module in trainer.learner.modules():
        if isinstance(module, Delayed):
            assert float(module.delay.min()) >= 0 and float(module.delay.max()) < module.length
            assert module.delay.std() > 0.3  # in steps, as they began


def _weights(learns, task):
    """The weight of every connection that a task is tested with."""
    made = {} if learns.generate is None else learns.generate(task)
    if made:
        return {name: value.detach().clone() for name, value in made.items()}
    learns.eval()
    connections = connections_of("body", learns.body)
    return {n: weight_of(c).detach().clone() for n, c in connections.items()}


def test_adapters_refuse_a_convolution_with_a_feedback_of_its_own():
    body = sn.Sequential(torch.nn.Unflatten(2, (1, 12)), sn.Conv1d(1, 3, 3), torch.nn.Flatten(2))
    made = Learner(body, dense_head(30), stream("class"), feedback="sign")
    with pytest.raises(ConfigError, match="use feedback='backprop'"):
        methods.get("ilora")().attach(made)


@pytest.mark.parametrize("kind", ["axonal", "recurrent"])
def test_feedback_is_refused_where_it_would_be_ignored(kind):
    with pytest.raises(ConfigError, match="feedback 'sign' is built for dense"):
        learner("class", kind, feedback="sign")


def test_a_layer_of_torch_cannot_be_given_adapters():
    body = sn.Sequential(sn.baselines.get("lstm")(12, 6))
    made = Learner(body, dense_head(6), stream("task"))
    with pytest.raises(ConfigError, match="cannot be given an adapter"):
        methods.get("ilora")().attach(made)


@pytest.mark.parametrize("name", [n for n in methods.names() if n != "sharp"])
def test_what_a_method_remembers_comes_back_to_where_the_network_is(name):
    scenario = "task" if name == "hypernetwork" else "class"
    trainer, _ = run(name, scenario, RECIPE)
    stored = {key: value.clone() for key, value in trainer.method.tensors().items()}
    moved = learner(scenario)
    again = methods.get(name)()
    if name == "hypernetwork":  # measures its first weights
        again.attach(moved)
        moved.to("meta")
    else:
        again.attach(moved.to("meta"))
    again.load(stored)
    on_cpu = {"tasks", "numbers", "seen", "bytes", "scores", "steps"}  # bookkeeping of samples
    for key, value in again.tensors().items():
        last = key.split(".")[-1]
        if last not in on_cpu and not key.startswith(("kept.", "inner.kept")):
            assert value.device.type == "meta" or value.dtype == torch.int64, key


def test_gpm_moves_its_samples_to_the_network(monkeypatch):
    method, seen = methods.get("gpm")(), []
    made = learner("task").to("meta")
    method.attach(made)
    monkeypatch.setattr(made, "scores", lambda x, task, lengths: seen.append(x.device.type))
    method.on_task_end(0)
    assert set(seen) == {"meta"}


def test_metrics_of_a_known_matrix():
    matrix = np.array([[0.9, 0.3, 0.2], [0.95, 0.8, 0.4], [0.6, 0.7, 0.85]])
    assert metrics.average_accuracy(matrix) == pytest.approx((0.6 + 0.7 + 0.85) / 3)
    assert metrics.backward_transfer(matrix) == pytest.approx((-0.3 - 0.1) / 2)
    assert metrics.forgetting(matrix) == pytest.approx((0.35 + 0.1) / 2)
    assert metrics.forward_transfer(matrix, np.full(3, 0.1)) == pytest.approx((0.2 + 0.3) / 2)


def test_tasks_of_a_split_hold_their_classes_and_nothing_else():
    tasks = stream("class").tasks
    assert [t.classes for t in tasks] == [2, 4, 6]
    assert [sorted(set(t.test.labels)) for t in tasks] == [[0, 1], [2, 3], [4, 5]]
    own = stream("task").tasks
    assert [sorted(set(t.train.labels)) for t in own] == [[0, 1]] * 3
    speakers = stream("speaker").tasks
    for i, task in enumerate(speakers):
        assert set(task.train.data.speakers[task.train.indices]) == {i}
    batch = tasks[2].train.batch([0, 1])
    assert batch.labels.tolist() == tasks[2].train.labels[:2].tolist()


def test_permutations_differ_and_keep_the_values():
    tasks = stream("domain").tasks
    rows = [task.train.batch(range(4)).x for task in tasks]
    assert not torch.equal(rows[0], rows[1])
    assert torch.equal(rows[0].sort(-1).values, rows[1].sort(-1).values)


def test_bad_streams_are_refused():
    data = stream("class").tasks[0].train.data
    with pytest.raises(ConfigError, match="do not divide"):
        split_by_class("blobs", (data, None, data), 4, "task")
    with pytest.raises(ConfigError, match="scenario"):
        split_by_class("blobs", (data, None, data), 2, "tasks")


@pytest.mark.parametrize("training", ["bptt", "ottt"])
@pytest.mark.parametrize("feedback", ["backprop", "random", "sign"])
def test_every_learning_rule_trains(training, feedback):
    # feedback alignment first has to turn the weights towards the feedback
    epochs = 80 if feedback == "random" else 20
    recipe = task_recipe(epochs=epochs, batch_size=21, lr=0.2, momentum=0.9)
    torch.manual_seed(1)
    made = learner("task", training=training, feedback=feedback)
    trainer = ContinualTrainer(made, Method(), recipe)
    trainer.run()
    right = made.correct(trainer.stream.tasks[2].train, 2)
    assert right / len(trainer.stream.tasks[2].train) > 0.8  # chance is 0.5


@pytest.mark.parametrize("name", ["der", "ewc", "refresh", "joint"])
def test_online_training_refuses_methods_that_need_whole_sequences(name):
    with pytest.raises(ConfigError, match="online"):
        run(name, "class", training="ottt")


def test_online_training_refuses_another_readout_than_the_mean():
    with pytest.raises(ConfigError, match="read-out 'mean'"):
        learner("class", training="ottt", readout=last)


def test_padding_says_nothing_to_online_training():
    found = []
    for beyond in (0.0, 1.0):
        torch.manual_seed(1)
        trained = learner("class", training="ottt")
        trainer = ContinualTrainer(trained, Method(), task_recipe(lr=1e-9))
        batch = trained.stream.tasks[0].train.batch(range(8))
        lengths = torch.tensor([6, 2, 3, 6, 1, 4, 5, 2])
        after = torch.arange(6)[:, None] >= lengths
        batch = batch._replace(x=torch.where(after[..., None], beyond, batch.x), lengths=lengths)
        trainer._ready()
        trainer._step(Fixed(batch), np.arange(8))
        found.append(gradients(trained.body))
    assert [name for name, a in found[0].items() if not a.any()] == []
    assert_same(*found)


class Fixed:
    """Data that is one batch."""

    def __init__(self, batch):
        self.kept, self.lengths = batch, batch.lengths.numpy()

    def batch(self, indices, steps=None):
        return self.kept


def test_speakers_without_test_recordings_are_tested_on_their_own():
    data = stream("class").tasks[0].train.data
    strangers = dataclasses.replace(data, speakers=np.full(len(data), 9))
    split = split_by_speaker("blobs", (data, None, strangers))
    for task in split.tasks:
        count = len(task.test) + len(task.train)
        assert count // 5 <= len(task.test) <= -(-count // 5)
        assert not set(task.test.indices) & set(task.train.indices)


def test_rehearsal_brings_back_what_was_forgotten():
    def accuracy(method):
        torch.manual_seed(1)
        return ContinualTrainer(learner("class"), method, RECIPE).run()["acc"]

    before = accuracy(methods.get("fine-tuning")())
    rehearsal = methods.get("rehearsal")(per_class=8, epochs=30, batch_size=16, lr=0.2)
    assert accuracy(rehearsal) > before + 10
    assert {task: len(numbers) for task, numbers in rehearsal.kept.items()} == {0: 16, 1: 16, 2: 16}


def test_rehearsal_on_hlop_changes_only_what_hlop_trains():
    torch.manual_seed(1)
    method = methods.get("rehearsal")(on="hlop", epochs=2, lr=0.1)
    learns = learner("task", "axonal")
    trainer = ContinualTrainer(learns, method, RECIPE)
    trainer.run()
    subspaces = {n: s.frozen.clone() for n, s in method.inner.subspaces.items()}
    before = {n: p.detach().clone() for n, p in learns.named_parameters()}
    method._rehearse(2)
    changed = {n for n, p in learns.named_parameters() if not torch.equal(p, before[n])}
    allowed = {n for n, p in before.items() if method.inner.trains(n, learns.get_parameter(n), 2)}
    assert changed == allowed and any("heads.0" in n for n in changed)
    assert all(torch.equal(s.frozen, subspaces[n]) for n, s in method.inner.subspaces.items())


def test_refresh_shows_a_batch_to_subspaces_once(monkeypatch):
    seen = []
    method = methods.get("refresh")(on="hlop")
    monkeypatch.setattr(method.inner, "learn", lambda name, rows, rest: seen.append(name))
    trainer = ContinualTrainer(learner("task"), method, RECIPE)
    trainer._run_task()
    steps = 2 * RECIPE.epochs  # two batches of 21 of 42 samples
    assert len(seen) == steps * len(method.inner.connections)


def test_gpm_leaves_batch_statistics_alone():
    method = methods.get("gpm")()
    learns = learner("task", "axonal")
    before = []

    class Stop(ContinualWatcher):
        def step_done(self, task, step, loss):
            before[:] = [b.clone() for b in learns.body.buffers()]

    ContinualTrainer(learns, method, RECIPE, watcher=Stop())._run_task()
    assert all(torch.equal(a, b) for a, b in zip(before, learns.body.buffers(), strict=True))


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_scores_of_several_batches_are_those_of_each(scenario):
    trained = learner(scenario)
    trained.eval()
    batches, tasks = [], (0, 2, 1)
    for task, steps, count in zip(tasks, (6, 4, 5), (3, 1, 4), strict=True):
        batch = trained.stream.tasks[task].train.batch(range(count))
        short = torch.full((count,), steps)
        batches.append(batch._replace(x=batch.x[:steps], lengths=short))
    together = trained.scores_of(batches, tasks, 2)
    for batch, task, found in zip(batches, tasks, together, strict=True):
        task = 2 if trained.shares_head else task
        expected = trained.scores(batch.x, task, batch.lengths)
        assert found.shape == (len(batch.labels), trained.classes(task))
        assert (found - expected).abs().max() < 1e-6


def test_joint_is_the_mean_over_all_tasks_so_far():
    trained = learner("domain")
    method = methods.get("joint")()
    method.attach(trained)
    batch = trained.stream.tasks[2].train.batch(range(20))
    torch.manual_seed(3)
    found = method.loss(torch.tensor(5.0), batch, None, 2, np.arange(20))
    torch.manual_seed(3)
    total = torch.tensor(5.0)
    for task in (0, 1):
        data = trained.stream.tasks[task].train
        past = data.batch(torch.randint(len(data), (20,)).numpy())
        total = total + torch.nn.functional.cross_entropy(trained.scores(past.x, task), past.labels)
    assert found.item() == pytest.approx(total.item() / 3, rel=1e-6)
