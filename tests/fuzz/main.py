"""``scripts/fuzz``: thousands of generated cases, a table of their outcomes, and how to repeat."""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from collections.abc import Iterator

import settings
from outcomes import Case, Outcome, run, table

MODULES = ("files", "bombs", "settings")


def kinds() -> dict[str, tuple[str, dict]]:
    """Functions and arguments of all kinds of cases."""
    found: dict[str, tuple[str, dict]] = {}
    for name in MODULES:
        found |= importlib.import_module(name).KINDS
    return found


def cases(kind: str, seed: int, indices: range) -> Iterator[Case]:
    """Cases of one kind."""
    function, args = kinds()[kind]
    names = settings.NAMES.get(kind, ())
    return (Case(kind, seed, i, function, args, names) for i in indices)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="./scripts/fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=1000, help="in all, shared by the kinds")
    parser.add_argument("--seed", type=int, default=int(time.time()) % 1_000_000)
    parser.add_argument("--kind", choices=sorted(kinds()), help="only this kind")
    parser.add_argument("--index", type=int, help="only this case of the kind")
    parser.add_argument("--seconds", type=float, default=30.0, help="limit of one case")
    options = parser.parse_args(arguments)
    if options.index is not None and options.kind is None:
        parser.error("--index needs --kind")
    return options


def main(arguments: list[str] | None = None) -> int:
    """Exit code 1 if any case ended badly."""
    options = parse(arguments)
    chosen = [options.kind] if options.kind else list(kinds())
    each = -(-options.cases // len(chosen))
    indices = range(each) if options.index is None else range(options.index, options.index + 1)
    print(f"seed {options.seed}, {len(indices)} cases of each of {len(chosen)} kinds", flush=True)
    outcomes: list[Outcome] = []
    every = (case for kind in chosen for case in cases(kind, options.seed, indices))
    for outcome in run(every, seconds=options.seconds):
        outcomes.append(outcome)
        if not outcome.good:
            print(f"{outcome.case.kind} {outcome.case.index}: {outcome}", flush=True)
        elif options.index is not None:
            print(f"{outcome.what} {outcome.message}")
    if options.index is not None:
        print("\n".join(o.message for o in outcomes if not o.good))
    print(table(outcomes))
    return int(any(not o.good for o in outcomes))


if __name__ == "__main__":
    sys.exit(main())
