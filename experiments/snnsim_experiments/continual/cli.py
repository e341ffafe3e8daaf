"""``snnsim continual run | compare | repeat | list``."""

from typing import Annotated, Any

import snnsim_datasets
import typer

from snnsim_experiments import options

app = typer.Typer(
    help="Continual learning: one task after the other, without forgetting.\n\n"
    "Start with: snnsim continual run --stream spoken-digits --method hlop",
    no_args_is_help=True,
)

Stream = Annotated[
    str,
    typer.Option(help="Tasks; see: snnsim continual list. Or split-PLACE, with data of your own."),
]
Training = Annotated[
    str | None, typer.Option(help="bptt, dsr or ottt, in place of that of the configuration.")
]
Config = Annotated[
    str | None, typer.Option(help="TOML file, or a name from: snnsim continual list.")
]

KeepWeights = Annotated[
    bool, typer.Option("--keep-weights", help="Keep the weights after every task.")
]


@app.command()
def run(
    stream: Stream,
    method: Annotated[str, typer.Option(help="Method; see: snnsim continual list.")],
    training: Training = None,
    config: Config = None,
    set_: options.Set = None,
    keep_weights: KeepWeights = False,
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

        snnsim continual run --stream split-my_sounds --method replay
    """
    from snnsim_experiments import resolve
    from snnsim_experiments import run as run_experiment
    from snnsim_experiments.continual.streams import placed
    from snnsim_experiments.lists import seeds_of

    stream, root, needed = placed(stream, root)
    place = options.place_of(root, out, device, resume, quiet)
    changes = [*needed, *_changes(set_, training, keep_weights)]
    chosen = resolve(stream, method=method, config=config, changes=changes)
    summary = run_experiment(chosen, place, seeds_of(seeds))
    if summary:  # which only the first process has
        options.answer(summary, as_json, print_run)


def _changes(given: list[str] | None, rule: str | None, keep_weights: bool) -> list[Any]:
    """Settings that differ, those that have an option of their own included."""
    own = [] if rule is None else [("network.learning", rule)]
    return [*(given or ()), *own, *([("training.keep_weights", True)] if keep_weights else [])]


@app.command()
def compare(
    stream: Stream,
    methods: Annotated[str, typer.Option(help="Methods, such as fine-tuning,ewc,hlop.")],
    training: Training = None,
    config: Config = None,
    set_: options.Set = None,
    keep_weights: KeepWeights = False,
    seeds: options.Seeds = "0",
    root: options.Root = None,
    out: options.Runs = None,
    jobs: options.Jobs = 1,
    device: options.Device = "cpu",
    resume: options.Resume = False,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
) -> None:
    """Run several methods on a stream and print them side by side.

    A method that cannot work with the stream is reported, and the others go on. So they
    do when one diverges, but then the exit code is 1. An option of a method can be set
    with --set if all methods have it. An interrupted comparison continues with --resume.
    With --keep-weights every run has the weights after every task, as those of
    snnsim continual run have. With --jobs several methods are trained at a time; the
    results are the same, bit for bit.
    """
    from snnsim_experiments import Choice
    from snnsim_experiments import compare as compare_experiments
    from snnsim_experiments.candidates import methods_on
    from snnsim_experiments.continual.streams import placed
    from snnsim_experiments.lists import methods_of, seeds_of

    stream, root, needed = placed(stream, root)
    folder = options.run_folder_of(out, resume, "continual", stream, name="compare")
    changes = [*needed, *_changes(set_, training, keep_weights)]
    choice = Choice(stream, config=config, changes=changes)
    chosen = methods_on(choice, methods_of(methods))
    place = options.place_of(root, folder, device, resume, quiet)
    rows = compare_experiments(chosen, seeds_of(seeds), place, jobs=jobs)
    options.answer(rows, as_json, print_rows)
    if not as_json:
        options.print_line(f"Written to {folder}")
    if any("failed" in row for row in rows) or not any("acc" in row for row in rows):
        raise typer.Exit(1)


@app.command()
def repeat(
    sizes: Annotated[
        str, typer.Option(help="Numbers of repeated samples; 0 repeats none more than others.")
    ] = "0,8,32,128",
    fraction: Annotated[
        float,
        typer.Option(
            "--fraction", "--share", min=0, max=1, help="Fraction of an epoch that they fill."
        ),
    ] = 0.5,
    data: Annotated[
        str, typer.Option(help="Data set, or a place as for snnsim train.")
    ] = "spoken-digits",
    model: Annotated[
        str, typer.Option(help="spiking, or a model of: snnsim baselines list.")
    ] = "spiking",
    width: Annotated[
        int | None,
        typer.Option(min=1, max=10**6, help="Width of all layers; 64 for a baseline."),
    ] = None,
    config: Annotated[
        str | None, typer.Option(help="TOML file of what differs from the defaults.")
    ] = None,
    set_: options.Set = None,
    seeds: options.Seeds = "0",
    epochs: options.Epochs = None,
    root: options.Root = None,
    out: options.Runs = None,
    jobs: options.Jobs = 1,
    device: options.Device = "cpu",
    resume: options.Resume = False,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
) -> None:
    """Find the size of a replay buffer that does no harm: train with repeated subsets.

    A replay buffer is a small set of samples that are shown again and again. For each size
    the same network is trained from the same weights for the same number of steps: a
    fraction of every epoch is from a random subset of that size, and all other samples take
    turns in the rest. If the loss has its maximum at a middle size, choose a smaller or a
    larger one: there the network learns samples by heart at the expense of all others.

    The table has the size, how often each sample of the subset is shown, the loss on
    validation data (choose by this one) and on test data after the last epoch, the test
    accuracy, and how much larger the test loss is than without repeats; with several seeds
    each with its standard deviation. A size for which the data are too few is reported, and
    the others go on; so they do if one diverges, but then the exit code is 1. The folder gets
    repeat.json, repeat.png and a run folder per size and seed. An interrupted sweep continues
    with --resume, and so does one with further sizes. With --jobs several runs are trained at a
    time; the results are the same, bit for bit.

    Examples:

        snnsim continual repeat --sizes 0,8,32,128 --epochs 20

        snnsim continual repeat --data shd --root DATA --sizes 0,64,256,1024 --seeds 0,1,2

        snnsim continual repeat --data fsdd --root DATA --model gru --fraction 0.2
    """
    from snnsim_experiments import resolve
    from snnsim_experiments.budget import with_width
    from snnsim_experiments.continual.repeat import sweep, worst
    from snnsim_experiments.experiment import SPIKING
    from snnsim_experiments.lists import seeds_of, sizes_of

    found = snnsim_datasets.recognise(data, root)
    folder = options.run_folder_of(out, resume, "continual", found.name, name="repeat")
    place = options.place_of(found.root, folder, device, resume, quiet)
    changes = options.with_data(found, set_)
    chosen = resolve(found.name, model, config=config, changes=changes, epochs=epochs)
    if width is not None or model != SPIKING:
        chosen = with_width(chosen, width or 64)
    rows = sweep(chosen, sizes_of(sizes), fraction, seeds_of(seeds), place, jobs=jobs)
    options.answer(rows, as_json, _print_sizes)
    if not as_json:
        options.print_line(worst(rows))
        options.print_line(f"Written to {folder}")
    if any("failed" in row for row in rows) or not any("test_loss" in row for row in rows):
        raise typer.Exit(1)


def _print_sizes(rows: list[dict[str, Any]]) -> None:
    score = "test NRMSE" if any("test_nrmse" in row for row in rows) else "test %"
    options.print_table(
        (_cells_of_size(row) for row in rows if "test_loss" in row),
        "repeated", "times", "valid loss", "test loss", score, "test loss over none",
    )  # fmt: skip
    options.print_without_result([row | {"name": str(row["size"])} for row in rows])


def _cells_of_size(row: dict[str, Any]) -> list[str]:
    def shown(key: str, scale: float = 1, digits: int = 3) -> str:
        if key not in row:
            return "-"
        spread = row["std"][key]
        spread = None if spread is None else scale * spread
        return options.with_spread(scale * row[key], spread, digits)

    times = row["others"] if row["repeats"] is None else row["repeats"]
    losses = (shown("validation_loss"), shown("test_loss"))
    of_forecasts = "test_nrmse" in row
    test = shown("test_nrmse") if of_forecasts else shown("test_accuracy", 100, 1)
    return [str(row["size"]), f"{times:.0f}", *losses, test, shown("over_none")]


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
