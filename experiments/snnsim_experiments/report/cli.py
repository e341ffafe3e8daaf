"""``snnsim report`` and ``snnsim share``: runs as a page, and networks for others."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from snnsim_experiments import options


@contextmanager
def _telling(quiet: bool) -> Iterator[Callable[[str], None]]:
    """Show what is being done, where there is a terminal."""
    if quiet:
        yield lambda _: None
        return
    with options.messages.status("") as status:
        yield lambda what: status.update(escape(what))


def report(
    runs: Annotated[
        list[Path], typer.Argument(help="Run folders, or folders of several.", show_default=False)
    ],
    out: Annotated[
        Path | None, typer.Option(help="File to write; else report.html in the first folder.")
    ] = None,
    details: Annotated[
        int, typer.Option(min=0, max=1000, help="Runs that are shown in detail, at most.")
    ] = 4,
    samples: Annotated[
        int, typer.Option(min=1, max=10**9, help="Test samples that each is asked, at most.")
    ] = 2000,
    rasters: Annotated[
        int, typer.Option(min=0, max=100, help="Samples whose activity is shown.")
    ] = 4,
    root: options.Root = None,
    device: options.Device = "cpu",
    quiet: options.Quiet = False,
    as_json: options.Json = False,
) -> None:
    """Write one page about runs: results, curves, activity, delays, cost and diagnosis.

    The page is one HTML file that needs no network and no other file. Runs that differ in nothing
    but the seed are compared as groups, with standard deviations and 95 % intervals. The best of
    each group, by validation, is shown in detail: its confusions, the activity of all layers on
    some test samples, which one can hover and zoom, its delays before and after training, what it
    costs in NeuroBench's terms, and what could be better. For this the network is run again on the
    data of the run; what the data or the network do not allow is left out with the reason.

    Folders of sweeps and comparisons stand for all runs in them. Runs need not be finished.

    Examples:

        snnsim report runs/a

        snnsim report runs/a runs/b --out report.html

        snnsim report runs/sweep --details 2
    """
    from snnsim_experiments.report.measured import Limits
    from snnsim_experiments.report.page import write_report

    limits = Limits(samples, rasters, root, device)
    with _telling(quiet) as say:
        file = write_report(runs, out or runs[0] / "report.html", limits, details, say)
    options.answer({"out": str(file)}, as_json, lambda found: options.print_line(found["out"]))


def share(
    run: options.RunFolder,
    out: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder to write.")],
    license_: Annotated[
        str, typer.Option("--license", help="License of the weights, such as cc-by-4.0.")
    ] = "",
    push: Annotated[
        str, typer.Option(help="Also upload it to this name, user/name, on the Hugging Face hub.")
    ] = "",
    private: Annotated[
        bool, typer.Option("--private", help="With --push: only its owner sees it there.")
    ] = False,
    samples: Annotated[
        int, typer.Option(min=1, max=10**9, help="Test samples that it is asked, at most.")
    ] = 2000,
    root: options.Root = None,
    device: options.Device = "cpu",
    quiet: options.Quiet = False,
    as_json: options.Json = False,
) -> None:
    """Write the network of a run into a folder for others, with a card that says what it is.

    The folder has network.safetensors, from which snnsim.pretrained.from_pretrained(FOLDER) and
    "snnsim predict FOLDER" load it without executing any code, and README.md, the card: data,
    training and the command that repeats it, test results with their interval, most frequent
    confusions, cost, and limits. --push needs the extra hub (pip install 'snnsim[hub]') and a
    login (hf auth login).

    Examples:

        snnsim share runs/a digits

        snnsim share runs/a digits --license cc-by-4.0 --push someone/digits
    """
    from snnsim_experiments.report.measured import Limits
    from snnsim_experiments.report.sharing import share as write

    with _telling(quiet) as say:
        folder = write(
            run, out, Limits(samples, 0, root, device),
            license=license_, push_to=push, private=private, say=say,
        )  # fmt: skip
    options.answer({"out": str(folder)}, as_json, lambda found: options.print_line(found["out"]))
