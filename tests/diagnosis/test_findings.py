"""Every kind of finding at its place, and what a diagnosis must not change."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
import torch
from patients import (
    CHANNELS,
    CLASSES,
    RECIPE,
    delayed,
    found,
    network,
    recurrent,
    shd,
    spikes,
    trained,
)
from snnsim_datasets import load

import snnsim as sn
from snnsim.data import Arrays, Batch
from snnsim.diagnosis import KINDS, Finding
from snnsim.diagnosis.chance import probe
from snnsim.diagnosis.findings import Diagnosis, worst_first
from snnsim.errors import ConfigError, SnnsimError
from snnsim.layer import Layer
from snnsim.surrogate import Boxcar
from snnsim.training import Classification, Recipe, Regression, set_seed


def one_batch(n=16):
    return Batch(*spikes(n).batch(range(n)))


# --- the data -------------------------------------------------------------------------------------


def test_batch_and_time_swapped():
    x, target, lengths = one_batch(16)
    diagnosis = sn.diagnose(network(), (x.transpose(0, 1), target, lengths))
    assert [f.what for f in diagnosis.findings] == ["not time-major"]
    assert not diagnosis.healthy
    assert "transpose" in diagnosis.worst.advice


def test_a_data_set_whose_batches_are_not_time_major():
    inner = spikes(64)

    class Swapped:
        lengths = inner.lengths

        def __len__(self):
            return len(inner)

        def batch(self, indices, steps=None):
            x, target, lengths = inner.batch(indices, steps)
            return x.transpose(0, 1), target, lengths

    assert sn.diagnose(network(), Swapped(), batch_size=16).worst.what == "not time-major"


def test_labels_outside_of_the_outputs():
    labels = np.arange(96) % 5
    finding = sn.diagnose(network(), spikes(labels=labels), recipe=RECIPE).worst
    assert (finding.what, finding.where) == ("labels outside of outputs", "labels")
    assert finding.figures == {"lowest": 0, "highest": 4, "outputs": CLASSES}


def test_labels_that_are_counted_from_one():
    x, target, lengths = one_batch()
    assert sn.diagnose(network(), (x, target + 1, lengths)).worst.figures["highest"] == 4


def test_input_that_is_not_finite():
    x, target, lengths = one_batch()
    x[3, 2, 1] = torch.nan
    worst = sn.diagnose(network(), (x, target, lengths)).worst
    assert (worst.what, worst.where) == ("input not finite", "input")


@pytest.mark.parametrize(("empty", "severity"), [(12, "problem"), (2, "warning")])
def test_empty_input(empty, severity):
    x, target, lengths = one_batch()
    x[:, :empty] = 0
    finding = found(sn.diagnose(network(), (x, target, lengths)), "empty input")
    assert (finding.where, finding.severity) == ("input", severity)
    assert finding.figures["empty"] == empty / 16


def test_constant_input():
    x, target, lengths = one_batch()
    finding = sn.diagnose(network(), (x[:, :1].expand_as(x), target, lengths)).worst
    assert (finding.what, finding.where) == ("constant input", "input")


def test_small_input_that_a_normalisation_makes_large_is_only_worth_a_note():
    diagnosis = sn.diagnose(network(norm=True), spikes(scale=1e-2), recipe=RECIPE)
    assert found(diagnosis, "input too small").severity == "note"
    assert diagnosis.healthy


def test_shuffled_labels_before_training_are_only_worth_a_note():
    labels = np.random.default_rng(5).permutation(np.arange(96) % CLASSES)
    diagnosis = sn.diagnose(network(), spikes(labels=labels), recipe=RECIPE)
    assert found(diagnosis, "labels unlike input").severity == "note"


@pytest.mark.parametrize("seed", range(5))
def test_labels_of_the_spoken_digits_are_told_from_shuffled_ones(seed):
    data = load("spoken-digits", "train")
    x, target, lengths = data.batch(np.random.default_rng(seed).permutation(len(data))[:128])
    kinds = [f.what for f in sn.diagnose(shd(), (x, target, lengths)).findings]
    assert "labels unlike input" not in kinds
    mixed = target[torch.from_numpy(np.random.default_rng(seed).permutation(128))]
    found(sn.diagnose(shd(), (x, mixed, lengths)), "labels unlike input")


def test_labels_that_only_the_order_of_the_input_tells_are_like_it():
    """All classes have the same number of spikes in each channel; they come at other times."""
    data = spikes(96)
    x, target, lengths = data.batch(range(96))
    target = torch.arange(96) % 2
    early = torch.arange(len(x))[:, None] < len(x) // 2
    busy = torch.where(target == 0, early, ~early)
    x = (torch.rand(x.shape, generator=torch.Generator().manual_seed(0)) < 0.4) * busy[..., None]
    batch = Batch(x.float(), target, lengths)
    assert probe([batch]).accuracy > 0.9
    rates = batch._replace(x=x.float().sum(0, keepdim=True), lengths=torch.ones_like(lengths))
    assert probe([rates]).accuracy < 0.7
    kinds = [f.what for f in sn.diagnose(network(), (x.float(), target, lengths)).findings]
    assert "labels unlike input" not in kinds


def test_a_masked_read_out_is_not_disturbed_by_padding():
    lengths = np.full(96, 6)
    lengths[0] = 200
    data = spikes(steps=200, lengths=lengths)
    diagnosis = sn.diagnose(network(), data, objective=Classification("mean", mask_padding=True))
    assert "padding read out" not in [f.what for f in diagnosis.findings]


# --- the layers -----------------------------------------------------------------------------------


def test_steps_after_the_end_of_a_sample_do_not_count():
    x, target, _ = one_batch()
    ends = torch.where(torch.arange(16) < 8, 10, 20)
    padded = sn.diagnose(network(), (x, target, ends), recipe=RECIPE)
    alone = [
        sn.diagnose(network(), (x[:end, b : b + 1], target[b : b + 1], ends[b : b + 1]))
        for b, end in enumerate(ends.tolist())
    ]
    steps = ends.double()
    rates = torch.tensor([each.layers[0]["rate"] for each in alone], dtype=torch.float64)
    expected = float((rates * steps).sum() / steps.sum())
    assert padded.layers[0]["rate"] == pytest.approx(expected)


@pytest.mark.parametrize("called", [False, True])
def test_weights_without_a_gradient_are_a_problem_only_if_their_layer_ran(called):
    class Beside(Layer):
        def __init__(self):
            super().__init__()
            self.spare = torch.nn.Linear(CHANNELS, CHANNELS)

        def forward(self, x, state=None):
            if called:
                self.spare(x)  # of which nothing comes into the loss
            return x, None

    finding = found(sn.diagnose(network(before=[Beside()]), spikes()), "no gradient")
    assert finding.severity == ("problem" if called else "note")
    assert "spare.weight" in finding.where


class Divided(Layer):
    def forward(self, x, state=None):
        return x / 0, None


def test_activity_that_becomes_infinite():
    net = network(32, 32)
    net.layers.insert(2, Divided())
    worst = sn.diagnose(net, spikes(), recipe=RECIPE).worst
    assert (worst.what, worst.where) == ("activity not finite", "layers.4")


def spiking_read_out(bias):
    set_seed(1)
    last = sn.Dense(32, CLASSES, bias=True)
    last.bias.data.fill_(bias)
    layers = [sn.Dense(CHANNELS, 32, init="he"), sn.LIF(32, dt=1.0), last]
    return sn.Sequential(*layers, sn.LIF(CLASSES, dt=1.0))


@pytest.mark.parametrize(("bias", "kind"), [(-9, "silent"), (9, "saturated")])
def test_a_spiking_read_out_that_says_nothing(bias, kind):
    aim = Classification("spike_count")
    worst = sn.diagnose(spiking_read_out(bias), spikes(), objective=aim).worst
    assert (worst.what, worst.where) == (f"{kind} read-out", "layers.3")


def test_a_layer_of_which_one_half_is_silent_and_the_other_always_fires():
    net = network()
    sign = torch.where(torch.arange(32) % 2 == 0, 1.0, -1.0)[:, None]
    net.layers[0].weight.data.abs_().mul_(30 * sign)
    finding = found(sn.diagnose(net, spikes(), recipe=RECIPE), "stuck layer")
    assert (finding.where, finding.severity) == ("layers.1", "problem")
    assert finding.figures["dead"] == finding.figures["saturated"] == 0.5


def test_the_second_layer_is_the_one_that_is_dead():
    net = network(32, 32)
    net.layers[2].weight.data.mul_(1e-3)
    diagnosis = sn.diagnose(net, spikes(), recipe=RECIPE)
    assert (diagnosis.worst.what, diagnosis.worst.where) == ("dead layer", "layers.3")


@pytest.mark.parametrize(("p", "severity"), [(0.95, "problem"), (0.8, "warning")])
def test_dropout_that_leaves_next_to_nothing(p, severity):
    net = network()
    net.layers.insert(2, sn.Dropout(p))
    finding = found(sn.diagnose(net, spikes(), recipe=RECIPE), "dropout too high")
    assert (finding.where, finding.severity) == ("layers.2", severity)


def test_a_gradient_that_vanishes_from_layer_to_layer():
    net = network(32, 32, 32, norm=True, surrogate=Boxcar(width=4.0, height=1e-6))
    finding = found(sn.diagnose(net, spikes(), recipe=RECIPE), "vanishing gradient")
    assert (finding.where, finding.severity) == ("layers.2", "problem")


def test_a_gradient_that_grows_in_time_is_a_warning_while_it_can_be_followed():
    diagnosis = sn.diagnose(recurrent(), spikes(n=64, steps=100), recipe=RECIPE)
    finding = found(diagnosis, "exploding gradient")
    assert (finding.where, finding.severity) == ("layers.1.neuron", "warning")


def test_a_gradient_that_does_not_reach_the_early_steps():
    net = network(tau_mem=2.0)
    net.layers[-1] = sn.LI(CLASSES, dt=1.0, tau_mem=2.0)
    diagnosis = sn.diagnose(net, spikes(steps=120), objective=Classification("last"))
    assert [f.what for f in diagnosis.findings].count("vanishing gradient") == 1
    finding = found(diagnosis, "vanishing gradient")
    assert (finding.where, finding.severity) == ("layers.3", "warning")


def test_kernels_that_are_still_wide():
    net, data = delayed(), spikes()
    before = trained(net, data, epochs=3)
    net.layers[0].sigma.fill_(4.0)
    diagnosis = sn.diagnose(net, data, recipe=RECIPE, before=before)
    finding = found(diagnosis, "wide kernels")
    assert finding.where == "layers.0"
    assert finding.figures["width"] == 4


def test_wide_kernels_at_the_start_are_as_they_should_be():
    kinds = [f.what for f in sn.diagnose(delayed(), spikes(), recipe=RECIPE).findings]
    assert "wide kernels" not in kinds


def test_half_frozen_is_a_warning():
    net = network(32, 32)
    net.layers[0].requires_grad_(False)
    diagnosis = sn.diagnose(net, spikes(), recipe=RECIPE)
    assert (found(diagnosis, "frozen").where, diagnosis.healthy) == ("layers.0.weight", True)


# --- a training -----------------------------------------------------------------------------------


def test_weights_that_have_not_moved():
    net = network()
    finding = found(
        sn.diagnose(net, spikes(), recipe=RECIPE, before=copy.deepcopy(net)), "weights do not move"
    )
    assert (finding.where, finding.severity) == ("layers.0.weight", "problem")


def test_one_layer_that_has_not_moved():
    net = network(32, 32)
    before = copy.deepcopy(net.state_dict())
    net.layers[0].weight.data += 0.1
    net.layers[4].weight.data += 0.1
    finding = found(sn.diagnose(net, spikes(), before=before), "weights do not move")
    assert (finding.where, finding.severity) == ("layers.2.weight", "warning")


def test_a_trained_network_at_chance_that_always_answers_the_same():
    net = network()
    before = copy.deepcopy(net.state_dict())
    with torch.no_grad():
        net.layers[0].weight += 0.2 * torch.rand_like(net.layers[0].weight)
        net.layers[2].weight.zero_()
        net.layers[2].weight[1] = 0.01
    diagnosis = sn.diagnose(net, spikes(), recipe=RECIPE, before=before)
    assert found(diagnosis, "at chance").severity == "problem"
    assert found(diagnosis, "one answer").severity == "warning"
    assert diagnosis.chance == pytest.approx(np.log(CLASSES))


def test_a_short_training_may_still_be_at_chance():
    net = network()
    before = copy.deepcopy(net.state_dict())
    with torch.no_grad():
        net.layers[0].weight += 0.2 * torch.rand_like(net.layers[0].weight)
        net.layers[2].weight.mul_(0.01)
    recipe = Recipe(epochs=2, batch_size=32, readout="mean")
    diagnosis = sn.diagnose(net, spikes(), recipe=recipe, before=before)
    assert found(diagnosis, "at chance").severity == "warning"


def test_answers_that_are_right_are_not_at_chance_whatever_their_loss():
    net, data = network(), spikes()
    before = trained(net, data)
    with torch.no_grad():
        net.layers[2].weight.mul_(1e-3)
    diagnosis = sn.diagnose(net, data, recipe=RECIPE, before=before)
    assert diagnosis.loss == pytest.approx(diagnosis.chance, rel=0.01)
    assert "at chance" not in [f.what for f in diagnosis.findings]


def test_small_steps_are_not_too_small_for_a_long_training():
    recipe = Recipe(epochs=1000, batch_size=32, lr=1e-6, readout="mean")
    kinds = [f.what for f in sn.diagnose(network(), spikes(), recipe=recipe).findings]
    assert "learning rate too small" not in kinds
    short = Recipe(epochs=1, batch_size=32, lr=1e-6, readout="mean")
    found(sn.diagnose(network(), spikes(), recipe=short), "learning rate too small")


def test_a_network_that_cannot_be_copied_is_refused():
    net = network()
    net.cache = net.layers[0].weight * 2
    with pytest.raises(ConfigError, match="cannot be copied"):
        sn.diagnose(net, spikes())


def test_chance_of_values_is_their_variance():
    target = np.random.default_rng(0).normal(size=(96, 2)).astype(np.float32)
    data = Arrays(spikes().x, target)
    set_seed(0)
    net = sn.Sequential(sn.Dense(CHANNELS, 16), sn.LIF(16, dt=1.0), sn.Dense(16, 2), sn.LI(2, dt=1))
    diagnosis = sn.diagnose(net, data, objective=Regression("mean"))
    assert diagnosis.chance == pytest.approx(target.var(0).mean(), rel=1e-5)


def test_delays_that_stay_as_they_were_are_no_weights_that_do_not_move():
    net, data = delayed(), spikes()
    before = trained(net, data, epochs=2, lr_delay=0.0)
    diagnosis = sn.diagnose(net, data, recipe=RECIPE, before=before)
    assert torch.equal(before["layers.0.delay"], net.layers[0].delay)
    assert "weights do not move" not in [f.what for f in diagnosis.findings]


# --- what it leaves as it is ----------------------------------------------------------------------


@pytest.mark.parametrize("mode", [True, False])
def test_nothing_of_the_network_nor_of_random_numbers_changes(mode):
    net = shd()
    net.train(mode)
    net.layers[1].eval()
    for parameter in net.parameters():
        parameter.grad = torch.ones_like(parameter)
    weights = copy.deepcopy(net.state_dict())
    modes = [module.training for module in net.modules()]
    hooks = [len(module._forward_hooks) for module in net.modules()]
    torch.manual_seed(7)
    state, numpys = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    sn.diagnose(
        net, load("spoken-digits", "train"), recipe=Recipe(epochs=9), before=weights, batches=2
    )
    assert torch.equal(torch.get_rng_state(), state)
    assert np.array_equal(np.random.get_state()[1], numpys)  # noqa: NPY002
    assert all(torch.equal(value, weights[name]) for name, value in net.state_dict().items())
    assert [module.training for module in net.modules()] == modes
    assert [len(module._forward_hooks) for module in net.modules()] == hooks
    assert all(bool((p.grad == 1).all()) for p in net.parameters())
    assert torch.is_grad_enabled()


def test_it_says_the_same_twice_whatever_the_random_numbers():
    answers = []
    for seed in (1, 2):
        net, data = shd(), load("spoken-digits", "train")
        torch.manual_seed(seed)
        answers.append(sn.diagnose(net, data, recipe=Recipe(epochs=9), batches=2).as_dict())
    assert answers[0] == answers[1]


def test_it_also_works_where_gradients_are_off():
    with torch.no_grad():
        diagnosis = sn.diagnose(network(), spikes(), recipe=RECIPE)
    assert diagnosis.layers[0]["gradient"] > 0


# --- the values -----------------------------------------------------------------------------------


def test_a_diagnosis_is_a_table_and_plain_values():
    diagnosis = sn.diagnose(network(v_threshold=100.0), spikes(), recipe=RECIPE)
    text = str(diagnosis)
    assert text.startswith("sick: 2 problems")
    assert "problem: dead layer (layers.1)" in text
    assert "membrane 95 %" in text
    assert max(map(len, text.splitlines())) <= 100
    told = json.loads(json.dumps(diagnosis.as_dict()))
    assert told["layers"][0]["dead"] == 1
    assert told["findings"][0]["where"] == "layers.1"


def test_what_is_not_finite_becomes_none():
    told = Diagnosis((Finding("at chance", "", "note", "", "", {"loss": float("inf")}),)).as_dict()
    assert told["loss"] is None
    assert told["findings"][0]["figures"] == {"loss": None}


def test_causes_stand_before_what_follows():
    given = [Finding(kind, "", "problem", "", "") for kind in reversed(KINDS)]
    assert [f.what for f in worst_first(given)] == list(KINDS)


@pytest.mark.parametrize("wrong", [{"batches": 0}, {"batch_size": 0}, {"batches": 1.5}])
def test_numbers_of_batches_are_checked(wrong):
    with pytest.raises(SnnsimError, match="batch"):
        sn.diagnose(network(), spikes(), **wrong)


def test_no_more_samples_are_shown_than_asked_for():
    assert sn.diagnose(network(), spikes(), batches=2, batch_size=8).samples == 16
