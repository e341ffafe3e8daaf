"""``snnsim predict``: classify spike files and recordings with a trained network."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import snnsim_datasets
import torch
from snnsim_datasets.tools import heidelberg
from snnsim_datasets.tools.audio import read_audio
from snnsim_datasets.tools.events import Events, bin_all
from snnsim_datasets.tools.mel import MelFrontEnd

from snnsim.errors import ConfigError, DataError
from snnsim.training import predict as predict_scores
from snnsim_experiments.config import Config
from snnsim_experiments.run_folder import load_network

SPIKES = (".h5", ".gz", ".zip", ".npz")
AUDIO = (".wav", ".flac", ".ogg")


def predict(run: Path, file: Path, index: int | None = None, top: int = 3) -> list[dict[str, Any]]:
    """Classify the sample(s) in a file.

    Args:
        run: folder of a finished or interrupted run.
        file: a Heidelberg-layout HDF5 file, a ``.npz`` with ``times`` (seconds) and ``units``
            (or one array ``[times, units]``), or a recording for a network trained on audio.
        index: one sample of a file with several; ``None`` for all.
        top: how many classes to name.

    Returns:
        For each sample ``{"index", "classes", "scores"}``, best first; scores sum to 1 over all.
    """
    net, config, facts = load_network(run)
    x, lengths = _input(file, index, config, facts)
    recipe = config.recipe
    scores = predict_scores(net, x, recipe.readout, lengths, recipe.mask_padding)
    # summed softmaxes are a distribution once normalised; other read-outs need a softmax
    summed = recipe.readout == "sum_softmax"
    share = scores / scores.sum(1, keepdim=True) if summed else scores.softmax(1)
    names, first = facts["classes"], index or 0
    ranked = share.sort(dim=1, descending=True)
    return [
        {
            "index": first + i,
            "classes": [names[int(c)] for c in ranked.indices[i, :top]],
            "scores": [float(s) for s in ranked.values[i, :top]],
        }
        for i in range(share.shape[0])
    ]


def _input(
    file: Path, index: int | None, config: Config, facts: dict[str, Any]
) -> tuple[torch.Tensor, torch.Tensor]:
    if not file.is_file():
        raise DataError(f"{file} does not exist")
    if file.suffix in AUDIO:
        x = _recording(file, config, facts)
        return x, torch.tensor([len(x)])
    if file.suffix not in SPIKES:
        raise ConfigError(f"{file.name}: expected one of {', '.join(SPIKES + AUDIO)}")
    if "pool" not in config.data:
        raise ConfigError(f"this network was trained on {config.dataset}, not on cochlea spikes")
    channels = facts["channels"] * config.data["pool"]
    if file.suffix == ".npz":
        events = _npz(file, channels)
    else:
        info = snnsim_datasets.get(config.dataset).INFO
        events, _ = heidelberg.read(file, info.classes, channels)
    if index is not None:
        if not 0 <= index < len(events):
            raise ConfigError(f"--index {index} but {file.name} has {len(events)} samples")
        events = events.subset([index])
    options = {k: config.data[k] for k in ("dt", "pool", "binning")}
    batch = bin_all(events, **options).batch(np.arange(len(events)), _steps(events, facts))
    return batch.x, batch.lengths


def _steps(events: Events, facts: dict[str, Any]) -> int:
    last = float(events.times.max()) * 1000 / facts["dt"] if len(events.times) else 0
    return max(facts["steps"], int(last) + 1)


def _npz(file: Path, channels: int) -> Events:
    try:
        with np.load(file) as stored:
            if "arr_0" in stored:
                times, units = stored["arr_0"]
            else:
                times, units = stored["times"], stored["units"]
        times, units = np.asarray(times, np.float32), np.asarray(units, np.int64)
    except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{file} must hold arrays 'times' (seconds) and 'units', or one array [times, units] "
            f"({error})"
        ) from error
    if times.ndim != 1 or units.ndim != 1:
        raise DataError(f"{file}: times and units must have one axis each")
    if not (np.isfinite(times).all() and (times >= 0).all()):
        raise DataError(f"{file} has spike times that are negative, NaN or infinite")
    if len(times) != len(units):
        raise DataError(f"{file} has {len(times)} times but {len(units)} units")
    if len(units) and not 0 <= int(units.min()) <= int(units.max()) < channels:
        raise DataError(f"{file} has units outside 0 .. {channels - 1}")
    order = np.argsort(times, kind="stable")
    return Events(
        times=np.asarray(times, np.float32)[order],
        units=np.asarray(units, np.uint16)[order],
        offsets=np.asarray([0, len(times)], np.int64),
        labels=np.zeros(1, np.int64),
        speakers=np.full(1, -1, np.int64),
        channels=channels,
        classes=(),
    )


def _recording(file: Path, config: Config, facts: dict[str, Any]) -> torch.Tensor:
    if not facts.get("audio"):
        raise ConfigError(
            f"this network was trained on cochlea spikes, and {file.name} is a recording; turn it "
            "into spikes with the cochlea model of the data set first, and give the spike file"
        )
    samples, rate = read_audio(file)
    front_end = MelFrontEnd(**{**facts["audio"], "rate": rate})
    wave = torch.from_numpy(samples.astype(np.float32) / 32768.0).unsqueeze(0)
    if config.dataset == "gsc":  # one second, as in training
        wave = torch.nn.functional.pad(wave, (0, max(0, rate - wave.shape[1])))[:, :rate]
    return front_end(wave).transpose(0, 1)
