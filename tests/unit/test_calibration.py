"""Temperatures, calibration errors, intervals and confusion matrices against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from small_training import TRAIN, VALIDATION, trainer
from toolbox import exact, random, refusal

import snnsim as sn
from snnsim.errors import CheckpointError, ConfigError, ShapeError
from snnsim.functional.metrics import confusion_matrix, wilson_interval
from snnsim.functional.readouts import READOUTS, fractions
from snnsim.training import (
    Classification,
    Regression,
    calibrate,
    calibrated,
    calibration_error,
    checkpoint,
    predict,
)

SEEDS = range(5)


def distributions(samples: int, classes: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (2 * torch.randn(samples, classes, generator=generator).double()).softmax(1)


def drawn(p: torch.Tensor, seed: int) -> torch.Tensor:
    """A class for each row, drawn by its probabilities."""
    return torch.multinomial(p, 1, generator=torch.Generator().manual_seed(seed))[:, 0]


def likelihood(q: np.ndarray, labels: np.ndarray, temperature: float) -> float:
    p = q ** (1 / temperature)
    return float(np.log((p / p.sum(1, keepdims=True))[np.arange(len(q)), labels]).sum())


# --- temperatures --------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [2, 3, 20])
@pytest.mark.parametrize("right", [6, 9])
def test_equal_rows_have_a_temperature_in_closed_form(classes, right):
    best = 2 / (classes + 1)
    rest = (1 - best) / (classes - 1)
    q = exact(best, *[rest] * (classes - 1)).repeat(10, 1)
    labels = torch.tensor([0] * right + [1] * (10 - right))
    expected = math.log(best / rest) / math.log(right * (classes - 1) / (10 - right))
    assert calibrate(q, labels) == pytest.approx(expected, rel=1e-9)
    assert float(calibrated(q, expected)[0, 0]) == pytest.approx(right / 10)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_temperature_has_the_largest_likelihood(seed):
    q = distributions(60, 5, seed)
    labels = drawn(calibrated(q, 2.5), seed)
    T = calibrate(q, labels)
    found = likelihood(q.numpy(), labels.numpy(), T)
    for factor in (0.5, 0.99, 1.01, 2.0):
        assert likelihood(q.numpy(), labels.numpy(), factor * T) < found


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("true", [0.3, 1.0, 4.0])
def test_the_temperature_of_drawn_labels_is_found_within_its_interval(seed, true):
    """The inverse temperature of n samples has the standard deviation 1 / sqrt(n Var z)."""
    q = distributions(4000, 6, seed)
    p, z = calibrated(q, true), q.log()
    spread = float(((p * z * z).sum(1) - (p * z).sum(1) ** 2).sum()) ** -0.5
    assert abs(1 / calibrate(q, drawn(p, seed)) - 1 / true) < 4 * spread < 0.2 / true


@pytest.mark.parametrize("seed", SEEDS)
def test_a_temperature_makes_answers_that_are_too_sure_right_about_themselves(seed):
    q = distributions(4000, 6, seed)
    sure, labels = calibrated(q, 1 / 3), drawn(q, seed)
    before = calibration_error(sure, labels)
    after = calibration_error(calibrated(sure, calibrate(sure, labels)), labels)
    assert before > 0.15 and after < 0.04


@pytest.mark.parametrize("samples", [1, 3, 50])
def test_where_all_are_right_the_mean_probability_is_that_of_laplaces_rule(samples):
    q = distributions(samples, 4, seed=samples)
    T = calibrate(q, q.argmax(1))
    mean = float(calibrated(q, T).amax(1).mean())
    assert mean == pytest.approx((samples + 1) / (samples + 2), rel=1e-9)


def test_temperatures_have_limits():
    q = torch.tensor([[0.9, 0.1]]).repeat(4, 1)
    assert calibrate(q, torch.ones(4, dtype=torch.int64)) == pytest.approx(100)
    equal = torch.full((4, 2), 0.5)
    assert 0.01 <= calibrate(equal, torch.tensor([0, 0, 1, 0])) <= 100
    certain = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    assert calibrate(certain, torch.tensor([0, 1])) == pytest.approx(100)


def test_a_temperature_of_1_leaves_fractions_and_none_changes_their_order():
    q = distributions(30, 7, seed=0)
    torch.testing.assert_close(calibrated(q, 1.0), q, rtol=1e-12, atol=0)
    for temperature in (0.05, 3.0):
        found = calibrated(q, temperature)
        assert torch.equal(found.argsort(1), q.argsort(1))
        torch.testing.assert_close(found.sum(1), torch.ones(30).double())


@pytest.mark.parametrize("readout", READOUTS)
def test_fractions_of_scores_add_up_to_1(readout):
    v = 3 * random(9, 4, 5, seed=1)
    scores = READOUTS[readout](v)
    found = fractions(readout, scores).numpy()
    e = np.exp(scores.numpy())
    expected = scores.numpy() if readout == "sum_softmax" else e
    np.testing.assert_allclose(found, expected / expected.sum(1, keepdims=True), rtol=1e-12)
    with pytest.raises(ConfigError, match="readout is 'sum'"):
        fractions("sum", scores)


# --- figures -------------------------------------------------------------------------------------


@pytest.mark.parametrize("bins", [1, 4, 15])
def test_the_calibration_error_is_that_of_a_loop_over_bins(bins):
    p = distributions(300, 3, seed=2)
    p[:3] = torch.tensor([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0], [0.75, 0.25, 0.0]])  # on edges
    labels = drawn(p, seed=3)
    sure, best = p.max(1).values.tolist(), p.argmax(1).tolist()
    total = 0.0
    for b in range(bins):
        inside = [i for i in range(300) if b / bins < sure[i] <= (b + 1) / bins]
        right = sum(best[i] == int(labels[i]) for i in inside)
        total += abs(right - sum(sure[i] for i in inside)) / 300
    assert calibration_error(p, labels, bins) == pytest.approx(total, rel=1e-9)


def test_certain_answers_are_calibrated_if_they_are_right():
    certain = torch.eye(3)
    assert calibration_error(certain, torch.arange(3)) == 0
    assert calibration_error(certain, torch.tensor([1, 2, 0])) == 1


@pytest.mark.parametrize(("right", "samples"), [(0, 1), (1, 1), (3, 10), (90, 100), (500, 500)])
@pytest.mark.parametrize(("level", "z"), [(0.95, 1.959964), (0.6, 0.841621)])
def test_the_ends_of_an_interval_are_just_that_far_from_what_was_found(right, samples, level, z):
    """Wilson's interval holds every accuracy of which the figure is within z deviations."""
    p = right / samples
    low, high = wilson_interval(right, samples, level)
    assert 0 <= low <= p <= high <= 1 and low < high
    for end in (low, high):
        assert abs(p - end) == pytest.approx(z * math.sqrt(end * (1 - end) / samples), abs=1e-6)


def test_a_confusion_matrix_counts_answers_by_true_class():
    labels, found = drawn(distributions(90, 4, 0), 1), drawn(distributions(90, 4, 1), 2)
    expected = [[0] * 4 for _ in range(4)]
    for true, answer in zip(labels.tolist(), found.tolist(), strict=True):
        expected[true][answer] += 1
    assert confusion_matrix(found, labels, 4).tolist() == expected
    none = torch.zeros(0, dtype=torch.int64)
    assert confusion_matrix(none, none, 3).tolist() == [[0] * 3] * 3


GOOD, LABELS = torch.tensor([[0.5, 0.5], [0.2, 0.8]]), torch.tensor([0, 1])


@pytest.mark.parametrize("function", [calibrate, calibration_error])
@pytest.mark.parametrize(
    ("p", "labels", "error", "text"),
    [
        (GOOD[:0], LABELS[:0], ShapeError, "of one sample or more"),
        (GOOD[0], LABELS, ShapeError, r"float32 \[2\] but must be"),
        (LABELS[:, None], LABELS, ShapeError, "int64"),
        (2 * GOOD, LABELS, ConfigError, "add up to 1 .*readouts.fractions"),
        (GOOD.where(GOOD != 0.2, torch.nan), LABELS, ConfigError, "those of sample 1 do not"),
        (torch.tensor([[1.5, -0.5], [0, 1]]), LABELS, ConfigError, "must be 0 or more"),
        (GOOD, LABELS[:1], ShapeError, r"labels are torch.int64 \[1\] but must be int64 \[2\]"),
        (GOOD, LABELS.float(), ShapeError, "float32"),
        (GOOD, torch.tensor([0, 2]), ShapeError, r"labels are 0 .. 2 but must lie in 0 .. 1"),
        (GOOD, torch.tensor([-1, 1]), ShapeError, r"labels are -1 .. 1"),
    ],
)
def test_what_are_no_probabilities_or_labels_is_refused(function, p, labels, error, text):
    with pytest.raises(error, match=text):
        function(p, labels)


def test_numbers_out_of_range_are_refused():
    for wrong in (0.0, -1.0, math.nan, math.inf):
        assert "temperature is" in refusal(ConfigError, calibrated, GOOD, wrong)
    assert "bins is 0" in refusal(ConfigError, calibration_error, GOOD, LABELS, 0)
    for arguments in ((1, 0), (3, 2), (-1, 2), (1.5, 2), (1, 2, 0.0), (1, 2, 1.0)):
        assert "must be" in refusal(ConfigError, wilson_interval, *arguments)
    assert "answers are" in refusal(ShapeError, confusion_matrix, torch.tensor([0, 2]), LABELS, 2)


# --- trainers ------------------------------------------------------------------------------------


def test_a_trainer_fits_the_temperature_to_validation_data_and_keeps_it(tmp_path):
    t = trainer(out=tmp_path)
    t.run()
    t.load_best()
    before = checkpoint.load(tmp_path / "best.safetensors")
    rows = (tmp_path / "metrics.jsonl").read_bytes()
    T = t.calibrate()
    x = VALIDATION.batch(range(len(VALIDATION)), int(TRAIN.lengths.max()))
    q = fractions("sum_softmax", predict(t.net, x.x, "sum_softmax", x.lengths, masked=False))
    assert pytest.approx(calibrate(q, x.labels), rel=1e-6) == T
    after = checkpoint.load(tmp_path / "best.safetensors")
    assert before[0].keys() == after[0].keys()
    assert all(torch.equal(tensor, after[0][name]) for name, tensor in before[0].items())
    assert after[1].pop("about") == before[1].pop("about") | {"temperature": T}
    assert after[1] == before[1] and (tmp_path / "metrics.jsonl").read_bytes() == rows
    assert sn.load(tmp_path / "best.safetensors").about["temperature"] == T
    again = trainer(out=tmp_path)
    assert again.resume() and again.run() == t.rows


def test_a_trainer_without_a_folder_or_without_classes_keeps_no_temperature():
    t = trainer()
    assert t.calibrate() > 0
    assert isinstance(t.objective, Classification)
    t.objective = Regression()
    assert t.calibrate() is None


def test_a_temperature_that_is_none_is_a_damaged_file(tmp_path):
    from snnsim_experiments.run_folder import load_trained

    t = trainer(out=tmp_path)
    t.run()
    t.calibrate()
    file = tmp_path / "best.safetensors"
    tensors, values = checkpoint.load(file)
    for wrong in (0, -1.0, "1", True, [1]):
        about = values["about"] | {"temperature": wrong, "channels": 6, "dt": 1.0}
        checkpoint.save(file, tensors, values | {"about": about})
        assert "its temperature is" in refusal(CheckpointError, load_trained, tmp_path)
