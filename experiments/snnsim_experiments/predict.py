"""``snnsim predict``: what a trained network answers to files, or to the data of its run."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from snnsim_datasets.tools import heidelberg
from snnsim_datasets.tools.audio import AUDIO, Recordings, alone, is_audio, read_audio, read_mixed
from snnsim_datasets.tools.camera_events import KIND as CAMERA
from snnsim_datasets.tools.camera_events import Camera
from snnsim_datasets.tools.cameras import read as read_camera
from snnsim_datasets.tools.files import DAMAGE
from snnsim_datasets.tools.mel import MelFrontEnd

from snnsim.data import describe
from snnsim.data.events import BinnedEvents, Events, bin_all
from snnsim.errors import ConfigError, DataError, nearest, short
from snnsim.functional.readouts import fractions
from snnsim.training import Classification, answers
from snnsim.training.recipe import CLASS
from snnsim_experiments.answered import Answered
from snnsim_experiments.build import load_split
from snnsim_experiments.encode.spoken import encoding_of, heard
from snnsim_experiments.forecasts import figures_of, objective_for
from snnsim_experiments.given import SPIKES, Given, expanded
from snnsim_experiments.predicted import Predicted, Sample
from snnsim_experiments.run_folder import Trained, check_fits, load_network, load_trained
from snnsim_experiments.train import score

LABELLED = (".h5", ".gz", ".zip")  # spike files that say the class of each sample


def predict(
    run: Path, file: Path | Sequence[Path], index: int | None = None, top: int = 3
) -> list[dict[str, Any]]:
    """Classify the sample(s) of files.

    Args:
        run: the folder of a finished or interrupted run.
        file: a Heidelberg-layout HDF5 file, a ``.npz`` with ``times`` (seconds) and ``units``
            (or one array ``[times, units]``), a recording for a network trained on audio, a folder
            or table of recordings, or several of these; see
            :func:`snnsim_experiments.given.expanded`.
        index: the number of one sample of a file with several; ``None`` for all.
        top: the number of classes to name, at least 1.

    Returns:
        The rows of :class:`snnsim_experiments.predicted.Predicted`.
    """
    return predict_files(run, file, index, top).rows


def predict_files(
    run: Path,
    file: Path | Sequence[Path],
    index: int | None = None,
    top: int = 3,
    split: str = "",
) -> Predicted:
    """Classify the sample(s) of files, and compare the answers with what is known.

    Args:
        run, file, index, top: as for :func:`predict`.
        split: the part of a folder or table whose recordings are taken; empty for all.
    """
    if top < 1:
        raise ConfigError(f"--top is {top} but must be 1 or more")
    trained = load_trained(run)
    _check_classes(run, trained)
    files = expanded([file] if isinstance(file, Path) else file, split)
    _check_files(run, files, index, trained)
    return _predicted(run, trained, files, index, top)


def predict_split(
    run: Path, split: str, root: str | None = None, top: int = 3
) -> Predicted | Answered:
    """Return what the network of a run answers to a part of the data that the run is on.

    Args:
        run: the folder of a finished or interrupted run of the command line.
        split: ``"train"``, ``"validation"`` or ``"test"``.
        root: the folder of the data; ``None`` for that of the run.
        top: the number of classes to name, at least 1.
    """
    _, experiment, facts = load_network(run)
    data = load_split(experiment, split, facts.get("root") if root is None else root)
    check_fits(run, facts, data)
    return answers_on(run, split, data, top)


def answers_on(run: Path, split: str, data: Any, top: int = 3) -> Predicted | Answered:
    """Return what the network of a run answers to data that are like its own.

    Args:
        run, split, top: as for :func:`predict_split`; the split is only a name here.
        data: the data set.
    """
    trained = load_trained(run)
    net, experiment, facts = load_network(run)
    aim = objective_for(data, experiment.recipe)
    if not aim.kind:
        _check_classes(run, trained)
    about, steps, size = describe(data), facts["steps"], experiment.recipe.batch_size
    found = answers(net, data, objective=aim, batch_size=size, steps=steps)
    if isinstance(aim, Classification):
        asked = [Sample(split, i, int(each.target)) for i, each in enumerate(found)]
        shares = fractions(aim.readout, torch.stack([each.found for each in found]))
        return Predicted(str(run), about.classes, asked, shares, trained.temperature, top)
    scores = score(net, experiment, data, steps)
    figures = figures_of(scores.metric, scores.score, data)
    dt = facts["dt"]
    return Answered(str(run), split, aim, about.classes, dt, found, figures)


def _predicted(
    run: Path, trained: Trained, files: Sequence[Given], index: int | None, top: int
) -> Predicted:
    objective = Classification(trained.readout, trained.mask_padding)
    asked: list[Sample] = []
    scores = []
    for given in files:
        data = _input(given.path, index, trained)
        found = answers(
            trained.net, data, objective=objective, batch_size=trained.batch_size,
            steps=trained.steps,
        )  # fmt: skip
        labels = _labels(given, data, trained)
        for number, (each, label) in enumerate(zip(found, labels, strict=True), index or 0):
            asked.append(Sample(str(given.path), number, label))
            scores.append(each.found)
    shares = fractions(trained.readout, torch.stack(scores))
    return Predicted(str(run), trained.classes, asked, shares, trained.temperature, top)


def _check_classes(run: Path, trained: Trained) -> None:
    """Refuse a network that does not answer with a class for each sample."""
    if trained.target != CLASS:
        raise ConfigError(
            f"the target of {run} is {trained.target}, so that it names no classes; generate "
            "spikes with: snnsim baselines generate"
        )
    if trained.kind not in (CLASS, ""):
        raise ConfigError(
            f"{run} answers with {trained.kind}, not with a class for each sample; ask about the "
            "data of the run with --split, or in Python with snnsim.training.answers"
        )


def _check_files(run: Path, files: Sequence[Given], index: int | None, trained: Trained) -> None:
    """Refuse files that do not belong together, or classes that the network does not know."""
    if index is not None and len(files) > 1:
        raise ConfigError(
            f"--index is {index}, a sample of one file, but {len(files)} files are given; give one "
            "file, or remove --index"
        )
    kinds = {is_audio(given.path): given.path for given in files if given.path.is_file()}
    if len(kinds) > 1:
        raise ConfigError(
            f"{kinds[True]} is a recording and {kinds[False]} is none; give files of one kind, "
            "like the training data"
        )
    for given in files:
        _check_kind(given.path, trained)
        if given.label and given.label not in trained.classes:
            raise ConfigError(
                f"{given.path} is of the class {short(given.label, 60)}, which {run} does not know"
                f"{nearest(given.label, trained.classes)}; its classes are "
                f"{short(', '.join(trained.classes))}"
            )


def _labels(given: Given, data: Any, trained: Trained) -> list[int | None]:
    """The class of each sample of a file, ``None`` where it is not known."""
    if given.label:
        return [trained.classes.index(given.label)] * len(data)
    if given.path.suffix.lower() not in LABELLED:
        return [None] * len(data)
    labels: list[int] = data.labels.tolist()
    if max(labels) >= len(trained.classes):
        warnings.warn(
            f"{given.path} has labels up to {max(labels)}, but the network has "
            f"{len(trained.classes)} classes; they are of other classes, and are ignored",
            stacklevel=2,
        )
        return [None] * len(labels)
    return [None if label < 0 else label for label in labels]


def _input(file: Path, index: int | None, trained: Trained) -> BinnedEvents | Recordings:
    """The sample(s) of a file as the data that the network was trained on have them."""
    _check_kind(file, trained)
    encoding = encoding_of(trained.encoder)
    if is_audio(file) and encoding is not None:
        assert trained.dt is not None
        samples = read_mixed(file, encoding.encoder().rate)
        return heard(encoding, trained.encoder, trained.dt, samples)
    if is_audio(file):
        return _recording(file, trained)
    if trained.encoder.get("kind") == CAMERA:
        return _of_camera(file, trained)
    encoder = trained.encoder
    assert trained.dt is not None
    channels = trained.channels * encoder["pool"]
    if file.suffix.lower() == ".npz":
        events = _npz(file, channels)
    else:
        events, _ = heidelberg.read(file, (), channels)
    if index is not None:
        if not 0 <= index < len(events):
            raise ConfigError(
                f"--index is {index}, but {file.name} has {len(events)} samples; give a number "
                f"from 0 to {len(events) - 1}"
            )
        events = events.subset([index])
    return bin_all(events, trained.dt, encoder["pool"], encoder["binning"])


def _check_kind(file: Path, trained: Trained) -> None:
    """Refuse a file that is not like the training data."""
    if not file.is_file():
        raise DataError(f"{file} does not exist")
    kind = trained.encoder.get("kind")
    if is_audio(file):
        known = kind == "mel" or encoding_of(trained.encoder) is not None
        if not known or trained.dt is None:
            raise ConfigError(
                f"this network was trained on cochlea spikes of which is not known how they were "
                f"made, and {file.name} is a recording; turn it into spikes with snnsim encode "
                "first, and give the spike file"
            )
    elif kind == CAMERA:
        return  # its reader knows which formats there are
    elif file.suffix.lower() not in SPIKES:
        raise ConfigError(
            f"{file.name} is not a spike file or recording: its name must end in one of "
            f"{', '.join((*SPIKES, *AUDIO))}"
        )
    elif kind != "events" or trained.dt is None:
        raise ConfigError(
            f"this network was trained on {trained.source}, not on cochlea spikes; give a file "
            "like its training data"
        )


def _of_camera(file: Path, trained: Trained) -> BinnedEvents:
    """A recording of an event camera as a data set of one."""
    camera, encoder = Camera.of(trained.encoder), trained.encoder
    assert trained.dt is not None
    try:
        times, units = camera.events(read_camera(file))
        events = Events(
            times=times, units=units, channels=camera.channels, classes=(), **_alone(len(times))
        )
        return camera.binned(events, trained.dt, encoder.get("binning", "grid"))
    except DataError as error:
        raise DataError(str(error) if str(file) in str(error) else f"{file}: {error}") from error


def _npz(file: Path, channels: int) -> Events:
    try:
        with np.load(file) as stored:
            if "arr_0" in stored:
                times, units = stored["arr_0"]
            else:
                times, units = stored["times"], stored["units"]
    except DAMAGE as error:
        raise DataError(
            f"{file} must hold arrays 'times' (seconds) and 'units', or one array [times, units] "
            f"({error})"
        ) from error
    try:
        return Events(
            times=times, units=units, channels=channels, classes=(), **_alone(np.size(times))
        )
    except DataError as error:
        raise DataError(f"{file}: {error}") from error


def _alone(size: int) -> dict[str, Any]:
    """Where the only sample of a data set lies, with a class and speaker that do not matter."""
    offsets = np.asarray([0, size], np.int64)
    return {
        "offsets": offsets, "labels": np.zeros(1, np.int64), "speakers": np.full(1, -1, np.int64)
    }  # fmt: skip


def _recording(file: Path, trained: Trained) -> Recordings:
    """A clip as a data set of one, made as the others of its kind are."""
    encoder = dict(trained.encoder)
    assert trained.dt is not None
    del encoder["kind"]
    fixed = encoder.pop("one_length")
    if encoder.get("scaled"):  # recordings of one's own, of any rate and number of channels
        rate = encoder["rate"]
        samples = read_mixed(file, rate)
    else:
        samples, rate = read_audio(file)
    front_end = MelFrontEnd(**{**encoder, "rate": rate})
    if fixed:  # a second, as in training
        samples = np.pad(samples[:rate], (0, max(0, rate - len(samples))))
    told = {"channels": trained.channels, "classes": tuple(trained.classes), "dt": trained.dt}
    return alone(samples, front_end, fixed, **told)
