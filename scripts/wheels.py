"""Builds the sdist, and from it the wheel, and tries the wheel with every Python that is here.

Looks for Python 3.11 to 3.14 on PATH and under pyenv. In a new environment for each it installs
what the wheel needs except torch, compiles all of the source with warnings as errors, and runs what
must work without torch. Where a CPU build of torch can be had, it then trains on the embedded data
for an epoch and asks the trained network. A build for CUDA is never fetched: it takes gigabytes.
Prints a table of what was tried, and exits with 1 if anything failed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

from packaging.metadata import Metadata
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
VERSIONS = ("3.11", "3.12", "3.13", "3.14")
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
FAILED, NOT_TRIED = "FAILED", "not tried"
COLUMNS = ("python", "installs", "compiles", "commands without torch", "torch", "trains an epoch")


class Failed(Exception):
    """A command ended with an error."""


def run(*command: str | Path, cwd: Path | None = None) -> str:
    """Return what a command prints, away from the source and from what PYTHONPATH names.

    Raises:
        Failed: with the end of what it printed, if it ends with an error.
    """
    alone = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env=alone | {"OMP_NUM_THREADS": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        raise Failed(f"$ {' '.join(map(str, command))}\n{done.stdout[-2000:]}")
    return done.stdout


def interpreters() -> dict[str, str]:
    """Return the Pythons that are here: version to command."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    found = {}
    for version in VERSIONS:
        installed = sorted(pyenv.glob(f"versions/{version}.*/bin/python"))
        for command in filter(None, [shutil.which(f"python{version}"), *map(str, installed)]):
            try:
                told = run(command, "-c", "import sys; print('%d.%d' % sys.version_info[:2])")
            except Failed:  # a shim of pyenv whose version is not switched on
                continue
            if told.strip() == version:
                found[version] = command
                break
    return found


def build(folder: Path) -> tuple[Path, Path]:
    """Return the sdist, and the wheel that is built from it."""
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT)
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    metadata_of(wheel)
    return sdist, wheel


def site_from(sdist: Path, folder: Path) -> None:
    """Build the documentation from the sdist alone."""
    with tarfile.open(sdist) as packed:
        packed.extractall(folder, filter="data")
    (source,) = folder.iterdir()
    places = os.pathsep.join(str(source / part) for part in ("", "datasets", "experiments"))
    environment = ("env", f"PYTHONPATH={places}", "NO_MKDOCS_2_WARNING=1")
    run(*environment, sys.executable, "-m", "mkdocs", "build", cwd=source)


def metadata_of(wheel: Path) -> Metadata:
    """Return the metadata of a wheel; what is not allowed in them raises an error."""
    with zipfile.ZipFile(wheel) as packed:
        (name,) = (each for each in packed.namelist() if each.endswith(".dist-info/METADATA"))
        return Metadata.from_email(packed.read(name), validate=True)


def needed(metadata: Metadata) -> list[Requirement]:
    """Return what the wheel needs without extras."""
    every = metadata.requires_dist or []
    return [each for each in every if not each.marker or each.marker.evaluate({"extra": ""})]


def installed(command: str, folder: Path, wheel: Path) -> tuple[Path, Path]:
    """Return ``python`` and ``snnsim`` of a new environment that has the wheel, but no torch."""
    run(command, "-m", "venv", folder)
    python = folder / "bin" / "python"
    others = [str(each) for each in needed(metadata_of(wheel)) if each.name != "torch"]
    run(python, "-m", "pip", "install", "--quiet", "--only-binary=:all:", *others)
    run(python, "-m", "pip", "install", "--quiet", "--no-deps", wheel)
    return python, folder / "bin" / "snnsim"


def without_torch(python: Path, snnsim: Path, metadata: Metadata) -> None:
    """Run what must work where torch is not installed."""
    folder = python.parent.parent
    run(python, "-c", "import snnsim, snnsim_datasets, snnsim_experiments")
    told = run(snnsim, "--version", cwd=folder)
    if told.split() != ["snnsim", str(metadata.version)]:
        raise Failed(f"snnsim --version says {told!r}")
    for command in ((), ("train",), ("continual", "run"), ("spoken-digits", "train")):
        run(snnsim, *command, "--help", cwd=folder)


def compiled(python: Path) -> None:
    """Compile all of the source; a warning about it is an error."""
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    library = Path(run(python, "-c", where).strip())
    packages = [library / name for name in ("snnsim", "snnsim_datasets", "snnsim_experiments")]
    run(python, "-W", "error", "-m", "compileall", "-q", "-f", *packages)


def torch_of(python: Path, version: str) -> str | None:
    """Install a CPU build of torch; its version, or ``None`` where there is none to be had."""
    pip = (python, "-m", "pip", "install", "--quiet", "--only-binary=:all:")
    try:
        run(*pip, "--extra-index-url", CPU_INDEX, f"torch=={version}+cpu")
    except Failed:
        return None
    run(python, "-m", "pip", "check")
    return run(python, "-c", "import torch; print(torch.__version__)").strip()


def trained(snnsim: Path, folder: Path) -> None:
    """Train on the embedded data for an epoch, and ask the trained network."""
    run(snnsim, "spoken-digits", "train", "--epochs", "1", "--quiet", "--out", "run", cwd=folder)
    run(snnsim, "evaluate", "run", cwd=folder)
    run(snnsim, "predict", "run", "--split", "test", "--json", cwd=folder)


def tried(command: str, folder: Path, wheel: Path, torch: str) -> dict[str, str]:
    """Return what was tried with a Python: what it is to how it went."""
    row = dict.fromkeys(COLUMNS, NOT_TRIED)
    doing = "installs"
    try:
        python, snnsim = installed(command, folder, wheel)
        row["python"] = run(python, "-c", "import platform; print(platform.python_version())")
        row |= {"python": row["python"].strip(), "installs": "yes"}
        doing = "compiles"
        compiled(python)
        row[doing] = "yes"
        doing = "commands without torch"
        without_torch(python, snnsim, metadata_of(wheel))
        row[doing] = "yes"
        doing = "torch"
        found = torch_of(python, torch)
        row[doing] = found or f"no CPU build of {torch} here"
        if found:
            doing = "trains an epoch"
            trained(snnsim, folder)
            row[doing] = "yes"
    except Failed as error:
        row[doing] = FAILED
        print(f"{command}, {doing}:\n{error}", file=sys.stderr)
    return row


def table(rows: list[dict[str, str]]) -> str:
    """Return rows as text in columns."""
    widths = {name: max(len(name), *(len(row[name]) for row in rows)) for name in COLUMNS}
    lines = [dict(zip(COLUMNS, COLUMNS, strict=True)), *rows]
    return "\n".join(
        "  ".join(line[n].ljust(widths[n]) for n in COLUMNS).rstrip() for line in lines
    )


def pinned_torch() -> str:
    """Return the version of torch that the tests are run with."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return next(line.removeprefix("torch==") for line in lines if line.startswith("torch=="))


def main() -> int:
    """Build, try, and print what was tried."""
    parser = argparse.ArgumentParser(description=__doc__, prog="./scripts/wheels")
    parser.add_argument("--torch", default=pinned_torch(), help="version of torch, %(default)s")
    parser.add_argument("--python", action="append", help="only this version, such as 3.12")
    parser.add_argument("--out", type=Path, help="folder in which to keep sdist and wheel")
    given = parser.parse_args()
    here = interpreters()
    asked = given.python or list(here)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        try:
            sdist, wheel = build(work / "dist")
            site_from(sdist, work / "sdist")
        except Failed as error:
            print(error, file=sys.stderr)
            return 1
        print(f"{sdist.name} holds what the wheel and the site are made of")
        print(
            f"{wheel.name} has {wheel.stat().st_size / 1e6:.1f} MB and valid metadata", flush=True
        )
        rows = [tried(here[v], work / v, wheel, given.torch) for v in asked if v in here]
        if given.out:
            shutil.copytree(work / "dist", given.out, dirs_exist_ok=True)
        print(table(rows))
        for version in given.python or VERSIONS:
            if version not in here:
                print(f"{version} is not here: nothing was tried with it", flush=True)
    return 1 if any(FAILED in row.values() for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
