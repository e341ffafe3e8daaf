"""The ``snnsim`` command."""

# no postponed annotations here: those of the commands below depend on the data set
import logging
import sys
import warnings
from pathlib import Path
from typing import Annotated, Any

import snnsim_datasets
import typer
from snnsim_datasets import generated

from snnsim.errors import ConfigError, SnnsimError
from snnsim_experiments import options
from snnsim_experiments.baselines.cli import app as baselines_app
from snnsim_experiments.continual.cli import app as continual_app
from snnsim_experiments.shipped import config_names

# data of which nothing is here until a user names them
NOT_HERE = ("cameras", "fsdd", "recordings", "series")

app = typer.Typer(
    help="Spiking networks with learnable delays, continual learning, and baselines.\n\n"
    "Start with: snnsim spoken-digits train --epochs 20",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _dataset_app(name: str) -> typer.Typer:
    info = snnsim_datasets.info(name)
    sub = typer.Typer(help=f"{info.title}: {info.kind}.", no_args_is_help=True)

    @sub.command()
    def train(
        root: options.Root = None,
        out: options.Run = None,
        config: Annotated[
            str | None, typer.Option(help="TOML file, or one of: " + ", ".join(config_names(name)))
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

            snnsim fsdd train --root DATA --config none --seed 1

            snnsim shd train --set network.delays=fixed --out runs/a
        """
        from snnsim_experiments import resolve
        from snnsim_experiments import run as run_experiment

        place = options.place_of(root, out, device, resume, quiet, tensorboard=tensorboard)
        chosen = resolve(
            name, config=config, changes=set_ or (), seed=seed, epochs=epochs, backend=backend
        )
        summary = run_experiment(chosen, place)
        if summary:  # which only the first process has
            options.answer(summary, as_json, options.print_run)

    @sub.command()
    def evaluate(
        run: options.RunFolder,
        root: options.Root = None,
        split: Annotated[
            str, typer.Option(help="Split of the data: " + ", ".join(info.splits))
        ] = "test",
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
        from snnsim_experiments.run_folder import check_fits, load_network
        from snnsim_experiments.run_folder import device as device_of
        from snnsim_experiments.train import figures_of, score, score_over_time

        net, config, facts = load_network(run, checkpoint)
        if config.source != name:
            raise ConfigError(
                f"{run} is a run on {config.source}; evaluate it with: "
                f"snnsim {config.source} evaluate"
            )
        place = device_of(device)
        config = with_data(config, set_ or ())
        data = load_split(config, split, facts.get("root") if root is None else root)
        check_fits(run, facts, data)
        found_scores = score(net.to(place), config, data, facts["steps"])
        scores = found_scores.by_name()
        scores |= figures_of(found_scores.metric, found_scores.score, data)
        found: dict[str, Any] = {"split": split, **scores}
        if every:
            file = run / "plots" / f"accuracy_over_time-{split}.png"
            found["over_time"] = score_over_time(net, config, data, facts["steps"], every, file)

        def show(found: dict[str, Any]) -> None:
            options.print_summary(f"{run} on {split}", scores)
            if over_time := found.get("over_time"):
                options.print_values({f"after {ms} ms": a for ms, a in over_time.items()})

        options.answer(found, as_json, show)

    @sub.command(name="info")
    def info_command(root: options.Root = None, as_json: options.Json = False) -> None:
        """Show what the data set is, and with --root (or embedded data) how many samples it has."""
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
        if root is not None or not (info.remotes or name in NOT_HERE):
            from snnsim.data.protocol import describe
            from snnsim_experiments import resolve
            from snnsim_experiments.build import load_split

            config = resolve(name)
            if name in generated.names():
                facts["options"] = ", ".join(f"data.{k}={v}" for k, v in config.data.items())
            for split in info.splits:
                part = load_split(config, split, root)
                facts[f"samples in {split}"] = len(part)
                facts["classes"] = ", ".join(part.classes) or facts["classes"]
                shape = describe(part).shape
                if len(shape) > 1:
                    facts["shape of a step"] = " x ".join(map(str, shape))
        options.answer(facts, as_json, lambda facts: options.print_summary(name, facts))

    return sub


for _name in snnsim_datasets.names():
    app.add_typer(_dataset_app(_name), name=_name)

app.add_typer(continual_app, name="continual")
app.add_typer(baselines_app, name="baselines")

for _name in generated.names():
    app.add_typer(_dataset_app(_name), name=_name, rich_help_panel="Generated data")


@app.command()
def predict(
    run: options.RunFolder,
    file: Annotated[
        Path, typer.Argument(help="Spike file (.h5, .h5.gz, .npz), recording or camera file.")
    ],
    index: Annotated[int | None, typer.Option(help="Only this sample of the file.")] = None,
    top: Annotated[int, typer.Option(min=1, help="How many classes to name.")] = 3,
    as_json: options.Json = False,
) -> None:
    """Classify the sample(s) of a spike file, or a recording, with a trained network.

    Recordings need a network trained on audio: gsc, or fsdd from recordings. Recordings of event
    cameras (.raw, .dat, .aedat4, .bin, .npz, .npy, .csv) need one trained on cameras or nmnist.
    """
    from snnsim_experiments.predict import predict as run_predict

    options.answer(run_predict(run, file, index, top), as_json, _print_classes)


def _print_classes(rows: list[dict[str, Any]]) -> None:
    cells = []
    for row in rows:
        named = zip(row["classes"], row["scores"], strict=True)
        cells.append((str(row["index"]), ", ".join(f"{c} {s:.1%}" for c, s in named)))
    options.print_table(cells, "sample", "classes, best first")


@app.command()
def similar(
    run: options.RunFolder,
    among: Annotated[Path, typer.Option(help="Folder with other runs below it.")] = Path("runs"),
    top: Annotated[int, typer.Option(min=1, help="How many runs to name.")] = 5,
    as_json: options.Json = False,
) -> None:
    """Find the runs whose configurations are most like that of a run.

    Each is shown with what differs, and its result.
    """
    from snnsim_experiments.similar import similar as find

    options.answer(find(run, among, top), as_json, _print_similar)


def _print_similar(rows: list[dict[str, Any]]) -> None:
    cells = []
    for row in rows:
        result = "-" if row["result"] is None else f"{row['result']:.1f}"
        differs = ", ".join(f"{key}={value}" for key, value in row["differs"].items())
        cells.append((row["run"], f"{row['likeness']:.3f}", result, differs or "nothing"))
    options.print_table(cells, "run", "likeness", "result %", "differs in")


@app.command()
def analyse(
    run: Annotated[str, typer.Argument(help="Run folder; or: list, check.")],
    what: Annotated[str, typer.Argument(help="What to look at; see: snnsim analyse list.")] = "",
    split: Annotated[str, typer.Option(help="Split of the data.")] = "test",
    samples: Annotated[int, typer.Option(min=4, max=10**6, help="Largest number.")] = 200,
    layer: Annotated[str, typer.Option(help="Name of a layer; else the last hidden one.")] = "",
    null: Annotated[str, typer.Option(help="shift, trials, units or steps.")] = "shift",
    nulls: Annotated[
        int, typer.Option(min=0, max=10**4, help="Number of shuffled recordings.")
    ] = 5,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Change an option: name=value. Repeatable.")
    ] = None,
    root: options.Root = None,
    checkpoint: Annotated[str, typer.Option(help="best, last or initial.")] = "best",
    task: Annotated[
        int | None, typer.Option(min=1, help="On a stream: weights after this task; else the last.")
    ] = None,
    on: Annotated[
        int | None, typer.Option(min=1, help="On a stream: data of this task; else of --task.")
    ] = None,
    by: Annotated[
        str, typer.Option(help="Of assemblies: by sample, class or, on a stream, task.")
    ] = "",
    seed: options.Seed = 0,
    device: options.Device = "cpu",
    out: Annotated[Path | None, typer.Option(help="Folder; else RUN/analysis.")] = None,
    as_json: options.Json = False,
) -> None:
    """Look inside the network of a run: each figure stands beside that of a null.

    Writes WHAT.json and WHAT.png. The null is the mean over recordings in which one kind of
    structure was destroyed: shift moves the spikes of every neuron in time, trials exchanges
    samples, units exchanges neurons, steps exchanges time steps. "check WHAT" tries an analysis on
    data whose answer is known. A run on a stream (or the folder of one of its seeds) can be
    analysed if it was trained with --keep-weights.

    Examples:

        snnsim analyse list

        snnsim analyse check assemblies

        snnsim analyse runs/a assemblies

        snnsim analyse runs/a assemblies --layer layers.2 --set smooth_ms=20

        snnsim analyse runs/stream assemblies --by task

        snnsim analyse runs/stream/seed1 timescales --task 3 --on 1

        snnsim analyse runs/stream connectivity
    """
    if run == "check":
        from snnsim_experiments import analysis_checks
        from snnsim_experiments.checking import run_checks

        run_checks(analysis_checks, what or "all", seed, False, out, as_json)
        return
    from snnsim_experiments.analyse import analyse_run, check_tasks, subject_of, told

    if run == "list" and not what:
        options.answer(told(), as_json, lambda rows: options.print_table(rows.items()))
        return
    folder = Path(run)
    check_tasks(what, by, task, on)
    subject = subject_of(
        folder, split, samples, root, checkpoint, task, on,
        layer=layer, null=null, nulls=nulls, seed=seed,
    )  # fmt: skip
    changes = [*(set_ or ()), *([f"by={by}"] if by else [])]
    report = analyse_run(subject, what, out or folder / "analysis", changes, device)

    def show(_: Any) -> None:
        options.print_values({name: str(figure) for name, figure in report.figures.items()})
        for line in report.text:
            options.print_line(line)

    options.answer(report.as_json(), as_json, show)


def _say(what: str, text: str) -> None:
    shown = text.encode("utf-8", "backslashreplace").decode()  # half a surrogate has no letter
    options.messages.print(f"[red]error:[/] {what}: ", end="")
    options.messages.print(shown, markup=False, highlight=False, soft_wrap=True)


def main() -> None:
    """Run the command line; the project's own errors become one message and the exit code 1."""
    logging.basicConfig(level=logging.WARNING)
    with warnings.catch_warnings():  # whoever else listens to warnings hears them again afterwards
        warnings.showwarning = _warn
        _run()


def _warn(message: Warning | str, *_: object, **__: object) -> None:
    sys.stderr.write(f"warning: {message}\n")


def _run() -> None:
    for stream in (sys.stdout, sys.stderr):  # a terminal that cannot show a letter shows its number
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except SnnsimError as error:
        _say(type(error).__name__, str(error))
        raise SystemExit(1) from None
    except OSError as error:
        _say("cannot read or write", f"{error}")
        raise SystemExit(1) from None
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "alloca" not in str(error):
            raise
        _say("not enough memory", f"{' '.join(str(error).split())[:300]}; take smaller sizes")
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        options.messages.print("interrupted; continue with --resume and the same --out")
        raise SystemExit(130) from None
