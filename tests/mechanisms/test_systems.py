"""The page of the systems is complete, and every system has mechanisms that can be taken out."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import mutants
from snnsim_experiments import analysis_checks
from snnsim_experiments.baselines import checks

PAGE = (mutants.ROOT / "docs" / "systems.md").read_text(encoding="utf-8")
LINES = ["Paper", "Code", "Use", "Left out", "Check", "Ablation", "Missing"]
NUMBERED = ["SNN-delays", "HLOP", *(str(n) for n in range(1, 35))]
CHECKS = {"baselines": checks.names(), "analyse": analysis_checks.names()}


def sections() -> dict[str, str]:
    """Return the text of each system's section, by its heading."""
    _, *parts = re.split(r"^### ", PAGE, flags=re.MULTILINE)
    return dict(part.split("\n", 1) for part in parts)


def lines(section: str) -> dict[str, str]:
    """Return the lines of a section by their names, each as one line of text."""
    found = re.findall(r"^- \*\*(.+?)\*\*: (.+(?:\n  .+)*)", section, flags=re.MULTILINE)
    return {name: re.sub(r"\s+", " ", told) for name, told in found}


def paths(told: str) -> list[str]:
    """Return what stands between backticks and is a path."""
    return [each for each in re.findall(r"`([^`]+)`", told) if "/" in each and " " not in each]


def removed(told: str) -> list[str]:
    """Return the systems of mutants that a line names."""
    return [
        name for each in re.findall(r"mutants --system ([^`]+)`", told) for name in each.split()
    ]


SECTIONS = {heading: lines(text) for heading, text in sections().items()}
SYSTEMS = {mutant.system for mutant in mutants.read()}


def test_the_page_has_all_36_systems_and_the_table_leads_to_each():
    names = [each if each in NUMBERED else each.split()[0] for each in SECTIONS]
    assert names == NUMBERED
    links = re.findall(r"^\| \[(.+?)\]\(#(.+?)\) \| .+ \| .+ \|$", PAGE, flags=re.MULTILINE)
    anchors = [re.sub(r"[^\w\- ]", "", each).lower().replace(" ", "-") for each in SECTIONS]
    assert links == list(zip(SECTIONS, anchors, strict=True))


@pytest.mark.parametrize("heading", SECTIONS)
def test_a_system_has_every_line(heading):
    told = SECTIONS[heading]
    assert list(told) == LINES
    assert all(line.endswith(".") for line in told.values())
    assert re.search(r"[A-Z]\w+.* \d{4}.*arXiv:\d{4}\.\d{4,5}", told["Paper"])
    assert "control" in told["Check"].lower()
    assert paths(told["Code"]) and paths(told["Ablation"])
    for path in (path for line in told.values() for path in paths(line)):
        assert (mutants.ROOT / path).exists(), path


@pytest.mark.parametrize("heading", SECTIONS)
def test_checks_that_are_named_exist(heading):
    found = re.findall(r"`snnsim (\w+) check ([\w-]+)`", SECTIONS[heading]["Check"])
    assert all(name in CHECKS[kind] for kind, name in found)


def test_every_check_belongs_to_a_system():
    """Otherwise name it in the line ``Check`` of the system."""
    told = " ".join(section["Check"] for section in SECTIONS.values())
    for kind, names in CHECKS.items():
        missing = [name for name in names if f"`snnsim {kind} check {name}`" not in told]
        assert not missing, missing


@pytest.mark.parametrize("heading", SECTIONS)
def test_mechanisms_of_every_system_can_be_taken_out(heading):
    """Otherwise enter in mutants.toml how its mechanisms are removed."""
    names = removed(SECTIONS[heading]["Ablation"])
    assert names and set(names) <= SYSTEMS


def test_every_mutant_belongs_to_a_system():
    """Otherwise name it in the line ``Ablation`` of the system."""
    named = [name for told in SECTIONS.values() for name in removed(told["Ablation"])]
    assert sorted(named) == sorted(SYSTEMS)
