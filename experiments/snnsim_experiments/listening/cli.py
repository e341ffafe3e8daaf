"""``snnsim listen``: decide with a trained network on what is heard."""

# no postponed annotations here, which typer reads
import json
import os
import sys
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer

from snnsim.errors import ConfigError, check_number
from snnsim_experiments import options

LEVEL = -45.0  # dB, of the gate of a microphone, which never ends
LOST = (
    "pieces of sound are lost, because this machine is too slow or too busy; the last line says "
    "how many"
)


def listen(
    run: Annotated[Path | None, typer.Argument(help="Run folder.")] = None,
    sound: Annotated[
        str, typer.Argument(help="Sound file; - for raw samples on standard input.")
    ] = "",
    gate: Annotated[
        float | None,
        typer.Option(help="Decide on each sound that is at least so loud, in dB of full scale."),
    ] = None,
    silence_ms: Annotated[
        float, typer.Option(help="How long it is quiet before a sound has ended.")
    ] = 300.0,
    every: Annotated[
        float | None, typer.Option(help="Decide every so many ms on what was heard last.")
    ] = None,
    rate: Annotated[
        int | None, typer.Option(help="Samples per second, of standard input or a microphone.")
    ] = None,
    channels: Annotated[int, typer.Option(help="Number of channels of these samples.")] = 1,
    form: Annotated[
        str, typer.Option("--format", help="Of standard input: s16le, s32le or f32le.")
    ] = "s16le",
    realtime: Annotated[
        bool, typer.Option("--realtime", help="Play a sound file at its own pace.")
    ] = False,
    seconds: Annotated[float | None, typer.Option(help="Stop after this much sound.")] = None,
    device: Annotated[
        str | None, typer.Option(help="Microphone: its number, or a part of its name.")
    ] = None,
    list_devices: Annotated[
        bool, typer.Option("--list-devices", help="Show the microphones and stop.")
    ] = False,
    top: Annotated[int, typer.Option(min=1, help="How many classes to name with --json.")] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object per line.")] = False,
) -> None:
    """Decide with a trained network on what it hears: a microphone, a sound file, or a pipe.

    A microphone is heard until Ctrl-C. Sounds are found by how loud they are, with --gate -40
    unless that or --every says otherwise. On a sound file or standard input there is one decision
    at the end, the answer of snnsim predict, unless --gate or --every is given.

    Examples:

        snnsim listen runs/own

        snnsim listen runs/own words.wav --gate -40 --json

        ffmpeg -i talk.mp3 -f s16le -ac 1 -ar 16000 - | snnsim listen runs/own - --rate 16000
    """
    from snnsim_experiments.listening import sounds

    if list_devices:
        options.answer(sounds.microphones(), as_json, _print_devices)
        return
    if seconds is not None:
        check_number("--seconds", seconds, above=0)
    if run is None:
        raise ConfigError("name the run folder of a trained network: snnsim listen RUN")
    _check_place("standard input", sound == "-", {"--format": form != "s16le"})
    _check_place(
        "standard input or a microphone",
        sound in ("", "-"),
        {"--rate": rate is not None, "--channels": channels != 1},
    )
    _check_place("a sound file", sound not in ("", "-"), {"--realtime": realtime})
    _check_place("a microphone", not sound, {"--device": device is not None})
    if not sound and every is None and gate is None:
        gate = LEVEL
    from snnsim_experiments.listening.listener import Listener
    from snnsim_experiments.run_folder import load_trained

    trained = load_trained(run)
    source: sounds.Source
    if sound == "-":
        if rate is None:
            raise ConfigError("standard input does not say its rate; give it with --rate")
        source = sounds.PipedSound(sys.stdin.buffer, rate, channels, form)
    elif sound:
        source = sounds.FileSound(Path(sound), realtime)
    else:
        source = sounds.Microphone(device, rate, channels)
    listener = Listener(trained, rate=source.rate, gate=gate, silence_ms=silence_ms, every=every)
    try:
        _hear(listener, source, seconds, top if as_json else 0)
    except BrokenPipeError:  # whoever read the lines has gone; nothing is left to be written
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _check_place(source: str, is_it: bool, given: dict[str, bool]) -> None:
    """Refuse options of another source of sound than the one that is heard."""
    for name, is_given in given.items():
        if is_given and not is_it:
            raise ConfigError(f"{name} is only for {source}; remove it")


def _hear(listener: Any, source: Any, seconds: float | None, top: int) -> None:
    """Print every decision until the sound ends or the user does, and then what was heard."""
    warned = False
    try:
        for piece in source:
            _print_decisions(listener.push(piece), top)
            if source.lost and not warned:
                warned = True
                warnings.warn(LOST, stacklevel=2)
            if seconds is not None and listener.seconds >= seconds:
                break
    except KeyboardInterrupt:
        pass
    _print_decisions(listener.finish(), top)
    heard = {
        "seconds": round(listener.seconds, 3),
        "decisions": listener.decisions,
        "real_time_factor": round(listener.computing / max(listener.seconds, 1e-9), 5),
        "lost": source.lost,
    }
    _print_now(json.dumps(heard) if top else _told(heard))


def _print_decisions(decisions: list[Any], top: int) -> None:
    for each in decisions:
        if top:
            _print_now(json.dumps(each.as_json(top)))
        else:
            _print_now(
                f"{each.start:8.2f} - {each.end:.2f} s  {each.classes[0]}  {each.scores[0]:.1%}  "
                f"({each.latency_ms:.0f} ms later)"
            )


def _told(heard: dict[str, Any]) -> str:
    lost = f", {heard['lost']} pieces lost" if heard["lost"] else ""
    return (
        f"heard {heard['seconds']:.1f} s, decisions: {heard['decisions']}, computing took "
        f"{heard['real_time_factor']:.1%} of the time{lost}"
    )


def _print_now(text: str) -> None:
    print(text, flush=True)  # noqa: T201


def _print_devices(rows: list[dict[str, Any]]) -> None:
    cells = ([str(value) for value in row.values()] for row in rows)
    options.print_table(cells, "device", "name", "channels", "rate")
