"""Make the networks of ``snnsim/pretrained`` again, or check that they are the same.

Each is trained by the command in its card, on the spoken digits that come with the package. With
--check nothing is written, and the exit code is 1 if a weight differs.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from snnsim_experiments.report.card import content_of
from snnsim_experiments.report.sharing import share

import snnsim
from snnsim.pretrained import NETWORK

PLACE = Path(snnsim.__file__).parent / "pretrained"
HIDDEN = ("--set", "network.hidden=[128]")
COMMANDS = {
    "spoken-digits-learned-delays": ("--config", "default", "--epochs", "50", *HIDDEN),
    "spoken-digits-fixed-delays": ("--config", "fixed", "--epochs", "50", *HIDDEN),
    "spoken-digits-no-delays": ("--config", "none_tau55", "--epochs", "50", *HIDDEN),
}


def made(name: str, run: Path) -> None:
    """Train a network into a run folder, on any x86-64 processor with the same result."""
    command = [sys.executable, "-m", "snnsim_experiments", "spoken-digits", "train"]
    command += [*COMMANDS[name], "--seed", "0", "--out", str(run), "--json"]
    environment = os.environ | {"SNNSIM_PORTABLE": "1"}
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    summary = json.loads(done.stdout)
    print(f"{name}: test accuracy {summary['test_accuracy']:.1%}, {summary['seconds']:.0f} s")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="networks; else all")
    parser.add_argument("--check", action="store_true", help="only compare")
    given = parser.parse_args()
    for name in given.names:
        if name not in COMMANDS:
            parser.error(f"there is no network {name!r}; there are {', '.join(COMMANDS)}")
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        for name in given.names or COMMANDS:
            run = Path(folder, name)
            made(name, run)
            if not given.check:
                share(run, PLACE / name, license="apache-2.0")
                continue
            same = content_of(run / "best.safetensors") == content_of(PLACE / name / NETWORK)
            print(f"{name}: {'the same, bit for bit' if same else 'DIFFERENT'}")
            wrong += not same
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
