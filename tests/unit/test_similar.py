"""``snnsim similar``."""

import json

import pytest
from snnsim_experiments.cli import app
from snnsim_experiments.similar import similar
from typer.testing import CliRunner

from snnsim.errors import ConfigError


def store(folder, config, **summary):
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps({"config": config}))
    if summary:
        (folder / "summary.json").write_text(json.dumps(summary))


def network(delays="learned", lr=0.005, hidden=(256, 256), seed=0):
    return {
        "dataset": "shd",
        "seed": seed,
        "network": {"hidden": list(hidden), "delays": delays},
        "training": {"max_lr": lr, "epochs": 150},
    }


def test_the_nearest_runs_come_first_with_what_differs_and_their_result(tmp_path):
    store(tmp_path / "mine", network())
    store(tmp_path / "all" / "twin", network(lr=0.0055), test_accuracy=0.9)
    store(tmp_path / "all" / "deep" / "cousin", network("none", 0.05), acc=71.5)
    store(tmp_path / "all" / "stranger", {"stream": "pmnist", "method": {"share": 0.1}})
    rows = similar(tmp_path / "mine", tmp_path)
    assert [row["run"].split("/")[-1] for row in rows] == ["twin", "cousin", "stranger"]
    assert rows[0]["differs"] == {"training.max_lr": 0.0055} and rows[0]["likeness"] > 0.95
    assert [row["result"] for row in rows] == [90.0, 71.5, None]
    assert rows[1]["differs"]["network.delays"] == "none" and rows[1]["likeness"] < 0.95


def test_the_command_prints_a_table_or_json(tmp_path):
    store(tmp_path / "mine", network())
    store(tmp_path / "other", network(seed=3))
    result = CliRunner().invoke(app, ["similar", str(tmp_path / "mine"), "--among", str(tmp_path)])
    assert result.exit_code == 0 and "seed=3" in result.output
    options = ["similar", str(tmp_path / "mine"), "--among", str(tmp_path), "--json"]
    assert json.loads(CliRunner().invoke(app, options).output)[0]["differs"] == {"seed": 3}


def test_a_folder_without_runs_is_named(tmp_path):
    store(tmp_path / "mine", network())
    with pytest.raises(ConfigError, match="no other run below"):
        similar(tmp_path / "mine", tmp_path)
