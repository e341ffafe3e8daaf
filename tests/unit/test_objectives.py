"""Objectives against numpy loops; what they refuse; training and resuming by each of them."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

import snnsim as sn
from snnsim import data as d
from snnsim.errors import CheckpointError, ConfigError, NonFiniteError, ShapeError
from snnsim.training import (
    Classification,
    Custom,
    MultiLabel,
    Objective,
    PerStep,
    Recipe,
    Regression,
    Scores,
    Trainer,
    checkpoint,
    evaluate,
)
from snnsim.training.objectives import as_objective

RANDOM = np.random.default_rng(0)
LENGTHS = torch.tensor([5, 2, 3])
Y = torch.from_numpy(RANDOM.standard_normal((6, 3, 4)))
X = torch.zeros(5, 3, 2)


def batch(target) -> d.Batch:
    return d.Batch(X, torch.as_tensor(target), LENGTHS)


def entropy(scores: np.ndarray, label: int) -> float:
    return float(np.log(np.exp(scores).sum()) - scores[label])


# --- values --------------------------------------------------------------------------------------


@pytest.mark.parametrize("mask", [True, False])
def test_a_classification_is_the_cross_entropy_of_a_readout(mask):
    labels = [1, 3, 0]
    loss, score = Classification("mean", mask).measure(Y, batch(labels), LENGTHS)
    means = [Y[: n if mask else 6, b].mean(0).numpy() for b, n in enumerate(LENGTHS)]
    assert float(loss) == pytest.approx(sum(map(entropy, means, labels)), rel=1e-12)
    assert score == sum(int(m.argmax() == label) for m, label in zip(means, labels, strict=True))


@pytest.mark.parametrize("readout", ["mean", "last"])
def test_a_regression_is_the_squared_error_of_a_readout(readout):
    wanted = RANDOM.standard_normal((3, 4))
    loss, score = Regression(readout).measure(Y, batch(wanted), LENGTHS)
    total = 0.0
    for b, n in enumerate(LENGTHS.tolist()):
        found = Y[n - 1, b].numpy() if readout == "last" else Y[:n, b].numpy().mean(0)
        total += ((found - wanted[b]) ** 2).mean()
    assert float(loss) == pytest.approx(total, rel=1e-12) == score
    one = Regression().measure(Y[..., :1], batch([0.5, 1.0, 2.0]), LENGTHS)
    assert float(one.loss) == pytest.approx(
        sum((float(Y[:n, b, 0].mean()) - v) ** 2
            for b, (n, v) in enumerate(zip(LENGTHS.tolist(), [0.5, 1.0, 2.0], strict=True)))
    )  # fmt: skip


def test_classes_of_every_step_count_within_a_samples_own_steps():
    labels = RANDOM.integers(0, 4, (5, 3))
    loss, score = PerStep().measure(Y, batch(labels), LENGTHS)
    total = right = 0.0
    for b, n in enumerate(LENGTHS.tolist()):
        for t in range(n):
            total += entropy(Y[t, b].numpy(), labels[t, b]) / n
            right += float(Y[t, b].argmax() == labels[t, b]) / n
    assert float(loss) == pytest.approx(total, rel=1e-6)
    assert score == pytest.approx(right, rel=1e-6)


def test_values_of_every_step_count_within_a_samples_own_steps():
    wanted = RANDOM.standard_normal((5, 3, 4))
    objective = PerStep("mse")
    assert (objective.metric, objective.larger_is_better) == ("mse", False)
    loss, score = objective.measure(Y, batch(wanted), LENGTHS)
    total = sum(
        ((Y[t, b].numpy() - wanted[t, b]) ** 2).mean() / n
        for b, n in enumerate(LENGTHS.tolist()) for t in range(n)
    )  # fmt: skip
    assert float(loss) == pytest.approx(total, rel=1e-6) == score


def test_a_loss_of_ones_own_of_each_sample_or_their_mean():
    each = Custom(lambda y, b: y.square().mean((0, 2)))
    mean = Custom(lambda y, b: y.square().mean())
    whole = float(Y.square().mean((0, 2)).sum())
    for objective in (each, mean):
        loss, score = objective.measure(Y, batch([0, 1, 2]), LENGTHS)
        assert float(loss) == pytest.approx(whole) == score
    seen = []
    Custom(lambda y, b: seen.append(b) or y.sum()).measure(Y, batch([0, 1, 2]), LENGTHS)
    assert seen[0].target.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("objective", "target"),
    [
        (Classification(), torch.zeros(0, dtype=torch.int64)),
        (Regression(), torch.zeros(0, 4)),
        (MultiLabel(), torch.zeros(0, 4)),
        (PerStep(), torch.zeros(5, 0, dtype=torch.int64)),
        (PerStep("mse"), torch.zeros(5, 0, 4)),
        (Custom(lambda y, b: y.mean()), torch.zeros(0)),
    ],
)
def test_no_samples_have_no_loss_but_a_gradient(objective, target):
    y = torch.zeros(6, 0, 4, requires_grad=True)
    none = d.Batch(X[:, :0], target, torch.zeros(0, dtype=torch.int64))
    loss, score = objective.measure(y, none, none.lengths)
    loss.backward()
    assert float(loss) == score == 0.0 and y.grad is not None


def test_objectives_sum_in_full_precision():
    half = Y.bfloat16()
    for objective, target in (
        (Classification("mean"), [0, 1, 2]), (Regression(), RANDOM.random((3, 4))),
        (MultiLabel(), RANDOM.integers(0, 2, (3, 4))),
        (PerStep("mse"), RANDOM.random((5, 3, 4))), (PerStep(), RANDOM.integers(0, 4, (5, 3))),
        (Custom(lambda y, b: y.mean()), [0, 1, 2]),
    ):  # fmt: skip
        assert objective.measure(half, batch(target), LENGTHS).loss.dtype == torch.float32


# --- which is better, and what is refused --------------------------------------------------------


def test_which_epoch_is_the_better_one():
    more, less = Classification(), Regression()
    assert more.better(0.6, 9.0, than=(0.5, 1.0)) and not less.better(0.6, 9.0, than=(0.5, 1.0))
    assert less.better(0.4, 9.0, than=(0.5, 1.0)) and not more.better(0.4, 9.0, than=(0.5, 1.0))
    for objective in (more, less):  # the loss decides between equals, and a tie is not better
        assert objective.better(0.5, 0.9, than=(0.5, 1.0))
        assert not objective.better(0.5, 1.0, than=(0.5, 1.0))


def test_sums_that_can_be():
    assert Classification().possible(3, 3) and not Classification().possible(3.5, 3)
    assert Regression().possible(99.0, 3) and not Regression().possible(-1.0, 3)
    custom = Custom(lambda y, b: y.mean())
    assert custom.possible(-1.0, 3) and not custom.possible(math.nan, 3)
    assert not Regression().possible(math.nan, 3) and not Classification().possible(math.nan, 3)
    assert not PerStep().possible(1.5, 1) and PerStep("mse").possible(1.5, 1)


@pytest.mark.parametrize(
    ("objective", "target", "reason"),
    [
        (Classification(), [0.5, 1.0, 2.0], r"whole numbers \[3\]; for values take .*Regression"),
        (Classification(), [[0], [1], [2]], r"targets are torch.int64 \[3, 1\] but"),
        (
            Classification(),
            [[0.5], [1.0], [2.0]],
            r"float32 \[3, 1\] but .* fractions of classes \[3, 4\]; for values take .*Regression",
        ),
        (
            Classification(),
            [[1.0, 0, 0, 0], [0.5, 0, 0.4, 0], [0, 0, 0, 1]],
            r"of sample 1 are \[0.5, 0.0, 0.4.*, 0.0\] but .* add up to 1; for values take",
        ),
        (Classification(), [[1.0, 0, 0, 0], [1, 0, 0, 0], [-0.5, 1.5, 0, 0]], "of sample 2 are"),
        (Classification(), [[math.nan, 0, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0]], "of sample 0 are"),
        (Classification(), [0, 1, 4], "targets are 0 .. 4 but the network has 4 outputs"),
        (Classification(), [-1, 1, 2], "targets are -1 .. 2"),
        (Regression(), [[0.5], [1.0], [2.0]], r"gives \[3, 4\] but targets are \[3, 1\]"),
        (PerStep(), [0, 1, 2], r"there must be one for every step"),
        (PerStep(), np.zeros((7, 3), int), "one for every step"),
        (PerStep(), np.zeros((5, 3)), "whole numbers"),
        (PerStep(), np.full((5, 3), 4), "targets are 4 .. 4"),
        (PerStep("mse"), np.zeros((5, 3, 2)), r"outputs are \[5, 3, 4\] but targets \[5, 3, 2\]"),
        (Custom(lambda y, b: y.sum(0)), [0, 1, 2], r"returns \[3, 4\] but must return a tensor"),
        (Custom(lambda y, b: 3.0), [0, 1, 2], "returns 3.0 but must return a tensor"),
    ],
)
def test_targets_and_losses_that_do_not_fit(objective, target, reason):
    with pytest.raises(ShapeError, match=reason):
        objective.measure(Y, batch(target), LENGTHS)


def test_fractions_of_classes_are_a_target():
    """The cross-entropy with fractions, and as the score the fraction of the class answered."""
    fractions = np.asarray([[0.75, 0, 0.25, 0], [0, 1, 0, 0], [0.1, 0.2, 0.3, 0.4]])
    y = Y.double()
    found = Classification("mean").measure(y, batch(fractions), LENGTHS)
    loss, score = 0.0, 0.0
    for b in range(3):
        scores = y[:, b].mean(0).numpy()
        shares = np.exp(scores - scores.max())
        shares /= shares.sum()
        loss -= sum(fractions[b, c] * math.log(shares[c]) for c in range(4))
        score += fractions[b, scores.argmax()]
    assert float(found.loss) == pytest.approx(loss, rel=1e-6)
    assert found.score == pytest.approx(score, rel=1e-6)


def test_fractions_of_one_class_are_that_class():
    classes = [0, 3, 1]
    plain = Classification().measure(Y, batch(classes), LENGTHS)
    shared = Classification().measure(Y, batch(np.eye(4, dtype=np.float32)[classes]), LENGTHS)
    assert plain.score == shared.score
    torch.testing.assert_close(plain.loss, shared.loss, rtol=1e-6, atol=0)


def test_options_and_objectives_that_are_none():
    for wrong in (
        lambda: Classification("men"), lambda: Regression("men"), lambda: PerStep("mean"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match="must be one of"):
            wrong()
    for wrong in ("mse", 3, Regression):
        with pytest.raises(ConfigError, match="must be an Objective, such as Regression"):
            as_objective(wrong, "mean", True)
    assert as_objective(None, "last", True) == Classification("last", True)
    assert isinstance(as_objective(lambda y, b: y.mean(), "last", True), Custom)
    with pytest.raises(NotImplementedError):
        Objective().measure(Y, batch([0, 1, 2]), LENGTHS)


def test_scores_say_what_they_are():
    scores = Scores(0.5, 1.0, 0.1, 8)
    assert scores.accuracy == 0.5 and scores.by_name()["accuracy"] == 0.5
    with pytest.raises(ConfigError, match="these scores are mse, not accuracy"):
        _ = Scores(0.5, 1.0, 0.1, 8, "mse").accuracy
    assert list(Scores(0.5, 1.0, 0.1, 8, "mse").by_name()) == [
        "mse", "loss", "firing_rate", "samples",
    ]  # fmt: skip


# --- training ------------------------------------------------------------------------------------


def clips(count: int, seed: int) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    return [random.random((random.integers(6, 12), 3)) < random.random() for _ in range(count)]


def net(outputs: int) -> sn.Sequential:
    torch.manual_seed(0)
    return sn.Sequential(
        sn.Dense(3, 16), sn.LIF(16, dt=1.0, tau_mem=4.0), sn.Dense(16, outputs),
        sn.LI(outputs, dt=1.0, tau_mem=4.0),
    )  # fmt: skip


def sets(case: str, seed: int) -> d.Arrays:
    x = clips(48, seed)
    rates = np.asarray([clip.mean() for clip in x])
    running = [clip.cumsum(0)[:, :1] / 10 for clip in x]
    return {
        "values": lambda: d.Arrays(x, np.stack([rates, 1 - rates], 1)),
        "classes per step": lambda: d.Arrays(
            x, [(r[:, 0] > 0.25).astype(int) for r in running], per_step=True
        ),
        "values per step": lambda: d.Arrays(x, running, per_step=True),
        "labels": lambda: d.Arrays(x, np.stack([rates > 0.4, rates < 0.7], 1)),
        "own": lambda: d.Arrays(x, np.stack([rates, 1 - rates], 1)),
    }[case]()


OBJECTIVES = {
    "values": (Regression(), 2),
    "classes per step": (PerStep(), 2),
    "values per step": (PerStep("mse"), 1),
    "labels": (MultiLabel(), 2),
    "own": (lambda y, b: (y.mean(0) - b.target).abs().mean(1) - 5.0, 2),
}
RECIPE = Recipe(epochs=6, batch_size=8, lr=0.02)


def trainer(case: str, recipe: Recipe = RECIPE, **options) -> Trainer:
    objective, outputs = OBJECTIVES[case]
    return Trainer(
        net(outputs), sets(case, 0), sets(case, 1), recipe, objective=objective, **options
    )


@pytest.mark.parametrize("case", OBJECTIVES)
def test_training_by_any_objective_learns_and_keeps_the_best_epoch(case, tmp_path):
    t = trainer(case, out=tmp_path)
    first = evaluate(t.net, t.validation, objective=t.objective)
    rows = t.run()
    metric, sign = t.objective.metric, 1 if t.objective.larger_is_better else -1
    found = [sign * row[f"validation_{metric}"] for row in rows]
    assert max(found) > sign * first.score and rows[-1]["train_loss"] < rows[0]["train_loss"]
    ranks = [(a, -row["validation_loss"]) for a, row in zip(found, rows, strict=True)]
    assert t.position.best_epoch == ranks.index(max(ranks))
    assert t.position.best_score == sign * max(found)
    t.load_best()
    again = evaluate(t.net, t.validation, objective=t.objective, steps=t.steps)
    assert again.score == pytest.approx(t.position.best_score, rel=1e-6)
    assert again.metric == metric and again.samples == 48
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)[f"train_{metric}"] for line in lines] == [
        row[f"train_{metric}"] for row in rows
    ]


@pytest.mark.parametrize("case", OBJECTIVES)
def test_training_by_any_objective_is_resumed_bit_for_bit(case, tmp_path):
    whole = trainer(case, Recipe(epochs=6, batch_size=8, lr=0.02, checkpoint_steps=2))
    whole.run()

    class Stop(Exception):
        pass

    part = trainer(case, whole.recipe, out=tmp_path)

    def stop(epoch, step, loss):
        if (epoch, step) == (3, 4):
            raise Stop

    part.watcher.step_done = stop
    with pytest.raises(Stop):
        part.run()
    again = trainer(case, whole.recipe, out=tmp_path)
    assert again.resume() and again.position.step == 4
    again.run()
    for name, tensor in whole.net.state_dict().items():
        assert torch.equal(tensor, again.net.state_dict()[name]), name
    drop = [{k: v for k, v in row.items() if k != "seconds"} for row in again.rows]
    assert drop == [{k: v for k, v in row.items() if k != "seconds"} for row in whole.rows]


def test_a_checkpoint_of_when_accuracy_was_the_only_score_is_read(tmp_path):
    def made():
        data = d.Arrays(clips(24, 0), np.arange(24) % 2)
        return Trainer(net(2), data, data, Recipe(epochs=2, batch_size=8), out=tmp_path)

    first = made()
    first.run()
    path = tmp_path / "last.safetensors"
    tensors, values = checkpoint.load(path)
    position = values["position"]
    position["correct"] = int(position.pop("score"))
    position["best_accuracy"] = position.pop("best_score")
    checkpoint.save(path, tensors, values)
    again = made()
    assert again.resume() and again.position == first.position


def test_rows_of_another_objective_are_not_taken_for_ones_own(tmp_path):
    trainer("values", out=tmp_path).run()
    objective, outputs = OBJECTIVES["own"]
    other = Trainer(net(outputs), sets("own", 0), sets("own", 1), RECIPE,
                    objective=objective, out=tmp_path)  # fmt: skip
    with pytest.raises(CheckpointError, match=r"another objective: .Regression.* and not .Custom"):
        other.resume()


def test_evaluation_takes_no_gradients():
    seen = []
    objective = Custom(lambda y, b: seen.append(y.requires_grad) or y.mean((0, 2)))
    evaluate(net(2), sets("own", 1), objective=objective, batch_size=16)
    assert seen and not any(seen)


def test_a_loss_that_is_not_finite_is_not_put_down_to_a_gradient():
    def lost(y, batch):
        return y.mean() * math.nan

    t = Trainer(net(2), sets("own", 0), sets("own", 1), RECIPE, objective=lost)
    with pytest.raises(NonFiniteError, match="^the loss .* first not finite: the read-out or the"):
        t.run()
