"""The folders are the registries, and the texts beside the code stay true."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import pytest
import snnsim_datasets

ROOT = Path(__file__).parents[2]


def test_every_data_set_stands_in_the_table():
    table = (ROOT / "datasets" / "README.md").read_text()
    for name in snnsim_datasets.names():
        assert f"`{name}`" in table


def test_every_data_set_has_a_default_configuration():
    for name in snnsim_datasets.names():
        folder = ROOT / "experiments" / "snnsim_experiments" / name.replace("-", "_")
        assert (folder / "default.toml").is_file()


def test_every_kernel_has_a_reference_and_a_readme():
    for folder in (ROOT / "snnsim" / "kernels").iterdir():
        if folder.is_dir() and not folder.name.startswith("_"):
            assert (folder / "reference.py").is_file(), folder
            assert (folder / "README.md").is_file(), folder


def test_files_stay_small():
    for path in [*ROOT.glob("snnsim/**/*.py"), *ROOT.glob("datasets/**/*.py")]:
        assert len(path.read_text().splitlines()) < 500, path


def test_extras_stand_in_the_readme():
    readme = (ROOT / "README.md").read_text()
    pyproject = (ROOT / "pyproject.toml").read_text()
    section = pyproject.split("[project.optional-dependencies]")[1].split("\n\n")[0]
    for extra in re.findall(r"^(\w+) = \[", section, re.MULTILINE):
        assert f"`{extra}`" in readme, extra


@pytest.mark.parametrize("script", ["demo", "test", "bench", "docs", "wheels"])
def test_scripts_are_executable(script):
    assert (ROOT / "scripts" / script).stat().st_mode & 0o111


CODE = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
TEXTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def needed(path: Path) -> list[str]:
    """The packages without which the code of a text cannot run, of those that are extras."""
    found = {"plotting": "matplotlib", "import nirtorch": "nirtorch", "interop.nir": "nir"}
    pages = [path.stem] if path.parent.name == "coming_from" else []  # of a library each
    return pages + [package for word, package in found.items() if word in path.read_text()]


def text(path: Path):
    absent = [package for package in needed(path) if find_spec(package) is None]
    marks = [pytest.mark.skipif(bool(absent), reason=f"needs {', '.join(absent)}")]
    return pytest.param(path, id=path.name, marks=marks)


@pytest.mark.parametrize("path", map(text, TEXTS))
def test_code_in_the_texts_runs(path, tmp_path, monkeypatch):
    """All Python blocks of a text, in order, in one namespace, from an empty folder."""
    monkeypatch.chdir(tmp_path)
    blocks = CODE.findall(path.read_text())
    space: dict = {"__name__": "__text__"}
    source = tmp_path / "text.py"  # a real file, for inspect
    source.write_text("\n".join(blocks))
    exec(compile(source.read_text(), str(source), "exec"), space)


def test_each_of_the_ten_programs_has_at_most_ten_lines():
    programs = CODE.findall((ROOT / "docs" / "ten_programs.md").read_text())
    sizes = [sum(bool(line.strip()) for line in program.splitlines()) for program in programs]
    assert len(sizes) == 10 and max(sizes) <= 10
