"""Training on a stream reads no test data: no method, no early end and no part held out; scores
reach the loss as they are, and batches are as long as their own longest sample."""

from dataclasses import replace

import numpy as np
import pytest
import snnsim_datasets
import torch
from small import blobs, learner
from snnsim_experiments.continual import networks, streams

from snnsim.continual import ContinualTrainer, ContinualWatcher, methods, task_recipe
from snnsim.continual.stream import Stream, Task, View


class Locked:
    """Test data whose samples and labels nobody may look at."""

    def __init__(self, data):
        self.data = data

    def __len__(self):
        return len(self.data)

    def __getattr__(self, name):
        raise AssertionError(f"test data were asked for {name!r}")


class Untested(ContinualTrainer):
    """Trains without testing."""

    def _test(self, after):
        return [0.0] * len(self.stream)


def locked(stream: Stream) -> Stream:
    """The same with validation data, and test data that are closed."""
    tasks = []
    for task in stream.tasks:
        held = np.arange(0, len(task.train), 5)
        kept = np.setdiff1d(np.arange(len(task.train)), held)
        train, validation = (View(task.train, part) for part in (kept, held))
        tasks.append(replace(task, train=train, validation=validation, test=Locked(task.test)))
    return replace(stream, tasks=tuple(tasks))


def train(method, scenario, **recipe):
    net = learner(scenario)
    net.stream = locked(net.stream)
    options = {"epochs": 1, "batch_size": 16, "lr": 0.05, **recipe}
    optimizer = {"optimizer": "adam"} if method == "sharp" else {}
    trainer = Untested(net, methods.get(method)(), task_recipe(**options, **optimizer))
    trainer.run()
    return trainer


@pytest.mark.parametrize("method", methods.names())
def test_no_method_reads_test_data_while_it_trains(method):
    trainer = train(method, "task")
    assert trainer.position.task == len(trainer.stream)


def test_a_task_ends_early_by_its_validation_data():
    ended = []

    class Noting(ContinualWatcher):
        def step_done(self, task, step, loss):
            ended[task:] = [step]

    net = learner("task")
    net.stream = locked(net.stream)
    recipe = task_recipe(epochs=8, batch_size=16, lr=0.02, optimizer="adam", until=0.6)
    trainer = Untested(net, methods.get("fine-tuning")(), recipe, watcher=Noting())
    asked, correct = [], net.correct

    def noting(data, task, **options):
        right = correct(data, task, **options)
        asked.append((data is net.stream.tasks[task].validation, task, right / len(data)))
        return right

    net.correct = noting
    trainer.run()
    assert all(held for held, _, _ in asked)
    steps = [-(-len(task.train) // 16) for task in net.stream.tasks]
    for task, last in enumerate(ended):
        reached = [share >= 0.6 for _, of, share in asked if of == task]
        assert reached == [False] * (len(reached) - 1) + [reached[-1]]
        assert reached[-1] or len(reached) == 8
        assert last == len(reached) * steps[task]
    assert min(last / each for last, each in zip(ended, steps, strict=True)) < 8


STREAMS = ("split-spoken-digits", "speakers-spoken-digits", "parity")


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_to_choose_by_holds_no_sample_of_the_test_part(name, monkeypatch):
    made, load = [], snnsim_datasets.load

    def noting(data, split, *arguments, **options):
        found = load(data, split, *arguments, **options)
        made.append((split, found))
        return found

    monkeypatch.setattr(snnsim_datasets, "load", noting)
    options = {"tasks": 2, "samples": 40} if name == "parity" else {}
    usual = streams.build(name, None, **options)
    chosen = streams.build(name, None, evaluate="validation", **options)
    tests = {id(root_of(task.test)) for task in usual.tasks if name == "parity"}
    tests |= {id(data) for split, data in made if split == "test"}
    assert tests
    for task in chosen.tasks:
        assert not {id(root_of(task.train)), id(root_of(task.test))} & tests
        assert not set(samples_of(task.train)) & set(samples_of(task.test))
        assert task.validation is None and len(task.test) > 0


def root_of(data):
    while isinstance(data, View):
        data = data.data
    return data


def samples_of(data):
    """The samples by number in the data that a view is of."""
    numbers = np.arange(len(data))
    views = []
    while isinstance(data, View):
        views.append(data.indices)
        data = data.data
    for indices in views:
        numbers = indices[numbers]
    return [(id(data), int(i)) for i in numbers]


def test_a_locked_test_part_is_what_a_run_to_choose_by_trains_without(monkeypatch):
    load = snnsim_datasets.load

    class Unread:
        """Its labels sort it into tasks; its samples are not to be looked at."""

        def __init__(self, data):
            self.data = data

        def __getattr__(self, name):
            if name == "batch":
                raise AssertionError("test data were read")
            return getattr(self.data, name)

        def __len__(self):
            return len(self.data)

    def guarded(data, split, *arguments, **options):
        found = load(data, split, *arguments, **options)
        return Unread(found) if split == "test" else found

    monkeypatch.setattr(snnsim_datasets, "load", guarded)
    stream = streams.build("split-spoken-digits", None, evaluate="validation", per_task=10)
    net = networks.build(stream, **small_network())
    summary = ContinualTrainer(net, methods.get("gpm")(), task_recipe(lr=0.05)).run()
    assert 0 <= summary["acc"] <= 100


def small_network():
    from snnsim_experiments import resolve

    return resolve("spoken-digits", method="gpm", changes=["network.hidden=[8]"]).network


# --- scores and lengths -------------------------------------------------------------------------


class Uneven:
    """Blobs whose samples end at different steps."""

    def __init__(self, samples, seed):
        self.data, self.asked = blobs(samples, seed), []
        self.lengths = np.random.default_rng(seed).integers(2, 7, samples)
        self.labels, self.classes = self.data.labels, self.data.classes

    def __len__(self):
        return len(self.data)

    def batch(self, indices, steps=None):
        self.asked.append((list(indices), steps))
        batch = self.data.batch(indices)
        lengths = torch.from_numpy(self.lengths[np.asarray(indices)])
        x = batch.x * (torch.arange(6)[:, None] < lengths)[..., None]
        return batch._replace(x=x[: steps or int(lengths.max())], lengths=lengths)


def uneven_trainer(**recipe):
    data = Uneven(40, 3)
    net = learner("domain")
    net.stream = Stream("uneven", "domain", (Task("only", data, None, Uneven(12, 4), 6),))
    losses = []

    class Noting(ContinualWatcher):
        def step_done(self, task, step, loss):
            losses.append(loss)

    options = {"batch_size": 7, "lr": 0.01, **recipe}
    method = methods.get("fine-tuning")()
    trainer = Untested(net, method, task_recipe(**options), watcher=Noting(), seed=5)
    return trainer, data, losses


def test_a_batch_of_a_stream_is_as_long_as_its_own_longest_sample():
    trainer, data, _ = uneven_trainer()
    trainer.run()
    order = np.random.default_rng([5, 0, 0]).permutation(40)
    expected = []
    for first in range(0, 40, 7):
        chosen = order[first : first + 7]
        expected.append((chosen.tolist(), int(data.lengths[chosen].max())))
    assert data.asked == expected
    assert len({steps for _, steps in expected}) > 1


def test_the_loss_on_a_stream_is_one_entropy_of_the_mean_output_over_a_samples_own_steps():
    trainer, data, losses = uneven_trainer(batch_size=40)
    net = trainer.learner
    batch = data.batch(range(40))
    with torch.no_grad():
        y = net.outputs(batch.x, 0).double().numpy()
    trainer.run()
    means = np.stack([y[:n, i].mean(0) for i, n in enumerate(batch.lengths.tolist())])
    shares = np.exp(means) / np.exp(means).sum(1, keepdims=True)
    expected = -np.log(shares[np.arange(40), data.labels]).mean()
    assert losses == pytest.approx([expected], rel=1e-6)
    assert abs(expected - np.log(6)) > 1e-3  # or nothing was told apart
