"""``snnsim predict``: classify spike files and recordings with a trained network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from snnsim_datasets.tools import heidelberg
from snnsim_datasets.tools.audio import AUDIO, Recordings, is_audio, read_audio, read_mixed
from snnsim_datasets.tools.camera_events import KIND as CAMERA
from snnsim_datasets.tools.camera_events import Camera
from snnsim_datasets.tools.cameras import read as read_camera
from snnsim_datasets.tools.files import DAMAGE
from snnsim_datasets.tools.mel import MelFrontEnd

from snnsim.data.events import BinnedEvents, Events, bin_all
from snnsim.errors import ConfigError, DataError
from snnsim.training import predict as predict_scores
from snnsim.training.evaluate import equally_padded
from snnsim.training.recipe import CLASS
from snnsim_experiments.run_folder import Trained, load_trained

SPIKES = (".h5", ".gz", ".zip", ".npz")


def predict(run: Path, file: Path, index: int | None = None, top: int = 3) -> list[dict[str, Any]]:
    """Classify the sample(s) in a file.

    Args:
        run: the folder of a finished or interrupted run.
        file: a Heidelberg-layout HDF5 file, a ``.npz`` with ``times`` (seconds) and ``units``
            (or one array ``[times, units]``), a recording for a network trained on audio, or one
            of an event camera for a network trained on those.
        index: the number of one sample of a file with several; ``None`` for all.
        top: the number of classes to name, at least 1.

    Returns:
        For each sample ``{"index", "classes", "scores"}``, best first; scores sum to 1 over all.
    """
    if top < 1:
        raise ConfigError(f"--top is {top} but must be 1 or more")
    trained = load_trained(run)
    if trained.target != CLASS:
        raise ConfigError(
            f"the target of {run} is {trained.target}, so that it names no classes; generate "
            "spikes with: snnsim baselines generate"
        )
    data = _input(file, index, trained)
    scores = torch.zeros(len(data), len(trained.classes))
    for chosen, steps in equally_padded(data.lengths, trained.steps, trained.batch_size):
        batch = data.batch(chosen, steps)  # as evaluation makes it of the test part
        scores[torch.from_numpy(chosen)] = predict_scores(
            trained.net, batch.x, trained.readout, batch.lengths, trained.mask_padding
        )
    # summed softmaxes are a distribution once normalised; other read-outs need a softmax
    summed = trained.readout == "sum_softmax"
    shares = scores / scores.sum(1, keepdim=True) if summed else scores.softmax(1)
    ranked, first = shares.sort(dim=1, descending=True), index or 0
    return [
        {
            "index": first + i,
            "classes": [trained.classes[int(c)] for c in ranked.indices[i, :top]],
            "scores": [float(s) for s in ranked.values[i, :top]],
        }
        for i in range(len(shares))
    ]


def _input(file: Path, index: int | None, trained: Trained) -> BinnedEvents | Recordings:
    """The sample(s) of a file as the data that the network was trained on have them."""
    if not file.is_file():
        raise DataError(f"{file} does not exist")
    if is_audio(file):
        return _recording(file, trained)
    if trained.encoder.get("kind") == CAMERA and trained.dt is not None:
        return _of_camera(file, trained.encoder, trained.dt)
    if file.suffix.lower() not in SPIKES:
        raise ConfigError(
            f"{file.name} is not a spike file or recording: its name must end in one of "
            f"{', '.join((*SPIKES, *AUDIO))}"
        )
    encoder = trained.encoder
    if encoder.get("kind") != "events" or trained.dt is None:
        raise ConfigError(
            f"this network was trained on {trained.source}, not on cochlea spikes; give a file "
            "like its training data"
        )
    channels = trained.channels * encoder["pool"]
    if file.suffix.lower() == ".npz":
        events = _npz(file, channels)
    else:
        events, _ = heidelberg.read(file, (), channels)  # labels do not matter
    if index is not None:
        if not 0 <= index < len(events):
            raise ConfigError(
                f"--index is {index}, but {file.name} has {len(events)} samples; give a number "
                f"from 0 to {len(events) - 1}"
            )
        events = events.subset([index])
    return bin_all(events, trained.dt, encoder["pool"], encoder["binning"])


def _of_camera(file: Path, encoder: dict[str, Any], dt: float) -> BinnedEvents:
    """A recording of an event camera as a data set of one."""
    camera = Camera.of(encoder)
    try:
        times, units = camera.events(read_camera(file))
        events = Events(
            times=times, units=units, channels=camera.channels, classes=(), **_alone(len(times))
        )
        return camera.binned(events, dt, encoder.get("binning", "grid"))
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
    if encoder.pop("kind", "") != "mel" or trained.dt is None:
        raise ConfigError(
            f"this network was trained on cochlea spikes, and {file.name} is a recording; turn it "
            "into spikes with the cochlea model of the data set first, and give the spike file"
        )
    fixed = encoder.pop("one_length")
    if encoder.get("scaled"):  # recordings of one's own, of any rate and number of channels
        rate = encoder["rate"]
        samples = read_mixed(file, rate)
    else:
        samples, rate = read_audio(file)
    front_end = MelFrontEnd(**{**encoder, "rate": rate})
    if fixed:  # a second, as in training
        samples = np.pad(samples[:rate], (0, max(0, rate - len(samples))))
    return Recordings(
        samples=samples,
        **_alone(len(samples)),
        channels=trained.channels,
        classes=tuple(trained.classes),
        dt=trained.dt,
        front_end=front_end,
        one_length=fixed,
    )
