"""What the commands share: values in lines, titles, names of folders, limits of options."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from small_runs import DIGITS
from snnsim_experiments import options

from snnsim.baselines import Baseline
from snnsim.errors import ConfigError
from snnsim.training import Recipe


def test_values_stand_in_lines_in_their_order_with_four_digits_behind_the_point(capsys):
    options.print_values(
        {"loss": 1.23456, "samples": 120, "none": None, "small": 2e-5, "text": "[bold]x"}
    )
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines] == [
        ["loss", "1.2346"], ["samples", "120"], ["none", "None"], ["small", "0.0000"],
        ["text", "[bold]x"],
    ]  # fmt: skip


def test_values_can_have_other_digits(capsys):
    options.print_values({"[red]a": 0.5, "b": 1}, floats=".1%")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines] == [["[red]a", "50.0%"], ["b", "1"]]


def test_a_title_stands_in_one_line_above_its_values_whatever_is_in_it(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    title = "Run in " + "a/" * 60 + "[bold]b"
    options.print_summary(title, {"x": 1})
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == title and lines[1].split() == ["x", "1"] and len(lines) == 2


def test_what_a_class_is_said_to_be_is_the_first_line_of_its_module():
    assert options.first_line(Recipe) == (
        "The hyper-parameters of training, for a single task and for every task of a stream."
    )
    assert options.first_line(Baseline).endswith((".", ":"))


def test_a_class_of_a_module_without_a_text_is_said_to_be_nothing(monkeypatch):
    import sys

    monkeypatch.setattr(sys.modules[Recipe.__module__], "__doc__", "\n\n  One line.\nAnother.\n")
    assert options.first_line(Recipe) == "One line."


def test_going_on_needs_a_folder_to_go_on_with():
    options.check_resume(None, False)
    options.check_resume(Path("runs"), True)
    with pytest.raises(ConfigError, match="name the folder with --out"):
        options.check_resume(None, True)


def test_a_folder_that_is_named_is_taken_and_any_other_is_one_of_now():
    assert options.run_folder_of(Path("here"), False, "a", "b", name="c") == Path("here")
    assert options.run_folder_of(Path("here"), True, name="c") == Path("here")
    found = options.run_folder_of(None, False, "continual", "parity", name="hlop-seed3")
    assert found.parent == Path("runs/continual/parity")
    assert re.fullmatch(r"\d{8}-\d{6}-hlop-seed3-[0-9a-f]{6}", found.name)
    with pytest.raises(ConfigError, match="--resume"):
        options.run_folder_of(None, True, name="c")


@pytest.mark.parametrize(
    "option", [("--seed", 2**63), ("--epochs", 10**9 + 1), ("--seed", -1)], ids=str
)
def test_a_number_just_beyond_its_range_is_refused_by_the_command_itself(snnsim, tmp_path, option):
    (tmp_path / "file").write_text("x")  # what is taken ends there
    answer = snnsim(*DIGITS, *option, "--out", tmp_path / "file")
    assert answer.code == 2 and "Invalid value" in answer.err


def test_the_largest_seed_is_taken(snnsim, tmp_path):
    answer = snnsim(*DIGITS, "--seed", 2**63 - 1, "--epochs", 1, "--out", tmp_path / "out")
    assert answer.code == 0, answer.err
