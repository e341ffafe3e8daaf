"""``snnsim baselines list | info | train | generate | compare | check``."""

import inspect
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import snnsim_datasets
import typer
from snnsim_datasets import generated

from snnsim.errors import ConfigError
from snnsim_experiments import options
from snnsim_experiments.continual.cli import print_run as print_run_on_stream

app = typer.Typer(
    help="Rate-coded baselines: the other sequence models, on the same spikes.\n\n"
    "Start with: snnsim baselines train --model gru --data spoken-digits",
    no_args_is_help=True,
)

Model = Annotated[str, typer.Option(help="Model; see: snnsim baselines list.")]
Data = Annotated[
    str | None, typer.Option(help="Data set, or a place as for snnsim train; see: snnsim --help.")
]
Stream = Annotated[
    str | None,
    typer.Option(help="Stream of tasks, in place of --data; see: snnsim continual list."),
]
Method = Annotated[
    str | None,
    typer.Option(help="Method of continual learning, with --stream; fine-tuning unless given."),
]
Budget = Annotated[str, typer.Option(help="Largest size, such as 50k or 1M.")]
By = Annotated[str, typer.Option(help="What the budget counts: parameters, state or operations.")]
ConfigFile = Annotated[
    str | None, typer.Option("--config", help="TOML file of what differs from the defaults.")
]


@app.command(name="list")
def list_command(as_json: options.Json = False) -> None:
    """List all models: what they are, whether they are causal and can stream, and their source."""
    from snnsim.baselines import get, names

    rows: list[dict[str, Any]] = [
        {
            "name": name,
            "about": options.first_line(get(name)),
            "causal": get(name).causal,
            "streaming": get(name).streaming,
            "source": get(name).source,
            "left_out": get(name).left_out,
        }
        for name in names()
    ]
    options.answer(rows, as_json, _print_models)


def _print_models(rows: list[dict[str, Any]]) -> None:
    options.print_table(
        (
            (row["name"], _yes_or_no(row["causal"]), row["streaming"], row["about"])
            for row in rows
        ),
        "model", "causal", "streams", "what it is",
    )  # fmt: skip
    options.print_line(f"Recorded data: {', '.join(snnsim_datasets.names())}.")
    options.print_line(f"Generated data: {', '.join(generated.names())}.")


@app.command()
def info(
    model: Annotated[str, typer.Argument(help="Model; see: snnsim baselines list.")],
    channels: Annotated[int, typer.Option(min=1, max=10**6, help="Channels of the input.")] = 140,
    classes: Annotated[int, typer.Option(min=1, max=10**6, help="Classes.")] = 10,
    budget: Budget = "200k",
    by: By = "parameters",
    set_: options.Set = None,
    as_json: options.Json = False,
) -> None:
    """Show the equations and options of a model, and what it costs at a budget.

    Examples:

        snnsim baselines info s6 --budget 50k --set options.states=8

        snnsim baselines info gru --by operations --budget 20k --set network.attend=10
    """
    from snnsim.baselines import get
    from snnsim_experiments import Budget, fit, resolve
    from snnsim_experiments.budget import cost
    from snnsim_experiments.build import Facts
    from snnsim_experiments.lists import parse_budget

    cls, data = get(model), Facts(channels, classes, 1.0)
    chosen = resolve("spoken-digits", model, changes=set_ or ())
    chosen = fit(chosen, Budget(parse_budget(budget), by), data)
    facts: dict[str, Any] = {
        "name": model,
        "equations": inspect.cleandoc(sys.modules[cls.__module__].__doc__ or ""),
        "source": cls.source,
        "left out": cls.left_out or "nothing",
        "causal": cls.causal,
        "streaming": cls.streaming,
        "options": {k: v.default for k, v in inspect.signature(cls.__init__).parameters.items()
                    if v.kind is inspect.Parameter.KEYWORD_ONLY},
        "width": chosen.network["width"],
        **cost(chosen, data)._asdict(),
    }  # fmt: skip
    options.answer(facts, as_json, _print_info)


def _print_info(facts: dict[str, Any]) -> None:
    shown = {key: value for key, value in facts.items() if key not in ("name", "equations")}
    options.print_line(facts["equations"] + "\n")
    options.print_values(shown, ",.0f")


@app.command()
def train(
    model: Model,
    data: Data = None,
    stream: Stream = None,
    method: Method = None,
    root: options.Root = None,
    budget: Budget = "200k",
    by: By = "parameters",
    width: Annotated[
        int, typer.Option(min=0, max=10**6, help="Width of the layers, instead of a budget.")
    ] = 0,
    config: ConfigFile = None,
    set_: options.Set = None,
    seed: options.Seed = 0,
    epochs: options.Epochs = None,
    target: Annotated[
        str | None,
        typer.Option(help="class, next-event or next-step; the same as training.target."),
    ] = None,
    out: options.Run = None,
    device: options.Device = "cpu",
    resume: options.Resume = False,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
) -> None:
    """Train a baseline like a spiking network: same loop, same run folder, same read-outs.

    The network is as wide as the budget allows, unless --width is given. Options of the
    model (see info) are set with --set options.NAME=VALUE. The run folder can be given to
    the data set's evaluate command and to predict. With --stream in place of --data the
    tasks of a stream come one after the other, as in: snnsim continual run.

    With --target next-event the network learns which channel spikes next, from one event after
    the other (data.binning is then events), and with --target next-step which channels spike in
    the next time step. Such a network generates spikes: snnsim baselines generate. Its score, nats
    per step, is the smaller the better.

    Examples:

        snnsim baselines train --model gru --data spoken-digits --epochs 10

        snnsim baselines train --model s6 --data fsdd --root DATA --budget 50k

        snnsim baselines train --model lstm --data fsdd --root DATA --set encoder.bins=2

        snnsim baselines train --model fsmn --data spoken-digits --set options.order=17

        snnsim baselines train --model gru --data counting --set data.rendering=spaces

        snnsim baselines train --model gru --data lorenz96 --set data.horizon=8

        snnsim baselines train --model gru --stream spoken-digits --method replay

        snnsim baselines train --model sasrec --data spoken-digits --target next-event
    """
    from snnsim_experiments import Budget, Choice, fit, look_at
    from snnsim_experiments import run as run_experiment
    from snnsim_experiments.budget import with_width
    from snnsim_experiments.lists import parse_budget

    source, on, root, needed = _named(data, stream, method, root)
    place = options.place_of(root, out, device, resume, quiet)
    changes = [*needed, *(set_ or ()), *([] if target is None else [f"training.target={target}"])]
    choice = Choice(source, on, config, changes, epochs)
    chosen = replace(choice.network(model), seed=seed)
    if width:
        chosen = with_width(chosen, width)
    else:
        chosen = fit(chosen, Budget(parse_budget(budget), by), look_at(chosen, place))
    summary = run_experiment(chosen, place)
    if summary:  # which only the first process has
        options.answer(summary, as_json, print_run_on_stream if on else options.print_run)


def _named(
    data: str | None, stream: str | None, method: str | None, root: str | None
) -> tuple[str, str, str | None, list[Any]]:
    """What to train on: a data set and no method, or a stream and its method; root and changes."""
    from snnsim_experiments.continual.streams import placed

    if (data is None) == (stream is None) or (method is not None and stream is None):
        raise ConfigError(
            "name a data set with --data, or a stream of tasks with --stream (and its --method): "
            f"got --data {data}, --stream {stream}, --method {method}"
        )
    if data is not None:
        found = snnsim_datasets.recognise(data, root)
        return found.name, "", found.root, options.with_data(found, None)
    name, root, needed = placed(str(stream), root)
    return name, method or "fine-tuning", root, needed


@app.command()
def generate(
    run: options.RunFolder,
    samples: Annotated[int, typer.Option(min=1, max=10**6, help="Largest number.")] = 20,
    prompt_steps: Annotated[
        int, typer.Option(min=1, max=10**6, help="Steps of each sample that the network is shown.")
    ] = 50,
    steps: Annotated[int, typer.Option(min=1, max=10**6, help="Steps that it adds.")] = 200,
    temperature: Annotated[
        float,
        typer.Option(min=0, help="Below 1: likely events likelier; 0: the likeliest."),
    ] = 1.0,
    sampler: Annotated[
        str, typer.Option(help="steps, or parallel for recurrent-depth at temperature 0.")
    ] = "steps",
    inner: Annotated[
        int, typer.Option(min=1, max=1000, help="Iterations per round of the parallel sampler.")
    ] = 4,
    split: Annotated[str, typer.Option(help="Split of the data the samples are from.")] = "test",
    root: options.Root = None,
    checkpoint: Annotated[str, typer.Option(help="best, last or initial.")] = "best",
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Seed of what is drawn.")] = 0,
    device: options.Device = "cpu",
    out: Annotated[
        Path | None, typer.Option(help="HDF5 file to write; else RUN/generated.h5.")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Let a network that predicts the next step continue samples of its data.

    The run is one with --target next-event or next-step. The file has the steps that were shown
    and those that were added, in the layout of the Heidelberg data sets, which predict reads.

    Examples:

        snnsim baselines generate runs/a --samples 10 --prompt-steps 100 --steps 400

        snnsim baselines generate runs/depth --sampler parallel --temperature 0
    """
    from snnsim_experiments.generate import Wanted, generate_from

    wanted = Wanted(samples, prompt_steps, steps, temperature, sampler, inner, split, seed)
    place = options.place_of(root, out, device, False, True)
    found = generate_from(run, wanted, place, checkpoint)
    options.answer(found, as_json, _print_generated)


def _print_generated(found: dict[str, Any]) -> None:
    values = dict(found)
    options.print_summary(f"Written to {values.pop('out')}", values)


@app.command()
def compare(
    data: Data = None,
    stream: Stream = None,
    method: Method = None,
    models: Annotated[
        str, typer.Option(help="Models, such as gru,s6,snn-learned; all for every one.")
    ] = "all",
    root: options.Root = None,
    budget: Budget = "200k",
    by: By = "parameters",
    seeds: options.Seeds = "0",
    config: ConfigFile = None,
    set_: options.Set = None,
    epochs: options.Epochs = None,
    rates: Annotated[
        str, typer.Option(help="Factors of the learning rate to choose from on validation data.")
    ] = "1",
    out: options.Runs = None,
    jobs: options.Jobs = 1,
    device: options.Device = "cpu",
    resume: options.Resume = False,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
) -> None:
    """Train baselines and spiking networks at one budget and print them side by side.

    Spiking networks: snn-none, snn-fixed, snn-learned (delays), snn-none-slow (no delays,
    a membrane that remembers 55 ms), snn-adlif (adaptive neurons) and snn-radlif (the same,
    recurrent); on a stream of tasks (--stream, --method) snn-none, snn-recurrent, snn-axonal
    and snn-learned (delays). Epochs, batches and read-out are the same for all; --set may
    change data, encoder, network and training of the baselines. With --rates 0.3,1,3 each
    network's learning rate is chosen among those factors of its own, with the first seed, by
    accuracy on the validation data. The folder gets comparison.json, comparison.png and a
    run folder per network and seed. With --jobs several are trained at a time; the results are the
    same, bit for bit.

    Examples:

        snnsim baselines compare --data spoken-digits --models gru,snn-learned --epochs 10

        snnsim baselines compare --data fsdd --root DATA --budget 50k --seeds 0,1,2 --out cmp

        snnsim baselines compare --stream spoken-digits --method hlop --models gru,aaren,snn-none
    """
    from snnsim.baselines import names
    from snnsim_experiments import Budget, Choice, compare_networks
    from snnsim_experiments.candidates import ON_DATA, ON_STREAMS
    from snnsim_experiments.lists import parse_budget, parse_rates, seeds_of, split_names

    source, on, root, needed = _named(data, stream, method, root)
    chosen = split_names(models, [*(ON_STREAMS if on else ON_DATA), *names()], "model")
    parts = ("continual", source) if on else (source,)
    folder = options.run_folder_of(out, resume, *parts, name="compare")
    rows = compare_networks(
        chosen,
        Choice(source, on, config, [*needed, *(set_ or ())], epochs),
        Budget(parse_budget(budget), by),
        seeds_of(seeds),
        options.place_of(root, folder, device, resume, quiet),
        rates=parse_rates(rates),
        jobs=jobs,
    )
    options.answer(rows, as_json, _print)
    if not as_json:
        options.print_line(f"Written to {folder}")


def _print(rows: list[dict[str, Any]]) -> None:
    key, second = (
        ("bwt", "BWT %") if any("bwt" in row for row in rows) else ("validation", "valid %")
    )
    errors = any("metric" in row for row in rows)  # of forecasts
    first, second = ("test NRMSE", "valid NRMSE") if errors else ("test %", second)
    sign = 1 if errors else -1
    done = sorted((row for row in rows if "test" in row), key=lambda row: sign * row["test"])
    options.print_table(
        (_cells(row, key, 4 if errors else 1) for row in done),
        "network", first, second, "params", "ops/step", "state", "s", "causal",
    )  # fmt: skip
    if errors and done[0]["persistence"] is not None:
        options.print_line(f"Persistence has an NRMSE of {done[0]['persistence']:.4f}.")
    options.print_without_result(rows)
    for row in rows:
        if row.get("left_out"):
            options.print_line(f"{row['name']} leaves out {row['left_out']}", style="dim")


def _yes_or_no(value: bool) -> str:
    return "yes" if value else "no"


def _cells(row: dict[str, Any], key: str, digits: int = 1) -> list[str]:
    return [
        row["name"],
        options.with_spread(row["test"], row["test_std"], digits),
        f"{row[key]:.{digits}f}",
        f"{row['parameters']:,}",
        f"{row['operations']:,.0f}",
        "all" if row["state"] is None else f"{row['state']:,}",
        f"{row['seconds']:.0f}",
        _yes_or_no(row["causal"]),
    ]


@app.command()
def check(
    name: Annotated[str, typer.Argument(help="A check, or all.")] = "all",
    # beyond it, the batches of one seed would be the test data of another
    seed: Annotated[int, typer.Option(min=0, max=999, help="Seed of data and weights.")] = 0,
    short: Annotated[bool, typer.Option("--short", help="Only show that it runs.")] = False,
    out: Annotated[Path | None, typer.Option(help="JSON file to write.")] = None,
    as_json: options.Json = False,
) -> None:
    """Check that each mechanism does what its paper says; takes minutes.

    Prints figures, those of a control, and a verdict. Exits with 1 if a claim was not met.
    """
    from snnsim_experiments.baselines import checks
    from snnsim_experiments.checking import run_checks

    run_checks(checks, name, seed, short, out, as_json)
