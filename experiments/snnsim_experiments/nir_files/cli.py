"""``snnsim nir export``, ``import`` and ``check``."""

# no postponed annotations: typer reads those of commands
from pathlib import Path
from typing import Annotated, Any

import typer

from snnsim_experiments import options

app = typer.Typer(
    help="Exchange networks with other programs: files of the Neuromorphic Intermediate "
    "Representation (NIR).",
    no_args_is_help=True,
)

Source = Annotated[Path, typer.Argument(help="NIR file, such as net.nir.")]
Step = Annotated[
    float,
    typer.Option(help="Step in s for which the time constants in the file were written."),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a file that exists.")]


@app.command("export")
def export(
    run: Annotated[Path, typer.Argument(help="Run folder, or a file of sn.save.")],
    out: Annotated[Path, typer.Argument(help="File to write, such as net.nir.")],
    checkpoint: Annotated[str, typer.Option(help="best, last or initial.")] = "best",
    round_: Annotated[
        bool,
        typer.Option("--round", help="Round delays that are still spread over several steps."),
    ] = False,
    overwrite: Overwrite = False,
    as_json: options.Json = False,
) -> None:
    """Write the network of a run as a NIR graph that computes the same, spike by spike.

    Normalisation is folded into the weights, and a delay for each synapse becomes a branch for each
    whole step that occurs. What NIR has no form for is refused by name. Which programs read the
    file as it is meant: snnsim nir check.

    Examples:

        snnsim nir export runs/a net.nir

        snnsim nir export net.safetensors net.nir
    """
    from snnsim_experiments.nir_files.exchange import export as write

    found = write(run, out, checkpoint, round_, overwrite)
    options.answer(found, as_json, _show)


@app.command("import")
def bring_in(
    file: Source,
    out: Annotated[Path, typer.Argument(help="File to write, such as net.safetensors.")],
    dt: Step = 1e-4,
    dt_ms: Annotated[
        float | None,
        typer.Option(help="Step of the network in ms; else what the file says, or --dt."),
    ] = None,
    overwrite: Overwrite = False,
    as_json: options.Json = False,
) -> None:
    """Read a NIR file as a network, and write it for sn.load and further training.

    Delays and weights in parallel become one delayed connection; loops of integrators and
    thresholds become neurons that reset by subtraction or adapt. A part of the graph that has no
    form here is refused by the name of its node.

    Examples:

        snnsim nir import net.nir net.safetensors
    """
    from snnsim_experiments.nir_files.exchange import bring_in as read

    options.answer(read(file, out, dt, dt_ms, overwrite), as_json, _show)


@app.command("check")
def check(file: Source, dt: Step = 1e-4, as_json: options.Json = False) -> None:
    """Tell which programs read a NIR file as it is meant, feature by feature.

    The verdicts were measured: each program read a graph with one such node, and its spikes were
    compared with forward Euler in float64.

    Examples:

        snnsim nir check net.nir
    """
    from snnsim.interop.nir.fidelity import PROGRAMS, VERDICTS
    from snnsim_experiments.nir_files.exchange import checked

    findings = checked(file, dt)

    def show(_: Any) -> None:
        rows = [[each.feature, str(len(each.nodes)), *each.verdicts.values()] for each in findings]
        programs = [f"{name} {version}" for name, version in PROGRAMS.items()]
        options.print_table(rows, "feature", "nodes", *programs)
        for sign, meaning in {**VERDICTS, "?": "was not measured"}.items():
            options.print_line(f"{sign}  {meaning}")

    rows = [{"feature": f.feature, "nodes": list(f.nodes), **f.verdicts} for f in findings]
    options.answer(rows, as_json, show)


def _show(found: dict[str, Any]) -> None:
    kinds = found.get("kinds", {})
    told = {"kinds": ", ".join(f"{kind} ({n})" for kind, n in kinds.items())} if kinds else {}
    options.print_values({**found, **told})
