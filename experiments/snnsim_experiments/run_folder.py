"""The folder of a run: what is in it and how it is read back."""

from __future__ import annotations

import json
import os
import platform
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from snnsim.errors import BackendError, CheckpointError, ConfigError
from snnsim.layer import Layer
from snnsim.training import checkpoint, distributed
from snnsim_experiments.build import build_network
from snnsim_experiments.config import Config, check_data

PACKAGES = ("snnsim", "torch", "numpy", "numba", "sympy", "h5py", "safetensors")


def write_json(path: Path, value: Any) -> None:
    """Write JSON so that the file is never half there."""
    checkpoint.write_text(path, json.dumps(value, indent=2) + "\n")


def read_json(path: Path) -> Any:
    """Read JSON; a :class:`CheckpointError` says what is wrong."""
    try:
        return json.loads(path.read_text(encoding="utf-8"), parse_constant=_not_a_number)
    except (FileNotFoundError, NotADirectoryError):
        raise CheckpointError(f"{path} does not exist; is {path.parent} a run folder?") from None
    except (ValueError, RecursionError) as error:  # not UTF-8, and numbers of 5000 digits, as well
        raise CheckpointError(f"{path} is damaged: {error}") from error


def read_object(path: Path) -> dict[str, Any]:
    """A JSON object, such as a summary; a :class:`CheckpointError` for anything else."""
    found = read_json(path)
    if not isinstance(found, dict) or not found:
        raise CheckpointError(f"{path} is damaged: it holds no results")
    return found


def _not_a_number(name: str) -> None:
    raise ValueError(f"{name} is no number")


def unique(name: str) -> str:
    """``<time>-<name>-<six digits>``: no two runs have the same."""
    time = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    return f"{time}-{name}-{secrets.token_hex(3)}"


LOCK = "run.lock"


def ours_alone(folder: Path) -> list[Path]:
    """What is in a folder besides its lock and what a run that was killed had not finished."""
    if not folder.exists():
        return []
    return [p for p in folder.iterdir() if p.name != LOCK and p.suffix != ".tmp"]


@dataclass(frozen=True)
class Held:
    """A run folder held by its lock, which is ``None`` in all processes but the first."""

    folder: Path
    lock: int | None

    def still(self) -> bool:
        """Whether the folder that was locked is still the one of this name."""
        if self.lock is None:
            return True
        try:
            return os.fstat(self.lock).st_ino == (self.folder / LOCK).stat().st_ino
        except OSError:
            return False

    def check(self) -> None:
        """Raise before anything is written into what is not this run's any more."""
        if not self.still():
            raise CheckpointError(
                f"{self.folder} was removed or moved while this run was using it, so nothing more "
                "is written there"
            )


@contextmanager
def claim(folder: Path) -> Iterator[Held]:
    """Hold a run folder: no other run can write to it meanwhile, and a failed start leaves none.

    The lock is the operating system's and so ends with the process, however it ends.

    Raises:
        ConfigError: if another run holds it.
    """
    if distributed.rank() != 0:  # the first process holds it for all
        yield Held(folder, None)
        return
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file; choose another --out")
    made = _make(folder)
    handle = _lock(folder)
    held = Held(folder, handle)
    try:
        for left in folder.rglob("*.tmp"):
            left.unlink(missing_ok=True)
        yield held
    except BaseException:
        if held.still() and not (folder / "run.json").exists():
            (folder / "initial.safetensors").unlink(missing_ok=True)
        raise
    finally:
        if held.still():
            (folder / LOCK).unlink(missing_ok=True)
        os.close(handle)
        for place in made:  # empty ones go
            with suppress(OSError):
                place.rmdir()


def _make(folder: Path) -> list[Path]:
    """Make a folder and those above it; returns the new ones, the innermost first."""
    missing = [p for p in (folder, *folder.parents) if not p.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        lost = [p for p in (folder, *folder.parents) if p.is_symlink() and not p.exists()]
        why = f"{lost[0]} is a link to nothing" if lost else f"{folder} lies below a file"
        raise ConfigError(f"{why}; choose another --out") from None
    return missing


def _lock(folder: Path) -> int:
    import fcntl

    while True:
        handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            raise ConfigError(
                f"{folder} is taken: another run is using it; wait until it ends, or choose "
                "another --out"
            ) from None
        try:
            if os.fstat(handle).st_ino == (folder / LOCK).stat().st_ino:
                return handle
        except FileNotFoundError:
            pass
        os.close(handle)  # the run that held it has just ended and deleted it


def runs_below(folder: Path) -> list[Path]:
    """The run folders in a folder, itself included."""
    return sorted(path.parent for path in folder.rglob("run.json"))


def is_elsewhere(folder: Path, root: str | None) -> bool:
    """Whether a run's data were in another folder than is named now: then they may be others."""
    before = read_object(folder / "run.json").get("root")
    return root is not None and before != str(Path(root).absolute())


def check_same_data(folder: Path, now: dict[str, str]) -> None:
    """Raise :class:`ConfigError` if a run was started with other files than those of now."""
    before = read_object(folder / "run.json").get("data_checksums") or {}
    if not isinstance(before, dict):
        raise CheckpointError(f"{folder / 'run.json'} is damaged: its checksums are none")
    for name in before.keys() & now.keys():
        if before[name] != now[name]:
            raise ConfigError(
                f"{folder} was started with other data: {name} had the checksum {before[name]} and "
                f"now has {now[name]}; give the same --root, or choose another --out"
            )


def device(name: str) -> torch.device:
    """A device by name that is there."""
    if name == "meta":
        raise BackendError("device 'meta' holds no values; use cpu or cuda")
    try:
        return torch.zeros(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise BackendError(
            f"device {name!r} cannot be used here ({str(error).splitlines()[0]})"
        ) from error


def default_folder(config: Config) -> Path:
    """``runs/<data set>/<time>-<network>-seed<seed>-<six digits>``."""
    kind = config.network.get("model") or f"delays-{config.network.get('delays')}"
    return Path("runs") / config.dataset / unique(f"{kind}-seed{config.seed}")


def prepare(folder: Path, config: Config, resume: bool) -> Config:
    """Check that a run may be written to ``folder``; returns the configuration to run.

    A folder that already holds a run is refused unless ``resume``, and then only its own
    configuration is continued.
    """
    stored = folder / "run.json"
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file; choose another --out")
    if not stored.exists():
        # what a run that was killed as it started leaves is no obstacle
        left = [p.name for p in ours_alone(folder)]
        if any(not n.startswith(("initial.safetensors", "run.json")) for n in left):
            raise ConfigError(f"{folder} is not empty and not a run; choose another --out")
        return config
    if not resume:
        raise ConfigError(
            f"{folder} already holds a run; continue it with --resume or choose another --out"
        )
    before = stored_config(folder)
    if before != config:
        changed = [
            f"{section}.{key}"
            for section in ("data", "network", "training")
            for key in getattr(before, section).keys() | getattr(config, section).keys()
            if getattr(before, section).get(key) != getattr(config, section).get(key)
        ]
        changed += [
            n for n in ("dataset", "seed", "backend") if getattr(before, n) != getattr(config, n)
        ]
        raise ConfigError(
            f"{folder} was started with another configuration (differs in "
            f"{', '.join(sorted(changed))}); resume with the same options or choose another --out"
        )
    return before


def stored_config(folder: Path) -> Config:
    """The configuration of the run in ``folder``."""
    return _config(folder, read_json(folder / "run.json"))


def _config(folder: Path, facts: Any) -> Config:
    try:
        config = Config(**facts["config"])
        for section in ("data", "network", "training"):
            if not isinstance(getattr(config, section), dict):
                raise TypeError(f"{section} is not a section")
        config.recipe  # noqa: B018 - or it is none
        check_data(config.dataset, config.data)
        return config
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{folder / 'run.json'} is not that of a run ({error})") from error


def describe(config: Config, facts: dict[str, Any]) -> dict[str, Any]:
    """The content of ``run.json``."""
    return {
        "command": ["snnsim", *sys.argv[1:]],
        "config": asdict(config),
        "seed": config.seed,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in PACKAGES},
        },
        "commit": _commit(),
        "machine": {
            "system": platform.system(),
            "processor": platform.machine(),
            "threads": torch.get_num_threads(),
        },
        **facts,
    }


def _commit() -> str | None:
    """Commit of the source tree the program runs from, if it is one."""
    try:
        answer = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()


def _check_facts(folder: Path, facts: dict[str, Any]) -> None:
    """Raise unless run.json has what a network is built from."""
    classes = facts.get("classes")
    good = isinstance(classes, list) and classes and all(isinstance(c, str) for c in classes)
    for name in ("channels", "steps"):
        value = facts.get(name)
        good = good and type(value) is int and 0 < value < 2**31
    dt: Any = facts.get("dt")
    if not good or type(dt) not in (int, float) or not 0 < dt < 1e9:
        raise CheckpointError(
            f"{folder / 'run.json'} is damaged: channels, classes, dt or steps are missing or wrong"
        )


def load_network(folder: Path, name: str = "best") -> tuple[Layer, Config, dict[str, Any]]:
    """The network of a run with the weights of a checkpoint, its configuration and run.json."""
    facts = read_json(folder / "run.json")
    config = _config(folder, facts)
    _check_facts(folder, facts)
    try:
        net = build_network(config, facts["channels"], len(facts["classes"]), facts["dt"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"{folder / 'run.json'} has no network that can be built ({error!r})"
        ) from error
    path = folder / f"{name}.safetensors"
    tensors, _ = checkpoint.load(path)
    checkpoint.load_weights(net, checkpoint.without_prefix("net", tensors), path)
    return net.eval(), config, facts
