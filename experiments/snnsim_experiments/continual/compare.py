"""Several methods on one stream."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console

from snnsim.errors import ConfigError, NonFiniteError
from snnsim.training import distributed
from snnsim_experiments import run_folder
from snnsim_experiments.continual.config import ContinualConfig
from snnsim_experiments.continual.run import Refused, run


def compare(
    configs: list[ContinualConfig],
    seeds: list[int],
    root: str | None,
    out: Path,
    *,
    device: str = "cpu",
    resume: bool = False,
    quiet: bool = False,
    console: Console | None = None,
) -> list[dict[str, Any]]:
    """Run each configuration into ``out/<method>``; returns the rows of ``out/comparison.json``.

    A row is a run's summary, or says why the method was ``"refused"`` or has ``"failed"``.
    """
    console = console or Console(stderr=True)
    distributed.start(run_folder.device(device))
    out = Path(distributed.agree(str(out)))
    with run_folder.claim(out):
        return _compare(configs, seeds, root, out, device, resume, quiet, console)


def _compare(configs, seeds, root, out, device, resume, quiet, console) -> list[dict[str, Any]]:
    table, first = out / "comparison.json", distributed.rank() == 0
    _check(out, resume)
    if resume and not table.exists() and first:
        console.print(f"there is no comparison in {out}; starting one", markup=False)
    distributed.barrier()
    rows = {row["method"]: row for row in run_folder.read_json(table)} if table.exists() else {}
    _check_seeds(rows, {config.method_name for config in configs}, seeds, out)
    for config in configs:
        name = config.method_name
        if not quiet:
            console.print(name, style="bold")
        folder = out / name
        options: dict[str, Any] = {"device": device, "quiet": quiet, "console": console}
        try:
            others = run_folder.runs_below(out)
            row = run(config, seeds, root, folder, resume=folder.exists(), beside=others, **options)
        except Refused as error:
            row = {"method": name, "refused": str(error)}
        except NonFiniteError as error:
            row = {"method": name, "failed": str(error)}
        if row and first:
            rows[name] = row
            run_folder.write_json(table, list(rows.values()))
    return list(rows.values())


def _check(out: Path, resume: bool) -> None:
    """Refuse a folder with anything but runs and their table in it."""
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{out} is a file; choose another --out")
    found = run_folder.ours_alone(out)
    if found and not resume:
        raise ConfigError(f"{out} is not empty; go on with --resume or choose another --out")
    if any(p.name != "comparison.json" and not (p / "run.json").exists() for p in found):
        raise ConfigError(f"{out} is not empty and not a comparison; choose another --out")


def _check_seeds(
    rows: dict[str, dict[str, Any]], names: set[str], seeds: list[int], out: Path
) -> None:
    """Refuse a table of which some rows would have other seeds than the rest."""
    for name, row in rows.items():
        if name not in names and row.get("seeds", seeds) != seeds:
            raise ConfigError(
                f"{out} holds {name} with the seeds {row['seeds']} but these runs have {seeds}; "
                f"name {name} too, give the same --seeds, or choose another --out"
            )


def methods_of(text: str) -> list[str]:
    """Names from ``"fine-tuning,hlop"``.

    >>> methods_of("ewc, si")
    ['ewc', 'si']
    """
    names = [name.strip() for name in text.split(",")]
    if len(set(names)) != len(names) or not all(names):
        raise ConfigError(
            f"--methods is {text!r} but must be different names such as fine-tuning,hlop"
        )
    return names
