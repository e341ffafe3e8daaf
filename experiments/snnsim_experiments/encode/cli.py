"""``snnsim encode``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from snnsim_experiments import options

KINDS = "cochlea, mel, delta, level, rate, latency or population"  # known without importing torch


def encode(
    kind: Annotated[str, typer.Argument(help=f"How: {KINDS}.")],
    source: Annotated[
        Path, typer.Argument(help="Folder with a folder for each class, table, or recording.")
    ],
    out: Annotated[Path, typer.Argument(help="File to write: .h5, or .npz for mel.")],
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change an option of the kind: name=value. Repeatable."),
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, max=1024, help="Processes; else one per processor.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Seed of random spikes.")] = 0,
    speaker: Annotated[
        str, typer.Option(help="Regular expression that finds the speaker in a path: '_(.+)_'.")
    ] = "",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace OUT.")] = False,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
) -> None:
    """Turn recordings into spikes, or into mel bands, and write them to one file.

    cochlea is the model of the inner ear of the Heidelberg data sets; mel are the values of mel
    bands; delta, level, rate, latency and population send spikes in place of these values. Spikes
    are written in the layout of the Heidelberg data sets. docs/tutorials/sounds.md lists the
    options of each kind, and so does the error about an option that is not known.

    An interrupted job goes on if the same command is given again. What a recording becomes does
    not depend on --jobs.

    Examples:

        snnsim encode cochlea FOLDER spikes.h5

        snnsim encode delta list.csv spikes.h5 --set threshold=0.2 --set n_mels=40

        snnsim encode mel FOLDER bands.npz --speaker '_(.+)_'
    """
    from snnsim_experiments.encode import workers
    from snnsim_experiments.encode.job import Encoding, parts_of
    from snnsim_experiments.encode.job import encode as run_encode
    from snnsim_experiments.progress import RecordingsBar
    from snnsim_experiments.settings import parse_changes

    changes = parse_changes([f"{kind}.{change}" for change in set_ or ()], [kind])
    encoding = Encoding(kind, changes.get(kind, {}), seed)
    try:
        with RecordingsBar(options.messages, quiet) as bar:
            summary = run_encode(
                encoding, source, out, speaker=speaker, jobs=jobs or workers.processors(),
                overwrite=overwrite, progress=bar,
            )  # fmt: skip
    except KeyboardInterrupt:
        options.messages.print(
            f"interrupted; give the same command again to go on: what is done is kept in "
            f"{parts_of(out)}",
            markup=False, highlight=False, soft_wrap=True,
        )  # fmt: skip
        raise SystemExit(130) from None
    options.answer(summary, as_json, options.print_values)
