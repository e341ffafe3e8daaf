"""Settings that baselines start from, and of the spiking networks beside them in a comparison."""

from __future__ import annotations

import pytest
from snnsim_experiments.baselines import streams
from snnsim_experiments.baselines.compare import (
    OF_DELAYS,
    SHARED,
    SPIKING,
    _check_same_for_all,
    _settings,
    _shared,
    _toml,
    configure,
    data_facts,
)
from snnsim_experiments.baselines.config import (
    allowed,
    encoder_and_options,
    fit_budget,
    parse_budget,
    parse_rates,
    resolve,
    split_names,
)
from snnsim_experiments.config import resolve as resolve_spiking

from snnsim.baselines import RateNetwork, cost_of, names
from snnsim.errors import ConfigError
from snnsim.networks import delay_network
from snnsim.training import Recipe

FACTS = (14, 4, 10.0)
ONE_LAYER = {"lightnet2d", "lrcn", "plstm2d", "regenn", "rrn", "workspace"}


@pytest.mark.parametrize("data", ["fsdd", "gsc", "spoken-digits", "shd"])
def test_baselines_start_from_one_recipe(data):
    found = resolve("gru", data)
    training = {"epochs": 30, "batch_size": 64, "lr": 3e-3, "weight_decay": 1e-5,
                "mask_padding": True}  # fmt: skip
    assert found.recipe == Recipe(**training)
    assert found.network["depth"] == 2 and found.network["dropout"] == 0.2
    norm = "layer" if data == "gsc" else "sqrt"
    assert found.network["encoder"] == {"bins": 1, "clip": 0.0, "norm": norm, "pool": 1}
    assert (found.dataset, found.seed, found.backend) == (data, 0, "auto")
    assert found.network["model"] == "gru" and found.network["width"] == 0


def test_models_that_see_neighbouring_channels_have_one_layer_and_all_others_two():
    depths = {name: resolve(name, "fsdd").network["depth"] for name in names()}
    assert {name for name, depth in depths.items() if depth == 1} == ONE_LAYER
    assert set(depths.values()) == {1, 2}


def test_given_settings_win_over_shipped_ones_and_those_of_a_model_over_those_of_all(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text(
        "[network]\ndropout = 0.5\n[network-lrcn]\ndropout = 0.6\n[encoder]\nclip = 2\n"
        "[training]\nepochs = 4\n[options-fsmn]\norder = 5\n[data]\npool = 7\n"
    )
    lrcn = resolve("lrcn", "spoken-digits", config=str(file))
    assert lrcn.network["dropout"] == 0.6 and lrcn.network["depth"] == 1
    assert lrcn.data["pool"] == 7 and lrcn.training["epochs"] == 4
    fsmn = resolve("fsmn", "spoken-digits", config=str(file), seed=9, width=12, epochs=2)
    assert fsmn.network["options"]["order"] == 5 and fsmn.network["dropout"] == 0.5
    assert fsmn.network["encoder"]["clip"] == 2.0
    assert (fsmn.seed, fsmn.network["width"], fsmn.training["epochs"]) == (9, 12, 2)
    changed = resolve("fsmn", "spoken-digits", config=str(file), changes=["options.order=3"])
    assert changed.network["options"]["order"] == 3


@pytest.mark.parametrize("key", ["width", "encoder", "options"])
def test_what_has_a_section_or_a_budget_of_its_own_is_no_setting_of_the_network(key):
    with pytest.raises(ConfigError, match=f"network.{key}"):
        resolve("gru", "fsdd", changes=[f"network.{key}={3 if key == 'width' else {}}"])


def test_a_model_and_data_that_are_not_there_are_refused():
    for model, data in (("grru", "fsdd"), ("gru", "fsd")):
        with pytest.raises(ConfigError, match="'gru'" if data == "fsdd" else "'fsdd'"):
            resolve(model, data)


def test_encoder_and_options_on_data_are_shipped_ones_with_what_is_given():
    found = encoder_and_options("fsmn", "gsc", {"options": {"order": 4}, "encoder": {"pool": 2}})
    assert found["encoder"] == {"bins": 1, "clip": 0.0, "norm": "layer", "pool": 2}
    assert set(found) == {"encoder", "options"} and found["options"]["order"] == 4
    given = encoder_and_options("fsmn", "gsc", {"encoder": {"norm": "log1p"}})
    assert given["encoder"]["norm"] == "log1p"


def test_a_file_may_have_a_section_of_every_kind_for_every_model():
    found = allowed()
    assert len(found) == len(set(found)) == 5 * (1 + len(names()))
    for section in ("data", "network", "encoder", "options", "training"):
        assert section in found and f"{section}-quasi-lstm" in found


# --- budgets, rates and names -------------------------------------------------------------------


@pytest.mark.parametrize("by", ["parameters", "state", "operations"])
def test_the_width_of_a_baseline_is_the_largest_within_its_budget(by):
    chosen = fit_budget(resolve("aaren", "spoken-digits"), 14, 4, 3000, by)
    network = dict(chosen.network)
    width = network.pop("width")
    costs = [getattr(cost_of(RateNetwork(14, 4, width=w, **network), 14), by)
             for w in (width, width + 4)]  # fmt: skip
    assert width % 4 == 0 and costs[0] <= 3000 < costs[1]
    assert chosen.training == resolve("aaren", "spoken-digits").training


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e10", 1e10), ("10000M", 1e10), ("0.5K", 500.0), ("2m", 2e6), ("7", 7.0), ("1e3", 1000.0)],
)
def test_a_budget_is_a_number_with_or_without_a_unit(text, value):
    assert parse_budget(text) == value


@pytest.mark.parametrize("text", ["1.1e10", "10001M", "nan", "inf", "5kk", "M", "5g", "-3k"])
def test_what_is_no_budget_is_refused(text):
    with pytest.raises(ConfigError, match="such as 50k or 1M"):
        parse_budget(text)


def test_factors_of_a_rate_are_positive_and_at_most_a_million():
    assert parse_rates("3, 1e6,0.01") == [3.0, 1e6, 0.01]
    for text in ("0", "-1", "1,nan", "1e7"):
        with pytest.raises(ConfigError, match="a factor of rates"):
            parse_rates(text)
    for text in ("", "1,", "a", "1,1.0"):
        with pytest.raises(ConfigError, match="different factors"):
            parse_rates(text)


def test_names_are_all_or_some_in_their_order():
    known = ["a", "bb", "c"]
    assert split_names("all", iter(known), "letter") == known
    assert split_names(" c, a,,", known, "letter") == ["c", "a"]
    with pytest.raises(ConfigError, match=r"unknown letter 'b'.*'bb'"):
        split_names("a,b", known, "letter")
    with pytest.raises(ConfigError, match="different names of a letter, such as a"):
        split_names("a,c,a", known, "letter")


# --- spiking networks beside them ---------------------------------------------------------------


def test_spiking_networks_of_a_comparison_are_these():
    network = {name: resolve_spiking("fsdd", changes=changes).network
               for name, changes in SPIKING.items()}  # fmt: skip
    assert list(network) == ["snn-none", "snn-none-slow", "snn-fixed", "snn-learned", "snn-adlif",
                             "snn-radlif"]  # fmt: skip
    usual = resolve_spiking("fsdd").network
    delays = ["none", "none", "fixed", "learned", "none", "none"]
    assert [found["delays"] for found in network.values()] == delays
    assert network["snn-none"] == usual | {"delays": "none"}
    assert network["snn-none-slow"] == usual | {"delays": "none", "tau_mem": 55.0}
    assert network["snn-fixed"] == usual | {"delays": "fixed"}
    assert network["snn-learned"] == usual | {"delays": "learned"}


def test_spiking_networks_of_a_stream_differ_in_their_connections():
    found = {
        name: streams.configure(name, "spoken-digits", "ewc").network["connections"]
        for name in streams.SPIKING
    }
    assert found == {"snn-none": "dense", "snn-recurrent": "recurrent", "snn-axonal": "axonal",
                     "snn-learned": "synaptic"}  # fmt: skip


def test_spiking_networks_share_the_recipe_of_baselines_but_for_rates_of_their_own():
    changes = [
        "training.readout=mean", "training.accumulate=2", "training.batch_size=16",
        "training.lr=0.7", "training.sigma_end=0.4", "training.mask_padding=true",
        "training.weight_decay=0.25", "training.schedule=constant", "training.precision=float32",
        "training.checkpoint_steps=7", "network.dropout=0.35", "data.pool=50", "encoder.clip=3",
    ]  # fmt: skip
    options = {"epochs": 3, "changes": changes, "seed": 5}
    ours = configure("snn-fixed", "spoken-digits", 9000, "parameters", FACTS, **options)
    theirs = configure("gru", "spoken-digits", 9000, "parameters", FACTS, **options)
    own = resolve_spiking("spoken-digits")
    shared = {"epochs": 3, "batch_size": 16, "readout": "mean", "mask_padding": True,
              "schedule": "constant", "weight_decay": 0.25, "patience": 0, "accumulate": 2,
              "precision": "float32", "checkpoint_steps": 7}  # fmt: skip
    assert set(shared) == set(SHARED)
    assert {key: ours.training[key] for key in shared} == shared
    assert {key: theirs.training[key] for key in shared} == shared
    rest = {key: ours.training[key] for key in ours.training if key not in shared}
    kept = {key: own.training[key] for key in rest} | {"sigma_end": 0.4}
    assert rest == kept and own.training["lr"] != 0.7 == theirs.training["lr"]
    assert ours.data == theirs.data and ours.data["pool"] == 50
    assert ours.network["dropout"] == theirs.network["dropout"] == 0.35
    assert ours.seed == theirs.seed == 5
    assert ours.network["tau_mem"] == own.network["tau_mem"]


def test_a_file_of_settings_gives_spiking_networks_what_all_share(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text("[training]\nbatch_size = 7\nmax_lr = 0.5\n[network]\ndropout = 0.45\n")
    ours = configure("snn-none", "spoken-digits", 9000, "parameters", FACTS, config=str(file))
    assert ours.training["batch_size"] == 7 and ours.network["dropout"] == 0.45
    assert ours.training["lr"] == resolve_spiking("spoken-digits").training["lr"]
    theirs = configure("gru", "spoken-digits", 9000, "parameters", FACTS, config=str(file))
    assert theirs.training["lr"] == 0.5


@pytest.mark.parametrize("by", ["parameters", "operations", "state"])
def test_all_hidden_layers_of_a_spiking_network_are_as_wide_as_the_budget_allows(by):
    chosen = configure("snn-learned", "spoken-digits", 9000, by, FACTS)
    network = dict(chosen.network)
    hidden = network.pop("hidden")
    assert len(hidden) == len(resolve_spiking("spoken-digits").network["hidden"])
    assert len(set(hidden)) == 1
    costs = [
        getattr(cost_of(delay_network((14, *[w] * len(hidden), 4), dt=10.0, **network), 14), by)
        for w in (hidden[0], hidden[0] + 1)
    ]
    assert costs[0] <= 9000 < costs[1]


def test_changes_that_all_networks_share_are_told_from_those_of_baselines():
    changes = ["data.pool=5", "encoder.clip=3", "network.depth=1", "training.epochs=3",
               "training.lr=1", "training.lr_delay=1", "options.order=3"]  # fmt: skip
    assert _shared(changes) == changes[:4]
    assert _shared(None) == []
    assert [c for c in changes if c.startswith(OF_DELAYS)] == ["training.lr_delay=1"]


def test_values_are_written_as_in_a_change():
    assert [_toml(value) for value in (True, False, "last", 0.5, 3)] == [
        "true", "false", "last", "0.5", "3",
    ]  # fmt: skip


def test_the_facts_of_data_are_those_of_what_is_loaded():
    assert data_facts(resolve("gru", "spoken-digits"), None) == (140, 20, 10.0)
    wide = resolve("gru", "spoken-digits", changes=["data.pool=50", "data.dt=20"])
    assert data_facts(wide, None) == (14, 20, 20.0)


def test_the_settings_of_a_comparison_are_what_all_rows_share():
    base = resolve("gru", "spoken-digits")
    found = _settings(base, 5000.0, "state", [1, 2], (0.3, 1.0))
    assert found["dataset"] == "spoken-digits" and found["data"] == base.data
    assert found["encoder"] == base.network["encoder"]
    assert set(found["training"]) == set(SHARED)
    assert not {"model", "width", "encoder", "options"} & set(found["network"])
    assert found["network"]["depth"] == 2 and found["network"]["dropout"] == 0.2
    assert (found["budget"], found["by"]) == (5000.0, "state")
    assert (found["seeds"], found["rates"]) == ([1, 2], [0.3, 1.0])


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("[data-gru]\npool = 7\n", "pool"),
        ("[encoder-gru]\nclip = 7\n", "clip"),
        ("[training-gru]\nmax_lr = 0.1\nbatch_size = 7\n", "batch_size"),
        ("[network-gru]\ndropout = 0.7\n", "dropout"),
        ("[network-gru]\ndepth = 3\n", None),
        ("[training-gru]\nmax_lr = 0.1\n", None),
        ("[options-fsmn]\norder = 4\n", None),
        ("[data]\npool = 7\n[training]\nepochs = 3\n[encoder]\nclip = 4\n", None),
    ],
)
def test_one_network_of_a_comparison_may_have_no_data_encoder_or_recipe_of_its_own(
    tmp_path, text, wrong
):
    file = tmp_path / "mine.toml"
    file.write_text(text)
    if wrong is None:
        return _check_same_for_all(str(file))
    with pytest.raises(ConfigError, match=f"gives gru a {wrong} of its own"):
        _check_same_for_all(str(file))
