"""``snnsim baselines list | info | train | compare | check``."""

import inspect
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from snnsim.errors import ConfigError
from snnsim_experiments.options import (
    Device,
    Epochs,
    Json,
    Quiet,
    Resume,
    Root,
    Run,
    Runs,
    Seed,
    Seeds,
    Set,
    first_line,
    messages,
    output,
    print_summary,
    print_values,
    run_folder_of,
)

app = typer.Typer(
    help="Rate-coded baselines: the other sequence models, on the same spikes.\n\n"
    "Start with: snnsim baselines train --model gru --data spoken-digits",
    no_args_is_help=True,
)

Model = Annotated[str, typer.Option(help="Model; see: snnsim baselines list.")]
Data = Annotated[str | None, typer.Option(help="Data set; see: snnsim --help.")]
Stream = Annotated[
    str | None, typer.Option(help="Stream of tasks instead; see: snnsim continual list.")
]
Method = Annotated[
    str | None, typer.Option(help="Of continual learning, on a stream; fine-tuning unless given.")
]
Budget = Annotated[str, typer.Option(help="Largest size, such as 50k or 1M.")]
By = Annotated[str, typer.Option(help="What the budget counts: parameters, state or operations.")]
ConfigFile = Annotated[str | None, typer.Option("--config", help="TOML file of differences.")]


@app.command(name="list")
def list_command(as_json: Json = False) -> None:
    """All models: what they are, whether they are causal and stream, and their source."""
    from snnsim.baselines import get, names

    rows: list[dict[str, Any]] = [
        {
            "name": name,
            "about": first_line(get(name)),
            "causal": get(name).causal,
            "streaming": get(name).streaming,
            "source": get(name).source,
            "left_out": get(name).left_out,
        }
        for name in names()
    ]
    if as_json:
        print(json.dumps(rows))  # noqa: T201
        return
    table = Table("model", "causal", "streams", "what it is", box=None, pad_edge=False)
    for row in rows:
        table.add_row(
            row["name"], "yes" if row["causal"] else "no", row["streaming"], escape(row["about"])
        )
    output.print(table)


@app.command()
def info(
    model: Annotated[str, typer.Argument(help="Model; see: snnsim baselines list.")],
    channels: Annotated[int, typer.Option(min=1, max=10**6, help="Channels of the input.")] = 140,
    classes: Annotated[int, typer.Option(min=1, max=10**6, help="Classes.")] = 10,
    budget: Budget = "200k",
    by: By = "parameters",
    set_: Set = None,
    as_json: Json = False,
) -> None:
    """Equations, options and cost of a model at a budget.

    Examples:

        snnsim baselines info s6 --budget 50k --set options.states=8

        snnsim baselines info gru --by operations --budget 20k --set network.attend=10
    """
    from snnsim.baselines import RateNetwork, cost_of, get
    from snnsim_experiments.baselines.config import fit_budget, parse_budget, resolve

    cls = get(model)
    chosen = resolve(model, "spoken-digits", changes=set_ or ())
    chosen = fit_budget(chosen, channels, classes, parse_budget(budget), by)
    cost = cost_of(RateNetwork(channels, classes, **chosen.network), channels)
    facts: dict[str, Any] = {
        "source": cls.source,
        "left out": cls.left_out or "nothing",
        "causal": cls.causal,
        "streaming": cls.streaming,
        "options": {k: v.default for k, v in inspect.signature(cls.__init__).parameters.items()
                    if v.kind is inspect.Parameter.KEYWORD_ONLY},
        "width": chosen.network["width"],
        **cost._asdict(),
    }  # fmt: skip
    text = inspect.cleandoc(sys.modules[cls.__module__].__doc__ or "")
    if as_json:
        print(json.dumps({"name": model, "equations": text, **facts}))  # noqa: T201
        return
    output.print(text, markup=False, highlight=False)
    output.print()
    print_values(facts, ",.0f")


@app.command()
def train(
    model: Model,
    data: Data = None,
    stream: Stream = None,
    method: Method = None,
    root: Root = None,
    budget: Budget = "200k",
    by: By = "parameters",
    width: Annotated[
        int, typer.Option(min=0, max=10**6, help="Width of the layers, instead of a budget.")
    ] = 0,
    config: ConfigFile = None,
    set_: Set = None,
    seed: Seed = 0,
    epochs: Epochs = None,
    out: Run = None,
    device: Device = "cpu",
    resume: Resume = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Train a baseline like a spiking network: same loop, same run folder, same read-outs.

    The network is as wide as the budget allows, unless --width is given. Options of the
    model (see info) are set with --set options.NAME=VALUE. evaluate and predict of the data
    set's own commands work on the run folder. With --stream in place of --data the tasks of
    a stream come one after the other, as in: snnsim continual run.

    Examples:

        snnsim baselines train --model gru --data spoken-digits --epochs 10

        snnsim baselines train --model s6 --data fsdd --root DATA --budget 50k

        snnsim baselines train --model lstm --data fsdd --root DATA --set encoder.bins=2

        snnsim baselines train --model fsmn --data spoken-digits --set options.order=17

        snnsim baselines train --model gru --stream spoken-digits --method replay
    """
    from snnsim_experiments.baselines.config import parse_budget

    on = _named(data, stream, method)
    if stream is not None:
        from snnsim_experiments.baselines import streams
        from snnsim_experiments.continual.cli import print_rows
        from snnsim_experiments.continual.run import run as run_stream

        tasks = streams.configure(model, stream, on, config=config, changes=set_, epochs=epochs)
        if width:
            tasks = streams.with_width(tasks, width)
        else:
            found = streams.load(tasks, root, messages, quiet)
            tasks, _ = streams.fit_budget(tasks, found, parse_budget(budget), by)
        summary = run_stream(
            tasks, [seed], root,
            run_folder_of(out, resume, "continual", stream, name=f"{on}-{model}"),
            device=device, resume=resume, quiet=quiet, console=messages,
        )  # fmt: skip
    else:
        from snnsim_experiments.baselines.compare import data_facts
        from snnsim_experiments.baselines.config import fit_budget, resolve
        from snnsim_experiments.train import train as run

        chosen = resolve(
            model, on, config=config, changes=set_ or (), seed=seed, epochs=epochs, width=width
        )
        if not width:
            channels, classes, _ = data_facts(chosen, root)
            chosen = fit_budget(chosen, channels, classes, parse_budget(budget), by)
        summary = run(
            chosen, root, run_folder_of(out, resume, on, name=f"{model}-seed{seed}"),
            device=device, resume=resume, quiet=quiet, console=messages,
        )  # fmt: skip
    if summary and as_json:
        print(json.dumps(summary))  # noqa: T201
    elif summary and stream is not None:
        print_rows([summary])
        output.print(f"Run in {summary['out']}", markup=False, highlight=False)
    elif summary:
        print_summary(f"Run in {summary.pop('out')}", summary)


def _named(data: str | None, stream: str | None, method: str | None) -> str:
    """What to train on: the data set, or the method of a stream."""
    if (data is None) == (stream is None) or (method is not None and stream is None):
        raise ConfigError(
            "name a data set with --data, or a stream of tasks with --stream (and its --method): "
            f"got --data {data}, --stream {stream}, --method {method}"
        )
    return data if data is not None else method or "fine-tuning"


@app.command()
def compare(
    data: Data = None,
    stream: Stream = None,
    method: Method = None,
    models: Annotated[
        str, typer.Option(help="Models, such as gru,s6,snn-learned; all for every one.")
    ] = "all",
    root: Root = None,
    budget: Budget = "200k",
    by: By = "parameters",
    seeds: Seeds = "0",
    config: ConfigFile = None,
    set_: Set = None,
    epochs: Epochs = None,
    rates: Annotated[
        str, typer.Option(help="Factors of the learning rate to choose from on validation data.")
    ] = "1",
    out: Runs = None,
    device: Device = "cpu",
    resume: Resume = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Train baselines and spiking networks at one budget and print them side by side.

    Spiking networks: snn-none, snn-fixed, snn-learned (delays), snn-none-slow (no delays,
    a membrane that remembers 55 ms), snn-adlif (adaptive neurons) and snn-radlif (the same,
    recurrent); on a stream of tasks (--stream, --method) snn-none, snn-recurrent, snn-axonal
    and snn-learned (delays). Epochs, batches and read-out are the same for all; --set may
    change data, encoder, network and training of the baselines. With --rates 0.3,1,3 each
    network's learning rate is chosen among those factors of its own, with the first seed, by
    accuracy on the validation data. The folder gets comparison.json, comparison.png and a
    run folder per network and seed.

    Examples:

        snnsim baselines compare --data spoken-digits --models gru,snn-learned --epochs 10

        snnsim baselines compare --data fsdd --root DATA --budget 50k --seeds 0,1,2 --out cmp

        snnsim baselines compare --stream spoken-digits --method hlop --models gru,aaren,snn-none
    """
    from snnsim.baselines import names
    from snnsim_experiments.baselines import compare as on_data
    from snnsim_experiments.baselines import streams as on_stream
    from snnsim_experiments.baselines.config import parse_budget, parse_rates, split_names
    from snnsim_experiments.continual.run import seeds_of

    on = _named(data, stream, method)
    spiking = on_data.SPIKING if stream is None else on_stream.SPIKING
    chosen = split_names(models, [*spiking, *names()], "model")
    parts = ("continual", stream) if stream else (on,)
    folder = run_folder_of(out, resume, *parts, name="compare")
    same: dict[str, Any] = {
        "epochs": epochs, "config": config, "changes": set_, "rates": parse_rates(rates),
        "device": device, "resume": resume, "quiet": quiet, "console": messages,
    }  # fmt: skip
    size = (parse_budget(budget), by, seeds_of(seeds), root, folder)
    if stream is None:
        rows = on_data.compare(chosen, on, *size, **same)
    else:
        rows = on_stream.compare(chosen, stream, on, *size, **same)
    if as_json:
        print(json.dumps(rows))  # noqa: T201
    else:
        _print(rows)
        output.print(f"Written to {folder}", markup=False, highlight=False)


def _print(rows: list[dict[str, Any]]) -> None:
    key, second = (
        ("bwt", "BWT %") if any("bwt" in row for row in rows) else ("validation", "valid %")
    )
    table = Table(
        "network", "test %", second, "params", "ops/step", "state", "s", "causal",
        box=None, pad_edge=False,
    )  # fmt: skip
    done = [row for row in rows if "test" in row]
    for row in sorted(done, key=lambda row: -row["test"]):
        state = "all" if row["state"] is None else f"{row['state']:,}"
        spread = f" ± {row['test_std']:.1f}" if row["test_std"] is not None else ""
        table.add_row(
            row["name"], f"{row['test']:.1f}{spread}", f"{row[key]:.1f}",
            f"{row['parameters']:,}", f"{row['operations']:,.0f}", state,
            f"{row['seconds']:.0f}", "yes" if row["causal"] else "no",
        )  # fmt: skip
    output.print(table)
    for row in rows:
        if "test" not in row:
            why = row.get("refused") or row["failed"]
            output.print(f"{row['name']}: {why}", markup=False, highlight=False)
    for row in done:
        if row["left_out"]:
            output.print(f"{row['name']} leaves out {row['left_out']}", style="dim", markup=False)


@app.command()
def check(
    name: Annotated[str, typer.Argument(help="A check, or all.")] = "all",
    # beyond it, the batches of one seed would be the test data of another
    seed: Annotated[int, typer.Option(min=0, max=999, help="Seed of data and weights.")] = 0,
    short: Annotated[bool, typer.Option("--short", help="Only show that it runs.")] = False,
    out: Annotated[Path | None, typer.Option(help="JSON file to write.")] = None,
    as_json: Json = False,
) -> None:
    """Does each mechanism do what its paper says? Minutes; figures, control and verdict.

    Exits with 1 if a claim was not met.
    """
    import time
    from dataclasses import asdict

    from snnsim_experiments.baselines import checks
    from snnsim_experiments.baselines.config import split_names
    from snnsim_experiments.run_folder import write_json

    rows: list[dict[str, Any]] = []
    for each in split_names(name, checks.names(), "check"):
        began = time.monotonic()
        outcome = checks.get(each).run(seed, short)
        row = {"name": each, "seconds": time.monotonic() - began, **asdict(outcome)}
        rows.append(row)
        if out is not None:
            write_json(out, rows)
        if not as_json:
            _print_check(row, short)
    if as_json:
        print(json.dumps(rows))  # noqa: T201
    if not short and not all(row["passed"] for row in rows):
        raise typer.Exit(1)


def _print_check(row: dict[str, Any], short: bool) -> None:
    verdict = "[green]met[/]" if row["passed"] else "[red]not met[/]"
    verdict = "runs" if short else verdict
    output.print(f"[bold]{row['name']}[/]  {verdict}, {row['seconds']:.0f} s: {row['claim']}")
    table = Table(show_header=False, box=None, pad_edge=False)
    for part, values in (("", row["figures"]), ("control: ", row["control"])):
        for key, value in values.items():
            table.add_row(f"  {part}{key}", f"{value:.1f}")
    output.print(table)
