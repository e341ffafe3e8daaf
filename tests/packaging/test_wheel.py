"""What users install: the wheel's content, its metadata, and the weight of importing it."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

import snnsim

ROOT = Path(__file__).parents[2]
PACKAGES = {"snnsim", "snnsim_datasets", "snnsim_experiments"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", str(folder)]
    subprocess.run([*command, str(ROOT)], check=True, capture_output=True, text=True)
    (path,) = folder.glob("*.whl")
    return zipfile.ZipFile(path)


def test_top_level_names_are_ours_alone(wheel):
    top = {name.split("/")[0] for name in wheel.namelist()}
    assert {name for name in top if not name.endswith(".dist-info")} == PACKAGES


def test_data_configs_and_type_markers_are_packed(wheel):
    names = set(wheel.namelist())
    assert {f"{package}/py.typed" for package in PACKAGES} <= names
    for part in ("train", "test"):
        assert f"snnsim_datasets/data/spoken_digits_{part}.h5.gz" in names
    assert "snnsim_datasets/tools/catalogue.toml" in names
    configs = {
        str(path.relative_to(ROOT / "experiments"))
        for path in (ROOT / "experiments" / "snnsim_experiments").glob("*/*.toml")
    }
    assert configs
    assert configs <= names


def test_the_source_archive_holds_what_wheel_tests_and_site_are_made_of(tmp_path):
    command = [sys.executable, "-m", "build", "--sdist", "--no-isolation", "-o", str(tmp_path)]
    subprocess.run([*command, str(ROOT)], check=True, capture_output=True, text=True)
    (path,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(path) as packed:
        names = {name.partition("/")[2] for name in packed.getnames()}
    files = {"pyproject.toml", "constraints.txt", "mkdocs.yml", "LICENSE", "scripts/environment.sh"}
    texts = {str(p.relative_to(ROOT)) for p in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]}
    assert files | texts | {"scripts/site_hooks.py", "scripts/documentation/names.py"} <= names
    assert not any(name.startswith(("site/", "runs/", "experiments/runs/")) for name in names)


def test_wheel_stays_small(wheel):
    assert sum(info.compress_size for info in wheel.infolist()) < 8e6


def test_version_is_one():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert declared == snnsim.__version__ == metadata.version("snnsim")


def test_no_heavy_or_unwanted_dependency():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    everything = " ".join(declared["dependencies"]).lower()
    for name in ("torchaudio", "torchvision", "torchcodec", "tonic", "matplotlib", "spikingjelly"):
        assert name not in everything


IMPORT = """
import sys, time
begin = time.process_time()
import torch
before = set(sys.modules)
middle = time.process_time()
import snnsim
share = (time.process_time() - middle) / (middle - begin)
heavy = {"numba", "sympy", "h5py", "matplotlib", "pydantic", "typer", "rich", "soundfile"}
print(share, *sorted(heavy & (set(sys.modules) - before)))
"""


def test_import_is_light():
    """At most a fifth of torch's own time on top of it (best of three), and nothing heavy."""
    best, heavy = 1e9, []
    for _ in range(3):
        answer = subprocess.run(
            [sys.executable, "-c", IMPORT], check=True, capture_output=True, text=True
        ).stdout.split()
        best, heavy = min(best, float(answer[0])), answer[1:]
    assert heavy == []
    assert best < 0.2


def test_no_path_of_a_machine_in_the_source():
    """The project speaks of no folder of the machine it was written on."""
    forbidden = ("/" + "work/", "/" + "root/", "/home" + "/")
    for path in ROOT.rglob("*"):
        parts = path.relative_to(ROOT).parts
        hidden = any(part.startswith(".") and part != ".ci" for part in parts)
        if (
            hidden
            or "runs" in parts
            or "dist" in parts
            or path.suffix not in (".py", ".md", ".toml")
        ):
            continue
        text = path.read_text()
        assert not any(word in text for word in forbidden), path
