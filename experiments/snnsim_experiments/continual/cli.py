"""``snnsim continual run | compare | list``."""

from typing import Annotated, Any

import typer

from snnsim_experiments import options

app = typer.Typer(
    help="Continual learning: one task after the other, without forgetting.\n\n"
    "Start with: snnsim continual run --stream spoken-digits --method hlop",
    no_args_is_help=True,
)

Stream = Annotated[str, typer.Option(help="Tasks; see: snnsim continual list.")]
Training = Annotated[
    str | None, typer.Option(help="bptt, dsr or ottt, in place of that of the configuration.")
]
Config = Annotated[
    str | None, typer.Option(help="TOML file, or a name from: snnsim continual list.")
]


@app.command()
def run(
    stream: Stream,
    method: Annotated[str, typer.Option(help="Method; see: snnsim continual list.")],
    training: Training = None,
    config: Config = None,
    set_: options.Set = None,
    keep_weights: Annotated[
        bool, typer.Option("--keep-weights", help="Keep the weights after every task.")
    ] = False,
    seeds: options.Seeds = "0",
    root: options.Root = None,
    out: options.Run = None,
    device: options.Device = "cpu",
    resume: options.Resume = False,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
) -> None:
    """Train a network on one task after the other and test it on all of them.

    The run folder gets summary.json (acc, bwt, fwt, forgetting in percent, the
    matrix of accuracies, memory, seconds per task; means over seeds), plots, and
    a folder per seed. An interrupted run continues with --resume. With --keep-weights
    the folder of a seed also has the weights after every task (weights/task1.safetensors,
    ...), which snnsim analyse needs.

    Examples:

        snnsim continual run --stream spoken-digits --method hlop --seeds 0,1,2

        snnsim continual run --stream pmnist --method hlop --training bptt --root MNIST

        snnsim continual run --stream split-fsdd --method ewc --set stream.scenario=class
    """
    from snnsim_experiments import resolve
    from snnsim_experiments import run as run_experiment
    from snnsim_experiments.lists import seeds_of

    place = options.place_of(root, out, device, resume, quiet)
    changes = _changes(set_, training)
    changes += [("training.keep_weights", True)] if keep_weights else []
    chosen = resolve(stream, method=method, config=config, changes=changes)
    summary = run_experiment(chosen, place, seeds_of(seeds))
    if summary:  # which only the first process has
        options.answer(summary, as_json, print_run)


def _changes(given: list[str] | None, rule: str | None) -> list[Any]:
    return [*(given or ()), *([] if rule is None else [("network.learning", rule)])]


@app.command()
def compare(
    stream: Stream,
    methods: Annotated[str, typer.Option(help="Methods, such as fine-tuning,ewc,hlop.")],
    training: Training = None,
    config: Config = None,
    set_: options.Set = None,
    seeds: options.Seeds = "0",
    root: options.Root = None,
    out: options.Runs = None,
    device: options.Device = "cpu",
    resume: options.Resume = False,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
) -> None:
    """Run several methods on a stream and print them side by side.

    A method that cannot work with the stream is reported, and the others go on. So they
    do when one diverges, but then the exit code is 1. An option of a method can be set
    with --set if all methods have it. An interrupted comparison continues with --resume.
    """
    from snnsim_experiments import Choice
    from snnsim_experiments import compare as compare_experiments
    from snnsim_experiments.candidates import methods_on
    from snnsim_experiments.lists import methods_of, seeds_of

    folder = options.run_folder_of(out, resume, "continual", stream, name="compare")
    choice = Choice(stream, config=config, changes=_changes(set_, training))
    chosen = methods_on(choice, methods_of(methods))
    place = options.place_of(root, folder, device, resume, quiet)
    rows = compare_experiments(chosen, seeds_of(seeds), place)
    options.answer(rows, as_json, print_rows)
    if not as_json:
        options.print_line(f"Written to {folder}")
    if any("failed" in row for row in rows) or not any("acc" in row for row in rows):
        raise typer.Exit(1)


@app.command(name="list")
def list_command(as_json: options.Json = False) -> None:
    """List streams, methods and configurations."""
    from snnsim.continual import methods
    from snnsim_experiments.continual.streams import names
    from snnsim_experiments.shipped import config_names

    found = {
        "streams": dict.fromkeys(names(), ""),
        "methods": {name: options.first_line(methods.get(name)) for name in methods.names()},
        "configurations": dict.fromkeys(config_names("", stream=True), ""),
    }
    options.answer(found, as_json, _print_list)


def _print_list(found: dict[str, dict[str, str]]) -> None:
    for title, entries in found.items():
        options.print_line(title, style="bold")
        options.print_table((f"  {name}", text) for name, text in entries.items())


def print_run(summary: dict[str, Any]) -> None:
    """Print the results of a run on a stream, and its folder."""
    print_rows([summary])
    options.print_line(f"Run in {summary['out']}")


def print_rows(rows: list[dict[str, Any]]) -> None:
    """Print a table of what methods achieved on a stream, and why others have no result."""
    options.print_table(
        (_cells(row) for row in rows if "acc" in row),
        "method", "ACC %", "BWT %", "FWT %", "forgetting %", "memory MB", "s per task",
    )  # fmt: skip
    options.print_without_result(rows)


def _cells(row: dict[str, Any]) -> list[str]:
    measures = []
    for key in ("acc", "bwt", "fwt", "forgetting"):
        spread = row["std"][key] if len(row["seeds"]) > 1 else None
        measures.append("-" if row[key] is None else options.with_spread(row[key], spread, 2))
    seconds = sum(row["seconds_per_task"]) / len(row["seconds_per_task"])
    memory = f"{row['memory_bytes'] / 1e6:.2f}"
    return [row.get("name", row["method"]), *measures, memory, f"{seconds:.1f}"]
