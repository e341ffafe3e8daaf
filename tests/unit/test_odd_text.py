"""Names and texts of any kind: one damaged run among others, brackets, locales."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from command import TEST_FILE
from small_runs import TEXTS

each_text = pytest.mark.parametrize("text", TEXTS)

# --- one damaged run among others ----------------------------------------------------------------


@each_text
def test_one_damaged_run_does_not_stop_similar(snnsim, tmp_path, text):
    config = {"dataset": "shd", "seed": 0, "network": {"hidden": [4]}}
    for name in ("mine", "other", "damaged"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text(json.dumps({"config": config}))
    (tmp_path / "damaged" / "run.json").write_bytes(TEXTS[text])
    answer = snnsim("similar", tmp_path / "mine", "--among", tmp_path, "--json")
    assert answer.code == 0
    assert str(tmp_path / "other") in [row["run"] for row in json.loads(answer.out)]
    assert str(tmp_path / "damaged") in answer.err


@each_text
def test_one_damaged_summary_does_not_stop_similar(snnsim, tmp_path, text):
    config = {"dataset": "shd", "seed": 0, "network": {"hidden": [4]}}
    for name in ("mine", "other", "damaged"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text(json.dumps({"config": config}))
        (tmp_path / name / "summary.json").write_text(json.dumps({"test_accuracy": 0.5}))
    (tmp_path / "damaged" / "summary.json").write_bytes(TEXTS[text])
    answer = snnsim("similar", tmp_path / "mine", "--among", tmp_path, "--json")
    assert answer.code == 0
    results = {row["run"]: row["result"] for row in json.loads(answer.out)}
    assert results[str(tmp_path / "other")] == 50.0
    assert results.get(str(tmp_path / "damaged")) is None


@pytest.mark.parametrize("name", ["[red]run", "a[/]b", "[bold]", "[link=x]y[/link]", "r[0]"])
def test_names_with_brackets_are_printed_as_they_are(snnsim, tmp_path, monkeypatch, name):
    config = {"dataset": "shd", "seed": 0, "network": {"delays": f"{name}!"}}
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.chdir(tmp_path)
    for folder, values in (("mine", {"dataset": "shd"}), (name, config)):
        Path("all", folder).mkdir(parents=True)
        Path("all", folder, "run.json").write_text(json.dumps({"config": values}))
    answer = snnsim("similar", Path("all/mine"), "--among", "all")
    assert answer.code == 0, answer.err
    text = "".join(answer.out.split())
    assert f"all/{name}".replace(" ", "") in text
    assert f"network.delays={name}!" in text


# --- any locale ----------------------------------------------------------------

IN_ASCII = """
import json, os, sys
from pathlib import Path
from snnsim_experiments import cli
for command in json.loads(Path(sys.argv[1]).read_bytes()):
    sys.argv = ["snnsim", *(os.fsdecode(word.encode()) for word in command)]
    code = 0
    try:
        cli.main()
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException as error:
        code = type(error).__name__
    print("CODE", ascii(code), file=sys.stderr, flush=True)
"""


def test_text_that_is_not_ascii_works_in_an_ascii_locale(tmp_path):
    """Labels, a comment in a configuration file with a mark of its coding, names of folders."""
    config = "# fünf Zahlen – für alle\n[network]\nhidden = [4]\ndelays = 'none'\n"
    files = {"fünf.toml": config.encode(), "mark.toml": b"\xef\xbb\xbf" + config.encode()}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    small = ("--epochs", "1", "--set", "data.pool=50")
    train = ("spoken-digits", "train", *small)
    commands = [
        *([*train, "--config", str(tmp_path / f), "--out", str(tmp_path / f"{f}-läuft")]
          for f in files),
        ["spoken-digits", "info"],
        ["shd", "info", "--json"],
        ["predict", str(tmp_path / "fünf.toml-läuft"), str(TEST_FILE), "--top", "20"],
        ["spoken-digits", "evaluate", str(tmp_path / "fünf.toml-läuft"), "--over-time", "50"],
        ["similar", str(tmp_path / "fünf.toml-läuft"), "--among", str(tmp_path)],
        ["spoken-digits", "train", "--set", "network.delays=fünf"],
    ]  # fmt: skip
    (tmp_path / "commands.json").write_text(json.dumps(commands))
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("LC_", "LANG", "PYTHONIO"))}
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        [sys.executable, "-c", IN_ASCII, str(tmp_path / "commands.json")],
        capture_output=True, timeout=100, check=False,
        env={**kept, "OMP_NUM_THREADS": "1", **ascii_only},
    )  # fmt: skip
    said = done.stderr.decode("utf-8", "replace")
    codes = [line.split(" ", 1)[1] for line in said.splitlines() if line.startswith("CODE")]
    assert codes == [*["0"] * 7, "1"], said[-3000:]
