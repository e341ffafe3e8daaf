"""The folders of data and caches: what the environment says, else what the system does."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest
import torch
from snnsim_datasets.tools import files
from snnsim_datasets.tools.files import atomic
from typer.testing import CliRunner

import snnsim
from snnsim import checkpoint
from snnsim.folders import cache_folder, data_folder
from snnsim.kernels.cache import base_folder

CASES = [
    (data_folder, "SNNSIM_DATA", "XDG_DATA_HOME", ".local/share"),
    (cache_folder, "SNNSIM_CACHE_DIR", "XDG_CACHE_HOME", ".cache"),
]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have other folders")
@pytest.mark.parametrize(("folder", "own", "system", "usual"), CASES)
def test_the_environment_comes_first_then_the_system_then_the_home(
    monkeypatch, tmp_path, folder, own, system, usual
):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv(own, raising=False)
    monkeypatch.delenv(system, raising=False)
    assert folder() == tmp_path / usual / "snnsim"
    monkeypatch.setenv(system, str(tmp_path / "there"))
    assert folder() == tmp_path / "there" / "snnsim"
    monkeypatch.setenv(own, str(tmp_path / "mine"))
    assert folder() == tmp_path / "mine"


def test_data_sets_and_kernels_are_kept_there(monkeypatch, tmp_path):
    monkeypatch.setenv("SNNSIM_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("SNNSIM_CACHE_DIR", str(tmp_path / "cache"))
    assert files.default_root("shd") == tmp_path / "data" / "shd"
    assert files.cache_root() == tmp_path / "cache" / "data"
    assert base_folder() == tmp_path / "cache"


@pytest.mark.parametrize(("folder", "own", "system", "usual"), CASES)
def test_without_a_home_no_folder_is_made_up(monkeypatch, folder, own, system, usual):
    def homeless():
        raise RuntimeError("no home")

    monkeypatch.delenv(own, raising=False)
    monkeypatch.setattr(Path, "home", staticmethod(homeless))
    with pytest.raises(RuntimeError, match="no home"):
        folder()


def test_the_command_tells_its_version():
    from snnsim_experiments.cli import app

    found = CliRunner().invoke(app, ["--version"])
    assert found.exit_code == 0 and found.stdout.strip() == f"snnsim {snnsim.__version__}"
    citation = (Path(__file__).parents[2] / "CITATION.cff").read_text()
    assert f"version: {snnsim.__version__}\n" in citation


@pytest.mark.skipif(os.name != "posix", reason="permissions are those of POSIX")
@pytest.mark.parametrize("mask", [0o022, 0o002, 0o077])
def test_files_have_the_permissions_that_the_user_gives_to_new_files(tmp_path, mask):
    before = os.umask(mask)
    try:
        checkpoint.write_text(tmp_path / "a.json", "{}")
        checkpoint.save(tmp_path / "a.safetensors", {"x": torch.zeros(2)}, {})
        with atomic(tmp_path / "a.npz") as temporary:
            temporary.write_bytes(b"1")
    finally:
        os.umask(before)
    found = sorted(tmp_path.iterdir())
    assert [path.name for path in found] == ["a.json", "a.npz", "a.safetensors"]
    for path in found:
        assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask, path
