"""The folder of a run: what is in it and how it is read back."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from snnsim.errors import BackendError, CheckpointError, ConfigError
from snnsim.layer import Layer
from snnsim.training import checkpoint
from snnsim_experiments.build import build_network
from snnsim_experiments.config import Config

PACKAGES = ("snnsim", "torch", "numpy", "numba", "sympy", "h5py", "safetensors")


def write_json(path: Path, value: Any) -> None:
    """Write JSON so that the file is never half there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(json.dumps(value, indent=2) + "\n")
    os.replace(temporary, path)


def read_json(path: Path) -> Any:
    """Read JSON; a :class:`CheckpointError` says what is wrong."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise CheckpointError(f"{path} does not exist; is {path.parent} a run folder?") from None
    except json.JSONDecodeError as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error


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
    """``runs/<data set>/<time>-seed<seed>``."""
    time = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    return Path("runs") / config.dataset / f"{time}-seed{config.seed}"


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
        left = [p.name for p in folder.iterdir()] if folder.exists() else []
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
        return Config(**facts["config"])
    except (KeyError, TypeError) as error:
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


def load_network(folder: Path, name: str = "best") -> tuple[Layer, Config, dict[str, Any]]:
    """The network of a run with the weights of a checkpoint, its configuration and run.json."""
    facts = read_json(folder / "run.json")
    config = _config(folder, facts)
    net = build_network(config, facts["channels"], len(facts["classes"]), facts["dt"])
    path = folder / f"{name}.safetensors"
    tensors, _ = checkpoint.load(path)
    checkpoint.load_weights(net, checkpoint.without_prefix("net", tensors), path)
    return net.eval(), config, facts
