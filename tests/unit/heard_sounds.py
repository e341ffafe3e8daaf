"""Sounds, and small networks on them, for the tests of listening."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import soundfile
import torch
from snnsim_datasets.tools.mel import MelFrontEnd
from snnsim_experiments import predict as predict_module
from snnsim_experiments.listening.listener import Decision, Listener
from snnsim_experiments.run_folder import Trained

from snnsim.baselines import RateNetwork
from snnsim.networks import delay_network

CLASSES = ["low", "high", "noise", "click"]
OWN = MelFrontEnd(16000, 16000, 20, n_fft=512, scaled=True)  # recordings of one's own
DECIBELS = MelFrontEnd(8000, 8000, 20)  # fsdd
SECOND = MelFrontEnd(16000, 8000, 20)  # gsc


def word(rate: int, seconds: float = 0.6, hertz: float = 500.0, seed: int = 0) -> np.ndarray:
    """A chirp in noise, ``[n]`` int16."""
    time = np.arange(round(rate * seconds)) / rate
    noise = np.random.default_rng(seed).standard_normal(len(time))
    wave = np.sin(2 * np.pi * hertz * time * (1 + time)) + 0.1 * noise
    return np.rint(6000 * wave).astype(np.int16)


def network(channels: int, seed: int = 0, **options):
    """An untrained network whose spikes depend on the details of its input."""
    torch.manual_seed(seed)
    sizes = (channels, 24, 24, len(CLASSES))
    common = {"dt": 10.0, "tau_mem": 10.05, "max_delay_ms": 80, "dropout": 0.0}
    net = delay_network(sizes, **(common | {"delays": "fixed"} | options))
    for module in net.modules():
        if hasattr(module, "weight") and module.weight.dim() > 1:
            module.weight.data *= 4
    return net.eval()


def rate_network(channels: int, model: str = "gru", **options) -> RateNetwork:
    torch.manual_seed(0)
    return RateNetwork(channels, len(CLASSES), model, width=8, **options).eval()


def trained(
    net, front_end: MelFrontEnd = OWN, readout: str = "sum_softmax", masked: bool = False, **more
) -> Trained:
    """A network with what its input and output are, as a run folder has it."""
    encoder = {"kind": "mel", "one_length": front_end is SECOND, **asdict(front_end)}
    facts = {"steps": 101, "encoder": encoder, "batch_size": 8} | more
    return Trained(
        net, CLASSES, front_end.n_mels, 10.0, readout=readout, mask_padding=masked, **facts
    )


def predicted(monkeypatch, known: Trained, file: Path) -> dict[str, float]:
    """The answer of ``snnsim predict``, the probability of each class."""
    monkeypatch.setattr(predict_module, "load_trained", lambda run: known)
    (row,) = predict_module.predict(Path("run"), file, top=len(known.classes))
    return dict(zip(row["classes"], row["scores"], strict=True))


def write(path: Path, samples: np.ndarray, rate: int) -> Path:
    soundfile.write(path, samples, rate, subtype="PCM_16")
    return path


def hear(known: Trained, samples: np.ndarray, rate: int, size: int, **options) -> list[Decision]:
    """All decisions on samples that arrive in pieces of a size."""
    listener = Listener(known, rate=rate, **options)
    found = []
    for first in range(0, len(samples), size):
        found += listener.push(samples[first : first + size])
    return [*found, *listener.finish()]


def by_class(decision: Decision) -> dict[str, float]:
    return dict(zip(decision.classes, decision.scores, strict=True))
