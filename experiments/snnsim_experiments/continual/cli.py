"""``snnsim continual run | compare | list``."""

import json
from typing import Annotated, Any

import typer
from rich.table import Table

from snnsim_experiments.options import (
    Device,
    Json,
    Quiet,
    Resume,
    Root,
    Run,
    Runs,
    Seeds,
    Set,
    check_resume,
    first_line,
    messages,
    output,
    run_folder_of,
)

app = typer.Typer(
    help="Continual learning: one task after the other, without forgetting.\n\n"
    "Start with: snnsim continual run --stream spoken-digits --method hlop",
    no_args_is_help=True,
)

Stream = Annotated[str, typer.Option(help="Tasks; see: snnsim continual list.")]
Training = Annotated[
    str | None, typer.Option(help="bptt, dsr or ottt; default: the configuration's.")
]
Config = Annotated[str | None, typer.Option(help="TOML file, or one that comes along.")]


@app.command()
def run(
    stream: Stream,
    method: Annotated[str, typer.Option(help="Method; see: snnsim continual list.")],
    training: Training = None,
    config: Config = None,
    set_: Set = None,
    seeds: Seeds = "0",
    root: Root = None,
    out: Run = None,
    device: Device = "cpu",
    resume: Resume = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Train a network on one task after the other and test it on all of them.

    The run folder gets summary.json (acc, bwt, fwt, forgetting in percent, the
    matrix of accuracies, memory, seconds per task; means over seeds), plots, and
    a folder per seed. An interrupted run goes on with --resume.

    Examples:

        snnsim continual run --stream spoken-digits --method hlop --seeds 0,1,2

        snnsim continual run --stream pmnist --method hlop --training bptt --root MNIST

        snnsim continual run --stream split-fsdd --method ewc --set stream.scenario=class
    """
    from snnsim_experiments import Place, resolve
    from snnsim_experiments import run as run_experiment
    from snnsim_experiments.lists import seeds_of

    check_resume(out, resume)
    changes = [*(set_ or ()), *_learning(training)]
    chosen = resolve(stream, method=method, config=config, changes=changes)
    place = Place(root, out, device, resume, quiet, messages)
    summary = run_experiment(chosen, place, seeds_of(seeds))
    if summary and as_json:
        print(json.dumps(summary))  # noqa: T201
    elif summary:
        print_rows([summary])
        output.print(f"Run in {summary['out']}", markup=False, highlight=False)


def _learning(rule: str | None) -> list[tuple[str, str]]:
    return [] if rule is None else [("network.learning", rule)]


@app.command()
def compare(
    stream: Stream,
    methods: Annotated[str, typer.Option(help="Methods, such as fine-tuning,ewc,hlop.")],
    training: Training = None,
    config: Config = None,
    set_: Set = None,
    seeds: Seeds = "0",
    root: Root = None,
    out: Runs = None,
    device: Device = "cpu",
    resume: Resume = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Run several methods on a stream and print them side by side.

    What a method cannot do is said, and the others go on; so they do when one
    diverges, but the exit code is then 1. --set of a method's option needs methods that
    all have it. An interrupted comparison goes on with --resume.
    """
    from snnsim_experiments import Choice, Place
    from snnsim_experiments import compare as compare_experiments
    from snnsim_experiments.candidates import methods_on
    from snnsim_experiments.lists import methods_of, seeds_of

    folder = run_folder_of(out, resume, "continual", stream, name="compare")
    changes = [*(set_ or ()), *_learning(training)]
    chosen = methods_on(Choice(stream, config=config, changes=changes), methods_of(methods))
    place = Place(root, folder, device, resume, quiet, messages)
    rows = compare_experiments(chosen, seeds_of(seeds), place)
    if as_json:
        print(json.dumps(rows))  # noqa: T201
    else:
        print_rows(rows)
        output.print(f"Written to {folder}", markup=False, highlight=False)
    if any("failed" in row for row in rows) or not any("acc" in row for row in rows):
        raise typer.Exit(1)


@app.command(name="list")
def list_command(as_json: Json = False) -> None:
    """Streams, methods and configurations."""
    from snnsim.continual import methods
    from snnsim_experiments.continual.streams import names
    from snnsim_experiments.shipped import config_names

    found = {
        "streams": dict.fromkeys(names(), ""),
        "methods": {name: first_line(methods.get(name)) for name in methods.names()},
        "configurations": dict.fromkeys(config_names("", stream=True), ""),
    }
    if as_json:
        print(json.dumps(found))  # noqa: T201
        return
    for title, entries in found.items():
        output.print(title, style="bold")
        table = Table(show_header=False, box=None, pad_edge=False)
        for name, text in entries.items():
            table.add_row(f"  {name}", text)
        output.print(table)


def print_rows(rows: list[dict[str, Any]]) -> None:
    """A table of what methods gave on a stream, and why others gave nothing."""
    table = Table(
        "method", "ACC %", "BWT %", "FWT %", "forgetting %", "memory MB", "s per task",
        box=None, pad_edge=False,
    )  # fmt: skip
    for row in rows:
        if "acc" not in row:
            continue
        cells = [_with_spread(row, key) for key in ("acc", "bwt", "fwt", "forgetting")]
        seconds = sum(row["seconds_per_task"]) / len(row["seconds_per_task"])
        memory = f"{row['memory_bytes'] / 1e6:.2f}"
        table.add_row(row.get("name", row["method"]), *cells, memory, f"{seconds:.1f}")
    output.print(table)
    for row in rows:
        if "acc" not in row:
            why = row.get("refused") or row["failed"]
            output.print(f"{row['name']}: {why}", markup=False, highlight=False)


def _with_spread(row: dict[str, Any], key: str) -> str:
    if row[key] is None:
        return "-"
    spread = f" ± {row['std'][key]:.2f}" if len(row["seeds"]) > 1 else ""
    return f"{row[key]:.2f}{spread}"
