"""The ``snnsim`` command."""

from __future__ import annotations

import logging
import sys
import warnings
from pathlib import Path
from typing import Annotated, Any

import snnsim_datasets
import typer
from snnsim_datasets import generated

import snnsim
from snnsim.errors import ConfigError, SnnsimError
from snnsim_experiments import options
from snnsim_experiments.baselines.cli import app as baselines_app
from snnsim_experiments.continual.cli import app as continual_app
from snnsim_experiments.encode.cli import encode
from snnsim_experiments.listening.cli import listen
from snnsim_experiments.nir_files.cli import app as nir_app
from snnsim_experiments.on_data import cli as on_data
from snnsim_experiments.on_data.look import app as data_app
from snnsim_experiments.report.cli import report, share
from snnsim_experiments.sweep.cli import sweep

app = typer.Typer(
    help="Spiking networks with learnable delays, continual learning, and baselines.\n\n"
    "Start with: snnsim spoken-digits train --epochs 20\n\n"
    "Or with recordings of your own, a folder for each class: snnsim train FOLDER",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _version(asked: bool) -> None:
    if asked:
        options.print_line(f"snnsim {snnsim.__version__}")
        raise typer.Exit


@app.callback()
def snnsim_command(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Hold the options of the command itself; typer reads the signature."""


app.command()(on_data.train)
app.command()(on_data.evaluate)
app.command()(on_data.diagnose)
app.add_typer(data_app, name="data")
app.command()(encode)
app.add_typer(nir_app, name="nir")
app.command()(sweep)
app.command()(report)
app.command()(share)
app.add_typer(continual_app, name="continual")
app.add_typer(baselines_app, name="baselines")

for _name in snnsim_datasets.names():
    app.add_typer(on_data.of_data_set(_name), name=_name, rich_help_panel="Data sets")
for _name in generated.names():
    app.add_typer(on_data.of_data_set(_name), name=_name, rich_help_panel="Generated data")


@app.command()
def predict(
    run: options.RunFolder,
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Spike files (.h5, .h5.gz, .npz), recordings, folders of them, or tables."
        ),
    ] = None,
    index: Annotated[int | None, typer.Option(help="Only this sample of the file.")] = None,
    top: Annotated[int, typer.Option(min=1, help="How many classes to name.")] = 3,
    split: Annotated[
        str,
        typer.Option(
            help="Only train, validation or test: of a folder or table or, without FILES, of the "
            "data of the run."
        ),
    ] = "",
    root: options.Root = None,
    out: Annotated[
        Path | None,
        typer.Option(help="File to write: .csv, a table of all probabilities, or .json, all."),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Picture of answers and true classes, such as a.png.")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Ask a trained network about spike files, recordings, or the data of its run.

    Where classes are known (a spike file with labels, a folder for each class, or a table with the
    columns file,label), it also says how often the network is right, with a 95 % interval, and
    which classes it takes for which. Percentages are probabilities, calibrated on the validation
    data of the run. Recordings need a network trained on audio: recordings, gsc, or fsdd. Without
    files, --split test shows the answers to the test data of the run, also labels and values.

    Examples:

        snnsim predict runs/a SPIKES.h5

        snnsim predict runs/own RECORDING.wav FOLDER --out answers.csv --plot confusion.png

        snnsim predict runs/a --split test
    """
    if not files and not split:
        raise typer.BadParameter("name FILES to ask about, or --split for the data of the run")
    from snnsim_experiments.predict import predict_files, predict_split
    from snnsim_experiments.predicted import check_ending
    from snnsim_experiments.show import draw, show

    if out is not None:
        check_ending(out)
    if files and root is not None:
        raise ConfigError("--root is the folder of the data of the run; remove it, or FILES")
    if not files and index is not None:
        raise ConfigError(f"--index is {index}, a sample of a file; name the file, or remove it")
    if files:
        found: Any = predict_files(run, files, index, top, split)
    else:
        found = predict_split(run, split, root, top)
    if out is not None:
        found.write(out)
    if plot is not None:
        draw(found, plot)
    options.answer(found.rows, as_json, lambda _: show(found))


app.command()(listen)


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


@app.command()
def cost(
    run: options.RunFolder,
    split: Annotated[str, typer.Option(help="Split of the data.")] = "test",
    samples: Annotated[int, typer.Option(min=1, max=10**9, help="Largest number.")] = 200,
    batch_size: Annotated[
        int, typer.Option(min=1, max=10**6, help="Samples at a time; the rule for ACs looks at it.")
    ] = 256,
    root: options.Root = None,
    checkpoint: Annotated[str, typer.Option(help="best, last or initial.")] = "best",
    task: Annotated[
        int | None, typer.Option(min=1, help="On a stream: weights after this task; else the last.")
    ] = None,
    device: options.Device = "cpu",
    as_json: options.Json = False,
) -> None:
    """Count what the network of a run costs per sample: operations, sparsity, memory and energy.

    A synaptic operation is a nonzero input that meets a nonzero weight. As in NeuroBench it is an
    AC (accumulation) if all inputs of the connection in that time step, of the whole batch, are -1,
    0 or 1, and a MAC (multiply-accumulation) otherwise. "By value" looks at each input by itself. A
    spike costs all its synapses when it is emitted, whatever their delays. Steps of padding count.
    With --json, NeuroBench's metrics are under "neurobench", and counts are sums over samples.

    The energy is that of processor and GPU as their meters show it; where there is no meter that
    can be read, the output says so. Definitions are in docs/cost.md.

    Examples:

        snnsim cost runs/a

        snnsim cost runs/a --samples 1000 --batch-size 1 --json
    """
    from snnsim.costing import cost as of_network
    from snnsim_experiments.analyse import subject_of
    from snnsim_experiments.run_folder import device as device_named

    where = device_named(device)
    subject = subject_of(run, split, samples, root, checkpoint, task)
    net = subject.net.to(where)
    found = of_network(net, subject.data, batch_size=batch_size, energy=True)
    options.answer(found.as_json(), as_json, lambda _: options.print_line(str(found)))


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
        _say_interrupted()
        raise SystemExit(130) from None
    except SystemExit as error:  # as which newer versions of typer pass an interrupt on
        if isinstance(getattr(error.__context__, "__cause__", None), KeyboardInterrupt):
            _say_interrupted()
        raise


def _say_interrupted() -> None:
    options.messages.print("interrupted; continue with --resume and the same --out")
