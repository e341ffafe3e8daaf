"""Settings of the published protocols and of streams that have none, as they are resolved."""

from __future__ import annotations

import dataclasses

import pytest
from snnsim_experiments.configuration import (
    _of_method,
    config_names,
    default_config,
    resolve,
)

from snnsim.continual import methods, task_recipe
from snnsim.errors import ConfigError
from snnsim.training import Recipe

RECIPE = {"epochs": 1, "batch_size": 64, "lr": 0.1, "optimizer": "sgd", "momentum": 0.0,
          "weight_decay": 0.0, "schedule": "constant", "later_lr": 0.0, "until": 0.0,
          "lr_delay": None, "schedule_delay": "same", "precision": "float32"}  # fmt: skip
NETWORK = {
    "hidden": None, "convolutions": None, "residual": None, "stem": 3, "steps": 6,
    "learning": "bptt", "feedback": "backprop", "connections": "dense", "norm": False,
    "tau_mem": 2.0, "max_delay_steps": 24, "readout": "mean", "gain": 1.0,
    "width": 128, "depth": 1, "dropout": 0.0, "encoder": None, "options": None,
}  # fmt: skip
STREAM = {
    "scenario": "task", "tasks": 10, "per_task": 2, "seed": 0, "order_seed": -1, "turn": 18.0,
    "samples": 4000, "validation": True, "evaluate": "test", "protocol": "", "blur": 0.0,
    "data": None,
}  # fmt: skip
STAGES = [20, 40, 80, 160]
# what differs from these: of the stream, the network and the training
PROTOCOLS = {
    "pmnist": ({"validation": False}, {"hidden": [800, 800]}, {}),
    "split-cifar100": (
        {"per_task": 10, "validation": False},
        {"convolutions": [64, 128, 256], "norm": True, "learning": "dsr", "steps": 20},
        {"epochs": 200, "lr": 0.01, "momentum": 0.9, "schedule": "cosine"},
    ),
    "split-mini-imagenet": (
        {"per_task": 5, "order_seed": 2022, "validation": False},
        {"residual": STAGES, "stem": 5, "learning": "dsr", "steps": 20},
        {"epochs": 100, "later_lr": 0.01, "momentum": 0.9, "schedule": "cosine"},
    ),
    "5-datasets": (
        {"validation": False},
        {"residual": STAGES, "learning": "dsr", "steps": 20},
        {"epochs": 100, "later_lr": 0.01, "momentum": 0.9, "schedule": "cosine"},
    ),
    "parity": (
        {"tasks": 5},
        {"hidden": [128], "connections": "recurrent", "tau_mem": 4.0, "readout": "last"},
        {"epochs": 30, "until": 0.98, "batch_size": 100, "lr": 0.002, "optimizer": "adam"},
    ),
    "rotated-mnist": ({}, {"hidden": [400, 400]}, {}),
    "split-fsdd": (
        {},
        {"hidden": [256, 256], "tau_mem": 20.0},
        {"epochs": 20, "batch_size": 32, "lr": 0.001, "optimizer": "adam"},
    ),
}


@pytest.mark.parametrize("stream", PROTOCOLS)
def test_a_stream_has_the_settings_of_its_protocol(stream):
    chosen = resolve(stream, method="fine-tuning")
    of_stream, network, training = PROTOCOLS[stream]
    assert chosen.data == STREAM | of_stream
    assert (chosen.model, chosen.network) == ("spiking", NETWORK | network)
    found = chosen.training
    assert {key: found[key] for key in RECIPE} == RECIPE | training
    others = {f.name: f.default for f in dataclasses.fields(Recipe)}
    assert found == others | RECIPE | training
    assert chosen.method_options == {} and chosen.seed == 0
    assert (chosen.source, chosen.method) == (stream, "fine-tuning")
    assert chosen.recipe == task_recipe(**chosen.training)


BLOCKS = {  # rows of the subspaces of a residual network, from its first layer to its last
    "5-datasets": [[6, *[40] * 5, 100, 6, *[100] * 3, 200, 8, *[200] * 4, 16, 200, 200]],
    "split-mini-imagenet": [
        [24, *[90] * 5, 180, 10, *[180] * 3, 360, 20, *[360] * 3, 720, 40, 720, 720],
        *[[2, *[6] * 5, 12, 1, *[12] * 3, 24, 2, *[24] * 3, 48, 4, 48, 48]] * 5,
        [0, *[2] * 5, 4, 0, *[4] * 3, 8, 0, *[8] * 3, 16, 0, 16, 16],
    ],
    "split-cifar100": [[6, 100, 200], [2, 20, 40]],
    "pmnist": [[80, 200, 100], *[[70] * 3] * 2, *[[50] * 3] * 3, *[[30] * 3] * 3, [10] * 3],
}


@pytest.mark.parametrize("stream", BLOCKS)
def test_hlop_has_the_published_sizes(stream):
    method = resolve(stream, method="hlop").method_options
    assert method["sizes"] == BLOCKS[stream]
    if stream == "pmnist":
        assert (method["solver"], method["fraction"]) == ("covariance", 0.0)
        assert (method["rates"], method["max_rows"]) == ([0.001, 0.01, 0.01], 256)
    else:
        usual = resolve("split-fsdd", method="hlop").method_options
        assert method == usual | {"sizes": BLOCKS[stream]}


@pytest.mark.parametrize("stream", ["pmnist", "rotated-mnist", "split-mnist"])
def test_sharp_is_trained_with_adam_on_images(stream):
    usual, sharp = (resolve(stream, method=method).training for method in ("ewc", "sharp"))
    assert sharp == usual | {"lr": 0.001, "optimizer": "adam"}


@pytest.mark.parametrize(
    ("stream", "config"),
    [("pmnist", "pmnist"), ("permuted-mnist", "images"), ("permuted-cifar10", "images"),
     ("split-cifar100", "split-cifar100"), ("split-cifar10", "images"), ("parity", "parity"),
     ("match-to-sample", "sequences"), ("spoken-digits", "sequences"), ("split-shd", "sequences"),
     ("5-datasets", "5-datasets"), ("split-mini-imagenet", "split-mini-imagenet")],
)  # fmt: skip
def test_the_settings_of_a_stream_are_its_own_or_those_of_its_kind(stream, config):
    assert default_config(stream) == config


def test_settings_come_in_their_order(tmp_path):
    """The stream's own, a given file (its method's own section later), and single changes."""
    file = tmp_path / "mine.toml"
    file.write_text(
        "[training]\nlr = 0.5\nepochs = 7\nbatch_size = 9\n[training-ewc]\nepochs = 8\n"
        "[training-si]\nbatch_size = 3\n[network]\nhidden = [5]\n"
    )
    changes = ["training.batch_size=10", "network.learning=ottt"]
    chosen = resolve("pmnist", method="ewc", config=str(file), changes=changes, seed=4)
    assert chosen.training["lr"] == 0.5 and chosen.training["epochs"] == 8
    assert chosen.training["batch_size"] == 10 and chosen.seed == 4
    assert chosen.network["hidden"] == [5] and chosen.network["learning"] == "ottt"
    assert chosen.network["steps"] == 6  # of the stream still
    assert resolve("pmnist", method="si", config=str(file)).training["batch_size"] == 3
    shipped = resolve("rotated-mnist", method="hlop", config="parity")
    assert shipped.network["hidden"] == [128] and shipped.training["lr"] == 0.002


def test_the_way_of_learning_wins_over_the_settings():
    assert resolve("split-cifar100", method="ewc").network["learning"] == "dsr"
    changed = resolve("split-cifar100", method="ewc", changes=["network.learning=bptt"])
    assert changed.network["learning"] == "bptt"


def test_a_file_may_be_of_another_stream_and_single_changes_may_not(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text("[stream]\nturn = 20.0\n")
    assert resolve("pmnist", method="ewc", config=str(file)).data["turn"] == 20.0
    with pytest.raises(ConfigError, match="stream.turn has no effect on pmnist"):
        resolve("pmnist", method="ewc", changes=["stream.turn=20.0"])


def test_the_shipped_settings_are_these():
    assert config_names("pmnist", stream=True) == [
        "5-datasets", "images", "parity", "pmnist", "sequences", "split-cifar100",
        "split-mini-imagenet",
    ]  # fmt: skip


def test_an_option_of_a_method_out_of_range_is_refused_before_any_data_are_read():
    with pytest.raises(ConfigError, match="fraction"):
        resolve("split-mini-imagenet", method="gpm", changes=["method.fraction=5"])


def test_a_method_within_a_method_is_no_setting():
    for name in methods.names():
        assert "inner" not in _of_method(methods.get(name))
    assert set(_of_method(methods.get("replay"))) == {"size", "batch_size"}
    assert _of_method(methods.get("fine-tuning")) == {}


def test_a_baseline_has_its_encoder_and_options_complete():
    changes = ["network.baseline=gru", "encoder.clip=3"]
    chosen = resolve("spoken-digits", method="ewc", changes=changes)
    assert chosen == resolve("spoken-digits", "gru", "ewc", changes=["encoder.clip=3"])
    network = chosen.network
    assert network["encoder"] == {"bins": 1, "clip": 3.0, "norm": "sqrt", "pool": 1}
    assert network["options"] == {} and chosen.model == "gru"
    with pytest.raises(ConfigError, match="network.encoder"):
        resolve("spoken-digits", "gru", "ewc", changes=["network.encoder={}"])
