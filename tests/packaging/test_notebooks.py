"""The notebooks run from beginning to end, and are stored with their outputs."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
runs = pytest.mark.skipif(
    any(find_spec(name) is None for name in ("nbclient", "ipykernel", "matplotlib")),
    reason="needs the extras notebooks and viz",
)


def cells(path: Path, kind: str) -> list[dict]:
    return [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == kind]


def script(*arguments: str) -> subprocess.CompletedProcess:
    """What ./scripts/notebooks does, with this project's packages in its kernels."""
    command = [sys.executable, str(ROOT / "scripts" / "notebooks"), *arguments]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(command, capture_output=True, text=True, env=environment)


@runs
@pytest.mark.slow
@each_notebook
def test_a_notebook_runs_without_an_error(path):
    """The executor gives a cell 300 seconds; a whole notebook takes about 30."""
    before = path.read_bytes()
    found = script("--check", path.name)
    assert found.returncode == 0, found.stderr
    assert path.name in found.stdout
    assert path.read_bytes() == before


@runs
def test_a_cell_that_fails_is_told(tmp_path, monkeypatch):
    notebook = json.loads(NOTEBOOKS[0].read_text())
    code = {"cell_type": "code", "id": "a", "metadata": {}, "outputs": [], "execution_count": None}
    notebook["cells"] = [{**code, "source": "1 / 0"}]
    copied = tmp_path / "scripts" / "notebooks"
    (tmp_path / "docs" / "notebooks").mkdir(parents=True)
    copied.parent.mkdir()
    copied.write_text((ROOT / "scripts" / "notebooks").read_text())
    (tmp_path / "docs" / "notebooks" / "broken.ipynb").write_text(json.dumps(notebook))
    found = subprocess.run([sys.executable, str(copied), "--check"], capture_output=True, text=True)
    assert found.returncode == 1
    assert "broken.ipynb" in found.stderr and "ZeroDivisionError" in found.stderr


def test_an_unknown_name_is_refused():
    found = script("99")
    assert found.returncode == 2 and "99" in found.stderr


@each_notebook
def test_a_notebook_has_a_title_and_is_in_the_index(path):
    title = "".join(cells(path, "markdown")[0]["source"]).splitlines()[0]
    assert title.startswith("# ")
    assert f"[{title.removeprefix('# ')}]({path.name})" in (FOLDER / "README.md").read_text()


@each_notebook
def test_a_notebook_is_stored_with_its_outputs(path):
    """They are small, without errors or warnings, and name no folder of a machine."""
    assert path.stat().st_size < 300_000
    code = cells(path, "code")
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell["outputs"]]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert not any(output["output_type"] == "error" for output in outputs)
    assert not any(output.get("name") == "stderr" for output in outputs)
    text = path.read_text()
    assert not any(word in text for word in ("/" + "work/", "/" + "root/", "/home" + "/"))


@each_notebook
def test_each_cell_of_code_has_a_sentence_before_it(path):
    kinds = [cell["cell_type"] for cell in json.loads(path.read_text())["cells"]]
    assert kinds[0] == "markdown"
    assert ("code", "code") not in itertools.pairwise(kinds)
