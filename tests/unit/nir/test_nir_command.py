"""``snnsim nir``: export, import and check of runs and files, and what they refuse."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from command import TRAIN
from snnsim_datasets import load
from snnsim_experiments.cli import app
from snnsim_experiments.run_folder import load_network
from typer.testing import CliRunner

import snnsim as sn

nir = pytest.importorskip("nir")
from snnsim.interop.nir import simulate


def run(*arguments):
    return CliRunner().invoke(app, [*map(str, arguments)])


def refused(*arguments):
    found = run(*arguments)
    assert found.exit_code != 0
    return str(found.exception)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    out = tmp_path_factory.mktemp("nir") / "run"
    assert run(*TRAIN, "--out", out).exit_code == 0
    return out


@pytest.fixture
def saved(tmp_path):
    torch.manual_seed(0)
    net = sn.Sequential(
        sn.Delayed(6, 8, dt=5.0, max_delay_ms=50, sigma=0.2), sn.BatchNorm(8), sn.LIF(8, dt=5.0)
    )
    sn.save(net, tmp_path / "net.safetensors")
    return net.eval()


def test_a_run_is_written_and_computes_the_same(trained, tmp_path):
    found = json.loads(run("nir", "export", trained, tmp_path / "a.nir", "--json").stdout)
    graph = nir.read(tmp_path / "a.nir")
    net = load_network(trained)[0]
    x = load("spoken-digits", "test").batch(np.arange(6), 0).x
    tail = found["zeros to append to the input"]
    padded = torch.cat([x, x.new_zeros((tail, *x.shape[1:]))])
    with torch.no_grad():
        wanted = net.double()(x.double())[0].numpy()
    assert tail > 0 and found["nodes"] == len(graph.nodes)
    assert np.allclose(simulate(graph, padded.numpy()), wanted, atol=1e-4)


def test_export_and_import_lead_back(saved, tmp_path):
    exported = run("nir", "export", tmp_path / "net.safetensors", tmp_path / "net.nir")
    assert exported.exit_code == 0 and "Delay" in exported.stdout
    told = run("nir", "import", tmp_path / "net.nir", tmp_path / "again.safetensors", "--json")
    assert json.loads(told.stdout)["layers"] == "Delayed, LIF"
    x = (torch.rand(40, 3, 6) < 0.4).float()
    again = sn.load(tmp_path / "again.safetensors")
    assert again[0].dt == 5.0
    with torch.no_grad():
        assert torch.equal(again(x)[0], sn.compile(saved)(x)[0])


def test_check_shows_each_program_and_what_its_signs_mean(saved, tmp_path):
    run("nir", "export", tmp_path / "net.safetensors", tmp_path / "net.nir")
    shown = run("nir", "check", tmp_path / "net.nir").stdout
    assert "norse" in shown and "Delay" in shown and "drops it without a word" in shown
    rows = json.loads(run("nir", "check", tmp_path / "net.nir", "--json").stdout)
    delay = next(row for row in rows if row["feature"] == "Delay")
    assert delay["norse"] == "-" and delay["nodes"]


def test_a_file_that_exists_is_kept(saved, tmp_path):
    (tmp_path / "net.nir").write_text("mine")
    source = tmp_path / "net.safetensors"
    assert "--overwrite" in refused("nir", "export", source, tmp_path / "net.nir")
    assert (tmp_path / "net.nir").read_text() == "mine"
    assert run("nir", "export", source, tmp_path / "net.nir", "--overwrite").exit_code == 0
    assert "--overwrite" in refused("nir", "import", tmp_path / "net.nir", source)


def test_a_refused_network_leaves_nothing_behind(tmp_path):
    sn.save(sn.Sequential(sn.Dense(3, 4), sn.BRF(4, dt=1.0)), tmp_path / "net.safetensors")
    wrong = refused("nir", "export", tmp_path / "net.safetensors", tmp_path / "net.nir")
    assert "layer1_BRF" in wrong
    assert [path.name for path in tmp_path.iterdir()] == ["net.safetensors"]


@pytest.mark.parametrize(
    ("content", "wrong"), [(None, "does not exist"), (b"", "not a readable"), (b"x" * 999, "not a")]
)
def test_files_that_are_no_graphs_are_refused_by_name(tmp_path, content, wrong):
    file = tmp_path / "bad.nir"
    if content is not None:
        file.write_bytes(content)
    for command in (("check", file), ("import", file, tmp_path / "net.safetensors")):
        found = refused("nir", *command)
        assert wrong in found and "bad.nir" in found


def test_endings_are_checked(saved, tmp_path):
    assert "must end in .nir" in refused("nir", "export", tmp_path, tmp_path / "net.h5")
    run("nir", "export", tmp_path / "net.safetensors", tmp_path / "net.nir")
    assert "safetensors" in refused("nir", "import", tmp_path / "net.nir", tmp_path / "net.pt")
