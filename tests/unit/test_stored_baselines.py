"""Runs of baselines that an earlier version stored are what they were."""

from __future__ import annotations

import json

import pytest
from snnsim_experiments.configuration import resolve
from snnsim_experiments.experiment import Experiment


@pytest.mark.parametrize(
    ("model", "without", "expected"),
    [
        ("plstm2d", ["bound"], {"bound": "entering"}),
        ("titans", ["division", "architecture", "persistent", "reach"],
         {"division": "even", "architecture": "memory"}),
        ("fsmn", ["nonlinear"], {"nonlinear": False}),
        ("quasi-lstm", ["gate", "input_gate", "candidate"], {"gate": "complement"}),
        ("linear-attention", ["features"], {"features": "elu"}),
    ],
)  # fmt: skip
def test_options_that_there_were_not_have_the_values_of_that_time(model, without, expected):
    now = resolve("spoken-digits", model)
    stored = json.loads(json.dumps(now.as_json()))
    assert Experiment.from_json(stored) == now
    for name in without:
        del stored["network"]["options"][name]
    found = Experiment.from_json(stored).network["options"]
    assert found == now.network["options"] | expected


def test_a_given_option_and_a_spiking_network_stay_as_they_are():
    titans = resolve("spoken-digits", "titans", changes=["options.division=new"])
    assert Experiment.from_json(titans.as_json()).network["options"]["division"] == "new"
    spiking = resolve("spoken-digits")
    assert Experiment.from_json(spiking.as_json()) == spiking


def test_what_can_be_added_to_a_baseline_is_off_where_it_was_not_stored():
    now = resolve("spoken-digits", "gru", changes=["network.chunk=9"])
    stored = json.loads(json.dumps(now.as_json()))
    for name in ("chunk_query", "chunk_similar", "chunk_slots", "recode"):
        del stored["network"][name]
    assert Experiment.from_json(stored) == now
