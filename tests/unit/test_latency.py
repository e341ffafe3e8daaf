"""Accuracy over time: what a causal network would answer early, and who is refused."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import snnsim as sn
from snnsim.baselines import RateNetwork
from snnsim.errors import ConfigError, NonFiniteError
from snnsim.functional.readouts import get_readout
from snnsim.training import accuracy_over_time, evaluate


class Few:
    """Six short samples, padded with silence."""

    lengths = np.array([9, 5, 9, 7, 9, 3])
    labels = np.array([0, 1, 2, 0, 1, 2])

    def __len__(self):
        return len(self.lengths)

    def batch(self, indices, steps=None):
        x = torch.rand(steps or 9, 6, 4, generator=torch.Generator().manual_seed(0))
        pick = np.asarray(indices)
        inside = torch.arange(len(x))[:, None] < torch.from_numpy(self.lengths)
        return SimpleNamespace(
            x=(x * inside[..., None])[:, pick],
            lengths=torch.from_numpy(self.lengths[pick]),
            labels=torch.from_numpy(self.labels[pick]),
        )


def networks():
    torch.manual_seed(0)
    yield RateNetwork(4, 3, "gru", width=8)
    yield sn.Sequential(sn.Delayed(4, 3, dt=1.0, max_delay_ms=4.0), sn.LI(3, dt=1.0, tau_mem=3.0))


@pytest.mark.parametrize("readout", ["sum_softmax", "last", "max_over_time"])
def test_an_early_answer_is_that_to_the_beginning_alone(readout):
    for net in networks():
        data = Few()
        found = accuracy_over_time(
            net, data, every=3, readout=readout, mask_padding=True, batch_size=4
        )
        assert found.steps[:3] == [3, 6, 9] and len(found.accuracy) == len(found.steps)
        x, lengths, labels = vars(data.batch(range(6))).values()
        for t, share in zip(found.steps[:2], found.accuracy, strict=False):
            early = torch.cat([x[:t], torch.zeros_like(x[t:])])  # nothing was heard after t
            y, _ = net.eval()(early)
            ends = (lengths + len(y) - len(x)).clamp(max=t)
            right = get_readout(readout)(y[:t], ends).argmax(1) == labels
            assert share == pytest.approx(float(right.float().mean()))
        whole = evaluate(net, data, readout=readout, mask_padding=True, batch_size=4)
        assert found.accuracy[-1] == pytest.approx(whole.accuracy)


@pytest.mark.parametrize("mask", [True, False])
@pytest.mark.parametrize("steps", [0, 4, 7, 12])
def test_the_last_answer_is_that_of_evaluation_however_samples_are_padded(steps, mask):
    for net in networks():
        options = {"mask_padding": mask, "batch_size": 2, "steps": steps, "readout": "mean"}
        found = accuracy_over_time(net, Few(), every=2, **options)
        assert found.accuracy[-1] == pytest.approx(evaluate(net, Few(), **options).accuracy)
        assert found.steps == sorted(found.steps) and found.steps[-1] >= max(9, steps)


def test_a_sample_that_has_ended_counts_with_its_last_answer():
    """Known by hand: each sample's answer is its own class up to its end, unmasked."""

    class Echo(torch.nn.Module):
        def forward(self, x):
            return x, None

    class OneHot(Few):
        def batch(self, indices, steps=None):
            pick = np.asarray(indices)
            x = torch.zeros(steps, len(pick), 3)
            for i, sample in enumerate(pick):
                half = int(self.lengths[sample]) // 2
                x[:half, i, (self.labels[sample] + 1) % 3] = 1.0  # wrong for the first half
                x[half : self.lengths[sample], i, self.labels[sample]] = 1.0
            lengths, labels = self.lengths[pick], self.labels[pick]
            return SimpleNamespace(
                x=x, lengths=torch.from_numpy(lengths), labels=torch.from_numpy(labels)
            )

    found = accuracy_over_time(
        Echo(), OneHot(), every=1, readout="last", mask_padding=True, steps=5
    )
    halves = OneHot.lengths // 2
    wanted = [float(np.mean(halves < t)) for t in range(1, 10)]
    assert found.steps == list(range(1, 10)) and found.accuracy == pytest.approx(wanted)


def test_steps_are_those_of_the_input_where_bins_are_merged():
    net = RateNetwork(4, 3, "gru", width=8, encoder={"bins": 3})
    assert accuracy_over_time(net, Few(), every=1, mask_padding=True).steps == [3, 6, 9]


@pytest.mark.parametrize("steps", [0, 4])
@pytest.mark.parametrize("bins", [2, 4, 5])
def test_no_more_steps_are_seen_than_there_are(bins, steps):
    net = RateNetwork(4, 3, "gru", width=8, encoder={"bins": bins})
    found = accuracy_over_time(net, Few(), every=1, mask_padding=True, steps=steps)
    assert found.steps == [*range(bins, 9, bins), 9]


def test_what_looks_ahead_has_no_early_answer():
    with pytest.raises(ConfigError, match="Bidirectional looks ahead"):
        accuracy_over_time(RateNetwork(4, 3, "bidirectional", width=8), Few())
    fsmn = RateNetwork(4, 3, "fsmn", width=8, options={"look_ahead": True})
    with pytest.raises(ConfigError, match="FSMN looks ahead"):
        accuracy_over_time(fsmn, Few())
    with pytest.raises(ConfigError, match="every is 0"):
        accuracy_over_time(next(networks()), Few(), every=0)


def test_the_command_says_how_soon_a_network_knows(snnsim, rendered, tmp_path):
    small = ("--data", "spoken-digits", "--budget", "4k", "--epochs", "1", "-q", "--set",
             "data.pool=50")  # fmt: skip
    for model in ("gru", "bidirectional"):
        code, _, err = snnsim("baselines", "train", "--model", model, *small, "--out",
                              tmp_path / model)  # fmt: skip
        assert code == 0, err
    command = ("spoken-digits", "evaluate", tmp_path / "gru", "--over-time", "20")
    code, out, err = snnsim(*command, "--json")
    assert code == 0, err
    facts = json.loads(out)
    assert list(facts["over_time"])[:2] == ["200", "400"]
    assert list(facts["over_time"].values())[-1] == pytest.approx(facts["accuracy"])
    plot = tmp_path / "gru" / "plots" / "accuracy_over_time-test.png"
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert "after 200 ms" in snnsim(*command)[1]
    code, _, err = snnsim("spoken-digits", "evaluate", tmp_path / "bidirectional", "--over-time",
                          "20")  # fmt: skip
    assert code == 1 and "looks ahead" in err


def test_inputs_that_are_not_finite_are_refused_unless_nobody_is_to_look():
    class Lost(Few):
        def batch(self, indices, steps=None):
            found = super().batch(indices, steps)
            found.x[0, 0, 0] = float("nan")
            return found

    net = next(networks())
    with pytest.raises(NonFiniteError, match="the input is nan"):
        accuracy_over_time(net, Lost(), every=3, mask_padding=True)
    assert accuracy_over_time(net, Lost(), every=3, mask_padding=True, check_finite=False).steps
    torch.nn.init.constant_(next(net.parameters()), float("inf"))
    with pytest.raises(NonFiniteError, match="diverged"):
        accuracy_over_time(net, Few(), every=3, mask_padding=True, check_finite=False)
