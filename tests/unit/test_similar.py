"""``snnsim similar``."""

import json

import pytest
from snnsim_experiments.cli import app
from snnsim_experiments.similar import similar
from typer.testing import CliRunner

from snnsim.errors import CheckpointError, ConfigError


def store(folder, config, **summary):
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps({"config": config}))
    if summary:
        (folder / "summary.json").write_text(json.dumps(summary))


def network(delays="learned", lr=0.005, hidden=(256, 256), seed=0):
    return {
        "source": "shd",
        "seed": seed,
        "network": {"hidden": list(hidden), "delays": delays},
        "training": {"lr": lr, "epochs": 150},
    }


def test_the_nearest_runs_come_first_with_what_differs_and_their_result(tmp_path):
    store(tmp_path / "mine", network())
    store(tmp_path / "all" / "twin", network(lr=0.0055), test_accuracy=0.9)
    store(tmp_path / "all" / "deep" / "cousin", network("none", 0.05), acc=71.5)
    store(tmp_path / "all" / "stranger", {"source": "pmnist", "method_options": {"share": 0.1}})
    rows = similar(tmp_path / "mine", tmp_path)
    assert [row["run"].split("/")[-1] for row in rows] == ["twin", "cousin", "stranger"]
    assert rows[0]["differs"] == {"training.lr": 0.0055} and rows[0]["likeness"] > 0.95
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


def test_as_many_runs_are_named_as_asked_for_and_there_are(tmp_path):
    for i in range(7):
        store(tmp_path / f"run{i}", network(seed=i))
    assert [len(similar(tmp_path / "run0", tmp_path, n)) for n in (1, 4, 6, 99)] == [1, 4, 6, 6]
    assert len(similar(tmp_path / "run0", tmp_path)) == 5


def test_what_differs_is_said_in_order_and_as_the_other_run_has_it(tmp_path):
    store(tmp_path / "mine", {"seed": 1, "network": {"delays": "none", "only_here": 2}})
    store(tmp_path / "other", {"seed": 1, "data": {"dt": 5}, "network": {"delays": "fixed"}})
    (row,) = similar(tmp_path / "mine", tmp_path)
    assert list(row["differs"].items()) == [
        ("data.dt", 5), ("network.delays", "fixed"), ("network.only_here", None),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("summary", "result"),
    [
        ({"test_accuracy": 0.875}, 87.5),
        ({"acc": 87.5}, 87.5),
        ({"acc": 12.0, "test_accuracy": 0.5}, 50.0),
        ({"acc": 3, "test_accuracy": "high"}, 3.0),
        ({"test_accuracy": 1}, 100.0),
        ({"acc": None}, None),
        ({"loss": 1.0}, None),
    ],
    ids=str,
)
def test_a_result_is_in_percent(tmp_path, summary, result):
    store(tmp_path / "mine", network())
    store(tmp_path / "other", network(seed=1), **summary)
    assert similar(tmp_path / "mine", tmp_path)[0]["result"] == result


def test_equal_configurations_have_a_likeness_of_1_and_differ_in_nothing(tmp_path):
    store(tmp_path / "mine", network())
    store(tmp_path / "twin", network())
    (row,) = similar(tmp_path / "mine", tmp_path)
    assert row["likeness"] == pytest.approx(1, abs=1e-5) and row["differs"] == {}


@pytest.mark.parametrize("content", ['{"config": 3}', "{}", "[]", '{"config": [1]}'])
def test_a_run_without_a_configuration_is_left_out_or_refused(tmp_path, content):
    store(tmp_path / "mine", network())
    store(tmp_path / "other", network(seed=1))
    store(tmp_path / "damaged", {})
    path = tmp_path / "damaged" / "run.json"
    path.write_text(content)
    with pytest.warns(UserWarning, match="left out: .*damaged/run.json has no configuration"):
        assert len(similar(tmp_path / "mine", tmp_path)) == 1
    with pytest.raises(CheckpointError, match="damaged/run.json has no configuration"):
        similar(tmp_path / "damaged", tmp_path)


def test_a_damaged_summary_is_warned_of(tmp_path):
    store(tmp_path / "mine", network())
    store(tmp_path / "other", network(seed=1))
    (tmp_path / "other" / "summary.json").write_text("{")
    with pytest.warns(UserWarning, match="no result: .*summary.json is damaged"):
        assert similar(tmp_path / "mine", tmp_path)[0]["result"] is None
