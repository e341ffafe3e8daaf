"""Shared by the tests of the command line."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from command import TRAIN, Answer, command
from small_runs import read_once
from snnsim_datasets import spoken_digits
from snnsim_experiments import cli

from snnsim.training import distributed


@pytest.fixture
def snnsim(monkeypatch, capsys):
    """A function that runs the command in this process, with spoken digits that are read once."""
    monkeypatch.setattr(spoken_digits, "load", read_once)

    def run(*arguments: object) -> Answer:
        monkeypatch.setattr(sys, "argv", ["snnsim", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            cli.main()
        streams = capsys.readouterr()
        return Answer(int(caught.value.code or 0), streams.out, streams.err)

    return run


@pytest.fixture(scope="session")
def run(tmp_path_factory) -> Path:
    """A finished run of two epochs, trained in a process of its own; no test changes it."""
    folder = tmp_path_factory.mktemp("runs") / "small"
    done = command(*TRAIN, "--out", folder, "--json")
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert printed.pop("out") == str(folder)
    assert printed == json.loads((folder / "summary.json").read_text())
    return folder


@pytest.fixture
def group():
    """A group of one process."""
    store = torch.distributed.HashStore()
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    distributed.stop()
    assert not distributed.active()
