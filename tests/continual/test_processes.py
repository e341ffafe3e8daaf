"""Two processes learn the same weights and subspaces as one with the joint batch."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from small import body, parts

from snnsim.continual import (
    HLOP,
    ContinualTrainer,
    Learner,
    dense_head,
    split_by_class,
    task_recipe,
)
from snnsim.continual.methods.ewc import EWC
from snnsim.continual.methods.gpm import GPM
from snnsim.continual.methods.hypernetwork import Hypernetwork
from snnsim.continual.methods.joint import Joint
from snnsim.continual.methods.lwf import LwF
from snnsim.continual.methods.owm import OWM
from snnsim.continual.methods.refresh import Refresh
from snnsim.continual.methods.replay import Replay
from snnsim.continual.methods.si import SI
from snnsim.errors import ConfigError
from snnsim.training import checkpoint, distributed

METHODS = {
    "hebbian": lambda: HLOP(),
    "iteration": lambda: HLOP(solver="iteration"),
    "covariance": lambda: HLOP(solver="covariance"),
    "update": lambda: HLOP(projection="update"),
    "gpm": GPM,
    "owm": OWM,
    "ewc": lambda: EWC(strength=10.0),
    "refresh": lambda: Refresh("fine-tuning", size=0.01, noise=0.1),
    "online": lambda: SI(strength=10.0),
    "joint": Joint,
    "lwf": LwF,
    "hypernetwork of few": Hypernetwork,
}
METHODS |= {f"{name} of few": make for name, make in METHODS.items() if " of " not in name}


def train(name: str, out: Path) -> None:
    """Three tasks in batches of 10: the last one has two samples, one for each process.

    In batches of 41 the last one has a single sample, and a process none.
    """
    torch.manual_seed(5 + distributed.rank())  # different weights, which the start makes equal
    data = tuple(p and dataclasses.replace(p, x=p.x.double()) for p in parts())
    stream = split_by_class("blobs", data, 2, "task")
    online = {"training": "ottt"} if name.startswith("online") else {}
    kind = "dense" if online else "recurrent"
    learner = Learner(body(kind), dense_head(10), stream, **online).double()
    recipe = task_recipe(epochs=2, batch_size=41 if "of few" in name else 10, lr=0.2)
    trainer = ContinualTrainer(learner, METHODS[name](), recipe)
    torch.manual_seed(3 + distributed.rank())  # what the processes draw is made equal, too
    trainer.run()
    tensors = checkpoint.prefixed("net", learner.state_dict())
    tensors |= checkpoint.prefixed("method", trainer.method.tensors())
    checkpoint.save(out / f"{name}-{distributed.rank()}-of-{distributed.size()}", tensors, {})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("processes")
    launch = (
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
    )
    done = subprocess.run(
        [*launch, str(Path(__file__).resolve()), str(out)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return out


@pytest.mark.parametrize("name", METHODS)
def test_two_processes_learn_as_one(name, folder, tmp_path):
    train(name, tmp_path)
    alone, _ = checkpoint.load(tmp_path / f"{name}-0-of-1")
    for rank in (0, 1):
        found, _ = checkpoint.load(folder / f"{name}-{rank}-of-2")
        assert found.keys() == alone.keys()
        for key, tensor in found.items():
            if "momentum" not in key and ".rows" not in key:
                torch.testing.assert_close(tensor, alone[key], rtol=0, atol=1e-8, msg=key)


def gradients(out: Path) -> None:
    """Three parameters: all processes, the last one, and none have found a gradient of them."""
    rank = distributed.rank()
    parameters = [torch.nn.Parameter(torch.zeros(2)) for _ in range(3)]
    parameters[0].grad = torch.ones(2) * (1 + rank)
    if rank == 1:
        parameters[1].grad = torch.tensor([5.0, 7.0])
    distributed.sum_gradients(parameters)
    found = [None if p.grad is None else p.grad.tolist() for p in parameters]
    (out / f"gradients-{rank}").write_text(repr(found))


@pytest.mark.parametrize("rank", [0, 1])
def test_a_gradient_that_one_process_has_found_is_that_of_all(rank, folder):
    assert (folder / f"gradients-{rank}").read_text() == repr([[3.0, 3.0], [5.0, 7.0], None])


def test_a_buffer_is_refused_in_several_processes(monkeypatch):
    monkeypatch.setattr(distributed, "size", lambda: 2)
    learner = Learner(body(), dense_head(10), split_by_class("blobs", parts(), 2, "task"))
    with pytest.raises(ConfigError, match="not shared between the 2 processes"):
        Replay().attach(learner)


if __name__ == "__main__":
    distributed.start(torch.device("cpu"))
    for each in METHODS:
        train(each, Path(sys.argv[1]))
    gradients(Path(sys.argv[1]))
    distributed.barrier()  # nobody leaves while another still works
    distributed.stop()
