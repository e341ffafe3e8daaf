"""The training loop's bookkeeping: what is told, stored, looked at and refused."""

from __future__ import annotations

import itertools
import json
import warnings
from dataclasses import asdict
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from small_training import TRAIN, VALIDATION, Recorder, changed, network, trainer
from torch import nn

import snnsim as sn
from snnsim.data import Augmentation
from snnsim.errors import ConfigError, NonFiniteError
from snnsim.layer import Layer
from snnsim.training import (
    Classification,
    Recipe,
    Scores,
    Trainer,
    Watcher,
    checkpoint,
    distributed,
    loop,
    objectives,
    set_seed,
)
from snnsim.training.finite import first_culprit, gradients_finite

# --- the loop ------------------------------------------------------------------------------------


def test_the_order_of_an_epoch_is_that_of_its_seed_and_number():
    found = loop.epoch_order(9, 3, 7)
    np.testing.assert_array_equal(found, np.random.default_rng([3, 7]).permutation(9))


def test_a_seed_is_a_whole_number_and_seeds_torch():
    set_seed(5)
    first = torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(first, torch.rand(3))
    with pytest.raises(ConfigError):
        set_seed(-1)


def test_a_training_starts_at_nothing():
    assert asdict(loop.Position()) == {
        "task": 0, "epoch": 0, "step": 0, "loss": 0.0, "score": 0, "samples": 0, "seconds": 0.0,
        "best_score": -1.0, "best_loss": float("inf"), "best_epoch": -1, "stopped": False,
    }  # fmt: skip


@pytest.mark.parametrize("mask", [True, False])
def test_validation_is_told_everything_of_the_recipe(monkeypatch, mask):
    asked = []

    def noting(net, data, **options):
        asked.append((net, data, options))
        return Scores(0.25, 2.0, 0.125, 13)

    monkeypatch.setattr("snnsim.training.trainer.evaluate", noting)
    recipe = changed(epochs=1, readout="mean", mask_padding=mask, batch_size=7, check_finite=mask)
    t = trainer(recipe)
    (row,) = t.run()
    ((net, data, options),) = asked
    assert net is t.net and data is VALIDATION
    assert options == {
        "objective": Classification("mean", mask), "batch_size": 7, "check_finite": mask,
        "steps": int(TRAIN.lengths.max()),
    }  # fmt: skip
    assert (row["epoch"], row["validation_accuracy"], row["validation_loss"]) == (0, 0.25, 2.0)
    assert row["firing_rate"] == 0.125
    assert (t.position.best_score, t.position.best_loss) == (0.25, 2.0)


def test_seconds_are_those_of_steps_and_evaluation_of_one_epoch(monkeypatch):
    clock = itertools.count()
    t = trainer(changed(epochs=2))
    monkeypatch.setattr(loop.time, "monotonic", lambda: float(next(clock)))
    assert [row["seconds"] for row in t.run()] == [6.0, 6.0]  # five steps and an evaluation
    assert t.position.seconds == 0.0


def test_the_accuracy_of_training_counts_right_answers():
    class Four:
        lengths = np.array([2, 2, 2, 2])

        def __len__(self):
            return 4

        def batch(self, indices, steps):
            labels = torch.tensor([0, 1, 2, 0])[torch.as_tensor(indices)]
            said = torch.tensor([0, 1, 2, 1])[torch.as_tensor(indices)]
            x = nn.functional.one_hot(said, 3).float().expand(steps, -1, -1)
            return SimpleNamespace(x=x, labels=labels, lengths=torch.full((len(indices),), 2))

    class Echo(Layer):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1))

        def forward(self, x, state=None):
            return x * self.scale, None

    recorder = Recorder(net := Echo())
    recipe = Recipe(epochs=1, batch_size=3, readout="mean", accumulate=2, lr=0.0)
    t = Trainer(net, Four(), Four(), recipe, watcher=recorder)
    (row,) = t.run()
    assert row["train_accuracy"] == row["validation_accuracy"] == 0.75
    right, wrong = np.log(np.exp(1) + 2) - 1, np.log(np.exp(1) + 2)
    assert row["train_loss"] == pytest.approx((3 * right + wrong) / 4, rel=1e-6)
    assert row["validation_loss"] == pytest.approx((3 * right + wrong) / 4, rel=1e-6)
    order = loop.epoch_order(4, 0, 0)
    each = np.where(order == 3, wrong, right)
    assert recorder.losses == pytest.approx([each[:3].mean(), each[3]], rel=1e-6)


class Listening(Layer):
    """Notes whether torch chooses the precision; answers in half of it if asked to."""

    def __init__(self, half=False):
        super().__init__()
        self.dense, self.half, self.seen, self.modes = sn.Dense(6, 3), half, [], []

    def forward(self, x, state=None):
        self.seen.append((torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")))
        self.modes.append(self.training)
        y, _ = self.dense(x)
        return (y.bfloat16() if self.half else y), None


@pytest.mark.parametrize(
    ("precision", "chosen"), [("auto", False), ("float32", False), ("bfloat16", True)]
)
def test_precision_is_chosen_in_training_alone(precision, chosen):
    net = Listening()
    trainer(changed(epochs=1, precision=precision), net=net).run()
    assert [on for on, _ in net.seen] == [chosen] * 5 + [False] * (len(net.seen) - 5)
    assert not chosen or {kind for on, kind in net.seen if on} == {torch.bfloat16}
    assert net.modes == [True] * 5 + [False] * (len(net.modes) - 5)


def test_readouts_of_half_precision_are_summed_in_full(monkeypatch):
    kinds = []
    original = objectives.get_readout

    def noting(name):
        return lambda y, lengths: kinds.append(y.dtype) or original(name)(y, lengths)

    monkeypatch.setattr(objectives, "get_readout", noting)
    trainer(changed(epochs=1), net=Listening(half=True)).run()
    assert set(kinds) == {torch.float32}
    assert [objectives.in_full(torch.zeros(1, dtype=d)).dtype for d in (
        torch.float16, torch.bfloat16, torch.float32, torch.float64,
    )] == [torch.float32, torch.float32, torch.float32, torch.float64]  # fmt: skip


def test_layers_frozen_in_a_network_under_training_stay_frozen():
    net = network(0).train()
    net[1].eval()
    before = net[1].running_mean.clone()
    trainer(changed(epochs=2), net=net).run()
    assert torch.equal(net[1].running_mean, before) and not net[1].training and net.training


def test_a_network_in_evaluation_is_put_into_training():
    net = network(0).eval()
    before = net[1].running_mean.clone()
    trainer(changed(epochs=1), net=net).run()
    assert not torch.equal(net[1].running_mean, before)


def log_of_writing(monkeypatch, watcher_kind, **recipe):
    log = []

    class Writing(watcher_kind):
        def writing(self):
            log.append("writing")

    save, text = checkpoint.save, checkpoint.write_text
    monkeypatch.setattr(
        checkpoint, "save", lambda path, *rest: log.append(path.name) or save(path, *rest)
    )
    monkeypatch.setattr(
        checkpoint, "write_text", lambda path, *rest: log.append(path.name) or text(path, *rest)
    )
    return log, Writing()


def test_a_watcher_hears_of_every_checkpoint_before_it_is_written(monkeypatch, tmp_path):
    log, watcher = log_of_writing(monkeypatch, Watcher)
    monkeypatch.setattr(
        "snnsim.training.trainer.evaluate", lambda *_, **__: Scores(0.5, 1.0, 0.1, 13)
    )
    t = trainer(changed(epochs=2, checkpoint_steps=2), out=tmp_path, watcher=watcher)
    t.run()
    names = [name.split(".")[0] for name in log]
    within, end = ["writing", "last"], ["metrics", "writing", "last"]
    assert names == within * 2 + ["writing", "best", *end] + within * 2 + ["writing", *end]
    values = checkpoint.load(tmp_path / "best.safetensors")[1]
    steps = int(TRAIN.lengths.max())
    assert values["epoch"] == 0 and values["steps"] == values["about"]["steps"] == steps
    kept = checkpoint.load(tmp_path / "last.safetensors")[1]
    assert kept == {
        "position": asdict(t.position), "recipe": asdict(t.recipe), "seed": 0,
        "steps": int(TRAIN.lengths.max()), "objective": t.objective.name,
        "augmentation": Augmentation().as_json(),
    }  # fmt: skip


def test_a_watcher_without_that_method_is_as_good(tmp_path):
    class Old:
        def epoch_started(self, epoch, steps): ...

        def step_done(self, epoch, step, loss): ...

        def epoch_ended(self, row): ...

    assert len(trainer(changed(epochs=1), out=tmp_path, watcher=Old()).run()) == 1


def test_only_the_first_process_writes(monkeypatch, tmp_path):
    monkeypatch.setattr(distributed, "rank", lambda: 1)
    monkeypatch.setattr(distributed, "size", lambda: 2)
    trainer(changed(epochs=1, checkpoint_steps=1), out=tmp_path).run()
    assert list(tmp_path.iterdir()) == []


def test_metrics_that_were_lost_are_counted_in_a_warning(tmp_path):
    trainer(out=tmp_path).run()
    path = tmp_path / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        t = trainer(out=tmp_path)
        assert t.resume() and [row["epoch"] for row in t.rows] == [0, 1, 2, 3]
        again = json.loads(lines[-1]) | {"epoch": 4}
        path.write_text("".join(lines) + json.dumps(again) + "\n")
        t = trainer(out=tmp_path)
        assert t.resume() and len(t.rows) == 4  # one too many is of a repeated epoch
    path.write_text("".join(lines[1:]))
    with pytest.warns(UserWarning, match="has 3 rows of the 4 epochs"):
        trainer(out=tmp_path).resume()
    path.unlink()
    t = trainer(out=tmp_path)
    with pytest.warns(UserWarning, match="has 0 rows of the 4 epochs"):
        t.resume()
    assert t.rows == []


def position(**changes):
    t = trainer(changed(epochs=4))
    t.run()  # so that the optimisers have a state
    best = {"best_epoch": 1, "best_score": 0.5, "best_loss": 1.0}
    t.position = loop.Position(**{"epoch": 2, "step": 3, "samples": 15, **best, **changes})
    return t


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"epoch": -1}, "no training stands"),
        ({"epoch": 5}, "no training stands"),
        ({"step": -1}, "no training stands"),
        ({"step": 6, "samples": 22}, "no training stands"),
        ({"loss": float("nan")}, "no numbers"),
        ({"seconds": -1.0}, "no numbers"),
        ({"seconds": float("inf")}, "no numbers"),
        ({"step": 0, "samples": 0, "loss": 0.5}, "nothing can have been summed"),
        ({"step": 0, "samples": 0, "seconds": 0.5}, "nothing can have been summed"),
        ({"samples": 14}, "14 samples"),
        ({"samples": 16}, "16 samples"),
        ({"step": 5, "samples": 25}, "25 samples"),
        ({"score": 16}, "15 samples"),
        ({"score": -1}, "15 samples"),
        ({"best_epoch": 2}, "the best"),
        ({"best_epoch": -1}, "the best"),
        ({"best_score": 1.1}, "the best"),
        ({"best_score": float("nan")}, "the best"),
        ({"best_loss": float("inf")}, "the best"),
    ],
)
def test_places_at_which_no_training_can_stand(changes, reason):
    with pytest.raises(ValueError, match=reason):
        position(**changes)._check_restored()


def test_places_at_which_a_training_can_stand():
    for changes in (
        {}, {"score": 15}, {"step": 5, "samples": 22}, {"epoch": 4, "step": 0, "samples": 0},
        {"epoch": 0, "step": 0, "samples": 0}, {"loss": -1.0},
    ):  # fmt: skip
        position(**changes)._check_restored()
    t = trainer()
    t._check_restored()  # nothing has begun
    t.position = loop.Position(epoch=0, step=1, samples=5)
    with pytest.raises(ValueError, match="no state of the optimisers"):
        t._check_optimizers()
    t.position = loop.Position(epoch=1, best_epoch=0, best_score=0.5, best_loss=1.0)
    with pytest.raises(ValueError, match="no state of the optimisers"):
        t._check_optimizers()


def test_the_last_good_checkpoint_is_named_where_there_is_one(tmp_path):
    assert trainer()._last_good() == "Last good checkpoint: none yet"
    t = trainer(changed(epochs=1), out=tmp_path)
    assert "none yet" in t._last_good()
    t.run()
    assert str(tmp_path / "last.safetensors") in t._last_good()


def test_a_loss_that_is_not_finite_is_said_to_be_one():
    class Lost(Layer):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1))

        def forward(self, x, state=None):
            return x[..., :3] * self.scale - torch.inf, None

    with pytest.raises(NonFiniteError, match="the loss is not finite at epoch 0, step 0"):
        trainer(net=Lost()).run()


# --- looking for what is not finite --------------------------------------------------------------


def test_one_gradient_that_is_not_finite_is_enough():
    a, b, c = (nn.Parameter(torch.ones(2)) for _ in range(3))
    assert gradients_finite([])
    a.grad, b.grad = torch.zeros(2), torch.tensor([1.0, 2.0])
    assert gradients_finite([a, b, c])
    b.grad[1] = torch.inf
    assert not gradients_finite([a, b, c]) and not gradients_finite([b, a])


def chain():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 2))


def test_the_first_layer_that_is_not_finite_is_named():
    x = torch.ones(1, 3)
    assert first_culprit(chain(), x) == "the read-out or the loss"
    assert first_culprit(chain(), x * torch.nan) == "the input of layer '0' (Linear)"
    net = chain()
    net[2].weight.data[0, 0] = torch.inf
    assert first_culprit(net, x) == "parameter 'weight' of layer '2' (Linear)"
    net[0].bias.data[0] = torch.nan
    assert first_culprit(net, x) == "parameter 'bias' of layer '0' (Linear)"
    net = chain()
    net[0].weight.data.fill_(3e38)
    assert first_culprit(net, x) == "the output of layer '0' (Linear)"


def test_of_gradients_the_last_layers_came_first_and_everything_else_before_them():
    net, x = chain(), torch.ones(1, 3)
    for place in (0, 2):
        net[place].weight.grad = torch.full_like(net[place].weight, torch.nan)
    assert first_culprit(net, x) == "the gradient of 'weight' of layer '2' (Linear)"
    net[2].bias.data[0] = torch.inf
    assert first_culprit(net, x) == "parameter 'bias' of layer '2' (Linear)"


def test_looking_leaves_no_hook():
    net = chain()
    first_culprit(net, torch.ones(1, 3))
    with pytest.raises(RuntimeError):
        first_culprit(net, torch.ones(1, 7))
    assert not any(m._forward_hooks for m in net.modules())
