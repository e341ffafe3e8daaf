"""Streams with blurry boundaries between their tasks."""

from collections import Counter

import numpy as np
import pytest
import torch
from small import CHANNELS, dense, lif, stream
from snnsim_experiments.continual import streams

import snnsim as sn
from snnsim.continual import ContinualTrainer, Learner, blurry, dense_head, task_recipe
from snnsim.continual.methods.fine_tuning import FineTuning
from snnsim.continual.methods.replay import Replay
from snnsim.continual.methods.sharp import SHARP
from snnsim.data import Arrays, Concatenated, describe
from snnsim.errors import ConfigError


def content(data):
    """How often each sample, its label included, is in a data set."""
    batch = data.batch(range(len(data)))
    rows = zip(batch.x.unbind(1), batch.target.tolist(), strict=True)
    return Counter((x.numpy().tobytes(), label) for x, label in rows)


def test_samples_move_to_the_tasks_next_to_theirs_and_none_is_lost():
    clear = stream("class")
    blurred = blurry(clear, 0.2, seed=4)
    sizes = [len(task.train) for task in clear.tasks]
    moved = [round(0.2 * size) for size in sizes]
    for number, task in enumerate(blurred.tasks):
        own = describe(clear.tasks[number].train).labels
        found = Counter((np.asarray(describe(task.train).labels) // 2).tolist())
        gone = moved[number] * sum(0 <= n < 3 for n in (number - 1, number + 1))
        near = {n: moved[n] for n in (number - 1, number + 1) if 0 <= n < 3}
        assert found == {number: len(own) - gone, **near}
        assert task.classes == min(2 * (number + 2), 6)
        assert task.test is clear.tasks[number].test
    before = sum((content(task.train) for task in clear.tasks), Counter())
    assert sum((content(task.train) for task in blurred.tasks), Counter()) == before


def test_the_choice_follows_its_seed_and_nothing_moves_at_zero():
    clear = stream("domain")
    one, same, other = (blurry(clear, 0.3, seed=s).tasks[1].train for s in (1, 1, 2))
    assert content(one) == content(same) != content(other)
    assert blurry(clear, 0.0) is clear


def test_heads_of_their_own_and_fractions_above_a_half_are_refused():
    with pytest.raises(ConfigError, match="heads of their own"):
        blurry(stream("task"), 0.1)
    with pytest.raises(ConfigError, match="fraction is 0.6"):
        blurry(stream("class"), 0.6)


def test_batches_of_several_data_sets_keep_the_order_that_was_asked_for():
    long, short = Arrays(np.ones((2, 6, 3)), [0, 1]), Arrays(2 * np.ones((3, 4, 3)), [2, 3, 4])
    both = Concatenated((long, short))
    batch = both.batch([4, 0, -3, 1])
    assert batch.target.tolist() == [4, 0, 2, 1] and batch.lengths.tolist() == [4, 6, 4, 6]
    assert batch.x[:, :, 0].sum(0).tolist() == [8, 6, 8, 6] and batch.x.shape == (6, 4, 3)
    assert both.batch([4], steps=2).x.shape == (2, 1, 3)
    with pytest.raises(ConfigError, match="no data set"):
        Concatenated(())


def trained(method):
    torch.manual_seed(2)
    layers = (dense(CHANNELS, 40), lif(40), dense(40, 24), lif(24))
    made = blurry(stream("class"), 0.1, seed=1)
    learner = Learner(sn.Sequential(*layers), dense_head(24), made)
    recipe = task_recipe(epochs=6, batch_size=21, lr=0.005, optimizer="adam")
    return ContinualTrainer(learner, method, recipe).run()


def test_sharp_learns_a_blurry_stream_and_forgets_less_than_fine_tuning():
    sharp, naive = trained(SHARP(floor=0.5)), trained(FineTuning())
    assert sharp["acc"] > max(naive["acc"], 2 * 100 / 6)


def test_a_buffer_finds_the_samples_of_a_blurry_stream_again():
    assert trained(Replay(size=60, batch_size=21))["acc"] > 2 * 100 / 6


@pytest.mark.parametrize("evaluate", ["test", "validation"])
def test_streams_by_name_are_blurred_without_their_tests(evaluate):
    options = {"scenario": "domain", "tasks": 3, "samples": 40, "evaluate": evaluate}
    clear = streams.build("parity", None, **options)
    blurred = streams.build("parity", None, **options, blur=0.25)
    assert [len(task.train) for task in blurred.tasks] == [40, 40, 40]
    for one, other in zip(clear.tasks, blurred.tasks, strict=True):
        assert content(one.test) == content(other.test)
        assert content(one.train) != content(other.train)
    with pytest.raises(ConfigError, match="blur is 0.7"):
        streams.build("parity", None, blur=0.7)
