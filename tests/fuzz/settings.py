"""Cases of settings: files of them, single changes, weight files and the files of run folders."""

from __future__ import annotations

import functools
import json
import math
import os
import shutil
import tempfile
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from outcomes import Place, Silent
from rich.console import Console
from snnsim_experiments import run_folder
from snnsim_experiments.build import load_split
from snnsim_experiments.configuration import resolve
from snnsim_experiments.experiment import Experiment
from snnsim_experiments.place import Place as Where
from snnsim_experiments.similar import similar
from snnsim_experiments.train import train

from snnsim.training import Trainer, checkpoint

KINDS: dict[str, tuple[str, dict]] = {
    f"settings-{kind.replace('_', '-')}": (f"settings:{kind}", {})
    for kind in ("toml", "change", "weights", "run_json", "metrics", "summary", "resume")
}
NUMBERS = (
    "nan", "inf", "-inf", "1e300", "-1e300", "1e-320", "1e999", "-1", "0", "0.5", "9" * 20,
    "9" * 400, "9" * 5000, "0x1F", "1_0", "true", "'x'", "[]", "{}", "[1, 'a']", "1979-05-27", "",
)  # fmt: skip
TOKENS = (
    *NUMBERS, "[", "]", "[[", "]]", "{", "}", "=", ".", ",", '"', "'", '"""', "#", "\n", "\0",
    "\ufeff", "\ud800", "\\u", "ü", "[training]\n", "[network]\n", "epochs = ", "a.b.c = ", "[red]",
)  # fmt: skip


# --- changes of bytes and values ----------------------------------------------------------------


def mutated(content: bytes, rng: np.random.Generator) -> bytes:
    """One to four changes: bits, tokens, pieces cut out, doubled, moved; a shorter file."""
    data = bytearray(content)
    for _ in range(rng.integers(1, 5)):
        at = int(rng.integers(len(data) + 1))
        end = min(at + int(rng.integers(1, 40)), len(data))
        how = rng.integers(7)
        if how == 0 and at < len(data):
            data[at] ^= 1 << int(rng.integers(8))
        elif how == 1:
            data[at:at] = str(rng.choice(TOKENS)).encode("utf-8", "surrogatepass")
        elif how == 2:
            del data[at:end]
        elif how == 3:
            data[at:at] = data[at:end] * int(rng.integers(1, 30))
        elif how == 4:
            data[at:end] = bytes(rng.integers(0, 256, end - at).tolist())
        elif how == 5:
            data = data[:at]
        else:
            data[at:at] = bytes([int(rng.choice(list(b"[{(\"'9 ")))]) * int(rng.integers(1, 3000))
    return bytes(data)


def mutated_json(value: Any, rng: np.random.Generator) -> Any:
    """The same value with one of its parts replaced by something odd."""
    odd = (None, -1, 0, 1.5, math.nan, math.inf, 10**30, "", "x", [], {}, [[]], True, "\ud800")
    if isinstance(value, dict) and value and rng.random() < 0.8:
        key = str(rng.choice(sorted(value)))
        if rng.random() < 0.1:
            return {k: v for k, v in value.items() if k != key}
        return {**value, key: mutated_json(value[key], rng)}
    return odd[int(rng.integers(len(odd)))]


def numbers(value: Any) -> list[float]:
    """All numbers in a nested value."""
    if isinstance(value, dict):
        return [n for each in value.values() for n in numbers(each)]
    if isinstance(value, (list, tuple)):
        return [n for each in value for n in numbers(each)]
    return [value] if isinstance(value, (int, float)) else []


def check_config(config: Experiment) -> None:
    """A configuration that is taken has finite numbers and survives JSON."""
    values = config.as_json()
    if not all(math.isfinite(n) for n in numbers(values)):
        raise Silent(f"a number that is not finite was taken: {values}")
    stored = json.loads(json.dumps(values))
    if stored != values or Experiment.from_json(stored) != config:
        raise Silent("the configuration does not survive JSON")


# --- settings -----------------------------------------------------------------------------------

RESOLVERS = {
    "spoken-digits": lambda path: resolve("spoken-digits", config=path),
    "gsc": lambda path: resolve("gsc", config=path),
    "stream": lambda path: resolve("parity", method="hlop", config=path),
    "baseline": lambda path: resolve("spoken-digits", "gru", config=path),
}


@functools.cache
def shipped(kind: str) -> list[bytes]:
    folder = Path(run_folder.__file__).parent
    below = {"stream": "continual", "baseline": "baselines"}.get(kind, kind.replace("-", "_"))
    return [path.read_bytes() for path in sorted((folder / below).glob("*.toml"))]


def toml(place: Place, rng: np.random.Generator) -> None:
    """A file of settings that came along, changed."""
    kind = str(rng.choice(list(RESOLVERS)))
    path = place.folder / "mine.toml"
    path.write_bytes(mutated(shipped(kind)[rng.integers(len(shipped(kind)))], rng))
    check_config(RESOLVERS[kind](str(path)))


def keys() -> list[str]:
    values = resolve("spoken-digits").as_json()
    return [f"{s}.{k}" for s in ("data", "network", "training") for k in values[s]]


NAMES = {  # what an error must name where there is no file
    "settings-change": (
        "--set",
        "data",
        "network",
        "training",
        *(key.partition(".")[2] for key in keys()),
    )
}


def change(place: Place, rng: np.random.Generator) -> None:
    """One to three texts of ``--set``."""
    texts = []
    for _ in range(rng.integers(1, 4)):
        value = str(rng.choice(NUMBERS))
        if rng.random() < 0.3:
            value = "".join(map(str, rng.choice(TOKENS, rng.integers(1, 8))))
        text = f"{rng.choice(keys())}={value}"
        if rng.random() < 0.2:
            at = int(rng.integers(len(text)))
            text = text[:at] + str(rng.choice(TOKENS)) + text[at:]
        texts.append(text)
    check_config(resolve("spoken-digits", changes=texts))


# --- weights ------------------------------------------------------------------------------------


@functools.cache
def stored() -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    generator = torch.Generator().manual_seed(3)
    tensors = {f"net.layers.{i}.weight": torch.randn(5, 4, generator=generator) for i in range(3)}
    tensors |= {"steps": torch.arange(7), "random.cpu": torch.get_rng_state()[:50]}
    return tensors, {"seed": 7, "position": {"epoch": 3, "loss": 0.25}, "recipe": {"lr": 1e-3}}


def weights(place: Place, rng: np.random.Generator) -> None:
    """A weight file of which a few bytes changed; what is read must be what was written."""
    path = place.folder / "last.safetensors"
    checkpoint.save(path, *stored())
    whole = path.read_bytes()
    path.write_bytes(mutated(whole, rng))
    if path.read_bytes() == whole:
        return
    tensors, values = checkpoint.load(path)
    same = tensors.keys() == stored()[0].keys() and values == stored()[1]
    if not same or any(not torch.equal(t, stored()[0][n]) for n, t in tensors.items()):
        raise Silent(f"{path.name} was taken although it is damaged")


# --- run folders --------------------------------------------------------------------------------


@functools.cache
def base_run() -> Path:
    """A finished run, made once in a process."""
    scratch = Path(os.environ["SNNSIM_DATA"]).parent  # removed with the worker
    folder = Path(tempfile.mkdtemp(dir=scratch, prefix="run-")) / "run"
    changes = ["network.hidden=[4]", "data.pool=50", "training.batch_size=128"]
    config = resolve("spoken-digits", config="none", changes=changes, epochs=2, backend="reference")
    train(config, Where(out=folder, quiet=True, console=Console(quiet=True)))
    return folder


@functools.cache
def parts(name: str) -> Any:
    return load_split(run_folder.stored_experiment(base_run()), name, None)


def copied(place: Place) -> Path:
    folder = place.folder / "run"
    shutil.copytree(base_run(), folder, ignore=shutil.ignore_patterns("plots"))
    return folder


def spoil(path: Path, rng: np.random.Generator) -> None:
    """Change a file's bytes or, if it is JSON, one of its values."""
    if path.suffix == ".json" and rng.random() < 0.6:
        path.write_text(json.dumps(mutated_json(json.loads(path.read_bytes()), rng)))
    else:
        path.write_bytes(mutated(path.read_bytes(), rng))


def run_json(place: Place, rng: np.random.Generator) -> None:
    """A spoilt ``run.json``: the network is read and used, and the run compared with another."""
    folder = copied(place)
    spoil(folder / "run.json", rng)
    shutil.copytree(base_run(), place.folder / "other", ignore=shutil.ignore_patterns("plots"))
    (place.folder / "mine").mkdir()
    shutil.copy(base_run() / "run.json", place.folder / "mine")
    rows = similar(place.folder / "mine", place.folder)
    if str(place.folder / "other") not in [row["run"] for row in rows]:
        raise Silent("another run was lost")
    net, _, facts = run_folder.load_network(folder)
    if type(facts["steps"]) is not int or not 0 < facts["dt"] < math.inf:
        raise Silent(f"steps {facts['steps']!r} and dt {facts['dt']!r} were taken")
    y, _ = net(torch.zeros(3, 1, facts["channels"]))
    if y.shape[-1] != len(facts["classes"]):
        raise Silent("the network has another number of classes than the run")


def trainer(folder: Path, config: Experiment) -> Trainer:
    net, _, _ = run_folder.load_network(base_run(), "initial")
    return Trainer(
        net, parts("train"), parts("validation"), config.recipe, out=folder, seed=config.seed
    )


def metrics(place: Place, rng: np.random.Generator) -> None:
    """A spoilt ``metrics.jsonl``: a resumed run has a row for every epoch, or says so."""
    folder = copied(place)
    spoil(folder / "metrics.jsonl", rng)
    resumed = trainer(folder, run_folder.stored_experiment(folder))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        resumed.resume()
    if [row["epoch"] for row in resumed.rows] != [0, 1] and not said:
        raise Silent(f"rows {resumed.rows} were taken")
    if not all(math.isfinite(n) for n in numbers(resumed.rows)):
        raise Silent(f"rows {resumed.rows} were taken")


def summary(place: Place, rng: np.random.Generator) -> None:
    """A spoilt ``summary.json``: the complete run is said again, or the damage."""
    folder = copied(place)
    spoil(folder / "summary.json", rng)
    config = run_folder.stored_experiment(folder)
    where = Where(out=folder, resume=True, quiet=True, console=Console(quiet=True))
    found = train(config, where)
    # what is a share can be another one, without anybody being able to see it
    share = found.get("test_accuracy")
    if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 <= share <= 1:
        raise Silent(f"the summary {found} was taken")


def resume(place: Place, rng: np.random.Generator) -> None:
    """A spoilt ``last.safetensors``, in its bytes or its values: training goes on, or refuses."""
    folder = copied(place)
    path = folder / "last.safetensors"
    config = run_folder.stored_experiment(folder)
    before, values = checkpoint.load(path)
    odd = values
    if rng.random() < 0.5:
        odd = mutated_json(values, rng)
        checkpoint.save(path, before, odd)
    else:
        path.write_bytes(mutated(path.read_bytes(), rng))
    resumed = trainer(folder, config)
    resumed.resume()
    position = asdict(resumed.position)
    if position != values["position"] and not all(
        math.isfinite(n) and (n >= 0 or key.startswith("best"))
        for key, n in position.items()
        if isinstance(n, (int, float))
    ):
        raise Silent(f"the position {position} was taken")
    state = resumed.net.state_dict()
    if odd is values and any(
        not torch.equal(state[n], t) for n, t in checkpoint.without_prefix("net", before).items()
    ):
        raise Silent("other weights were taken")
