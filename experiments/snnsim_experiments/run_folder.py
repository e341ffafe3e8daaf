"""The folder of a run: what is in it and how it is read back."""

from __future__ import annotations

import importlib.util
import json
import platform
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass, replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from snnsim.errors import BackendError, CheckpointError, ConfigError, is_number, short
from snnsim.layer import Layer
from snnsim.portable import is_portable
from snnsim.pretrained import NETWORK
from snnsim.saving import load
from snnsim.sparsity import add_masks, masked_in
from snnsim.training import checkpoint, distributed
from snnsim.training.recipe import CLASS
from snnsim_experiments.build import build_network
from snnsim_experiments.configuration import check_data
from snnsim_experiments.experiment import SPIKING, Experiment
from snnsim_experiments.lock import Held, claim, ours_alone
from snnsim_experiments.place import Place

PACKAGES = ("snnsim", "torch", "numpy", "numba", "sympy", "h5py", "safetensors")


def write_json(path: Path, value: Any) -> None:
    """Write JSON so that the file is never half there."""
    checkpoint.write_text(path, json.dumps(value, indent=2) + "\n")


def read_json(path: Path) -> Any:
    """Read JSON; a :class:`CheckpointError` says what is wrong."""
    try:
        return json.loads(path.read_text(encoding="utf-8"), parse_constant=_not_a_number)
    except (FileNotFoundError, NotADirectoryError):
        raise CheckpointError(f"{path} does not exist; is {path.parent} a run folder?") from None
    except (ValueError, RecursionError) as error:  # not UTF-8, and numbers of 5000 digits, as well
        raise CheckpointError(f"{path} is damaged: {error}") from error


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON object, such as a summary; :class:`CheckpointError` for anything else."""
    found = read_json(path)
    if not isinstance(found, dict) or not found:
        raise CheckpointError(f"{path} is damaged: it holds no results")
    return found


def _not_a_number(name: str) -> None:
    raise ValueError(f"{name} is not a number")


def unique(name: str) -> str:
    """Return ``<time>-<name>-<six digits>``, which no two runs have in common."""
    time = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    return f"{time}-{name}-{secrets.token_hex(3)}"


def runs_below(folder: Path) -> list[Path]:
    """Return the run folders in a folder, itself included."""
    return sorted(path.parent for path in folder.rglob("run.json"))


def is_elsewhere(folder: Path, root: str | None) -> bool:
    """Return whether a run had its data in another folder than is named now."""
    before = read_object(folder / "run.json").get("root")
    return root is not None and before != str(Path(root).absolute())


def check_same_data(folder: Path, now: dict[str, str]) -> None:
    """Raise :class:`ConfigError` if a run was started with other files than those of now."""
    before = read_object(folder / "run.json").get("data_checksums") or {}
    if not isinstance(before, dict):
        raise CheckpointError(
            f"{folder / 'run.json'} is damaged: its data_checksums are not an object"
        )
    for name in before.keys() & now.keys():
        if before[name] != now[name]:
            raise ConfigError(
                f"{folder} was started with other data: {name} had the checksum {before[name]} and "
                f"now has {now[name]}; give the same --root, or choose another --out"
            )


def device(name: str) -> torch.device:
    """Return a device by name; raise :class:`BackendError` if it cannot be used here."""
    if name == "meta":
        raise BackendError("device 'meta' holds no values; use cpu or cuda")
    try:
        return torch.zeros(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise BackendError(
            f"device {name!r} cannot be used here ({str(error).splitlines()[0]})"
        ) from error


@contextmanager
def opened(experiment: Experiment, place: Place) -> Iterator[tuple[Held, torch.device, bool]]:
    """Hold the folder of a run within this context, if the run may be written to it.

    The folder is that of the place or a new one, and the same for all processes. The context
    gives the held folder, the device of this process, and whether the folder has a run that now
    continues to more epochs.
    """
    used = distributed.start(device(place.device))
    try:
        folder = Path(distributed.agree(str(place.out or default_folder(experiment))))
        with claim(folder) as held:
            several = ("seed",) if experiment.method else ()  # which have folders of their own
            found = prepare(folder, experiment, place.resume, several)
            longer = found and is_longer(experiment, stored_experiment(folder))
            if place.resume and not found and distributed.rank() == 0:
                text = f"there is no run in {folder}; starting one"
                place.console.print(text, markup=False, highlight=False)
            distributed.barrier()  # nobody writes before everybody has looked at the folder
            yield held, used, longer
    finally:
        distributed.stop()


def plotting() -> ModuleType | None:
    """Return the module that draws figures, or ``None`` where matplotlib is not installed."""
    if importlib.util.find_spec("matplotlib") is None:
        return None
    from snnsim import plotting

    return plotting


def default_folder(experiment: Experiment) -> Path:
    """Return ``runs/<data set>/<time>-<network>-seed<seed>-<six digits>`` for a run.

    On a stream it is ``runs/continual/<stream>/<time>-<method>-<six digits>``.
    """
    source, model = experiment.source, experiment.model
    if experiment.method:
        named = [experiment.method, *([] if model == SPIKING else [model])]
        return Path("runs", "continual", source) / unique("-".join(named))
    kind = f"delays-{experiment.network.get('delays')}" if model == SPIKING else model
    return Path("runs", source) / unique(f"{kind}-seed{experiment.seed}")


def prepare(folder: Path, experiment: Experiment, resume: bool, but: tuple[str, ...] = ()) -> bool:
    """Check that a run may be written to ``folder``; return whether it has one to continue.

    A folder that already holds a run is refused unless ``resume``, and then only its own
    experiment is continued; one on a data set may be given more epochs.

    Args:
        folder: the run folder.
        experiment: what is to be run.
        resume: whether to continue the run that is there.
        but: the names of what may differ from the run that is there.

    Raises:
        ConfigError: the folder cannot be written to.
    """
    stored = folder / "run.json"
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file; choose another --out")
    if not stored.exists():
        # what a run that was killed as it started leaves is no obstacle
        left = [p.name for p in ours_alone(folder)]
        if any(not n.startswith(("initial.safetensors", "run.json")) for n in left):
            raise ConfigError(f"{folder} is not empty and not a run; choose another --out")
        return False
    if not resume:
        raise ConfigError(
            f"{folder} already holds a run; continue it with --resume or choose another --out"
        )
    before = stored_experiment(folder)
    if is_longer(experiment, before):
        before = before.trained(epochs=experiment.recipe.epochs)
    changed = experiment.differences(before, but)
    if changed:
        raise ConfigError(
            f"{folder} was started with another configuration (differs in {', '.join(changed)}); "
            "resume with the same options or choose another --out"
        )
    return True


def note_start(
    folder: Path,
    experiment: Experiment,
    place: Place,
    checksums: dict[str, str],
    facts: dict[str, Any],
) -> None:
    """Write what a run is to ``run.json``, or check that it continues with the same data.

    Call it last of all that can fail, so that what cannot start leaves nothing.

    Args:
        folder: the run folder.
        experiment: what is run.
        place: where it is run.
        checksums: the checksums of all files that the run reads, by name.
        facts: further entries of ``run.json``.
    """
    for other in place.beside:
        check_same_data(other, checksums)
    if (folder / "run.json").exists():
        check_same_data(folder, checksums)
        if is_longer(experiment, stored_experiment(folder)):
            lengthen(folder, experiment)
        return
    root = None if place.root is None else str(Path(place.root).absolute())
    facts = facts | {"data_checksums": checksums, "root": root}
    write_json(folder / "run.json", describe(experiment, facts))


def is_longer(now: Experiment, before: Experiment) -> bool:
    """Return whether a run continues to more epochs; on a stream it cannot, its tasks are over."""
    return not now.method and now.recipe.epochs > before.recipe.epochs


def lengthen(folder: Path, experiment: Experiment) -> None:
    """Let a run, finished or not, continue to the epochs of an experiment."""
    (folder / "summary.json").unlink(missing_ok=True)
    facts = read_object(folder / "run.json")
    write_json(folder / "run.json", facts | {"config": experiment.as_json()})


def stored_experiment(folder: Path) -> Experiment:
    """Return the experiment of the run in ``folder``."""
    return _experiment(folder, read_json(folder / "run.json"))


def _experiment(folder: Path, facts: Any) -> Experiment:
    try:
        found = Experiment.from_json(facts["config"])
        if not found.method:
            check_data(found.source, found.data)
        return found
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{folder / 'run.json'} does not describe a run ({error})") from error


def describe(experiment: Experiment, facts: dict[str, Any]) -> dict[str, Any]:
    """Return the content of ``run.json``."""
    return {
        "command": ["snnsim", *sys.argv[1:]],
        "config": experiment.as_json(),
        "seed": experiment.seed,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in PACKAGES},
        },
        "commit": _commit(),
        "machine": {
            "system": platform.system(),
            "processor": platform.machine(),
            "threads": torch.get_num_threads(),
            "portable": is_portable(),
        },
        **facts,
    }


def _commit() -> str | None:
    """Commit of the source tree the program runs from, if it is one."""
    try:
        answer = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()


def _check_facts(folder: Path, facts: dict[str, Any]) -> None:
    """Raise unless run.json has what a network is built from."""
    classes = facts.get("classes")
    good = isinstance(classes, list) and all(isinstance(c, str) for c in classes)
    for name in ("channels", "steps", "outputs"):
        value = _outputs(facts) if name == "outputs" else facts.get(name)
        good = good and type(value) is int and 0 < value < 2**31
    dt: Any = facts.get("dt")
    if not good or type(dt) not in (int, float) or not 0 < dt < 1e9:
        raise CheckpointError(
            f"{folder / 'run.json'} is damaged: channels, classes, dt or steps are missing or wrong"
        )


def _outputs(facts: dict[str, Any]) -> Any:
    """The number of outputs: of classes, or where there are none of values that are forecast."""
    classes = facts.get("classes")
    return len(classes) if isinstance(classes, list) and classes else facts.get("outputs")


def load_network(folder: Path, name: str = "best") -> tuple[Layer, Experiment, dict[str, Any]]:
    """Load the network of a run with the weights of a checkpoint, its experiment and run.json."""
    facts = read_json(folder / "run.json")
    experiment = _experiment(folder, facts)
    _check_facts(folder, facts)
    try:
        shape = tuple(facts.get("shape", ()))  # which earlier versions did not store
        net = build_network(experiment, facts["channels"], _outputs(facts), facts["dt"], shape)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"{folder / 'run.json'} describes no network that can be built ({error!r})"
        ) from error
    path = folder / f"{name}.safetensors"
    tensors = checkpoint.without_prefix("net", checkpoint.load(path)[0])
    add_masks(net, masked_in(tensors))  # of a network that was pruned in training
    checkpoint.load_weights(net, tensors, path)
    return net.eval(), experiment, facts


def check_fits(folder: Path, facts: dict[str, Any], data: Any) -> None:
    """Refuse data that have other channels or classes than those that a run was trained on."""
    before = (facts["channels"], facts["classes"])
    now = (data.channels, list(data.classes))
    for name, was, found in zip(("channels", "classes"), before, now, strict=True):
        if was != found:
            raise ConfigError(
                f"{folder} was trained on data with the {name} {short(was)}, and these have "
                f"{short(found)}; change only options that keep them"
            )


def in_order_of(facts: dict[str, Any], data: Any) -> Any:
    """Return data with their classes in the order of a run's, if they are the same classes."""
    wanted, have = facts["classes"], list(data.classes)
    if have == wanted or sorted(have) != sorted(wanted) or not is_dataclass(type(data)):
        return data
    known = {each.name for each in fields(data)}
    name = next((each for each in ("labels", "target") if each in known), None)
    if name is None:
        return data
    new = np.asarray([wanted.index(each) for each in have])
    changed: Any = {name: new[getattr(data, name)], "classes": tuple(wanted)}
    return replace(data, **changed)


@dataclass(frozen=True)
class Trained:
    """A trained network is kept with what its input and output are.

    Attributes:
        net: the network, in evaluation mode.
        classes: the names of the classes.
        channels: the number of values per step of the input.
        dt: the length of a step in ms.
        steps: the number of steps that evaluation pads to.
        encoder: how a recording becomes input, see :class:`snnsim.data.About`.
        readout, mask_padding, batch_size: the values of the :class:`snnsim.training.Recipe`.
        source: the data set it was trained on, for messages.
        target: what it answers, see :class:`snnsim.training.Recipe`.
        kind: what it answers, see :class:`snnsim.training.Objective`.
        temperature: that of its probabilities, see :func:`snnsim.training.calibrate`; ``None``
            where none was fitted.
    """

    net: Any
    classes: list[str]
    channels: int
    dt: float | None
    steps: int
    encoder: dict[str, Any]
    readout: str
    mask_padding: bool
    batch_size: int
    source: str = "your own data"
    target: str = CLASS
    kind: str = CLASS
    temperature: float | None = None


# which earlier versions did not store, or which are no values of a network's file
_OPTIONAL = {"net", "source", "target", "kind", "temperature"}


def load_trained(folder: Path, name: str = "best") -> Trained:
    """Load the network of a run, or of a folder of :func:`snnsim.pretrained.save_pretrained`.

    The run may be one of the command line or of a :class:`snnsim.training.Trainer`.
    """
    path = folder / f"{name}.safetensors"
    if not path.exists() and (folder / NETWORK).exists():
        path = folder / NETWORK
    if (folder / "run.json").exists() or not path.exists():
        return _of_command(folder, name)
    net = load(path)
    known = {each.name for each in fields(Trained)} - _OPTIONAL
    if not known <= net.about.keys():
        raise CheckpointError(
            f"{path} has no {', '.join(sorted(known - net.about.keys()))}; "
            "save the network with them in its about"
        )
    return Trained(
        net,
        **{key: net.about[key] for key in known},
        target=net.about.get("target", CLASS),
        kind=net.about.get("kind", CLASS),
        temperature=_temperature(path, net.about),
    )


def _temperature(path: Path, about: Any) -> float | None:
    """The temperature that a network's file has, if it has one."""
    found = about.get("temperature") if isinstance(about, dict) else None
    if found is not None and not (is_number(found) and found > 0):
        raise CheckpointError(f"{path} is damaged: its temperature is {short(found)}")
    return found


def _of_command(folder: Path, name: str) -> Trained:
    net, experiment, facts = load_network(folder, name)
    recipe, data, audio = experiment.recipe, experiment.data, facts.get("audio")
    encoder: dict[str, Any] = facts.get("encoder", {})
    if not encoder and audio:  # one second of speech commands, as in training
        encoder = {"kind": "mel", "one_length": experiment.source == "gsc", **audio}
    elif not encoder and "pool" in data:
        encoder = {"kind": "events", "pool": data["pool"], "binning": data["binning"]}
    path = folder / f"{name}.safetensors"
    about = checkpoint.load(path)[1].get("about") if path.is_file() else {}
    return Trained(
        net, facts["classes"], facts["channels"], facts["dt"], facts["steps"], encoder,
        recipe.readout, recipe.mask_padding, recipe.batch_size, experiment.source, recipe.target,
        facts.get("kind", CLASS), _temperature(path, about),
    )  # fmt: skip
