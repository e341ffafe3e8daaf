"""Similarity, phases and paths against their equations, on networks that one can follow."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from small_training import (
    CHANNELS,
    CLASSES,
    TRAIN,
    VALIDATION,
    Tiny,
    deep_network,
    network,
    trained_deep_network,
)
from toolbox import random

import snnsim as sn
from snnsim.activity import Recording, record
from snnsim.analysis import Figure, Subject, analyse
from snnsim.analysis.depth import _told, number_of_phases, phases, similarity
from snnsim.analysis.paths import Paths, best_single_path, paths
from snnsim.analysis.stack import stack_of
from snnsim.baselines import RateNetwork
from snnsim.data import Arrays
from snnsim.errors import ConfigError
from snnsim.training import evaluate


def recording(values, lengths):
    return Recording(values, "spikes", "layer", "output", torch.tensor(lengths))


@pytest.fixture(scope="module")
def trained():
    return trained_deep_network()


# --- similarity and phases ------------------------------------------------------------------------


def test_similarity_is_the_mean_cosine_of_rates():
    lengths = [7, 4, 1]
    layers = [random(7, 3, 5, seed=seed) for seed in range(3)]
    expected = np.zeros((3, 3))
    for i, j in itertools.product(range(3), repeat=2):
        for sample, steps in enumerate(lengths):
            a, b = (layers[layer][:steps, sample].mean(0).numpy() for layer in (i, j))
            expected[i, j] += a @ b / np.sqrt((a @ a) * (b @ b)) / 3
    found = similarity([recording(values, lengths) for values in layers])
    np.testing.assert_allclose(found, expected, atol=1e-13)


def test_silence_is_like_nothing_and_widths_must_be_equal():
    silent, loud = recording(torch.zeros(3, 2, 4), [3, 3]), recording(torch.ones(3, 2, 4), [3, 3])
    assert similarity([silent, loud]).tolist() == [[0, 0], [0, pytest.approx(1)]]
    with pytest.raises(ConfigError, match="equal width"):
        similarity([silent, recording(torch.ones(3, 2, 5), [3, 3])])


def divisions(count, k):
    for cuts in itertools.combinations(range(1, count), k - 1):
        edges = [0, *cuts, count]
        yield [list(range(a, b)) for a, b in itertools.pairwise(edges)]


@pytest.mark.parametrize("k", range(1, 8))
@pytest.mark.parametrize("seed", range(3))
def test_phases_are_the_best_of_all_divisions(k, seed):
    values = random(7, 7, seed=seed).numpy()
    S = (values + values.T) / 2

    def cost(parts):
        return sum(1 - S[i, j] for part in parts for i, j in itertools.combinations(part, 2))

    best = min(divisions(7, k), key=cost)
    labels = phases(S, k)
    assert labels.tolist() == [number for number, part in enumerate(best) for _ in part]


def test_the_number_of_phases_is_that_of_the_blocks_of_a_matrix():
    S = np.full((6, 6), 0.2)
    for part in ([0, 1], [2, 3, 4], [5]):
        S[np.ix_(part, part)] = 0.95
    assert number_of_phases(S, 0.9) == 3 and phases(S, 3).tolist() == [0, 0, 1, 1, 1, 2]
    assert number_of_phases(S, 0.0) == 1 and number_of_phases(S, 0.99) == 6
    with pytest.raises(ConfigError, match="from 1 to 6"):
        phases(S, 7)


# --- blocks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("skip", [True, False])
def test_a_network_is_its_parts_in_a_row(skip):
    net = deep_network(skip=skip, stochastic_depth=0.0).eval()
    stack, x = stack_of(net), TRAIN.batch(range(5)).x
    y = stack.before(x)[0]
    recorded = record(net, x, stack.names)
    assert len(stack.blocks) == 3
    for block, name in zip(stack.blocks, stack.names, strict=True):
        y = block.eval()(y)[0]
        torch.testing.assert_close(recorded[name].values, y)
    torch.testing.assert_close(stack.after.eval()(y)[0], net(x)[0])


@pytest.mark.parametrize("model", ["gru", "linear-attention"])
def test_a_rate_coded_network_is_its_parts_in_a_row(model):
    net = RateNetwork(CHANNELS, CLASSES, model, width=8, depth=3).eval()
    stack, x = stack_of(net), TRAIN.batch(range(5)).x
    y, recorded = stack.before.eval()(x)[0], record(net, x, stack.names)
    for block, name in zip(stack.blocks, stack.names, strict=True):
        y = block.eval()(y)[0]
        torch.testing.assert_close(recorded[name].values, y)
    torch.testing.assert_close(stack.after(y)[0], net(x)[0])
    assert len(stack.blocks) == (3 if net.residual else 2)


def test_networks_without_blocks_are_refused():
    with pytest.raises(ConfigError, match="needs 2 or more"):
        stack_of(network())
    with pytest.raises(ConfigError, match="taken apart"):
        stack_of(torch.nn.Linear(3, 3))


# --- paths ----------------------------------------------------------------------------------------


def turning(blocks, classes):
    """A network whose blocks each turn the class by one."""
    layers = [sn.Dense(classes, classes) for _ in range(blocks + 2)]
    for number, layer in enumerate(layers):
        turn = torch.eye(classes).roll(int(0 < number <= blocks), 0)
        layer.weight.data = 9 * turn
    net = sn.Sequential(*layers)
    stack = stack_of(net)
    assert len(stack.blocks) == blocks + 1  # the first, which does not turn, is as wide
    return net


def turned(samples, classes, seed=0):
    generator = np.random.default_rng(seed)
    given, target = generator.integers(0, classes, (2, samples))
    return Arrays(np.eye(classes)[given][:, None].repeat(3, 1), target), given, target


def test_paths_answer_what_turning_by_hand_gives():
    net = turning(3, 7)
    data, given, target = turned(40, 7)
    found = paths(net, data)
    assert found.counts.shape == (81, 4) and found.classes == 7
    expected = (given + found.counts[:, 1:].sum(1)[:, None]) % 7
    assert np.array_equal(found.answers, expected)
    assert found.counts[found.trained].tolist() == [1, 1, 1, 1]
    assert np.array_equal(found.answers[found.trained], (given + 3) % 7)
    for sample in range(40):
        turns = (target[sample] - given[sample]) % 7
        lengths = [sum(c) for c in found.counts if sum(c[1:]) % 7 == turns]
        assert found.shortest()[sample] == min(lengths, default=-1)


@pytest.mark.parametrize(
    ("blocks", "changes", "expected"), [(3, 1, 1), (3, 2, 2), (3, 9, 3), (3, 0, 3), (8, 0, 3)]
)
def test_paths_of_few_changes_answer_what_they_do_among_all(blocks, changes, expected):
    net = turning(blocks - 1, 7)
    data, given, _ = turned(20, 7)
    found = paths(net, data, changes=changes)
    every = np.array(list(itertools.product((0, 1, 2), repeat=blocks)))
    near = every[(every != 1).sum(1) <= expected]
    assert found.counts.tolist() == near.tolist() and len(near) <= 729
    assert np.array_equal(found.answers, (given + near[:, 1:].sum(1)[:, None]) % 7)


def by_counting(found):
    """Both fractions and their controls, sample by sample and label by label."""
    trained, L = found.answers[found.trained], found.counts.shape[1]
    fractions = []
    for right in (True, False):
        own, others = [], []
        for sample, target in enumerate(found.target):
            if (trained[sample] == target) != right:
                continue
            reached = {
                found.answers[number, sample]
                for number, path in enumerate(found.counts)
                if not right or sum(path) < L
            }
            own.append(target in reached)
            wrong = set(range(found.classes)) - {target, trained[sample]}
            others += [label in reached for label in wrong]
        fractions.append((np.mean(own), np.mean(others)))
    return fractions


@pytest.mark.parametrize("seed", range(3))
def test_fractions_and_controls_are_counted(seed):
    generator = np.random.default_rng(seed)
    counts = np.array(list(itertools.product((0, 1, 2), repeat=2)))
    found = Paths(counts, generator.integers(0, 5, (9, 60)), generator.integers(0, 5, 60), 5)
    for figure, (value, null) in zip(
        (found.shorter(), found.corrected()), by_counting(found), strict=True
    ):
        assert figure.value == pytest.approx(value) and figure.null == pytest.approx(null)


def test_answers_at_random_correct_no_more_than_a_random_label():
    generator = np.random.default_rng(0)
    counts = np.array(list(itertools.product((0, 1, 2), repeat=2)))
    found = Paths(counts, generator.integers(0, 10, (9, 4000)), generator.integers(0, 10, 4000), 10)
    for figure in (found.shorter(), found.corrected()):
        assert figure.value > 0.2 and figure.value == pytest.approx(figure.null, abs=0.05)


def test_two_classes_leave_no_other_label():
    counts = np.array([[0], [1], [2]])
    found = Paths(counts, np.array([[0, 1], [0, 0], [1, 1]]), np.array([1, 0]), 2)
    assert found.corrected().value == 1.0 and found.corrected().null is None


def test_the_best_single_path_is_chosen_on_one_half_and_scored_on_the_other():
    counts = np.array([[0], [1], [2]])
    target = np.zeros(400, int)
    generator = np.random.default_rng(1)
    wrong = (generator.random((3, 400)) > np.array([[0.5], [0.5], [0.9]])).astype(int)
    found = Paths(counts, wrong, target, 2)
    best = best_single_path(found)
    order = np.random.default_rng(0).permutation(400)
    assert best.counts.tolist() == [2]
    assert best.accuracy == pytest.approx(1 - wrong[2, order[200:]].mean())
    assert best.trained == pytest.approx(1 - wrong[1, order[200:]].mean())
    # a path that only chance makes best is not better where it was not chosen
    chance = Paths(np.arange(300)[:, None], generator.integers(0, 2, (300, 60)), target[:60], 2)
    assert chance.right[:, order[:60] % 60].mean(1).max() > 0.6
    assert best_single_path(chance).accuracy < 0.7


@pytest.mark.parametrize("padding", ["causal", "lengthen"])
@pytest.mark.parametrize("mask_padding", [True, False])
def test_the_path_as_trained_answers_what_the_network_does(trained, padding, mask_padding):
    net = deep_network(padding, delays="fixed")
    net.load_state_dict(trained.state_dict())
    found = paths(net, VALIDATION, mask_padding=mask_padding)
    score = evaluate(net.eval(), VALIDATION, mask_padding=mask_padding).accuracy
    assert found.right[found.trained].mean() == pytest.approx(score)
    assert len(found.counts) == 27


def test_what_has_no_paths_is_refused():
    for changes in (-1, 1.5):
        with pytest.raises(ConfigError, match="changes"):
            paths(turning(2, 3), turned(4, 3)[0], changes=changes)
    values = Arrays(np.ones((4, 3, 3)), np.ones((4, 2)))
    with pytest.raises(ConfigError, match="one class"):
        paths(turning(2, 3), values)


# --- the report -----------------------------------------------------------------------------------


def test_a_report_has_every_figure_beside_its_null(trained):
    found = analyse(Subject(trained, Tiny(60, seed=3), nulls=2), "depth", tie=2, epochs=1)
    assert {"similarity", "phases", "shorter", "corrected", "tied"} <= found.figures.keys()
    similar = found.figures["similarity"]
    assert similar.value > similar.null + 5 * similar.spread
    assert found.figures["accuracy"].value == pytest.approx(
        evaluate(trained, Tiny(60, seed=3)).accuracy
    )
    assert found.as_json()["settings"]["tie"] == 2
    assert any(line.startswith("Corrected: ") for line in found.text)


@pytest.mark.parametrize(
    ("figure", "said"),
    [
        (Figure(0.02, 0.08), "Corrected: 2.0%, random label 8.0%: no signal."),
        (Figure(0.5, 0.25), "Corrected: 50.0%, random label 25.0%: 25 points above it."),
        (Figure(0.5), "Corrected: 50.0%; too few classes for a random label."),
        (Figure(float("nan")), "Corrected: there are no such samples."),
    ],
)
def test_what_is_said_of_a_fraction_depends_on_its_control(figure, said):
    assert _told("corrected", figure) == said


def test_it_is_drawn(trained):
    pytest.importorskip("matplotlib")
    from snnsim.plotting import report

    for options in ({}, {"paths": False, "tie": 2, "epochs": 0}):
        found = analyse(Subject(trained, VALIDATION, nulls=1), "depth", **options)
        assert len(report(found).axes) == 3
    assert found.arrays["phase"].max() == 1


def test_a_report_is_of_paths_with_as_many_changes_as_asked():
    torch.manual_seed(0)
    net = turning(7, 3)
    found = analyse(Subject(net, turned(8, 3)[0], nulls=1), "depth", changes=1)
    assert found.arrays["paths"].shape == (17, 8)
