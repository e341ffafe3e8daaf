"""Measures, parts and places of continual learning, each against a few numbers by hand."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from small import CHANNELS, blobs, body, learner, lif, parts

import snnsim as sn
from snnsim.continual import ContinualRecipe, ContinualTrainer, metrics, split_by_speaker
from snnsim.continual.methods.fine_tuning import FineTuning
from snnsim.continual.presynaptic import rows_of
from snnsim.continual.stream import every_fifth
from snnsim.continual.subspace import Subspace
from snnsim.continual.units import Units
from snnsim.errors import ConfigError
from snnsim.training.rules import PlasticConnection, prepare

# what is right before a task is learnt, above the diagonal, is the largest of its column
MATRIX = np.array([[0.9, 0.99, 0.3], [0.6, 0.8, 0.95], [0.5, 0.7, 0.9]])


def test_measures_are_those_of_a_matrix_by_hand():
    assert metrics.average_accuracy(MATRIX) == pytest.approx((0.5 + 0.7 + 0.9) / 3)
    assert metrics.backward_transfer(MATRIX) == pytest.approx((0.5 - 0.9 + 0.7 - 0.8) / 2)
    assert metrics.forgetting(MATRIX) == pytest.approx((0.9 - 0.5 + 0.8 - 0.7) / 2)
    untrained = np.array([0.2, 0.1, 0.3])
    assert metrics.forward_transfer(MATRIX, untrained) == pytest.approx((0.89 + 0.65) / 2)
    for measure in (metrics.backward_transfer, metrics.forgetting):
        assert measure(MATRIX[:1, :1]) == 0


def test_a_later_best_accuracy_counts_as_forgotten_too():
    matrix = np.array([[0.5, 0.0, 0.0], [0.8, 0.6, 0.0], [0.4, 0.6, 0.7]])
    assert metrics.forgetting(matrix) == pytest.approx((0.8 - 0.4 + 0.0) / 2)


def test_the_iteration_follows_activity_that_drifts():
    """It remembers two hundred batches, not all of them."""
    torch.manual_seed(0)
    subspace = Subspace(4, solver="iteration")
    subspace.grow(1)
    first, then = torch.tensor([[1.0, 0, 0, 0], [0.5, 0.75**0.5, 0, 0]])
    for axis, batches in ((first, 400), (then, 250)):
        for _ in range(batches):
            subspace.learn(axis.repeat(3, 1) + 1e-3 * torch.randn(3, 4))
    assert float((subspace.rows @ then).abs()) > 0.93 > 0.8 > float((subspace.rows @ first).abs())


@pytest.mark.parametrize("padding", ["causal", "lengthen"])
def test_all_activity_that_enters_an_axonal_connection_is_seen(padding):
    layer = sn.Delayed(
        3, 2, dt=1.0, max_delay_ms=4, granularity="axonal", kernel_count=2, padding=padding
    ).eval()
    x = torch.rand(5, 2, 3, generator=torch.Generator().manual_seed(1))
    y, rows = layer(x)[0], rows_of(layer, x)
    assert len(y) == 5 + layer.tail
    assert rows.shape == (len(y) * 2, 6)
    assert torch.allclose(rows @ layer.weight.flatten(1).t(), y.flatten(0, 1), atol=1e-6)


@pytest.mark.parametrize("first", [True, False])
def test_only_what_follows_neurons_has_a_trace(first):
    """The head of a learner is fed by spikes, though it is the first of what is prepared."""
    net = sn.Sequential(sn.Dense(3, 4), lif(4), sn.Dense(4, 2))
    ready = prepare(net, training="ottt", trace_decay=0.25, spikes_enter=first)
    decays = [m.trace_decay for m in ready if isinstance(m, PlasticConnection)]
    assert decays == [0.25 if first else None, 0.25]
    heads = learner("task", training="ottt").heads
    found = [m.trace_decay for h in heads for m in h.modules() if isinstance(m, PlasticConnection)]
    assert len(found) == 3 and len(set(found)) == 1 and found[0] is not None


def test_voices_without_test_recordings_hold_out_other_fifths():
    train, _, test = parts()
    elsewhere = replace(test, speakers=np.full(len(test), 99))
    tasks = split_by_speaker("blobs", (train, None, elsewhere)).tasks
    for number, task in enumerate(tasks):
        mine = np.flatnonzero(train.speakers == number)
        held = every_fifth(train.labels[mine], number)
        assert task.test.indices.tolist() == mine[held].tolist()
        assert task.train.indices.tolist() == mine[~held].tolist()
    labels = np.arange(60) % 6
    assert len({every_fifth(labels, start).tobytes() for start in range(5)}) == 5
    assert np.array_equal(every_fifth(labels, 7), every_fifth(labels, 2))
    assert sum(every_fifth(labels, start).astype(int) for start in range(5)).tolist() == [1] * 60


def test_a_later_task_is_judged_among_all_classes_up_to_its_own():
    made = learner("class")
    for task in range(3):
        data = made.stream.tasks[task].test
        batch = data.batch(range(len(data)))
        for after in range(3):
            with torch.no_grad():
                scores = made.eval().scores(batch.x, max(task, after), batch.lengths)
            assert scores.shape[1] == 2 * (max(task, after) + 1)
            right = float((scores.argmax(1) == batch.labels).float().mean())
            assert made.accuracy(task, after) == pytest.approx(right)


class Stop(Exception):
    """Raised to interrupt."""


@pytest.mark.parametrize("stop", [(0, 2), (1, 2), (2, 1)])
def test_forward_transfer_after_a_resumption_is_that_of_a_run_without(stop, tmp_path):
    """It is against the network as it was before anything was trained."""
    recipe = ContinualRecipe(epochs=2, batch_size=21, lr=0.3, checkpoint_steps=1)

    def start(out=None):
        torch.manual_seed(1)
        return ContinualTrainer(learner("domain"), FineTuning(), recipe, out=out, seed=0)

    whole = start().run()
    trainer = start(tmp_path)
    trainer.watcher.step_done = lambda task, step, loss: _stop_at(trainer, stop, (task, step))
    with pytest.raises(Stop):
        trainer.run()
    again = start(tmp_path)
    assert again.resume()
    found = again.run()
    for name in ("acc", "bwt", "fwt", "forgetting", "matrix"):
        assert found[name] == whole[name], name
    assert whole["fwt"] != 0


def _stop_at(trainer, stop, place):
    if place == stop:
        trainer.save()
        raise Stop


def test_a_task_has_its_own_samples_only():
    data = blobs(60, 3)
    made = split_by_speaker("blobs", (data, None, data))
    for number, task in enumerate(made.tasks):
        assert set(data.speakers[task.train.indices]) == {number}
    assert body("dense")[0].weight.shape == (16, CHANNELS)


def test_a_speaker_of_whom_nothing_would_be_tested_is_refused_too():
    train = replace(blobs(7, 0), speakers=np.array([0] * 6 + [1]))
    test = replace(blobs(6, 1), speakers=np.array([0] * 6))
    with pytest.raises(ConfigError, match="too few recordings"):
        split_by_speaker("s", (train, None, test))


def test_a_layer_of_torch_is_refused_with_a_reason():
    with pytest.raises(ConfigError):
        Units(sn.Sequential(sn.baselines.get("gru")(4, 3)))
