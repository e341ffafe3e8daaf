"""Configurations: precedence, refusals that name what is wrong, and every shipped TOML file."""

from __future__ import annotations

import itertools
import json

import pytest
import snnsim_datasets
from snnsim_experiments.build import build_network
from snnsim_experiments.configuration import config_names, folder_of, resolve
from snnsim_experiments.experiment import Experiment

from snnsim.errors import ConfigError
from snnsim.training import Recipe

SHIPPED = [(d, c) for d in snnsim_datasets.names() for c in config_names(d)]
NAME = "spoken-digits"


@pytest.fixture
def toml(tmp_path):
    """A function that writes a TOML file and returns its path."""

    def write(text: str | bytes) -> str:
        path = tmp_path / "mine.toml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(path)

    return write


def changed(*changes: str) -> Experiment:
    return resolve(NAME, changes=changes)


# --- shipped files ----------------------------------------------------------------------------


@pytest.mark.parametrize("dataset", snnsim_datasets.names())
def test_every_data_set_has_a_default_configuration(dataset):
    assert "default" in config_names(dataset)


@pytest.mark.parametrize(("dataset", "config"), SHIPPED)
def test_shipped_configuration_resolves_and_its_network_builds(dataset, config):
    chosen = resolve(dataset, config=config)
    info = snnsim_datasets.get(dataset).INFO
    channels = info.channels // (chosen.data.get("pool") or 1)
    classes = len(info.classes) or 7  # of recordings of one's own
    hidden, conv = chosen.network["hidden"], chosen.network["conv"]
    shape = (2, 34, 34) if conv else (channels,)
    net = build_network(chosen, channels, classes, chosen.data.get("dt") or 10.0, shape)
    weights = [p for n, p in net.named_parameters() if n.endswith("weight") and p.dim() > 1]
    features = conv[-1] * 8 * 8 if conv else channels  # two windows of 2 x 2 leave 8 of 34
    parts = [(2, *conv) if conv else (), (features, *hidden, classes)]
    sizes = [(n_out, n_in) for part in parts for n_in, n_out in itertools.pairwise(part)]
    assert [tuple(w.shape[:2]) for w in weights] == sizes


@pytest.mark.parametrize(("dataset", "config"), SHIPPED)
def test_shipped_configuration_says_only_what_differs(dataset, config):
    plain, chosen = resolve(dataset), resolve(dataset, config=config)
    assert (chosen == plain) == (config == "default")


@pytest.mark.parametrize(
    ("config", "delays"), [("default", "learned"), ("none", "none"), ("fixed", "fixed")]
)
@pytest.mark.parametrize("dataset", snnsim_datasets.names())
def test_configuration_is_what_its_name_says(dataset, config, delays):
    assert resolve(dataset, config=config).network["delays"] == delays


@pytest.mark.parametrize(
    ("dataset", "epochs", "batch", "hidden", "delay", "tau", "dropout"),
    [
        ("shd", 150, 256, [256] * 2, 240, 10.05, 0.4),
        ("ssc", 60, 128, [512] * 3, 300, 15.0, 0.25),
        ("gsc", 100, 128, [512] * 3, 300, 15.0, 0.25),
    ],
)
def test_published_systems_have_their_published_values(
    dataset, epochs, batch, hidden, delay, tau, dropout
):
    config = resolve(dataset)
    recipe = config.recipe
    assert (recipe.epochs, recipe.batch_size) == (epochs, batch)
    assert (recipe.lr, recipe.lr_delay, recipe.weight_decay) == (5e-3, 0.1, 1e-5)
    network = config.network
    assert (network["hidden"], network["max_delay_ms"]) == (hidden, delay)
    assert (network["tau_mem"], network["dropout"]) == (tau, dropout)


# --- precedence -------------------------------------------------------------------------------


def test_each_layer_wins_over_those_below(toml):
    mine = toml("[training]\nepochs = 7\nbatch_size = 8\nlr = 0.25\n")
    assert resolve(NAME).recipe.epochs == 50  # default.toml
    assert Recipe().epochs == 150
    assert resolve(NAME, config=mine).recipe.epochs == 7
    assert resolve(NAME, config=mine, changes=["training.epochs=9"]).recipe.epochs == 9
    last = resolve(
        NAME, config=mine, changes=["training.epochs=9", "training.lr=0.5"], epochs=11
    ).recipe
    assert (last.epochs, last.batch_size, last.lr) == (11, 8, 0.5)


def test_layers_are_merged_key_by_key(toml):
    config = resolve(
        NAME, config=toml("[network]\ndropout = 0.1\n"), changes=["network.tau_mem=30"]
    )
    assert config.network["hidden"] == [256, 256]
    assert (config.network["dropout"], config.network["tau_mem"]) == (0.1, 30.0)


def test_the_last_of_two_changes_wins():
    assert changed("training.epochs=3", "training.epochs=4").recipe.epochs == 4


def test_seed_and_backend_are_kept():
    config = resolve(NAME, seed=5, backend="reference")
    assert (config.seed, config.backend, config.source) == (5, "reference", NAME)


def test_shipped_name_wins_over_a_file_and_both_can_be_used(toml, tmp_path, monkeypatch):
    (tmp_path / "none.toml").write_text("[network]\ndelays = 'fixed'\n")
    monkeypatch.chdir(tmp_path)
    assert resolve(NAME, config="none").network["delays"] == "none"
    assert resolve(NAME, config="none.toml").network["delays"] == "fixed"


def test_configuration_survives_json():
    config = resolve(NAME, config="none_tau55", changes=["network.hidden=[8]", "data.dt=5"])
    assert Experiment.from_json(json.loads(json.dumps(config.as_json()))) == config


# --- parsing of single changes ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "value"),
    [
        ("network.hidden=[16]", [16]),
        ("network.hidden = [16, 32]", [16, 32]),
        ("network.hidden=[]", []),
        ("network.delays=none", "none"),
        ("network.delays='none'", "none"),
        ('network.delays="none"', "none"),
        ("network.tau_mem=55", 55.0),
        ("network.tau_mem=5.5e1", 55.0),
        ("network.kernel_count=2", 2),
        ("training.lr=1e-3", 1e-3),
        ("training.epochs=1_000", 1000),
        ("training.mask_padding=true", True),
        ("training.mask_padding=false", False),
        ("training.readout=last", "last"),
        ("data.binning=event_anchored", "event_anchored"),
        ("data.dt=5", 5.0),
    ],
)
def test_single_change_is_parsed(change, value):
    section, key = change.split("=")[0].strip().split(".")
    found = getattr(changed(change), section)[key]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    "change",
    ["epochs=3", "training.epochs", "training", "", "=3", ".epochs=3", "nothing.epochs=3"],
)
def test_change_of_the_wrong_form_is_refused_saying_how_to_write_it(change):
    with pytest.raises(ConfigError, match=r"section\.key=value"):
        changed(change)


def test_change_in_a_misspelt_section_names_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'training'"):
        changed("trainig.epochs=3")


# --- refusals ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("training.epoch", "epochs"),
        ("training.batchsize", "batch_size"),
        ("network.hiden", "hidden"),
        ("network.tau_mem_ms", "tau_mem"),
        ("data.pol", "pool"),
    ],
)
def test_unknown_key_is_refused_with_the_nearest_name(toml, key, nearest):
    section, name = key.split(".")
    for given in ({"changes": [f"{key}=3"]}, {"config": toml(f"[{section}]\n{name} = 3\n")}):
        with pytest.raises(ConfigError, match=f"unknown key {key}; did you mean '{nearest}'"):
            resolve(NAME, **given)


@pytest.mark.parametrize("key", ["network.dt", "network.backend", "data.download", "data.progress"])
def test_what_is_not_for_configurations_is_refused(key):
    with pytest.raises(ConfigError, match=f"unknown key {key}"):
        changed(f"{key}=1")


@pytest.mark.parametrize(
    "change",
    [
        "training.epochs=many",
        "training.epochs=2.5",
        "training.epochs=[1]",
        "training.lr=fast",
        "training.mask_padding=perhaps",
        "training.readout=3",
        "network.hidden=16",
        "network.hidden=[1.5]",
        "network.hidden=['a']",
        "network.dropout=[0.1]",
        "network.delays=3",
        "data.dt=ten",
        "data.pool=2.5",
    ],
)
def test_value_of_the_wrong_type_is_refused_naming_key_and_value(change):
    key, value = change.split("=")
    with pytest.raises(ConfigError) as caught:
        changed(change)
    assert key in str(caught.value)
    assert value.strip("[]'") in str(caught.value)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ("training.epochs=0", "epochs is 0"),
        ("training.lr=-1", "lr is -1"),
        ("training.readout=lst", "did you mean 'last'"),
        ("training.schedule=one_cicle", "did you mean 'one_cycle'"),
    ],
)
def test_value_out_of_range_is_refused(change, text):
    with pytest.raises(ConfigError, match=text):
        changed(change)


def test_number_of_epochs_given_by_itself_is_checked_too():
    with pytest.raises(ConfigError, match="epochs is 0"):
        resolve(NAME, epochs=0)


def test_unknown_data_set_names_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'spoken-digits'"):
        snnsim_datasets.get("spoken-digit")


def test_unknown_configuration_names_those_there_are():
    with pytest.raises(
        ConfigError, match=r"default, fixed, none, none_tau55; did you mean 'fixed'"
    ):
        resolve(NAME, config="fixd")


@pytest.mark.parametrize(
    ("text", "nearest"),
    [
        ("[trainig]\nepochs = 3\n", "did you mean 'training'"),
        ("epochs = 3\n", "'epochs' at its top level"),
        ("training = 3\n", "'training' at its top level"),
        ("[network.hidden]\n[other]\n", "'other' at its top level"),
    ],
)
def test_wrong_section_is_refused_naming_file_and_section(toml, text, nearest):
    with pytest.raises(ConfigError, match=nearest) as caught:
        resolve(NAME, config=toml(text))
    assert "mine.toml" in str(caught.value)


@pytest.mark.parametrize(
    "text",
    ["[training\n", "[training]\nepochs = \n", "[training]\na = 1\na = 2\n", b"\xff\xfe[", b"\0"],
    ids=["bracket", "no value", "twice", "not UTF-8", "zero byte"],
)
def test_malformed_toml_is_refused_naming_the_file(toml, text):
    with pytest.raises(ConfigError, match=r"mine\.toml"):
        resolve(NAME, config=toml(text))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ("network.max_delay_ms=50", "odd"),
        ("network.delays=learnt", "did you mean 'learned'"),
        ("network.tau_mem=1", "tau"),
        ("network.hidden=[0]", "sizes"),
        ("network.dropout=1", "dropout"),
    ],
)
def test_network_that_cannot_be_is_refused_when_built(change, text):
    with pytest.raises(ConfigError, match=text):
        build_network(changed(change), 140, 20, dt=10.0)


def test_folder_of_a_data_set_is_inside_the_package():
    assert (folder_of(NAME) / "default.toml").is_file()
