"""Classes, labels and values: what targets are, and what is learned from them."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from snnsim_experiments.comparison import score_of
from snnsim_experiments.forecasts import figures_of, is_forecast, objective_for, objective_on
from snnsim_experiments.train import read_summary
from toolbox import random, refusal

from snnsim import data as d
from snnsim import plotting
from snnsim.errors import CheckpointError, ConfigError, DataError, ShapeError
from snnsim.functional.metrics import average_precision
from snnsim.training import (
    Answer,
    Classification,
    MultiLabel,
    PerStep,
    Recipe,
    Regression,
    answers,
    evaluate,
)
from snnsim.training.objectives import f1

LENGTHS = torch.tensor([5, 2, 3])
Y = random(6, 3, 4, seed=1) * 4 - 2


class Bare:
    """The three things that a data set needs, and nothing else."""

    def __init__(self, target, steps=5, samples=3):
        self.target, self.lengths = torch.as_tensor(target), np.full(samples, steps)

    def __len__(self):
        return len(self.lengths)

    def batch(self, indices, steps=None):
        chosen = np.asarray(indices)
        steps = int(self.lengths[0]) if steps is None else steps
        x = torch.zeros(steps, len(chosen), 2)
        target = self.target
        if getattr(self, "steps_first", False):
            filled = torch.zeros(steps, len(self), *target.shape[2:], dtype=target.dtype)
            filled[: len(target)] = target[:steps]
            return d.Batch(x, filled[:, chosen], torch.as_tensor(self.lengths[chosen]))
        return d.Batch(x, target[chosen], torch.as_tensor(self.lengths[chosen]))


def bare_per_step(target):
    target = torch.as_tensor(target)
    made = Bare(target, len(target), target.shape[1])
    made.steps_first = True
    return made


X = np.zeros((3, 5, 2))
PAIRS = np.array([[0, 1], [1, 1], [0, 0]])
KINDS = {
    "class": [
        d.Arrays(X, [0, 1, 1]), Bare([0, 1, 1]), d.View(d.Arrays(X, PAIRS), target=[0, 1, 0]),
        Bare([1], samples=1),
    ],
    "labels": [
        d.Arrays(X, PAIRS), d.Arrays(X, PAIRS > 0), Bare(PAIRS), Bare(PAIRS > 0),
        d.Arrays(X, PAIRS.astype(float), classes=("a", "b")), Bare(PAIRS[:2], 2, 2),
        d.View(d.Arrays(X, [0, 1, 1]), target=PAIRS), Bare(PAIRS[:1], 1, 1),
    ],
    "values": [
        d.Arrays(X, PAIRS.astype(float)), d.Arrays(X, [0.5, 1.0, 2.0]), Bare([0.5, 1, 2]),
        Bare(random(2, 2).float(), 2, 2), d.Arrays(X, random(3, 2, 4).numpy()),
        d.Arrays(X, [[0.5, 1]] * 3, classes=()),
    ],
    "class per step": [
        d.Arrays(X, np.ones((3, 5), int), per_step=True), bare_per_step(np.ones((5, 3), int)),
        bare_per_step(np.ones((5, 1), int)),
    ],
    "values per step": [
        d.Arrays(X, np.ones((3, 5)), per_step=True), bare_per_step(np.ones((5, 3, 2))),
        bare_per_step(np.ones((2, 2, 2))), d.Arrays(X, np.ones((3, 5, 2)), per_step=True),
    ],
}  # fmt: skip
EACH = [(kind, data) for kind, several in KINDS.items() for data in several]


@pytest.mark.parametrize(("kind", "data"), EACH)
def test_shape_and_type_say_what_targets_are(kind, data):
    assert d.kind_of(data) == kind
    found = objective_for(data, Recipe())
    assert found.kind == kind
    assert found.per_step == ("per step" in kind)


def test_matrices_that_are_no_targets_are_refused():
    wrong = Bare(np.zeros((3, 2, 2), int))
    assert "classes [B], classes of every step" in refusal(ShapeError, d.kind_of, wrong)
    wrong = bare_per_step(np.zeros((5, 3, 2), int))
    assert "give values as floats" in refusal(ShapeError, d.kind_of, wrong)
    assert "no samples" in refusal(DataError, d.kind_of, Bare(np.zeros(0), samples=0))


@pytest.mark.parametrize(
    ("data", "count"),
    [
        (d.Arrays(X, [0, 1, 1], classes=("a", "b", "c")), 3),
        (d.Arrays(X, [0, 4, 1]), 5),
        (Bare([2, 0, 1]), 3),
        (d.Arrays(X, PAIRS), 2),
        (d.Arrays(X, [0.5, 1.0, 2.0]), 1),
        (d.Arrays(X, random(3, 2, 4).numpy()), 8),
        (bare_per_step(np.full((5, 3), 6)), 7),
        (d.Arrays(X, np.ones((3, 5)), per_step=True), 1),
        (d.Arrays(X, np.ones((3, 5, 4)), per_step=True), 4),
    ],
)
def test_a_network_needs_as_many_outputs_as_there_are_answers(data, count):
    assert d.outputs_of(data) == count


def test_the_recipe_says_how_answers_of_a_sample_are_read():
    labels, values = d.Arrays(X, PAIRS), d.Arrays(X, [0.5, 1.0, 2.0])
    assert objective_on(labels, readout="last") == MultiLabel("last", True)
    assert objective_on(values, "class", "max_over_time", False) == Regression(
        "max_over_time", False
    )
    assert objective_on(values, readout="sum_softmax") == Regression("mean")
    assert objective_on(d.Arrays(X, [0, 1, 1])) is None
    assert objective_on(labels, "next-step") is None
    recipe = Recipe(readout="last", mask_padding=True)
    assert objective_for(d.Arrays(X, [0, 1, 1]), recipe) == Classification("last", True)
    assert objective_for(labels, recipe) == MultiLabel("last", True)


# --- several labels ------------------------------------------------------------------------------


def of_labels(target, **options):
    batch = d.Batch(torch.zeros(5, 3, 2), torch.as_tensor(target), LENGTHS)
    return MultiLabel(**options).measure(Y, batch, LENGTHS)


TRUE = np.array([[1, 0, 0, 1], [0, 0, 0, 0], [1, 1, 1, 0]])


@pytest.mark.parametrize("target", [TRUE, TRUE > 0, TRUE.astype(float)])
@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.6])
def test_labels_are_judged_one_by_one(target, threshold):
    loss, score = of_labels(target, threshold=threshold)
    total = hits = 0.0
    for b, n in enumerate(LENGTHS.tolist()):
        p = 1 / (1 + np.exp(-Y[:n, b].mean(0).numpy()))
        total -= np.where(TRUE[b], np.log(p), np.log(1 - p)).mean()
        found = p >= threshold
        both = (found & (TRUE[b] > 0)).sum()
        size = found.sum() + TRUE[b].sum()
        hits += 2 * both / size if size else 1.0
    assert float(loss) == pytest.approx(total, rel=1e-9)
    assert score == pytest.approx(hits, rel=1e-12)


def test_nothing_found_where_nothing_is_is_right():
    none = torch.zeros(2, 3, dtype=torch.bool)
    assert f1(none, none).tolist() == [1, 1]
    assert f1(none, ~none).tolist() == [0, 0] == f1(~none, none).tolist()


@pytest.mark.parametrize("value", [2, -1, 0.5, math.nan, math.inf])
def test_labels_are_0_or_1(value):
    target = TRUE.astype(float)
    target[1, 2] = value
    assert "must be 0 or 1" in refusal(ShapeError, of_labels, target)


@pytest.mark.parametrize("target", [TRUE[:, :3], TRUE[:, 0], np.zeros((5, 3, 4))])
def test_labels_need_an_output_each(target):
    assert "an output for each" in refusal(ShapeError, of_labels, target)


def test_options_of_several_labels_are_checked():
    for wrong in (0.0, 1.0, -1.0, math.nan, "half"):
        with pytest.raises(ConfigError, match="threshold is"):
            MultiLabel(threshold=wrong)
    for wrong in ("sum_softmax", "men"):
        with pytest.raises(ConfigError, match="readout of several labels is"):
            MultiLabel(wrong)


def test_labels_have_scores_that_can_be():
    assert MultiLabel().possible(2.5, 3) and not MultiLabel().possible(3.5, 3)


@pytest.mark.parametrize("seed", range(5))
def test_the_average_precision_is_that_of_a_loop_over_thresholds(seed):
    generator = np.random.default_rng(seed)
    scores = generator.integers(0, 6, (25, 4)) / 5  # with ties
    true = generator.random((25, 4)) < 0.3
    true[0] = True
    expected = []
    for c in range(4):
        total = before = 0.0
        for threshold in sorted(set(scores[:, c]), reverse=True):
            found = scores[:, c] >= threshold
            hits = (found & true[:, c]).sum()
            recall = hits / true[:, c].sum()
            total += (recall - before) * hits / found.sum()
            before = recall
        expected.append(total)
    found = average_precision(torch.from_numpy(scores), torch.from_numpy(true))
    assert found.tolist() == pytest.approx(expected, rel=1e-12)


def test_a_label_without_samples_has_no_precision():
    found = average_precision(torch.rand(3, 2), torch.tensor([[True, False]] * 3))
    assert float(found[0]) == 1 and math.isnan(found[1])
    for wrong in (torch.ones(3, 2), torch.ones(3, 3) > 0):
        assert "truth values" in refusal(ShapeError, average_precision, torch.rand(3, 2), wrong)


# --- figures -------------------------------------------------------------------------------------


def test_an_error_is_said_in_units_of_the_spread_and_as_explained_variance():
    generator = np.random.default_rng(0)
    target = generator.normal(size=(20, 3)) * [1, 2, 3]
    found = figures_of("mse", 0.7, d.Arrays(np.zeros((20, 5, 2)), target))
    variance = ((target - target.mean(0)) ** 2).mean()
    assert found["nrmse"] == pytest.approx(math.sqrt(0.7 / variance), rel=1e-5)
    assert found["r2"] == pytest.approx(1 - 0.7 / variance, rel=1e-5)
    assert figures_of("f1", 0.7, None) == {"f1": 0.7}


def test_values_of_every_step_weigh_each_sample_alike():
    lengths = [2, 5, 4]
    target = np.random.default_rng(1).normal(size=(3, 5, 4))
    data = d.Arrays(np.zeros((3, 5, 2)), target, lengths, per_step=True)
    assert not is_forecast(data)  # whose values would have the form of the input
    steps = [(target[i, t], 1 / (3 * n)) for i, n in enumerate(lengths) for t in range(n)]
    mean = sum(w * v for v, w in steps)
    variance = sum(w * (v - mean) ** 2 for v, w in steps).mean()
    found = figures_of("mse", 0.5, data)
    assert found["r2"] == pytest.approx(1 - 0.5 / variance, rel=1e-5)
    still = d.Arrays(np.zeros((3, 5, 2)), np.ones((3, 5, 4)), per_step=True)
    assert "do not vary" in refusal(DataError, figures_of, "mse", 0.5, still)


def test_forecasts_have_the_form_of_their_input():
    assert is_forecast(d.Arrays(X, np.ones((3, 5, 2)), per_step=True))
    assert not is_forecast(d.Arrays(X, np.ones((3, 5), int), classes=("a", "b"), per_step=True))
    assert not is_forecast(d.Arrays(X, np.ones((3, 2))))


def test_rows_of_comparisons_take_what_a_summary_has():
    assert score_of({"test_f1": 0.5}, "test") == 50 == score_of({"test_accuracy": 0.5}, "test")
    assert score_of({"test_nrmse": 0.5}, "test") == 0.5


# --- answers and pictures ------------------------------------------------------------------------


class Echo(torch.nn.Module):
    """Answers with its input."""

    def forward(self, x, state=None):
        return x, None


@pytest.mark.parametrize(
    ("objective", "kind"),
    [(MultiLabel(), "labels"), (Regression(), "values"), (PerStep(), "class per step"),
     (PerStep("mse"), "values per step"), (Classification("mean", True), "class")],
)  # fmt: skip
def test_answers_are_those_that_are_evaluated(objective, kind, rendered, tmp_path):
    generator = np.random.default_rng(0)
    clips = [generator.normal(size=(n, 2)) for n in (4, 7, 5, 4)]
    target = {
        "labels": PAIRS[[0, 1, 2, 0]],
        "values": generator.normal(size=(4, 2)),
        "class per step": [generator.integers(0, 2, len(clip)) for clip in clips],
        "values per step": [generator.normal(size=(len(clip), 2)) for clip in clips],
        "class": [0, 1, 1, 0],
    }[kind]
    data = d.Arrays(clips, target, per_step=objective.per_step, dt=2.0)
    found = answers(Echo(), data, objective=objective, batch_size=3)
    for clip, each, wanted in zip(clips, found, target, strict=True):
        expected = clip if objective.per_step else clip.mean(0)
        np.testing.assert_allclose(each.found.numpy(), expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(each.target.numpy(), wanted, rtol=1e-6)
    if kind == "class":
        right = np.mean([int(each.found.argmax()) == int(each.target) for each in found])
        assert evaluate(Echo(), data, objective=objective).score == right
        return
    plotting.save(plotting.answers(kind, found, ("a", "b"), data.dt), tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 1000
    plotting.answers(kind, found)


def test_single_values_of_every_step_and_unknown_kinds_are_drawn_or_refused():
    one = Answer(torch.rand(5, 1), torch.rand(5))
    plotting.answers("values per step", [one])
    assert "kind is 'class'" in refusal(ConfigError, plotting.answers, "class", [one])


# --- from the command line -----------------------------------------------------------------------

SMALL = (
    "--set", "network.hidden=[8]", "--set", "data.samples=40", "--set", "network.max_delay_ms=20",
    "--epochs", "2", "-q",
)  # fmt: skip
SCORES = {"which": "f1", "when": "accuracy", "count": "r2"}


@pytest.mark.parametrize("ask", SCORES)
def test_a_spiking_network_learns_each_kind_from_the_command_line(snnsim, tmp_path, ask):
    out = tmp_path / "run"
    command = ("patterns", "train", *SMALL, "--set", f"data.ask={ask}", "--out", out, "--json")
    done = snnsim(*command)
    assert done.code == 0, done.err
    summary = json.loads(done.out)
    metric = SCORES[ask]
    again = json.loads(snnsim("patterns", "evaluate", out, "--json").out)
    assert again[metric] == pytest.approx(summary[f"test_{metric}"])
    assert "temperature" not in summary  # of a class for each sample alone
    assert {"test_exact_match", "test_average_precision"} <= set(summary) or ask != "which"
    assert (out / "plots" / "answers.png").is_file()
    assert snnsim(*command, "--resume").code == 0
    longer = snnsim(*command, "--resume", "--epochs", "3")
    assert longer.code == 0, longer.err
    refused = snnsim("patterns", "evaluate", out, "--over-time", "10")
    assert refused.code == 1 and "remove --over-time" in refused.err


@pytest.mark.parametrize("ask", ["which", "count"])
def test_a_baseline_learns_each_kind_as_well(snnsim, tmp_path, ask):
    command = ("baselines", "train", "--model", "gru", "--data", "patterns", "--width", "4")
    small = ("--epochs", "1", "-q", "--set", "data.samples=16", "--set", f"data.ask={ask}")
    done = snnsim(*command, *small, "--out", tmp_path / "run", "--json")
    assert done.code == 0, done.err
    assert f"test_{SCORES[ask]}" in json.loads(done.out)


def test_summaries_of_other_scores_are_checked(tmp_path):
    rest = dict.fromkeys(
        ("parameters", "mean_firing_rate", "seconds", "test_loss", "test_samples", "best_epoch",
         "epochs", "seed"), 1,
    )  # fmt: skip
    path = tmp_path / "summary.json"
    parts = ("test", "validation", "last_test")
    good = {f"{part}_f1": 0.5 for part in parts}
    errors = {f"{part}_nrmse": 0.5 for part in parts}
    for content in (good, errors | {"test_r2": -0.5}, errors | {"test_persistence_nrmse": 1.0}):
        path.write_text(json.dumps(rest | content))
        assert read_summary(path) == rest | content
    for content in (good | {"test_f1": 1.5}, errors, errors | {"test_r2": "1"}):
        path.write_text(json.dumps(rest | content))
        assert "is damaged" in refusal(CheckpointError, read_summary, path)


# --- patterns ------------------------------------------------------------------------------------


def test_patterns_are_the_same_in_every_part_and_lie_where_targets_say():
    from snnsim_datasets.synthetic import patterns

    options = {"noise": 0.0, "kinds": 3, "length": 8}
    which, count, when = (
        patterns(100, ask=ask, seed=5, **options) for ask in ("which", "count", "when")
    )
    for other in (count, when):
        np.testing.assert_array_equal(which.x, other.x)
    np.testing.assert_array_equal(which.target, count.target > 0)
    assert which.classes == ("pattern 1", "pattern 2", "pattern 3")
    alone = [i for i in range(100) if count.target[i].sum() == 1]
    shapes: dict[int, np.ndarray] = {}
    for i in alone:
        kind = int(count.target[i].argmax())
        steps = np.flatnonzero(when.target[i] == kind + 1)
        assert 1 <= len(steps) <= 8
        shape = which.x[i, steps[0] - 7 : steps[0] + 1]
        assert shape.sum() == 10 == which.x[i].sum()
        np.testing.assert_array_equal(shape, shapes.setdefault(kind, shape))
    assert len(shapes) == 3
    other = patterns(100, ask="count", seed=6, **options)
    assert not np.array_equal(other.x, which.x)


@pytest.mark.parametrize(
    ("option", "value"),
    [("ask", "who"), ("kinds", 0), ("channels", 0), ("steps", 0), ("length", 61), ("length", 0),
     ("channels", 1), ("noise", 1.1), ("samples", 0)],
)  # fmt: skip
def test_patterns_that_cannot_be_are_refused(option, value):
    from snnsim_datasets.synthetic import patterns

    with pytest.raises(ConfigError, match=option):
        patterns(**{"samples": 4, option: value})
