"""Rules of configurations one by one: limits of numbers and files, what may be set, refusals."""

from __future__ import annotations

from datetime import date, datetime, time
from pathlib import Path

import pytest
import snnsim_datasets
from snnsim_experiments.configuration import (
    check_data,
    config_names,
    folder_of,
    of_spiking,
    recipe_of,
    resolve,
)
from snnsim_experiments.settings import (
    check_numbers,
    check_section,
    fields,
    given_by,
    given_file,
    parse_changes,
    parse_toml,
    read_toml,
)

from snnsim.errors import ConfigError
from snnsim.training import Recipe

NAME = "spoken-digits"
SECTIONS = of_spiking(NAME).sections


def refusal(call, *arguments, **options) -> str:
    with pytest.raises(ConfigError) as caught:
        call(*arguments, **options)
    return str(caught.value)


# --- numbers ------------------------------------------------------------------------------------

LIMITS = [  # place, largest that is taken, smallest that is not
    ("training.epochs", 2**63 - 1, 2**63),
    ("training.lr", 2.0**62, 2.0**64),
    ("network.kernel_count", 10**6, 10**6 + 1),
    ("data.pool", 10**6, 10**6 + 1),
    ("method.size", 10**6, 10**6 + 1),
    ("network.tau_mem", 1e9, 1.001e9),
    ("data.dt", 1e9, 1.001e9),
    ("method.share", 1e9, 1.001e9),
    ("stream.samples", 10**7, 2**63),
]


@pytest.mark.parametrize(("place", "most", "beyond"), LIMITS, ids=lambda v: str(v))
def test_a_number_is_taken_up_to_its_limit_on_either_side_of_zero(place, most, beyond):
    for sign in (1, -1):
        check_numbers(place, sign * most)
        assert refusal(check_numbers, place, sign * beyond).startswith(f"{place} is ")


def test_a_number_that_is_too_large_is_told_the_largest():
    assert refusal(check_numbers, "network.size", 10**6 + 1) == (
        "network.size is 1000001 but must be from -1e+06 to 1e+06"
    )
    assert refusal(check_numbers, "network.tau", 2e9).endswith("but must be from -1e+09 to 1e+09")
    text = refusal(check_numbers, "training.epochs", int("9" * 300))
    assert len(text) < 100 and text.endswith("but must be from -9.22337e+18 to 9.22337e+18")


def test_numbers_are_looked_at_wherever_they_are():
    held = {"a": [1, (2.0, {"b": [float("inf")]})]}
    assert refusal(check_numbers, "data", held) == ("data.a.b is inf but must be a finite number")
    assert "network.hidden is 1000001" in refusal(check_numbers, "network", {"hidden": [10**6 + 1]})
    check_numbers("network", {"a": [True, None, "9" * 99], "b": {}})


@pytest.mark.parametrize("value", [date(2026, 1, 2), time(3, 4), datetime(2026, 1, 2, 3)])
def test_a_date_is_no_setting(value):
    assert refusal(check_numbers, "network", {"tau": [value]}) == (
        f"network.tau is the date or time {value}, which no setting can be; put text in quotes"
    )


@pytest.mark.parametrize("key", ["network.tau_mem", "training.lr", "data.dt"])
def test_a_date_or_a_number_of_hundreds_of_digits_is_refused_as_such(key):
    text = refusal(resolve, NAME, changes=[f"{key}=1979-05-27"])
    assert text.startswith(f"{key} is the date or time 1979-05-27, which no setting can be")
    text = refusal(resolve, NAME, changes=[f"{key}={'9' * 400}"])
    assert text.startswith(f"{key} is 9999") and " but must be from -" in text


@pytest.mark.parametrize("word", ["nan", "inf"])
@pytest.mark.parametrize("key", ["network.tau_mem", "training.lr", "data.dt"])
def test_a_text_that_becomes_no_number_is_refused_as_that_number_is(key, word):
    text = refusal(resolve, NAME, changes=[f'{key}="{word}"'])
    assert text.startswith(f"{key} is {word} but must be a finite number (given: ")


def test_a_text_that_becomes_a_number_has_the_limits_of_one():
    assert "from -1e+09 to 1e+09" in refusal(resolve, NAME, changes=["network.tau_mem='2e9'"])
    assert resolve(NAME, changes=["network.tau_mem='2e1'"]).network["tau_mem"] == 20.0


# --- what may be set ----------------------------------------------------------------------------


class Example:
    def method(self, a: int, b: str = "x", *rest, c: float, d: list[int] | None = None, **more):
        pass


def example(a: int, b: str = "x", *, c: float, d=3):
    pass


def test_the_settings_of_a_function_are_its_keywords_with_their_types_and_defaults():
    found = fields(example)
    assert found == {"c": (float, ...), "d": (found["d"][0], 3)}
    assert fields(Example.method) == {"c": (float, ...), "d": (list[int] | None, None)}


def test_the_settings_of_a_function_are_all_its_arguments_if_asked_for():
    assert fields(Example.method, keyword_only=False) == {
        "a": (int, ...), "b": (str, "x"), "c": (float, ...), "d": (list[int] | None, None),
    }  # fmt: skip


def test_a_section_is_completed_and_its_values_are_of_their_types():
    known = {"a": (int, ...), "b": (float, 2.5), "c": (list[int], [1])}
    assert check_section("x", known, {"a": "3"}) == {"a": 3, "b": 2.5, "c": [1]}
    assert refusal(check_section, "x", known, {}) == "x.a is {}: Field required"


def test_all_that_is_wrong_in_a_section_is_said_at_once_each_by_its_place():
    known = {"a": (int, 1), "c": (list[int], [1])}
    text = refusal(check_section, "x", known, {"a": "one", "c": [1, "two"]})
    first, second = text.split("; ")
    assert first.startswith("x.a is 'one': ") and second.startswith("x.c.1 is 'two': ")


@pytest.mark.parametrize("key", ["download", "progress", "dt", "backend"])
def test_what_is_not_for_configurations_is_known_only_where_it_is_kept(key):
    known = {"a": (int, 1), key: (int, 2)}
    assert check_section("x", known, {}) == {"a": 1}
    assert refusal(check_section, "x", known, {key: 3}) == f"unknown key x.{key}; known: a"
    assert check_section("x", known, {key: 3}, keep=(key,)) == {"a": 1, key: 3}


def test_an_unknown_key_is_told_the_nearest_and_all_known_ones():
    known = {"alpha": (int, 1), "beta": (int, 1)}
    assert refusal(check_section, "x", known, {"alfa": 1}) == (
        "unknown key x.alfa; did you mean 'alpha'?; known: alpha, beta"
    )
    assert refusal(resolve, NAME, changes=["training.nothing_like_it=1"]).startswith(
        "unknown key training.nothing_like_it; known: epochs, batch_size, lr, lr_delay, optimizer, "
    )


def test_a_long_unknown_key_is_shown_in_part():
    known = {"a": (int, 1)}
    assert refusal(check_section, "x", known, {"b" * 197: 1}).startswith(
        f"unknown key x.{'b' * 197};"
    )
    shown = refusal(check_section, "x", known, {"b" * 198: 1}).split("; ")[0]
    assert len(shown) == len("unknown key ") + 200 and "..." in shown
    assert len(refusal(check_section, "x", known, {"b" * 9999: 1})) < 250


@pytest.mark.parametrize("dataset", snnsim_datasets.names())
def test_a_step_is_a_setting_of_the_data_sets_that_are_binned(dataset):
    if dataset in ("gsc", "recordings"):
        assert refusal(check_data, dataset, {"dt": 5.0}).startswith("unknown key data.dt")
    else:
        assert check_data(dataset, {"dt": 5.0})["dt"] == 5.0


def test_epochs_given_apart_win_and_those_of_the_recipe_must_be_right_all_the_same():
    data = check_data(NAME, {"pool": 7})
    assert (data["pool"], data["dt"]) == (7, 10.0)
    assert recipe_of({"epochs": 3, "lr": 0.5}, 4) == Recipe(epochs=4, lr=0.5)
    assert recipe_of({"epochs": 3}, None).epochs == 3
    assert "epochs is 0" in refusal(recipe_of, {"epochs": 0}, 4)
    assert "training.epochs is" in refusal(recipe_of, {}, 2**63)


def test_the_recipe_of_a_configuration_has_all_its_values():
    config = resolve(NAME, changes=["training.readout=last", "training.patience=3"])
    assert config.recipe == Recipe(epochs=50, batch_size=64, readout="last", patience=3)


# --- where a wrong value was given --------------------------------------------------------------


def test_a_refusal_says_by_what_its_value_was_given(tmp_path):
    path = str(tmp_path / "mine.toml")
    Path(path).write_text("[training]\nepochs = 0\n")
    change, other = "network.dropout=0.1", "data.dt=5"
    for config, changes, given in (
        (path, (), f"the configuration {path!r}"),
        (path, (change,), f"the configuration {path!r} and --set {change!r}"),
        ("none", ("training.epochs=0",), "the configuration 'none' and --set 'training.epochs=0'"),
        (None, (other, "training.epochs=0"), f"--set {other!r}, 'training.epochs=0'"),
    ):
        text = refusal(resolve, NAME, config=config, changes=changes)
        assert text.endswith(f"epochs is 0 but must be a finite number at least 1 (given: {given})")


def test_a_refusal_without_a_place_or_that_names_its_file_is_left_as_it_is():
    for config, changes in ((None, ()), ("my.toml", ()), ("my.toml", ("a.b=1",))):
        with pytest.raises(ConfigError) as caught, given_by(config, changes):
            raise ConfigError("my.toml is wrong")
        assert str(caught.value) == "my.toml is wrong"


def test_a_long_change_is_shown_in_part():
    with pytest.raises(ConfigError) as caught, given_by("c" * 999, ["a.b=" + "1" * 999]):
        raise ConfigError("wrong")
    told, change = str(caught.value).split(" and --set ")
    assert len(change) == 60 + 1 and len(told) == len("wrong (given: the configuration ") + 200


def test_only_refusals_of_settings_are_told_where_they_were_given():
    with pytest.raises(KeyError) as caught, given_by("mine", ["a.b=1"]):
        raise KeyError("x")
    assert caught.value.args == ("x",)


# --- files --------------------------------------------------------------------------------------


def test_a_name_is_sought_in_the_folder_and_then_taken_for_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("own").mkdir()
    for place in ("own/a.toml", "a", "b.toml"):
        Path(place).write_text("")
    assert given_file("a", Path("own")) == Path("own/a.toml")
    assert given_file("a") == Path("a")
    assert given_file("b.toml", Path("own")) == Path("b.toml")
    assert refusal(given_file, "aa", Path("own")) == (
        "there is no configuration 'aa': neither a file nor one of a; did you mean 'a'?"
    )
    for folder in (None, Path("empty")):
        assert refusal(given_file, "c.toml", folder) == "there is no configuration file 'c.toml'"


def test_a_folder_is_no_configuration(tmp_path):
    assert "no configuration" in refusal(given_file, str(tmp_path))


def test_a_data_set_with_a_dash_has_a_folder_with_a_line():
    assert folder_of("a-b-c").name == "a_b_c"
    assert config_names("no-such") == []


def test_the_size_of_a_file_and_of_its_lines_has_a_limit():
    line = "#" + "x" * 9_998 + "\n"  # of 10,000 characters
    full = line * 104 + "#" * (2**20 - 104 * 10_000)
    assert len(full) == 2**20
    assert parse_toml("a = 1\n#" + full[7:]) == {"a": 1}
    with pytest.raises(ValueError, match="at most 1048576 characters, 10000 in a line"):
        parse_toml(full + "\n")
    assert parse_toml("a = 1 #" + "x" * 9_993) == {"a": 1}
    with pytest.raises(ValueError, match="10000 in a line"):
        parse_toml("a = 1 #" + "x" * 9_994)


def test_a_file_nested_too_deeply_is_told_so():
    with pytest.raises(ValueError, match="nested too deeply"):
        parse_toml("a = " + "[" * 4_000 + "]" * 4_000)


def test_a_file_is_told_the_sections_it_may_have(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("[netwrk]\n")
    assert refusal(read_toml, path, SECTIONS) == (
        f"{path} has 'netwrk' at its top level; did you mean 'network'?; "
        "it may have the sections data, network, augmentation, training"
    )
    sections = ("network", "training", "training-gru", "training-lmu")
    assert refusal(read_toml, path, sections).endswith(
        "it may have the sections network, training and SECTION-NAME"
    )
    path.write_text("[training-gru]\na = 1\n")
    assert read_toml(path, sections) == {"training-gru": {"a": 1}}
    path.write_text("[network]\na = nan\n")
    assert (
        refusal(read_toml, path, SECTIONS)
        == f"{path}: network.a is nan but must be a finite number"
    )


# --- single changes -----------------------------------------------------------------------------


def test_changes_are_sorted_into_their_sections():
    found = parse_changes(
        ["data.dt = 5", " network.a = [1, 2] ", "network.b.c=x=y", "data.dt=6"], SECTIONS
    )
    assert found == {"data": {"dt": 6}, "network": {"a": [1, 2], "b.c": "x=y"}}
    assert parse_changes([], SECTIONS) == {}
    assert parse_changes(["own.a=1"], ("own",)) == {"own": {"a": 1}}


def test_what_is_no_value_is_a_text_also_with_lines_of_its_own():
    found = parse_changes(
        ["data.a=1\nb = 2", "data.b=", "data.c=1 2", "data.d='1'", "data.e= a b "], SECTIONS
    )
    assert found["data"] == {"a": "1\nb = 2", "b": "", "c": "1 2", "d": "1", "e": "a b"}


def test_a_change_that_cannot_be_understood_is_told_how_and_where():
    assert refusal(parse_changes, ["dta.x=1"], SECTIONS) == (
        "cannot understand --set 'dta.x=1'; write section.key=value with a section of data, "
        "network, augmentation, training; did you mean 'data'?"
    )
