"""Two processes train as one with the joint batch; this file is also the program they run."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from snnsim.data import Augmentation
from snnsim.errors import ConfigError
from snnsim.networks import delay_network
from snnsim.training import Recipe, Trainer, Watcher, checkpoint, distributed, set_seed

sys.path.insert(0, str(Path(__file__).parent))
from small_runs import exit_codes, forked
from small_training import Batch

TRAIN = (
    "spoken-digits", "train", "--epochs", "2", "--quiet", "--json",
    "--set", "network.hidden=[16]", "--set", "network.max_delay_ms=40",
)  # fmt: skip


class Tiny:
    """Random spikes of various lengths, double precision."""

    def __init__(self, samples: int, seed: int):
        random = np.random.default_rng(seed)
        self.lengths = random.integers(5, 12, samples)
        self.labels = random.integers(0, 3, samples)
        self.spikes = (random.random((samples, 11, 6)) < 0.4).astype(np.float64)

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, indices, steps: int) -> Batch:
        if len(indices) == 0:
            raise ConfigError("a batch needs at least one sample")
        lengths = self.lengths[indices]
        x = np.where(np.arange(11)[None, :, None] < lengths[:, None, None], self.spikes[indices], 0)
        x = torch.from_numpy(x.transpose(1, 0, 2)[:steps].copy())
        return Batch(x, torch.from_numpy(self.labels[indices]), torch.from_numpy(lengths))


class Losses(Watcher):
    def __init__(self):
        self.losses: list[float] = []

    def step_done(self, epoch, step, loss):
        self.losses.append(loss)


def train(samples: int, out: Path) -> None:
    """Three epochs in batches of six; each process writes what it saw to ``out``."""
    set_seed(11 + distributed.rank())  # different weights, which the start has to make equal
    net = delay_network((6, 10, 8, 3), dt=1.0, tau_mem=2.0, max_delay_ms=4, dropout=0.4).double()
    watcher = Losses()
    recipe = Recipe(epochs=3, batch_size=6, lr=0.02, lr_delay=0.3, sigma_fraction=0.5)
    trainer = Trainer(
        net, Tiny(samples, 1), Tiny(9, 2), recipe, seed=12, watcher=watcher,
        augmentation=AUGMENTED.get(samples),
    )  # fmt: skip
    rows = [{k: v for k, v in row.items() if k != "seconds"} for row in trainer.run()]
    name = f"{distributed.rank()}-of-{distributed.size()}"
    checkpoint.save(out / name, net.state_dict(), {"losses": watcher.losses, "rows": rows})


def torchrun(folder: Path, *program: object) -> subprocess.CompletedProcess[str]:
    """Run a program in two processes."""
    return subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
            *("--nproc-per-node", "2", *map(str, program)),
        ],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=100,
    )


# in batches of 6: the last has 5 samples, shared as 3 and 2; or only one
SIZES = (23, 19, 22)
AUGMENTED = {22: Augmentation(time_stretch=0.4, channel_shift=2, drop=0.2, noise=0.1)}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> tuple[Path, str]:
    """A folder with what pairs of processes left, and what they complained of."""
    folder = tmp_path_factory.mktemp("pairs")
    done = subprocess.run(
        [sys.executable, str(Path(__file__).resolve())],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=100,
    )
    return folder, done.stderr


@pytest.mark.parametrize("samples", SIZES, ids=["odd last batch", "last batch of one", "augmented"])
def test_two_processes_train_as_one(tmp_path, pairs, samples):
    train(samples, tmp_path)
    weights, alone = checkpoint.load(tmp_path / "0-of-1")
    assert len(alone["losses"]) == 3 * 4
    folder, complaints = pairs[0] / str(samples), pairs[1]
    assert (folder / "0-of-2").exists(), complaints[-2000:]
    both = [checkpoint.load(folder / f"{rank}-of-2") for rank in (0, 1)]
    for tensors, values in both:
        torch.testing.assert_close(values["losses"], alone["losses"], rtol=0, atol=1e-10)
        torch.testing.assert_close(values["rows"], alone["rows"], rtol=0, atol=1e-10)
        torch.testing.assert_close(tensors, weights, rtol=0, atol=1e-10)
    for name, tensor in both[0][0].items():
        assert torch.equal(tensor, both[1][0][name]), name


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A run of the command in two processes."""
    folder = tmp_path_factory.mktemp("joint")
    return folder, torchrun(folder, "-m", "snnsim_experiments", *TRAIN, "--out", "runs/joint")


def test_command_in_two_processes_writes_one_complete_run(rendered, run):
    folder, done = run
    assert done.returncode == 0, done.stderr[-2000:]
    assert [p.name for p in folder.iterdir()] == ["runs"]
    assert [p.name for p in (folder / "runs").iterdir()] == ["joint"]
    names = {p.name for p in (folder / "runs" / "joint").iterdir()}
    assert names == {
        "run.json", "metrics.jsonl", "summary.json", "plots",
        "initial.safetensors", "best.safetensors", "last.safetensors",
    }  # fmt: skip
    summary = json.loads((folder / "runs" / "joint" / "summary.json").read_text())
    assert (summary["epochs"], summary["test_samples"]) == (2, 120)
    lines = (folder / "runs" / "joint" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [0, 1]


def test_command_in_two_processes_prints_its_summary_once(run):
    folder, done = run
    summary = json.loads((folder / "runs" / "joint" / "summary.json").read_text())
    assert json.loads(done.stdout) == {"out": "runs/joint", **summary}


def test_processes_that_start_at_different_times_share_one_default_folder(pairs):
    """The default folder is named after the time, which the processes have to agree on."""
    folder, complaints = pairs
    assert json.loads((folder / "late.json").read_text()) == [0, 0], complaints[-2000:]
    (found,) = (folder / "runs" / "spoken-digits").iterdir()
    assert (found / "summary.json").exists()


# --- the program ----------------------------------------------------------------------------------


def pair(function: Callable[[], int]) -> list[int]:
    """Call a function in two child processes, in the environment that ``torchrun`` makes.

    Nothing has to be imported again. Returns the exit codes.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        group = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
        group["MASTER_PORT"] = str(free.getsockname()[1])

    def start(rank: int) -> int:
        os.environ.update(group, RANK=str(rank), LOCAL_RANK=str(rank))
        return function()

    return exit_codes([forked(lambda rank=rank: start(rank)) for rank in (0, 1)])


def training() -> int:
    distributed.start(torch.device("cpu"))
    for samples in SIZES:
        train(samples, Path(str(samples)))
    distributed.stop()
    return 0


def late_command() -> int:
    """The command, begun by the second process over a second after the first."""
    time.sleep(1.2 * int(os.environ["RANK"]))
    sys.argv = ["snnsim", *TRAIN]
    try:
        cli.main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


LEAVE = """
import os
from pathlib import Path
import torch
from snnsim.training import distributed

distributed.start(torch.device("cpu"))
parameter = torch.nn.Parameter(torch.ones(3))
torch.optim.SGD([parameter], lr=0.1)
parameter.grad = torch.ones(3)
distributed.sum_gradients([parameter])
distributed.barrier()
names = lambda: {(task / "comm").read_text().strip() for task in Path("/proc/self/task").iterdir()}
assert any("gloo" in name for name in names()), names()
distributed.stop()
assert not any("gloo" in name for name in names()), names()
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads are read in /proc")
def test_no_thread_of_the_group_outlives_it():
    """Such a thread may need the interpreter while it ends, which aborts the process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    group = {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    done = subprocess.run(
        [sys.executable, "-c", LEAVE],
        env={**os.environ, **group},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr


if __name__ == "__main__":
    from snnsim_experiments import cli

    torch.set_num_threads(1)
    train(SIZES[0], Path("warm"))  # so that the children need not load the kernels
    pair(training)
    Path("late.json").write_text(json.dumps(pair(late_command)))
