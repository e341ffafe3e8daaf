"""``snnsim baselines list | info | train | compare | check``."""

import inspect
import json
import sys
from dataclasses import replace
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
    check_resume,
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
    from snnsim.baselines import get
    from snnsim_experiments import Budget, fit, resolve
    from snnsim_experiments.budget import cost as cost_of
    from snnsim_experiments.build import Facts
    from snnsim_experiments.lists import parse_budget

    cls, data = get(model), Facts(channels, classes, 1.0)
    chosen = resolve("spoken-digits", model, changes=set_ or ())
    chosen = fit(chosen, Budget(parse_budget(budget), by), data)
    cost = cost_of(chosen, data)
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
    from snnsim_experiments import Budget, Choice, Place, fit, look_at
    from snnsim_experiments import run as run_experiment
    from snnsim_experiments.budget import with_width
    from snnsim_experiments.continual.cli import print_rows
    from snnsim_experiments.lists import parse_budget

    check_resume(out, resume)
    source, on = _named(data, stream, method)
    choice = Choice(source, on, config, set_ or (), epochs)
    place = Place(root, out, device, resume, quiet, messages)
    chosen = replace(choice.network(model), seed=seed)
    if width:
        chosen = with_width(chosen, width)
    else:
        chosen = fit(chosen, Budget(parse_budget(budget), by), look_at(chosen, place))
    summary = run_experiment(chosen, place)
    if summary and as_json:
        print(json.dumps(summary))  # noqa: T201
    elif summary and stream is not None:
        print_rows([summary])
        output.print(f"Run in {summary['out']}", markup=False, highlight=False)
    elif summary:
        print_summary(f"Run in {summary.pop('out')}", summary)


def _named(data: str | None, stream: str | None, method: str | None) -> tuple[str, str]:
    """What to train on: a data set and no method, or a stream and its method."""
    if (data is None) == (stream is None) or (method is not None and stream is None):
        raise ConfigError(
            "name a data set with --data, or a stream of tasks with --stream (and its --method): "
            f"got --data {data}, --stream {stream}, --method {method}"
        )
    return (data, "") if data is not None else (str(stream), method or "fine-tuning")


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
    from snnsim_experiments import Budget, Choice, Place, compare_networks
    from snnsim_experiments.candidates import ON_DATA, ON_STREAMS
    from snnsim_experiments.lists import parse_budget, parse_rates, seeds_of, split_names

    source, on = _named(data, stream, method)
    chosen = split_names(models, [*(ON_STREAMS if on else ON_DATA), *names()], "model")
    parts = ("continual", source) if on else (source,)
    folder = run_folder_of(out, resume, *parts, name="compare")
    rows = compare_networks(
        chosen,
        Choice(source, on, config, set_ or (), epochs),
        Budget(parse_budget(budget), by),
        seeds_of(seeds),
        Place(root, folder, device, resume, quiet, messages),
        rates=parse_rates(rates),
    )
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
    from snnsim_experiments.lists import split_names
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
