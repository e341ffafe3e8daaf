"""What every shipped configuration says, in a table of its own: a change here alters results."""

from __future__ import annotations

import pytest
import snnsim_datasets
from snnsim_experiments.configuration import config_names, resolve

# hidden layers, tau in ms, longest delay in ms, dropout; epochs, samples per batch, padding masked
USUAL = {
    "cameras": ([], 20.0, 100.0, 0.25, 30, 32, True),
    "fsdd": ([256, 256], 10.05, 240.0, 0.4, 150, 256, True),
    "gsc": ([512, 512, 512], 15.0, 300.0, 0.25, 100, 128, False),
    "nmnist": ([256, 256], 20.0, 100.0, 0.25, 20, 64, True),
    "python": ([128, 128], None, None, 0.4, 60, 64, True),
    "recordings": ([128, 128], 10.05, 240.0, 0.4, 60, 64, True),
    "shd": ([256, 256], 10.05, 240.0, 0.4, 150, 256, False),
    "sequences": ([128, 128], None, None, 0.4, 60, 64, True),
    "spikes": ([128, 128], 10.05, 240.0, 0.4, 60, 64, True),
    "spoken-digits": ([256, 256], 10.05, 240.0, 0.4, 50, 64, False),
    "ssc": ([512, 512, 512], 15.0, 300.0, 0.25, 60, 128, False),
}
SPIKES = {"dt": 10.0, "pool": 5, "binning": "grid"}
DIVIDED = {"held_out": 0.2, "split_seed": 0, "split_by": "auto"}
DATA = {
    "cameras": {
        "dt": 10.0,
        "size": 34,
        "binning": "grid",
        "speaker": "",
        **DIVIDED,
    },
    "fsdd": {"form": "auto", **SPIKES, "n_mels": 140},
    "gsc": {"protocol": "official", "n_mels": 140, "f_max": None},
    "nmnist": {"dt": 10.0, "binning": "grid"},
    "recordings": {
        "n_mels": 80,
        "rate": 16000,
        "normalised": True,
        "equalised": 0.5,
        "speaker": "",
        **DIVIDED,
    },
    "python": {"function": "", "dt": None, **DIVIDED},
    "sequences": {"dt": None, "scaled": True, "speaker": "", **DIVIDED},
    "spikes": {"dt": 10.0, "pool": 0, "binning": "grid", "channels": 0, **DIVIDED},
    "shd": SPIKES,
    "spoken-digits": SPIKES,
    "ssc": SPIKES,
}
READOUT = {"recordings": "mean"}  # learns voices of others in fewer epochs
CHANGES = {
    "default": ("network", {}),
    "conv": ("network", {"conv": [8, 16], "hidden": []}),
    "none": ("network", {"delays": "none"}),
    "fixed": ("network", {"delays": "fixed"}),
    "none_tau55": ("network", {"delays": "none", "tau_mem": 55.0}),
    "event_anchored": ("data", {"binning": "event_anchored"}),
    "published_mel": ("data", {"f_max": 14_000.0}),
}
FILES = {
    "cameras": ["default", "fixed", "none"],
    "fsdd": ["default", "fixed", "none", "none_tau55"],
    "gsc": ["default", "fixed", "none", "published_mel"],
    "python": ["default", "fixed", "none"],
    "nmnist": ["conv", "default", "fixed", "none"],
    "recordings": ["default", "fixed", "none"],
    "sequences": ["default", "fixed", "none"],
    "spikes": ["default", "fixed", "none"],
    "shd": ["default", "event_anchored", "fixed", "none", "none_tau55"],
    "spoken-digits": ["default", "fixed", "none", "none_tau55"],
    "ssc": ["default", "event_anchored", "fixed", "none"],
}
each_data_set = pytest.mark.parametrize("name", USUAL)
each_file = pytest.mark.parametrize(("name", "file"), [(n, f) for n in FILES for f in FILES[n]])


def test_this_table_is_of_all_data_sets():
    assert sorted(USUAL) == sorted(DATA) == sorted(FILES) == sorted(snnsim_datasets.names())


@each_data_set
def test_a_data_set_has_these_configurations_in_the_order_of_their_names(name):
    assert config_names(name) == FILES[name]


@each_data_set
def test_the_network_of_a_data_set_is_of_these_sizes_and_times(name):
    hidden, tau, longest, dropout, *_ = USUAL[name]
    network = resolve(name).network
    assert network["hidden"] == hidden
    assert (network["tau_mem"], network["max_delay_ms"]) == (tau, longest)
    assert network["dropout"] == dropout
    assert (network["delays"], network["neuron"], network["recurrent"]) == ("learned", "lif", False)
    assert (network["padding"], network["kernel_count"]) == ("lengthen", 1)
    assert network["conv"] == ([8, 16] if name == "cameras" else [])


@each_data_set
def test_the_recipe_of_a_data_set_is_the_published_one_but_for_its_length(name):
    *_, epochs, batch, masked = USUAL[name]
    assert resolve(name).training == {
        "epochs": epochs, "batch_size": batch, "mask_padding": masked,
        "lr": 0.005, "schedule": "one_cycle", "lr_delay": 0.1, "weight_decay": 1e-5,
        "sigma_end": 0.23, "sigma_fraction": 0.25, "readout": READOUT.get(name, "sum_softmax"),
        "accumulate": 1,
        "patience": 0, "precision": "auto", "checkpoint_steps": 0, "check_finite": True,
        "later_lr": 0.0, "optimizer": "adam", "momentum": 0.0, "clip": 0.0,
        "schedule_delay": "cosine", "until": 0.0, "start_from": "",
        "repeat": 0, "repeat_fraction": 0.5, "density": 1.0, "prune_at": 0,
        "prune_way": "magnitude", "keep_weights": False, "target": "class", "repetition": 0.0,
        "repetition_steps": 0, "repetition_scale": 0.5,
    }  # fmt: skip


@each_data_set
def test_the_samples_of_a_data_set_are_made_with_these_settings(name):
    assert resolve(name).data == DATA[name]


@each_file
def test_a_configuration_changes_what_it_is_for_and_nothing_else(name, file):
    usual, found = resolve(name), resolve(name, config=file)
    section, changed = CHANGES[file]
    for each in ("data", "network", "training"):
        wanted = getattr(usual, each) | (changed if each == section else {})
        assert getattr(found, each) == wanted, each
    assert (found.source, found.seed, found.backend) == (name, 0, "auto")
