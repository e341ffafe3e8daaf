"""Settings that baselines start from, and of the spiking networks beside them in a comparison."""

from __future__ import annotations

import pytest
from snnsim_experiments import comparison
from snnsim_experiments.budget import Budget, fit, with_width
from snnsim_experiments.build import Facts, look_at
from snnsim_experiments.candidates import OF_DELAYS, ON_DATA, ON_STREAMS, SHARED, Choice
from snnsim_experiments.configuration import of_baselines, resolve
from snnsim_experiments.lists import parse_budget, parse_rates, split_names
from snnsim_experiments.place import HERE, Place

from snnsim.baselines import RateNetwork, cost_of, names
from snnsim.errors import ConfigError
from snnsim.networks import delay_network
from snnsim.training import Recipe

FACTS = Facts(14, 4, 10.0)
ONE_LAYER = {"lightnet2d", "lrcn", "plstm2d", "regenn", "rrn", "workspace"}


@pytest.mark.parametrize("data", ["fsdd", "gsc", "spoken-digits", "shd"])
def test_baselines_start_from_one_recipe(data):
    found = resolve(data, "gru")
    training = {"epochs": 30, "batch_size": 64, "lr": 3e-3, "weight_decay": 1e-5,
                "mask_padding": True}  # fmt: skip
    assert found.recipe == Recipe(**training)
    assert found.network["depth"] == 2 and found.network["dropout"] == 0.2
    norm = "layer" if data == "gsc" else "sqrt"
    assert found.network["encoder"] == {"bins": 1, "clip": 0.0, "norm": norm, "pool": 1}
    assert (found.source, found.seed, found.backend) == (data, 0, "auto")
    assert found.model == "gru" and found.network["width"] == 0


def test_models_that_see_neighbouring_channels_have_one_layer_and_all_others_two():
    depths = {name: resolve("fsdd", name).network["depth"] for name in names()}
    assert {name for name, depth in depths.items() if depth == 1} == ONE_LAYER
    assert set(depths.values()) == {1, 2}


def test_given_settings_win_over_shipped_ones_and_those_of_a_model_over_those_of_all(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text(
        "[network]\ndropout = 0.5\n[network-lrcn]\ndropout = 0.6\n[encoder]\nclip = 2\n"
        "[training]\nepochs = 4\n[options-fsmn]\norder = 5\n[data]\npool = 7\n"
    )
    lrcn = resolve("spoken-digits", "lrcn", config=str(file))
    assert lrcn.network["dropout"] == 0.6 and lrcn.network["depth"] == 1
    assert lrcn.data["pool"] == 7 and lrcn.training["epochs"] == 4
    fsmn = with_width(resolve("spoken-digits", "fsmn", config=str(file), seed=9, epochs=2), 12)
    assert fsmn.network["options"]["order"] == 5 and fsmn.network["dropout"] == 0.5
    assert fsmn.network["encoder"]["clip"] == 2.0
    assert (fsmn.seed, fsmn.network["width"], fsmn.training["epochs"]) == (9, 12, 2)
    changed = resolve("spoken-digits", "fsmn", config=str(file), changes=["options.order=3"])
    assert changed.network["options"]["order"] == 3


@pytest.mark.parametrize("key", ["width", "encoder", "options"])
def test_what_has_a_section_or_a_budget_of_its_own_is_no_setting_of_the_network(key):
    with pytest.raises(ConfigError, match=f"network.{key}"):
        resolve("fsdd", "gru", changes=[f"network.{key}={3 if key == 'width' else {}}"])


def test_a_model_and_data_that_are_not_there_are_refused():
    for model, data in (("grru", "fsdd"), ("gru", "fsd")):
        with pytest.raises(ConfigError, match="'gru'" if data == "fsdd" else "'fsdd'"):
            resolve(data, model)


def test_encoder_and_options_on_data_are_shipped_ones_with_what_is_given():
    for source, method in (("gsc", ""), ("split-gsc", "ewc")):
        changes = ["options.order=4", "encoder.pool=2"]
        found = resolve(source, "fsmn", method, changes=changes).network
        assert found["encoder"] == {"bins": 1, "clip": 0.0, "norm": "layer", "pool": 2}
        assert found["options"] == resolve("gsc", "fsmn").network["options"] | {"order": 4}
        given = resolve(source, "fsmn", method, changes=["encoder.norm=log1p"]).network
        assert given["encoder"]["norm"] == "log1p"
        assert given["options"] == resolve("gsc", "fsmn").network["options"]


def test_a_file_may_have_a_section_of_every_kind_for_every_model():
    found = of_baselines("gsc").allowed()
    assert len(found) == len(set(found)) == 6 * (1 + len(names()))
    for section in ("data", "network", "encoder", "options", "training"):
        assert section in found and f"{section}-quasi-lstm" in found


# --- budgets, rates and names -------------------------------------------------------------------


@pytest.mark.parametrize("by", ["parameters", "state", "operations"])
def test_the_width_of_a_baseline_is_the_largest_within_its_budget(by):
    chosen = fit(resolve("spoken-digits", "aaren"), Budget(3000, by), FACTS)
    network = dict(chosen.network)
    width = network.pop("width")
    costs = [getattr(cost_of(RateNetwork(14, 4, "aaren", width=w, **network), 14), by)
             for w in (width, width + 4)]  # fmt: skip
    assert width % 4 == 0 and costs[0] <= 3000 < costs[1]
    assert chosen.training == resolve("spoken-digits", "aaren").training


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
        with pytest.raises(ConfigError, match="a factor of --rates"):
            parse_rates(text)
    for text in ("", "1,", "a", "1,1.0"):
        with pytest.raises(ConfigError, match="--rates is .* different values"):
            parse_rates(text)


def test_names_are_all_or_some_in_their_order():
    known = ["a", "bb", "c"]
    assert split_names("all", iter(known), "letter") == known
    assert split_names(" c, a,,", known, "letter") == ["c", "a"]
    with pytest.raises(ConfigError, match=r"letter is 'b' but must be one of a, bb, c.*'bb'"):
        split_names("a,b", known, "letter")
    with pytest.raises(ConfigError, match="different names of a letter, such as a"):
        split_names("a,c,a", known, "letter")


# --- spiking networks beside them ---------------------------------------------------------------


def sized(name, source, budget=9000, by="parameters", **common):
    return fit(Choice(source, **common).network(name), Budget(budget, by), FACTS)


@pytest.fixture
def trained(monkeypatch):
    """What a comparison has trained, run by run; nothing is trained."""
    found = []

    def train(experiment, place):
        found.append(experiment)
        return {"validation_accuracy": 0.5, "test_accuracy": 0.5, "last_test_accuracy": 0.5,
                "seconds": 1.0, "seed": experiment.seed, "mean_firing_rate": 0.1}  # fmt: skip

    monkeypatch.setattr(comparison, "train", train)
    monkeypatch.setattr(comparison, "look_at", lambda experiment, place: FACTS)
    return found


def test_spiking_networks_of_a_comparison_are_these():
    network = {name: resolve("fsdd", changes=changes).network for name, changes in ON_DATA.items()}
    assert list(network) == ["snn-none", "snn-none-slow", "snn-fixed", "snn-learned", "snn-adlif",
                             "snn-radlif"]  # fmt: skip
    usual = resolve("fsdd").network
    delays = ["none", "none", "fixed", "learned", "none", "none"]
    assert [found["delays"] for found in network.values()] == delays
    assert network["snn-none"] == usual | {"delays": "none"}
    assert network["snn-none-slow"] == usual | {"delays": "none", "tau_mem": 55.0}
    assert network["snn-fixed"] == usual | {"delays": "fixed"}
    assert network["snn-learned"] == usual | {"delays": "learned"}


def test_spiking_networks_of_a_stream_differ_in_their_connections():
    found = {
        name: Choice("spoken-digits", "ewc").network(name).network["connections"]
        for name in ON_STREAMS
    }
    assert found == {"snn-none": "dense", "snn-recurrent": "recurrent", "snn-axonal": "axonal",
                     "snn-learned": "synaptic"}  # fmt: skip


def test_spiking_networks_share_the_recipe_of_baselines_but_for_rates_of_their_own(
    tmp_path, trained
):
    changes = [
        "training.readout=mean", "training.accumulate=2", "training.batch_size=16",
        "training.lr=0.7", "training.sigma_end=0.4", "training.mask_padding=true",
        "training.weight_decay=0.25", "training.schedule=constant", "training.precision=float32",
        "training.checkpoint_steps=7", "network.dropout=0.35", "data.pool=50", "encoder.clip=3",
        "training.optimizer=sgd", "training.momentum=0.5", "training.clip=2.5",
        "training.until=0.9", "training.check_finite=false", "training.repeat=40",
        "training.repeat_fraction=0.25", "training.density=0.5", "training.prune_at=1",
        "training.prune_way=random",
    ]  # fmt: skip
    choice, place = Choice("spoken-digits", epochs=3, changes=changes), Place(out=tmp_path / "c")
    comparison.compare_networks(["snn-fixed", "gru"], choice, Budget(9000), [5], place)
    ours, theirs = trained
    own = resolve("spoken-digits")
    shared = {"epochs": 3, "batch_size": 16, "readout": "mean", "mask_padding": True,
              "schedule": "constant", "weight_decay": 0.25, "patience": 0, "accumulate": 2,
              "precision": "float32", "checkpoint_steps": 7, "optimizer": "sgd",
              "momentum": 0.5, "clip": 2.5, "until": 0.9, "check_finite": False,
              "repeat": 40, "repeat_fraction": 0.25, "density": 0.5, "prune_at": 1,
              "prune_way": "random"}  # fmt: skip
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
    file.write_text("[training]\nbatch_size = 7\nlr = 0.5\n[network]\ndropout = 0.45\n")
    ours = sized("snn-none", "spoken-digits", config=str(file))
    assert ours.training["batch_size"] == 7 and ours.network["dropout"] == 0.45
    assert ours.training["lr"] == resolve("spoken-digits").training["lr"]
    theirs = sized("gru", "spoken-digits", config=str(file))
    assert theirs.training["lr"] == 0.5


@pytest.mark.parametrize("by", ["parameters", "operations", "state"])
def test_all_hidden_layers_of_a_spiking_network_are_as_wide_as_the_budget_allows(by):
    chosen = sized("snn-learned", "spoken-digits", 9000, by)
    network = dict(chosen.network)
    hidden = network.pop("hidden")
    assert network.pop("recode") == 0  # which is put around the network when it is built
    assert [network.pop(name) for name in ("conv", "kernel_size", "pool")] == [[], 3, 2]
    assert len(hidden) == len(resolve("spoken-digits").network["hidden"])
    assert len(set(hidden)) == 1
    costs = [
        getattr(cost_of(delay_network((14, *[w] * len(hidden), 4), dt=10.0, **network), 14), by)
        for w in (hidden[0], hidden[0] + 1)
    ]
    assert costs[0] <= 9000 < costs[1]


def test_changes_that_all_networks_share_are_told_from_those_of_baselines():
    changes = ["data.pool=5", "encoder.clip=3", "network.depth=1", "training.epochs=3",
               "training.lr=1", "training.lr_delay=1", "options.order=3"]  # fmt: skip
    shared = resolve("spoken-digits", "gru", changes=changes[:4])
    assert Choice("spoken-digits", changes=changes).base() == shared
    assert shared.data["pool"] == 5 and shared.network["depth"] == 1
    assert Choice("spoken-digits").base() == resolve("spoken-digits", "gru")
    assert [c for c in changes if c.startswith(OF_DELAYS)] == ["training.lr_delay=1"]
    ours = Choice("spoken-digits", changes=changes).network("snn-learned")
    own = resolve("spoken-digits", changes=["training.epochs=3"]).training
    assert (ours.training["lr_delay"], ours.training["lr"]) == (1.0, own["lr"])


@pytest.mark.parametrize("method", ["", "ewc"])
def test_values_are_written_as_in_a_change(method):
    given = {
        "training.check_finite": False, "training.precision": "float32",
        "training.weight_decay": 0.5, "training.epochs": 3, "network.dropout": 0.25,
    }  # fmt: skip
    written = [
        "training.check_finite=false", "training.precision=float32", "training.weight_decay=0.5",
        "training.epochs=3", "network.dropout=0.25",
    ]  # fmt: skip
    if not method:  # learners of a stream have a read-out of their own
        given |= {"training.mask_padding": True, "training.readout": "last"}
        written += ["training.mask_padding=true", "training.readout=last"]
    ours, theirs = (Choice("spoken-digits", method, changes=c) for c in (given, written))
    for name in ("gru", "snn-none"):
        found = ours.network(name)
        assert found == theirs.network(name)
        assert [found.training[k] for k in ("precision", "weight_decay", "epochs")] == [
            "float32", 0.5, 3,
        ]  # fmt: skip
        if not method:
            assert (found.training["mask_padding"], found.training["readout"]) == (True, "last")
    assert ours.settings() == theirs.settings()


def test_the_facts_of_data_are_those_of_what_is_loaded():
    assert look_at(resolve("spoken-digits", "gru"), HERE) == (140, 20, 10.0, (140,))
    wide = resolve("spoken-digits", "gru", changes=["data.pool=50", "data.dt=20"])
    assert look_at(wide, HERE) == (14, 20, 20.0, (14,))


def test_the_settings_of_a_comparison_are_what_all_rows_share(tmp_path, trained):
    base = resolve("spoken-digits", "gru")
    rows = comparison.compare_networks(
        ["gru"], Choice("spoken-digits"), Budget(500.0, "state"), [1, 2],
        Place(out=tmp_path / "c", quiet=True), rates=(0.3, 1.0),
    )  # fmt: skip
    found = rows[0]["settings"]
    assert found["dataset"] == "spoken-digits" and found["data"] == base.data
    assert found["encoder"] == base.network["encoder"]
    assert set(found["training"]) == set(SHARED)
    assert not {"model", "width", "encoder", "options"} & set(found["network"])
    assert found["network"]["depth"] == 2 and found["network"]["dropout"] == 0.2
    assert (found["budget"], found["by"]) == (500.0, "state")
    assert (found["seeds"], found["rates"]) == ([1, 2], [0.3, 1.0])


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("[data-gru]\npool = 7\n", "pool"),
        ("[encoder-gru]\nclip = 7\n", "clip"),
        ("[training-gru]\nlr = 0.1\nbatch_size = 7\n", "batch_size"),
        ("[network-gru]\ndropout = 0.7\n", "dropout"),
    ],
)
def test_one_network_of_a_comparison_may_have_no_data_encoder_or_recipe_of_its_own(
    tmp_path, text, wrong
):
    file = tmp_path / "mine.toml"
    file.write_text(text)
    choice = Choice("spoken-digits", config=str(file))
    with pytest.raises(ConfigError, match=f"gives gru its own {wrong}"):
        choice.check_same_for_all()


@pytest.mark.parametrize(
    "text",
    [
        "[network-gru]\ndepth = 3\n",
        "[training-gru]\nlr = 0.1\n",
        "[options-fsmn]\norder = 4\n",
        "[data]\npool = 7\n[training]\nepochs = 3\n[encoder]\nclip = 4\n",
    ],
)
def test_one_network_of_a_comparison_may_have_a_size_a_rate_and_options_of_its_own(tmp_path, text):
    file = tmp_path / "mine.toml"
    file.write_text(text)
    Choice("spoken-digits", config=str(file)).check_same_for_all()


@pytest.mark.parametrize(("change", "value"), [
    ("training.schedule_delay=constant", "constant"), ("training.lr_delay=0.5", 0.5),
    ("training.delay_lr=0.5", 0.5), ("training.sigma_share=0.5", 0.5),
])  # fmt: skip
@pytest.mark.filterwarnings("ignore:training.*is now called:FutureWarning")
def test_what_concerns_delays_reaches_the_networks_that_have_them(change, value):
    key = change.partition("=")[0].removeprefix("training.")
    key = {"delay_lr": "lr_delay", "sigma_share": "sigma_fraction"}.get(key, key)
    ours = Choice("spoken-digits", changes=[change]).network("snn-learned")
    assert ours.training[key] == value != resolve("spoken-digits").training[key]
    base = Choice("spoken-digits", changes=[change]).base()
    assert base == Choice("spoken-digits").base()


def test_changes_that_can_be_read_once_are_read_once():
    choice = Choice("spoken-digits", changes=(c for c in ["training.epochs=3"]))
    assert choice.base().recipe.epochs == choice.network("gru").recipe.epochs == 3


def test_values_from_python_are_settings_as_those_of_the_command_line():
    told = [
        Choice("spoken-digits", "hlop", changes=changes).settings()
        for changes in ({"network.norm": True}, ["network.norm=true"])
    ]
    assert told[0] == told[1]
