"""``snnsim train DATA``, ``snnsim evaluate RUN [DATA]``, and the same for data sets by name."""

# no postponed annotations here: those of the commands of a data set are put together below
import inspect
import warnings
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import snnsim_datasets
import typer
from snnsim_datasets import generated

from snnsim.errors import ConfigError
from snnsim_experiments import options
from snnsim_experiments.shipped import config_names

# data of which nothing is here until a user names them
NOT_HERE = ("cameras", "fsdd", "python", "recordings", "sequences", "series", "spikes")
DATA = (
    "Folder with a folder of recordings (sound, event cameras) for each class, table of recordings "
    "(.csv, .tsv), spikes "
    "(.h5, .npz), sequences (.ts, .npz), series (.csv, .npy), module:function, or the name of a "
    "data set."
)

Data = Annotated[str, typer.Argument(help=DATA, show_default=False)]


def of_data_set(name: str) -> typer.Typer:
    """Return the commands of a data set: ``train``, ``evaluate`` and ``info``."""
    info = snnsim_datasets.info(name)
    sub = typer.Typer(help=f"{info.title}: {info.kind}.", no_args_is_help=True)
    shipped = typer.Option(help="TOML file, or one of: " + ", ".join(config_names(name)))
    splits = typer.Option(help="Split of the data: " + ", ".join(info.splits))
    sub.command(name="train")(_bound(train, name, config=Annotated[str | None, shipped]))
    sub.command(name="evaluate")(_bound(evaluate, name, split=Annotated[str, splits]))
    sub.command(name="info")(_bound(describe, name))
    return sub


def _bound(command: Callable[..., None], name: str, **hints: Any) -> Callable[..., None]:
    """A command whose data are those of a name, with other hints for some of its options."""
    signature = inspect.signature(command)
    kept = [each for each in signature.parameters.values() if each.name != "data"]

    @wraps(command)
    def bound(**given: Any) -> None:
        command(data=name, **given)

    told: Any = bound
    del told.__wrapped__  # whose signature would be shown
    told.__annotations__ = {each.name: hints.get(each.name, each.annotation) for each in kept}
    told.__signature__ = signature.replace(
        parameters=[each.replace(annotation=told.__annotations__[each.name]) for each in kept]
    )
    return bound


def train(
    data: Data,
    root: options.Root = None,
    out: options.Run = None,
    config: Annotated[
        str | None, typer.Option(help="TOML file, or a name from: snnsim data info DATA.")
    ] = None,
    set_: options.Set = None,
    seed: options.Seed = 0,
    epochs: options.Epochs = None,
    device: options.Device = "cpu",
    backend: Annotated[str, typer.Option(help="auto, reference, cpu or cuda.")] = "auto",
    resume: options.Resume = False,
    quiet: options.Quiet = False,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Also log to TensorBoard.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Train a network and test the best epoch by validation accuracy.

    The run folder gets run.json (configuration, versions, checksums),
    metrics.jsonl (a line per epoch), summary.json, checkpoints and plots.
    An interrupted run continues, bit for bit, with --resume.

    Examples:

        snnsim spoken-digits train --epochs 20

        snnsim train my_sounds --out runs/mine

        snnsim train spikes.h5 --set network.delays=fixed

        snnsim train my_data:words --seed 1

        snnsim shd train --set augmentation.channel_shift=4

        snnsim fsdd train --root DATA --config none --seed 1
    """
    from snnsim_experiments import resolve
    from snnsim_experiments import run as run_experiment

    found = snnsim_datasets.recognise(data, root)
    place = options.place_of(found.root, out, device, resume, quiet, tensorboard=tensorboard)
    changes = options.with_data(found, set_)
    chosen = resolve(
        found.name, config=config, changes=changes, seed=seed, epochs=epochs, backend=backend
    )
    summary = run_experiment(chosen, place)
    if summary:  # which only the first process has
        options.answer(summary, as_json, options.print_run)


def evaluate(
    run: options.RunFolder,
    data: Annotated[
        str, typer.Argument(help="Other data than those of the run.", show_default=False)
    ] = "",
    root: options.Root = None,
    split: Annotated[str, typer.Option(help="Split of the data.")] = "test",
    checkpoint: Annotated[str, typer.Option(help="best, last or initial.")] = "best",
    every: Annotated[
        int,
        typer.Option(
            "--over-time", min=0, max=10**9, help="Also the accuracy after every N steps."
        ),
    ] = 0,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change the data: data.key=value. Repeatable."),
    ] = None,
    device: options.Device = "cpu",
    as_json: options.Json = False,
) -> None:
    """Evaluate a checkpoint of a run on a split of the data.

    With --over-time 10 it also shows how soon the network knows the answer: its accuracy if
    the answer were taken after 10, 20, ... steps, as a table and a plot in the run folder.
    With --set the network is shown other data than it was trained for, such as longer ones.
    """
    from snnsim_experiments.build import load_split
    from snnsim_experiments.configuration import with_data
    from snnsim_experiments.forecasts import figures_of
    from snnsim_experiments.run_folder import check_fits, in_order_of, load_network
    from snnsim_experiments.run_folder import device as device_of
    from snnsim_experiments.train import score, score_over_time

    net, config, facts = load_network(run, checkpoint)
    config, folder = _on(run, config, data, root)
    place = device_of(device)
    config = with_data(config, set_ or ())
    loaded = load_split(config, split, facts.get("root") if folder is None else folder)
    loaded = in_order_of(facts, loaded)
    check_fits(run, facts, loaded)
    _warn_of_changes(facts, loaded, split)
    found_scores = score(net.to(place), config, loaded, facts["steps"])
    scores = found_scores.by_name()
    scores |= figures_of(found_scores.metric, found_scores.score, loaded)
    found: dict[str, Any] = {"split": split, **scores}
    if every:
        file = run / "plots" / f"accuracy_over_time-{split}.png"
        found["over_time"] = score_over_time(net, config, loaded, facts["steps"], every, file)

    def show(found: dict[str, Any]) -> None:
        options.print_summary(f"{run} on {split}", scores)
        if over_time := found.get("over_time"):
            options.print_values({f"after {ms} ms": a for ms, a in over_time.items()})

    options.answer(found, as_json, show)


def diagnose(
    given: Annotated[
        str,
        typer.Argument(metavar="RUN|DATA", help=f"Run folder. Or: {DATA}", show_default=False),
    ],
    root: options.Root = None,
    config: Annotated[
        str | None, typer.Option(help="Of DATA: TOML file, or a name from: snnsim data info DATA.")
    ] = None,
    set_: options.Set = None,
    seed: options.Seed = 0,
    checkpoint: Annotated[str, typer.Option(help="Of RUN: best, last or initial.")] = "best",
    batches: Annotated[
        int, typer.Option(min=1, max=10**6, help="Largest number of batches of 32 to look at.")
    ] = 4,
    device: options.Device = "cpu",
    as_json: options.Json = False,
) -> None:
    """Find out why a network learns nothing.

    A few batches of the training data go through the network once, forward
    and backward, and 8 trial steps are made with a copy of it; this takes
    seconds and changes nothing. Of a run it also compares the checkpoint with
    the start. Of DATA it looks at the network that "snnsim train DATA" would
    train, before any training.

    Each finding says what was measured and what to try; the first is the one
    to mend first. A problem keeps a network from learning; a warning may; a
    note is worth knowing. The exit code is 1 if there is a problem, else 0.

    Examples:

        snnsim diagnose runs/a

        snnsim diagnose my_sounds --set training.lr=0.01

        snnsim diagnose spoken-digits --set network.delays=none --json
    """
    from snnsim_experiments import resolve
    from snnsim_experiments.diagnose import is_run, of_experiment, of_run

    if is_run(given):
        if config is not None or set_ or seed:
            raise ConfigError(
                f"{given} is a run, which has its configuration and seed; remove --config, --set "
                "and --seed, or name DATA"
            )
        diagnosis = of_run(Path(given), root, checkpoint, batches, device)
    else:
        if checkpoint != "best":
            raise ConfigError(
                f"{given} is not a run and has no checkpoints; remove --checkpoint, or name a run"
            )
        found = snnsim_datasets.recognise(given, root)
        changes = options.with_data(found, set_)
        chosen = resolve(found.name, config=config, changes=changes, seed=seed)
        diagnosis = of_experiment(chosen, found.root, batches, device)
    options.answer(diagnosis.as_dict(), as_json, lambda _: options.print_line(str(diagnosis)))
    if not diagnosis.healthy:
        raise typer.Exit(1)


def _on(run: Path, config: Any, data: str, root: str | None) -> tuple[Any, str | None]:
    """The experiment of a run on other data, if there are any, and their root."""
    from snnsim_experiments.configuration import on_other_data

    if not data or data == config.source:  # as it was called when it was trained
        return config, root
    if data in (*snnsim_datasets.names(), *generated.names()):
        raise ConfigError(
            f"{run} is a run on {config.source}; evaluate it with: snnsim {config.source} evaluate"
        )
    found = snnsim_datasets.recognise(data, root)
    return on_other_data(config, found), found.root


def _warn_of_changes(facts: dict[str, Any], data: Any, split: str) -> None:
    """Data of one's own are divided anew when some come or go."""
    before = facts.get("data_checksums") or {}
    changed = [n for n, total in data.checksums.items() if before.get(n, total) != total]
    if changed:
        warnings.warn(
            f"{', '.join(changed)} changed since the training, so that samples of {split} may have "
            "been trained on; the splits of then are in splits.csv of the run",
            stacklevel=2,
        )


def describe(data: Data, root: options.Root = None, as_json: options.Json = False) -> None:
    """Show what the data set is, and with --root (or embedded data) how many samples it has."""
    found = snnsim_datasets.recognise(data, root)
    name, info = found.name, snnsim_datasets.info(found.name)
    facts: dict[str, Any] = {
        "title": info.title,
        "kind": info.kind,
        "channels": info.channels,
        "classes": ", ".join(info.classes),
        "splits": ", ".join(info.splits),
        "licence": info.licence,
        "citation": info.citation,
        "files": ", ".join(r.name for r in info.remotes) or "none to download",
        "configurations": ", ".join(config_names(name)),
        "note": info.note,
    }
    if found.root is not None or not (info.remotes or name in NOT_HERE):
        from snnsim.data import describe as about
        from snnsim_experiments import resolve
        from snnsim_experiments.build import load_split

        config = resolve(name, changes=options.with_data(found, None))
        if name in generated.names():
            facts["options"] = ", ".join(f"data.{k}={v}" for k, v in config.data.items())
        for split in info.splits:
            part = load_split(config, split, found.root)
            facts[f"samples in {split}"] = len(part)
            facts["classes"] = ", ".join(part.classes) or facts["classes"]
            shape = about(part).shape
            if len(shape) > 1:
                facts["shape of a step"] = " x ".join(map(str, shape))
    options.answer(facts, as_json, lambda facts: options.print_summary(name, facts))
