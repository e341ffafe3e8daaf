"""``scripts/mutants``: take mechanisms out of the code, one at a time, and run their tests."""

from __future__ import annotations

import argparse
import compileall
import multiprocessing
import os
import py_compile
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ENTRIES = Path(__file__).with_name("mutants.toml")  # of published systems
OF_TOOLS = Path(__file__).with_name("mutants_of_tools.toml")  # and of what is around them
CAUGHT, SURVIVED, INVALID = "caught", "survived", "invalid"
LONGEST = 300  # seconds that tests may take
BROKEN = ("NameError", "AttributeError", "SyntaxError", "ImportError", "ModuleNotFoundError")

HELP = """\
A mutant is the code with one mechanism removed. Its tests must fail; a mutant whose tests
still pass has survived, and the mechanism is then not tested. Entries stand in
tests/mechanisms/mutants.toml and mutants_of_tools.toml:

  [[mutant]]
  system = "leaky"                            # what --system selects
  removed = "the leak inside of the nonlinearity"
  file = "snnsim/baselines/models/leaky.py"
  old = "text that occurs exactly once in the file"
  new = "the same text without the mechanism"
  tests = ["tests/mechanisms/test_leaky.py"]  # arguments of pytest; node ids work too

Everything happens in a scratch copy; the working tree is not touched. The tests must pass
without any mutant first. A mutant is invalid if its old text does not occur exactly once, if its
tests cannot be collected or do not end, or if they fail because the code is broken (a missing
name, for instance) and not because the mechanism is missing; an invalid mutant is not caught.

The exit code is 0 if enough mutants were caught, and 1 if not.

  scripts/mutants                          all mutants
  scripts/mutants --system leaky rhn       those of two systems
  scripts/mutants --list                   what there is; runs nothing
"""


@dataclass(frozen=True)
class Mutant:
    """One mechanism that is removed."""

    system: str
    removed: str
    file: str
    old: str
    new: str
    tests: list[str]

    def applied(self, text: str) -> str | None:
        """The file's text without the mechanism; ``None`` if the entry does not fit it."""
        if text.count(self.old) != 1 or self.old == self.new:
            return None
        return text.replace(self.old, self.new)


def read(path: Path = ENTRIES) -> list[Mutant]:
    """All entries of a file."""
    with path.open("rb") as file:
        return [Mutant(**entry) for entry in tomllib.load(file)["mutant"]]


def read_all() -> list[Mutant]:
    """The entries of both files."""
    return [*read(), *read(OF_TOOLS)]


def files() -> Iterator[Path]:
    """Files of the working tree that git tracks or would track."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():  # not one that was removed
            yield Path(name)


def copy_tree(target: Path) -> None:
    """Copy the working tree, with bytecode that is checked against the text and not its time."""
    for name in files():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, target / name)
    mode = py_compile.PycInvalidationMode.CHECKED_HASH
    compileall.compile_dir(target / "snnsim", quiet=2, invalidation_mode=mode)


def in_child(tree: Path, tests: list[str], log: Path) -> None:
    """Run pytest in a copy of the tree, as what a process does; it ends with pytest's exit code."""
    with log.open("w") as out:
        for stream in (1, 2):
            os.dup2(out.fileno(), stream)
    os.chdir(tree)
    sys.path[:0] = [str(tree / name) for name in ("", "datasets", "experiments")]
    sys.dont_write_bytecode = True
    import pytest

    sys.exit(int(pytest.main(["-q", "-x", "-p", "no:cacheprovider", *tests])))


def run_tests(tree: Path, tests: list[str]) -> tuple[int, str]:
    """Run pytest in a copy of the tree; its exit code and what it printed.

    Processes are forked from one that has imported torch, which takes longer than most tests.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "pytest"])
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "printed"
        process = context.Process(target=in_child, args=(tree, tests, log))
        process.start()
        process.join(LONGEST)
        process.kill()  # a mutant may never end
        process.join()
        printed = log.read_text(errors="replace") if log.exists() else ""
    assert process.exitcode is not None
    return process.exitcode, printed


def outcome(tree: Path, mutant: Mutant) -> str:
    """Whether a mutant is caught; the copy is afterwards as it was."""
    path = tree / mutant.file
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    without = mutant.applied(text)
    if without is None:
        return INVALID
    path.write_text(without, encoding="utf-8")
    code, printed = run_tests(tree, mutant.tests)
    path.write_text(text, encoding="utf-8")
    if any(f" - {error}" in printed for error in BROKEN):
        return INVALID
    return {0: SURVIVED, 1: CAUGHT}.get(code, INVALID)


def try_all(mutants: list[Mutant]) -> Counter[str]:
    """Try one mutant after the other, and print what becomes of each."""
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        tree = Path(folder)
        copy_tree(tree)
        code, printed = run_tests(tree, sorted({test for m in mutants for test in m.tests}))
        if code:
            print(printed)
            raise SystemExit("the tests fail without any mutant; make them pass first")
        for mutant in mutants:
            found = outcome(tree, mutant)
            counts[found] += 1
            print(f"{found:9} {mutant.system}: without {mutant.removed}", flush=True)
    return counts


def main(arguments: list[str] | None = None) -> int:
    """Try the mutants that are asked for."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    parser = argparse.ArgumentParser(
        prog="scripts/mutants",
        description=HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--system", nargs="+", metavar="NAME", help="only mutants of these systems")
    parser.add_argument("--list", action="store_true", help="print the mutants; run nothing")
    parser.add_argument(
        "--least",
        type=float,
        default=95.0,
        metavar="PERCENT",
        help="the smallest percentage to be caught for exit code 0 (default: 95)",
    )
    given = parser.parse_args(arguments)
    mutants = read_all()
    systems = sorted({mutant.system for mutant in mutants})
    unknown = sorted(set(given.system or ()) - set(systems))
    if unknown:
        parser.error(f"there is no mutant of {', '.join(unknown)}; systems: {', '.join(systems)}")
    mutants = [m for m in mutants if not given.system or m.system in given.system]
    if given.list:
        print("\n".join(f"{m.system}: {m.removed}" for m in mutants))
        return 0
    counts = try_all(mutants)
    percent = 100 * counts[CAUGHT] / len(mutants)
    numbers = ", ".join(f"{counts[name]} {name}" for name in (CAUGHT, SURVIVED, INVALID))
    print(f"{numbers} of {len(mutants)}: {percent:.1f} % caught, at least {given.least:g} % needed")
    return 0 if percent >= given.least else 1


if __name__ == "__main__":
    sys.exit(main())
