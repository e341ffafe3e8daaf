"""Streams and what is measured of them, on data small enough to write down."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from small import blobs, parts

from snnsim.continual import (
    Stream,
    Task,
    View,
    metrics,
    permuted,
    rotated,
    split_by_class,
    split_by_speaker,
    transformed,
)
from snnsim.continual.stream import SCENARIOS, _Rotate, every_fifth
from snnsim.data import Batch
from snnsim.errors import ConfigError


@dataclass(frozen=True)
class Marked:
    """Data of which sample ``i`` is the number ``i`` at every step, of its own length."""

    labels: np.ndarray
    classes: tuple = ("p", "q", "r", "s")
    checksums: tuple = ()

    def __len__(self):
        return len(self.labels)

    @property
    def lengths(self):
        return np.arange(len(self)) + 1

    def batch(self, indices, steps=None):
        indices = np.asarray(indices)
        steps = steps or int(self.lengths[indices].max())
        x = torch.from_numpy(indices).float().expand(steps, -1).unsqueeze(2).repeat(1, 1, 3)
        labels, lengths = torch.from_numpy(self.labels[indices]), self.lengths[indices]
        return Batch(x, labels, torch.from_numpy(lengths))


MARKED = Marked(np.array([0, 3, 1, 2, 3, 0, 2, 1]))


# --- measures ---


@pytest.mark.parametrize("tasks", [1, 2, 4, 7])
def test_measures_are_their_definitions_for_any_matrix(tasks):
    rng = np.random.default_rng(tasks)
    a, untrained = rng.random((tasks, tasks)), rng.random(tasks)
    acc = sum(a[tasks - 1][j] for j in range(tasks)) / tasks
    assert metrics.average_accuracy(a) == pytest.approx(acc, rel=1e-12)
    bwt = fwt = lost = 0.0
    for j in range(tasks - 1):
        bwt += (a[tasks - 1][j] - a[j][j]) / (tasks - 1)
        fwt += (a[j][j + 1] - untrained[j + 1]) / (tasks - 1)
        lost += (max(a[i][j] for i in range(j, tasks - 1)) - a[tasks - 1][j]) / (tasks - 1)
    assert metrics.backward_transfer(a) == pytest.approx(bwt, rel=1e-12)
    assert metrics.forward_transfer(a, untrained) == pytest.approx(fwt, rel=1e-12)
    assert metrics.forgetting(a) == pytest.approx(lost, rel=1e-12)
    if tasks == 1:
        assert (bwt, fwt, lost) == (0.0, 0.0, 0.0)


def test_forgetting_counts_only_what_was_learnt_before():
    """What a task scored before its own training, or after the last one, is no best of it."""
    a = np.array([[0.5, 0.9, 0.9], [0.8, 0.6, 0.9], [0.7, 0.95, 0.6]])
    assert metrics.forgetting(a) == pytest.approx(((0.8 - 0.7) + (0.6 - 0.95)) / 2)


def test_forgetting_may_be_negative_and_takes_the_best_of_all_rows_between():
    a = np.array([[0.4, 0, 0, 0], [0.9, 0.3, 0, 0], [0.2, 0.5, 0.1, 0], [0.3, 0.6, 0.4, 1.0]])
    assert metrics.forgetting(a) == pytest.approx((0.6 - 0.1 - 0.3) / 3)


# --- views ---


def test_a_view_is_its_samples_relabelled_and_transformed():
    view = View(MARKED, np.array([4, 0, 7]), lambda x: 10 * x + 1, np.array([5, 6, 7, 8]))
    assert len(view) == 3
    assert view.lengths.tolist() == [5, 1, 8]
    assert view.labels.tolist() == [8, 5, 6]
    batch = view.batch([2, 0])
    assert batch.x.shape == (8, 2, 3)
    assert batch.x[0, :, 0].tolist() == [71, 41]
    assert batch.labels.tolist() == [6, 8]
    assert batch.lengths.tolist() == [8, 5]
    assert view.batch(np.array([1]), 4).x.shape[0] == 4


def test_a_plain_view_changes_neither_values_nor_labels():
    view = View(MARKED, np.array([6, 1]))
    assert view.labels.tolist() == [2, 3]
    assert view.batch([0, 1]).labels.tolist() == [2, 3]
    assert view.batch([0, 1]).x[0, :, 0].tolist() == [6, 1]
    assert view.checksums == {}


def test_checksums_are_those_of_all_parts_of_all_tasks():
    def part(name):
        return replace(MARKED, checksums={name: name.upper()})

    view = View(part("a"), np.arange(2))
    assert view.checksums == {"a": "A"}
    assert view.checksums is not view.data.checksums
    first = Task("one", view, None, part("b"), 2)
    second = Task("two", object(), part("c"), part("d"), 3)
    stream = Stream("s", "class", (first, second))
    assert stream.checksums == {"a": "A", "b": "B", "c": "C", "d": "D"}
    assert stream.outputs == 3 and len(stream) == 2
    assert Stream("s", "class", (second, first)).outputs == 3


def test_a_stream_needs_tasks_and_a_known_scenario():
    assert SCENARIOS == ("task", "domain", "class")
    with pytest.raises(ConfigError, match="the stream empty has no tasks"):
        Stream("empty", "task", ())
    with pytest.raises(ConfigError, match="scenario"):
        Stream("odd", "tasks", (Task("one", None, None, None, 2),))


# --- transformed data ---


def test_every_part_of_a_task_is_under_its_transform():
    held = replace(MARKED, labels=MARKED.labels[:5])
    test = replace(MARKED, labels=MARKED.labels[:3])
    turns = [lambda x: x + 100, lambda x: -x]
    stream = transformed("moved", (MARKED, held, test), turns)
    assert (stream.name, stream.scenario) == ("moved", "domain")
    assert [task.name for task in stream.tasks] == ["moved 1", "moved 2"]
    assert [task.classes for task in stream.tasks] == [4, 4]
    for task, sign, shift in zip(stream.tasks, (1, -1), (100, 0), strict=True):
        for part, whole in ((task.train, MARKED), (task.validation, held), (task.test, test)):
            found = part.batch(range(len(whole))).x[0, :, 0]
            assert found.tolist() == [sign * i + shift for i in range(len(whole))]
    assert transformed("moved", (MARKED, None, test), turns).tasks[0].validation is None


def test_permutations_are_those_of_the_seed_and_the_number_of_the_task():
    data = parts()
    plain = data[2].batch([0, 1]).x
    for seed in (0, 5):
        stream = permuted("p", data, 3, seed)
        for number, task in enumerate(stream.tasks):
            order = np.random.default_rng([seed, number]).permutation(12)
            assert sorted(order) == list(range(12)) and list(order) != list(range(12))
            assert torch.equal(task.test.batch([0, 1]).x, plain[..., order])
    first = permuted("p", data, 1).tasks[0].test.batch([0, 1]).x
    assert torch.equal(first, permuted("p", data, 1, 0).tasks[0].test.batch([0, 1]).x)
    with pytest.raises(ConfigError, match="seed"):
        permuted("p", data, 2, -1)


def test_a_quarter_turn_moves_every_pixel_of_every_step_and_channel():
    x = torch.randn(2, 3, 2 * 4 * 4, generator=torch.Generator().manual_seed(1))
    images = x.view(2, 3, 2, 4, 4)
    for quarters in range(-1, 4):
        found = _Rotate(90.0 * quarters, (2, 4, 4))(x)
        assert found.shape == x.shape
        expected = torch.rot90(images, quarters, (3, 4))
        torch.testing.assert_close(found.view_as(images), expected, rtol=0, atol=1e-5)


def test_a_turned_image_has_no_dark_corners():
    x = torch.full((1, 1, 36), 0.7)
    torch.testing.assert_close(_Rotate(45.0, (1, 6, 6))(x), x, rtol=0, atol=1e-6)


def test_rotated_images_are_turned_by_the_angle_of_their_task():
    @dataclass(frozen=True)
    class Images:
        data: object
        shape: tuple = (1, 3, 4)

        def __getattr__(self, name):
            return getattr(self.data, name)

        def __len__(self):
            return len(self.data)

    images = Images(blobs(12, 0))
    stream = rotated("turned", (images, None, images), [0.0, 180.0])
    assert stream.scenario == "domain" and len(stream) == 2
    plain = images.batch(range(4)).x
    torch.testing.assert_close(stream.tasks[0].train.batch(range(4)).x, plain, rtol=0, atol=1e-5)
    turned = plain.flip(2)  # all twelve pixels in the opposite order
    torch.testing.assert_close(stream.tasks[1].train.batch(range(4)).x, turned, rtol=0, atol=1e-5)


# --- splits by class ---


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("groups", [2, [[3, 0], [2, 1]]])
def test_a_split_holds_the_samples_of_its_classes_under_their_new_labels(scenario, groups):
    test = replace(MARKED, labels=MARKED.labels[::-1].copy())
    stream = split_by_class("s", (MARKED, None, test), groups, scenario)
    expected = [[0, 1], [2, 3]] if groups == 2 else groups
    assert stream.scenario == scenario
    assert [t.name for t in stream.tasks] == [
        ", ".join("pqrs"[c] for c in group) for group in expected
    ]
    for i, (task, group) in enumerate(zip(stream.tasks, expected, strict=True)):
        assert task.validation is None
        assert task.classes == (2 * (i + 1) if scenario == "class" else 2)
        for part, whole in ((task.train, MARKED), (task.test, test)):
            mine = [k for k, c in enumerate(whole.labels) if c in group]
            assert part.indices.tolist() == mine
            first = 2 * i if scenario == "class" else 0
            labels = [first + group.index(whole.labels[k]) for k in mine]
            assert part.labels.tolist() == labels
            assert part.batch(range(len(mine))).labels.tolist() == labels


def test_groups_may_differ_in_size_where_outputs_are_not_shared():
    data, groups = (MARKED, MARKED, MARKED), [[1], [3, 0, 2]]
    assert [t.classes for t in split_by_class("s", data, groups, "task").tasks] == [1, 3]
    by_class = split_by_class("s", data, groups, "class").tasks
    assert [t.classes for t in by_class] == [1, 4]
    assert by_class[1].validation.labels.tolist() == [2, 1, 3, 1, 2, 3]
    with pytest.raises(ConfigError, match="give equal groups"):
        split_by_class("s", data, groups, "domain")


def test_the_seed_of_a_split_orders_the_classes_at_random():
    data = (MARKED, None, MARKED)
    for seed in (0, 1, 2):
        order = np.random.default_rng(seed).permutation(4)
        names = [f"{'pqrs'[a]}, {'pqrs'[b]}" for a, b in order.reshape(2, 2)]
        assert [t.name for t in split_by_class("s", data, 2, "task", seed).tasks] == names
    assert [t.name for t in split_by_class("s", data, 2, "task").tasks] == ["p, q", "r, s"]
    with pytest.raises(ConfigError, match="seed"):
        split_by_class("s", data, 2, "task", -3)


@pytest.mark.parametrize("per_task", [0, -2, 3, 5])
def test_classes_per_task_that_do_not_divide_are_refused(per_task):
    with pytest.raises(ConfigError, match="do not divide the 4 classes"):
        split_by_class("s", (MARKED, None, MARKED), per_task, "task")


# --- splits by speaker ---


def test_every_fifth_is_counted_within_the_sorted_classes_from_its_start():
    labels = np.array([1, 0, 1, 1, 0, 0, 1, 0, 2, 1, 0])
    order = [i for c in range(3) for i in np.flatnonzero(labels == c)]
    for start in range(12):
        mask = every_fifth(labels, start)
        assert mask.dtype == bool and mask.shape == labels.shape
        assert sorted(order[start % 5 :: 5]) == np.flatnonzero(mask).tolist()
    assert np.array_equal(every_fifth(labels), every_fifth(labels, 0))


def speakers(data, of):
    return replace(data, speakers=np.asarray(of))


def test_each_speaker_without_test_recordings_is_held_out_from_a_place_further_on():
    """So that every class of few samples is trained in some task."""
    data = blobs(36, 0)
    train = speakers(data, np.arange(36) % 3 + 4)
    test = speakers(blobs(12, 1), np.full(12, 9))
    stream = split_by_speaker("s", (train, None, test))
    assert [task.name for task in stream.tasks] == ["speaker 4", "speaker 5", "speaker 6"]
    for number, task in enumerate(stream.tasks):
        mine = np.flatnonzero(train.speakers == number + 4)
        order = sorted(range(len(mine)), key=lambda k: (train.labels[mine[k]], k))
        held = sorted(mine[order[number::5]].tolist())
        assert task.test.indices.tolist() == held
        assert task.train.indices.tolist() == [i for i in mine if i not in held]
        assert task.validation is None
        assert task.test.data is task.train.data is train
        assert task.classes == 6


def test_a_speaker_with_test_recordings_is_tested_on_those():
    train, held = speakers(blobs(24, 0), np.arange(24) % 2), speakers(blobs(12, 2), [1] * 12)
    test = speakers(blobs(12, 1), [0] * 5 + [7] * 7)
    stream = split_by_speaker("s", (train, held, test))
    first, second = stream.tasks
    assert stream.scenario == "domain"
    assert first.train.indices.tolist() == list(range(0, 24, 2))
    assert len(first.validation) == 0 and first.validation.data is held
    assert first.test.data is test and first.test.indices.tolist() == [0, 1, 2, 3, 4]
    assert second.test.data is train and second.validation is None


def test_a_speaker_with_one_recording_is_refused():
    alone = speakers(blobs(1, 0), [0])
    with pytest.raises(ConfigError, match="speaker 0 of s has too few recordings"):
        split_by_speaker("s", (alone, None, speakers(blobs(6, 1), [5] * 6)))


def test_a_speaker_of_whom_nothing_would_be_tested_is_refused_too():
    train = speakers(blobs(7, 0), [0] * 6 + [1])
    with pytest.raises(ConfigError, match="speaker 1 of s has too few recordings"):
        split_by_speaker("s", (train, None, speakers(blobs(6, 1), [0] * 6)))


def test_unknown_speakers_are_refused():
    train = speakers(blobs(6, 0), [-1] * 6)
    with pytest.raises(ConfigError, match="the speakers of s are unknown; split it by class"):
        split_by_speaker("s", (train, None, train))
