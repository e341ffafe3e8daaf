"""``snnsim sweep``."""

# no postponed annotations: typer reads those of commands
from pathlib import Path
from typing import Annotated, Any

import typer

from snnsim.errors import ConfigError
from snnsim_experiments import options


def sweep(
    what: Annotated[
        str, typer.Argument(help="TOML file of a sweep; or work, or show, and the folder of one.")
    ],
    folder: Annotated[
        Path | None,
        typer.Argument(help="Folder of a sweep, for work and show.", show_default=False),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the sweep to write.")] = None,
    jobs: options.Jobs = 1,
    cluster: Annotated[
        str,
        typer.Option(help="slurm: submit workers as jobs; local: the same jobs on this machine."),
    ] = "",
    workers: Annotated[
        int, typer.Option(min=1, max=1000, help="Of --cluster: jobs, each with one worker.")
    ] = 1,
    time: Annotated[
        str, typer.Option(help="Of --cluster: time limit of a job, which then goes on by itself.")
    ] = "24:00:00",
    partition: Annotated[str, typer.Option(help="Of --cluster slurm: partition.")] = "",
    slurm: Annotated[
        list[str] | None,
        typer.Option(help="Of --cluster slurm: option of sbatch, key=value. Repeatable."),
    ] = None,
    device: options.Device = "cpu",
    quiet: options.Quiet = False,
    as_json: options.Json = False,
) -> None:
    """Train every combination of some values, several at a time, and tabulate the results.

    The TOML file names data and what all trainings have in common, and lists values in [grid]:

        data = "spoken-digits"

        epochs = 20

        [set]
        "network.hidden" = [64]

        [grid]
        config = ["default", "none"]
        seed = [0, 1, 2]

    With a table [search] values are drawn instead, and learnt from (optuna):

        [search]

        trials = 40

        objective = "validation_accuracy"

        prune = "median"

        "training.lr" = {low = 1e-4, high = 1e-1, log = true}

        "network.hidden" = [[32], [64]]

    Each combination or trial is a cell, with a run folder of its own in the folder of the sweep.
    The same command again, or snnsim sweep work FOLDER here or on another machine that sees the
    folder, goes on with the cells that are left; a cell whose worker died is gone on with from its
    last epoch.
    The exit code is 1 if a cell cannot be trained.

    With --cluster slurm an array of jobs is submitted that each do what snnsim sweep work does, and
    go back into the queue when their time is over; the command returns at once.

    Examples:

        snnsim sweep grid.toml --jobs 2 --out runs/grid

        snnsim sweep work runs/grid

        snnsim sweep show runs/grid

        snnsim sweep grid.toml --cluster slurm --workers 8 --partition short --slurm account=lab
    """
    where = _cluster(cluster, workers, time, partition, slurm, jobs)
    place = _place(what, folder, out)
    if where is not None and what == "show":
        raise ConfigError("--cluster is for work on a sweep; remove it, or show")
    try:
        if where is not None:
            if _submitted(place, where, device, quiet, as_json):
                return
        elif what != "show":
            _work(place, device, jobs, alone=what == "work" and jobs == 1, quiet=quiet)
    except KeyboardInterrupt:
        options.messages.print(
            f"interrupted; go on with: snnsim sweep work {place}",
            markup=False, highlight=False, soft_wrap=True,
        )  # fmt: skip
        raise SystemExit(130) from None
    if not (what == "work" and quiet) and _answer(place, as_json):
        raise typer.Exit(1)


def _place(what: str, folder: Path | None, out: Path | None) -> Path:
    """The folder of the sweep that is named, or begun."""
    if what in ("work", "show") and not Path(what).is_file():
        if folder is None:
            raise ConfigError(f"name the folder of a sweep: snnsim sweep {what} FOLDER")
        if out is not None:
            raise ConfigError(
                f"--out is for a new sweep; snnsim sweep {what} goes on with {folder}"
            )
        return folder
    if folder is not None:
        raise ConfigError(f"{folder} is one argument too many after the file of a sweep")
    return _begun(Path(what), out)


def _cluster(
    kind: str, workers: int, time: str, partition: str, slurm: list[str] | None, jobs: int
) -> Any:
    """The cluster that options describe, if any do."""
    if not kind:
        if workers != 1 or partition or slurm:
            raise ConfigError(
                "--workers, --partition and --slurm are for --cluster; name it, or use --jobs for "
                "workers on this machine"
            )
        return None
    if jobs != 1:
        raise ConfigError(f"--jobs is {jobs}, but a job of --cluster is one worker; use --workers")
    from snnsim_experiments.sweep.cluster import Cluster, minutes_of, options_of

    return Cluster(kind, workers, minutes_of(time), partition, options_of(slurm or []))


def _submitted(place: Path, cluster: Any, device: str, quiet: bool, as_json: bool) -> bool:
    """Let a cluster work; whether it does so by itself from now on."""
    from snnsim_experiments.sweep.jobs import run_on_cluster

    jobs = run_on_cluster(place, cluster, device, options.messages, quiet)
    if cluster.kind == "local":
        return False

    def show(_: Any) -> None:
        options.print_line(f"submitted: {', '.join(jobs)}; logs are in {place / 'logs'}")
        options.print_line(f"see how far they are with: snnsim sweep show {place}")

    options.answer({"folder": str(place), "jobs": jobs}, as_json, show)
    return True


def _begun(file: Path, out: Path | None) -> Path:
    from snnsim_experiments.run_folder import unique
    from snnsim_experiments.sweep.plan import read_plan, store

    place = out or Path("runs", unique(f"sweep-{file.stem}"))
    store(read_plan(file), place)
    options.messages.print(f"sweep in {place}", markup=False, highlight=False, soft_wrap=True)
    return place


def _work(place: Path, device: str, jobs: int, alone: bool, quiet: bool) -> None:
    """Work on a sweep, in this process if it is alone, or in several."""
    if alone:
        from snnsim_experiments.sweep.work import work

        work(place, device)
        return
    from snnsim_experiments.sweep.jobs import run_jobs

    run_jobs(place, jobs, device, options.messages, quiet)


def _answer(place: Path, as_json: bool) -> int:
    """Show and write the results; the number of cells that failed."""
    from snnsim_experiments.run_folder import write_json
    from snnsim_experiments.sweep.jobs import progress
    from snnsim_experiments.sweep.plan import stored
    from snnsim_experiments.sweep.table import rows, shown

    plan = stored(place)
    found = rows(place, plan)
    if not plan.is_made:  # another command has its own results
        write_json(place / "results.json", found)

    def show(found: Any) -> None:
        titles, lines = shown(found, plan)
        options.print_table(lines, *titles)
        options.output.print(progress(place, plan))

    options.answer(found, as_json, show)
    return sum(row["failed"] for row in found)
