"""Workers of a sweep as jobs of a cluster: an array of jobs that each work until nothing is left.

A job that comes to its time limit is put back into the queue by itself, and goes on with the cells
that are left then. submitit writes the files for SLURM and catches the signal before the limit.
"""

from __future__ import annotations

import importlib.util
import math
import os
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from snnsim.errors import ConfigError

LOGS = "logs"
KINDS = ("slurm", "local")
OFTEN = 10**6  # times that a job may be put back into the queue
# what sbatch is told by other options, or by this program
OURS = {
    "partition": "--partition",
    "time": "--time",
    "array": "--workers",
    "nodes": "--workers",
    "ntasks": "--workers",
    "ntasks-per-node": "--workers",
    "job-name": "nothing; it is the name of the folder",
    "output": "nothing; the logs are in the folder of the sweep",
    "error": "nothing; the logs are in the folder of the sweep",
    "signal": "nothing; it is what puts a job back into the queue",
}
TIME = re.compile(r"(?:(?P<days>\d+)-)?(?P<fields>\d+(?::\d+){0,2})")


@dataclass(frozen=True)
class Worker:
    """A worker works on a sweep as a job of a cluster.

    Args:
        folder: the folder of the sweep.
        device: ``"cpu"`` or ``"cuda"``.
        threads: the number of threads of each training.
    """

    folder: str
    device: str
    threads: int

    def __call__(self) -> int:
        """Work until no cell is left; return how many this worker has finished."""
        os.environ["OMP_NUM_THREADS"] = str(self.threads)  # before torch is imported
        from snnsim_experiments.sweep.work import work

        return work(Path(self.folder), self.device)

    def checkpoint(self) -> Any:
        """Return what goes on after the time limit; everything else is in the folder."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


@dataclass(frozen=True)
class Cluster:
    """A cluster says where the workers of a sweep run.

    Attributes:
        kind: ``"slurm"``, or ``"local"``: the same jobs as processes of this machine.
        workers: the number of jobs, each with one worker.
        minutes: the time limit of a job; whatever is left then is gone on with by the same job.
        partition: the partition of SLURM; that of the cluster if empty.
        options: further options of ``sbatch``; ``True`` for one without a value.
    """

    kind: str
    workers: int = 1
    minutes: int = 24 * 60
    partition: str = ""
    options: dict[str, str | bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ConfigError(f"--cluster is {self.kind!r} but must be one of {', '.join(KINDS)}")
        if importlib.util.find_spec("submitit") is None:
            raise ConfigError("--cluster needs submitit: pip install 'snnsim[cluster]'")
        if self.kind != "slurm" and (self.partition or self.options):
            raise ConfigError(
                f"--partition and --slurm are for --cluster slurm; remove them with {self.kind}"
            )
        missing = [name for name in ("sbatch", "srun") if shutil.which(name) is None]
        if self.kind == "slurm" and missing:
            raise ConfigError(
                f"there is no {' and no '.join(missing)} here; --cluster slurm works on a machine "
                "from which jobs are submitted. To work on this machine, use --jobs"
            )

    def submit(self, folder: Path, threads: int, device: str) -> list[Any]:
        """Submit the workers of a sweep, and return their jobs.

        Args:
            folder: the folder of the sweep, which gets the logs.
            threads: the number of threads of each training.
            device: ``"cpu"`` or ``"cuda"``, for which each job is given a GPU.

        Raises:
            ConfigError: if the cluster does not take them.
        """
        import submitit

        executor = submitit.AutoExecutor(
            folder.absolute() / LOGS, cluster=self.kind, slurm_max_num_timeout=OFTEN
        )
        executor.update_parameters(**self._parameters(folder, threads, device))
        worker = Worker(str(folder.absolute()), device, threads)
        try:
            with executor.batch():
                jobs = [executor.submit(worker) for _ in range(self.workers)]
        except RuntimeError as error:
            why = " ".join(str(error).split())
            raise ConfigError(f"the cluster did not take the jobs: {why[-500:]}") from error
        return jobs

    def _parameters(self, folder: Path, threads: int, device: str) -> dict[str, Any]:
        found: dict[str, Any] = {
            "name": folder.absolute().name,
            "timeout_min": self.minutes,
            "cpus_per_task": threads,
            "slurm_additional_parameters": {"requeue": True, **self.options},
        }
        if device == "cuda":
            found["gpus_per_node"] = 1
        if self.partition:
            found["slurm_partition"] = self.partition
        return found


def minutes_of(text: str) -> int:
    """Return the minutes of a time limit as SLURM writes it, rounded up.

    >>> [minutes_of(text) for text in ("90", "90:30", "4:00:00", "2-12", "1-0:30")]
    [90, 91, 240, 3600, 1470]
    """
    found = TIME.fullmatch(text)
    units: tuple[int, ...]
    days, fields = (found["days"], found["fields"].split(":")) if found else (None, ["0"])
    if days is not None:
        units = (24 * 60 * 60, 60 * 60, 60, 1)  # s; days-hours:minutes:seconds
        fields = [days, *fields]
    elif len(fields) == 3:
        units = (60 * 60, 60, 1)
    else:
        units = (60, 1)
    seconds = sum(unit * int(each) for unit, each in zip(units, fields, strict=False))
    total = math.ceil(seconds / 60)
    if total <= 0:
        raise ConfigError(
            f"--time is {text!r} but must be a time limit such as 90 (minutes), 4:00:00 or 2-12 "
            "(days-hours)"
        )
    return total


def options_of(given: list[str]) -> dict[str, str | bool]:
    """Return the options of ``sbatch`` that are given as ``key=value``, or ``key`` without one."""
    found: dict[str, str | bool] = {}
    for text in given:
        key, equals, value = text.partition("=")
        name = key.strip().lstrip("-").replace("_", "-")
        if not re.fullmatch(r"[a-z][a-z0-9-]*", name):
            raise ConfigError(f"--slurm is {text!r} but must be key=value, such as account=lab")
        if name in OURS:
            raise ConfigError(f"--slurm {name} is set by {OURS[name]}; remove it")
        if name in found:
            raise ConfigError(f"--slurm {name} is given twice")
        found[name] = value if equals else True
    return found
