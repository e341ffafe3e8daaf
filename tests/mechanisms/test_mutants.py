"""The list of mutants fits the code, and ``scripts/mutants`` says what became of each."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import mutants
from mutants import CAUGHT, INVALID, ROOT, SURVIVED, Mutant

ENTRIES = mutants.read_all()


@pytest.mark.parametrize("mutant", ENTRIES, ids=lambda m: f"{m.system}: {m.removed}")
def test_an_entry_fits_the_code_and_names_tests_that_exist(mutant):
    """Otherwise change the entry together with the code."""
    text = (ROOT / mutant.file).read_text(encoding="utf-8")
    without = mutant.applied(text)
    assert without is not None, f"{mutant.file} does not hold this exactly once:\n{mutant.old}"
    compile(without, mutant.file, "exec")
    assert mutant.tests
    for test in mutant.tests:
        assert (ROOT / test.partition("::")[0]).is_file(), test


def test_no_mechanism_is_taken_out_twice():
    names = [(m.system, m.removed) for m in ENTRIES]
    assert len(names) == len(set(names))
    changes = [(m.file, m.old, m.new) for m in ENTRIES]
    assert len(changes) == len(set(changes))


TREE = {
    "code_here.py": "def double(a):\n    return 2 * a\n",
    "test_code.py": "from code_here import double\n\ndef test_it():\n    assert double(0) == 0\n",
    "test_more.py": "from code_here import double\n\ndef test_it():\n    assert double(2) == 4\n",
}


@pytest.fixture
def tree(tmp_path):
    for name, text in TREE.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = -ra\n")
    return tmp_path


@pytest.mark.parametrize(
    ("old", "new", "tests", "expected"),
    [
        ("2 * a", "3 * a", ["test_more.py"], CAUGHT),
        ("2 * a", "3 * a", ["test_code.py"], SURVIVED),
        ("2 * a", "3 * a", ["test_code.py", "test_more.py"], CAUGHT),
        ("4 * a", "3 * a", ["test_more.py"], INVALID),  # not there
        ("a", "b", ["test_more.py"], INVALID),  # there more than once
        ("2 * a", "2 * b", ["test_more.py"], INVALID),  # fails, but for want of a name
        ("def double", "def triple", ["test_more.py"], INVALID),  # cannot be collected
    ],
)
def test_outcomes_of_mutants(tree, old, new, tests, expected):
    mutant = Mutant("code", "a factor", "code_here.py", old, new, tests)
    assert mutants.outcome(tree, mutant) == expected
    assert (tree / "code_here.py").read_text() == TREE["code_here.py"]


@pytest.mark.parametrize(("found", "code"), [([CAUGHT] * 19, 0), ([CAUGHT] * 9, 1)])
def test_the_exit_code_says_whether_enough_were_caught(monkeypatch, capsys, found, code):
    """With one survivor, 19 of 20 are enough and 9 of 10 are not."""
    entries = [Mutant("code", str(i), "", "", "", ["t.py"]) for i in range(len(found) + 1)]
    outcomes = iter([*found, SURVIVED])
    monkeypatch.setattr(mutants, "read_all", lambda: entries)
    monkeypatch.setattr(mutants, "copy_tree", lambda target: None)
    monkeypatch.setattr(mutants, "run_tests", lambda tree, tests: (0, ""))
    monkeypatch.setattr(mutants, "outcome", lambda tree, mutant: next(outcomes))
    assert mutants.main([]) == code
    assert f"{len(found)} caught, 1 survived, 0 invalid" in capsys.readouterr().out


def test_tests_that_fail_anyway_catch_nothing(monkeypatch):
    monkeypatch.setattr(mutants, "copy_tree", lambda target: None)
    monkeypatch.setattr(mutants, "run_tests", lambda tree, tests: (1, "FAILED t.py - assert 0"))
    with pytest.raises(SystemExit, match="fail without any mutant"):
        mutants.main(["--system", "leaky"])


def test_help_and_list_teach_and_run_nothing(capsys):
    script = str(Path(mutants.__file__))
    shown = subprocess.run([sys.executable, script, "--help"], capture_output=True, text=True)
    assert shown.returncode == 0 and "[[mutant]]" in shown.stdout
    assert mutants.main(["--list", "--system", "rhn"]) == 0
    assert "rhn: input at the first level only" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        mutants.main(["--system", "nothing"])
    assert "systems: " in capsys.readouterr().err
