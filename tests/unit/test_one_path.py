"""One path from a file to scores: training, evaluation, prediction and streaming agree."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import pytest
import soundfile
import torch
from snnsim_datasets.tools.audio import Recordings
from snnsim_experiments import Place
from snnsim_experiments.build import load_split
from snnsim_experiments.configuration import resolve
from snnsim_experiments.predict import predict
from snnsim_experiments.run_folder import load_network
from snnsim_experiments.train import train

import snnsim as sn
from snnsim.data.events import BinnedEvents
from snnsim.functional.readouts import get_readout
from snnsim.synapses.delayed import delayed_layers
from snnsim.training import predict as scores_of

SMALL = ("network.hidden=[8]", "network.max_delay_ms=60", "training.batch_size=8")


class Made(NamedTuple):
    """A data set's folder, and each test recording's file and place in it, in order."""

    root: Path
    files: list[tuple[Path, int | None]]


def noise(rng, seconds: float, rate: int) -> np.ndarray:
    return rng.normal(size=int(seconds * rate)) * rng.uniform(0.05, 0.15)


def speech_digits(root: Path, longest_test: float) -> Made:
    """Free Spoken Digits as audio: clips of many lengths."""
    rng, files = np.random.default_rng(1), []
    (root / "recordings").mkdir()
    for digit in (0, 7):
        for speaker in ("anna", "bert", "carl"):
            for index in (3, 4, 5, 6, 7):
                seconds = rng.uniform(0.2, longest_test if index < 5 else 0.6)
                path = root / "recordings" / f"{digit}_{speaker}_{index}.wav"
                soundfile.write(path, noise(rng, seconds, 8000), 8000, subtype="PCM_16")
                files += [path] if index < 5 else []
    return Made(root, [(path, None) for path in sorted(files)])


def commands(root: Path, longest_test: float) -> Made:
    """Speech Commands: clips of a second, and some shorter and longer."""
    rng, lists = np.random.default_rng(2), {"testing": [], "validation": []}
    for word in ("on", "yes"):
        (root / word).mkdir()
        for i in range(9):
            path = root / word / f"{i:08x}_nohash_0.wav"
            wave = noise(rng, rng.choice([0.6, 1.0, 1.0, longest_test + 0.6]), 16_000)
            soundfile.write(path, wave, 16_000, subtype="PCM_16")
            if i % 3 < 2:
                lists[("testing", "validation")[i % 3]].append(path)
    for name, paths in lists.items():
        text = "\n".join(f"{p.parent.name}/{p.name}" for p in paths)
        (root / f"{name}_list.txt").write_text(text)
    return Made(root, [(path, None) for path in sorted(lists["testing"])])


def spikes(root: Path, longest_test: float, name: str = "shd", classes: int = 20) -> Made:
    """Spikes in SHD's form: recordings of many lengths."""
    rng = np.random.default_rng(3)
    for part, longest in (("train", 0.6), ("test", longest_test)):
        with h5py.File(root / f"{name}_{part}.h5", "w") as file:
            number = 24 if part == "train" else 8
            times = file.create_dataset("spikes/times", number, h5py.vlen_dtype(np.float16))
            units = file.create_dataset("spikes/units", number, h5py.vlen_dtype(np.uint16))
            for i in range(number):
                size = int(rng.integers(100, 900))
                times[i] = np.sort(rng.uniform(0, rng.uniform(0.2, longest), size))
                units[i] = rng.integers(0, 700, size)
            file["labels"] = np.arange(number) % classes
            file["extra/speaker"] = np.arange(number) % 4
    return Made(root, [(root / f"{name}_test.h5", i) for i in range(8)])


def spikes_of_digits(root: Path, longest_test: float) -> Made:
    return spikes(root, longest_test, "fsdd", 10)


def spikes_as_arrays(root: Path, longest_test: float) -> Made:
    """The same recordings, each in a ``.npz`` of its own."""
    made = spikes(root, longest_test)
    files = []
    with h5py.File(root / "shd_test.h5") as file:
        for i in range(8):
            files.append((root / f"{i}.npz", None))
            np.savez(files[-1][0], times=file["spikes/times"][i].astype(np.float32),
                     units=file["spikes/units"][i])  # fmt: skip
    return Made(made.root, files)


SETS = {
    "fsdd audio": ("fsdd", speech_digits),
    "fsdd spikes": ("fsdd", spikes_of_digits),
    "gsc": ("gsc", commands),
    "shd": ("shd", spikes),
    "shd as npz": ("shd", spikes_as_arrays),
}
RULES = {
    "published": (),
    "masked": ("training.mask_padding=true",),
    "last": ("training.readout=last", "training.mask_padding=true"),
    "mean": ("training.readout=mean", "training.mask_padding=false"),
    "largest": ("training.readout=max_over_time", "training.mask_padding=true"),
}
RULES["causal"] = (*RULES["masked"], "network.padding=causal")
CASES = [(name, "published", 0.5) for name in SETS]
CASES += [(name, "published", 0.9) for name in SETS]  # longer than any recording trained on
CASES += [("fsdd audio", rule, 0.9) for rule in RULES if rule != "published"]
CASES += [("shd", "masked", 0.9), ("shd", "causal", 0.9), ("gsc", "causal", 0.5)]
MASKED = [case for case in CASES if "training.mask_padding=true" in RULES[case[1]]]
OF_AUDIO = [case for case in CASES if case[0] in ("fsdd audio", "gsc") and case[1] == "published"]


class Trained(NamedTuple):
    """A run, what it came from, and the batches of its training: indices and steps."""

    run: Path
    root: str
    files: list[tuple[Path, int | None]]
    batches: list[tuple[np.ndarray, int | None]]


def id_of(case) -> str:
    name, rule, longest = case
    return f"{name}, {rule}, {longest} s"


@pytest.fixture(scope="module", params=CASES, ids=id_of)
def trained(request, tmp_path_factory):
    """A run of one epoch."""
    name, rule, longest = request.param
    data, make = SETS[name]
    folder = tmp_path_factory.mktemp("one")
    (folder / "data").mkdir()
    made = make(folder / "data", longest)
    config = resolve(data, changes=(*SMALL, *RULES[rule]), epochs=1)
    asked = []
    with pytest.MonkeyPatch.context() as patch:
        for kind in (BinnedEvents, Recordings):
            patch.setattr(kind, "batch", listening(kind.batch, asked))
        patch.setattr(importlib.util, "find_spec", lambda name: None)  # no plots
        train(config, Place(str(made.root), folder / "run", quiet=True))
    own = content(load_split(config, "train", str(made.root)))
    batches = [(np.asarray(i), n) for data, i, n in asked if np.array_equal(content(data), own)]
    return Trained(folder / "run", str(made.root), made.files, batches)


def content(data) -> np.ndarray:
    return data.cells if isinstance(data, BinnedEvents) else data.samples


def listening(method, asked: list):
    def batch(self, indices, steps=None):
        asked.append((self, indices, steps))
        return method(self, indices, steps)

    return batch


def share(scores: torch.Tensor, config) -> np.ndarray:
    """Scores that sum to 1, as prediction states them."""
    summed = config.recipe.readout == "sum_softmax"
    part = scores / scores.sum(1, keepdim=True) if summed else scores.softmax(1)
    return part.double().numpy()


def scored(net, config, data, indices, steps: int | None) -> np.ndarray:
    """Shares of some recordings, padded to so many steps."""
    batch, rule = data.batch(indices, steps), config.recipe
    x = batch.x.to(next(net.parameters()).dtype)
    return share(scores_of(net, x, rule.readout, batch.lengths, rule.mask_padding), config)


def evaluated(trained: Trained):
    """Network, configuration, facts, test set, the steps it is padded to, and its shares."""
    net, config, facts = load_network(trained.run)
    data = load_split(config, "test", trained.root)
    steps = max(facts["steps"], int(data.lengths.max()))
    rows = [  # each alone
        scored(net, config, data, [i], max(facts["steps"], int(data.lengths[i])))
        for i in range(len(data))
    ]
    return net, config, facts, data, steps, np.concatenate(rows)


def predicted(trained: Trained, classes: list[str]) -> np.ndarray:
    """Shares in the order of the classes, file by file."""
    rows = []
    for path, index in trained.files:
        (row,) = predict(trained.run, path, index, top=len(classes))
        found = dict(zip(row["classes"], row["scores"], strict=True))
        rows.append([found[name] for name in classes])
    return np.asarray(rows)


def test_prediction_of_a_file_has_the_scores_of_evaluation(trained):
    _, _, facts, data, _, expected = evaluated(trained)
    assert len(trained.files) == len(data) > 4
    np.testing.assert_allclose(predicted(trained, facts["classes"]), expected, rtol=0, atol=2e-5)


def test_prediction_is_as_often_right_as_evaluation_said(trained):
    _, _, facts, data, _, _ = evaluated(trained)
    best = predicted(trained, facts["classes"]).argmax(1)
    # the summary is of the best weights, as is a prediction
    summary = json.loads((trained.run / "summary.json").read_text())
    assert np.mean(best == data.labels) == summary["test_accuracy"]


# the others count padding, of which a batch of training has less
@pytest.mark.parametrize("trained", MASKED, ids=id_of, indirect=True)
def test_a_recording_of_training_has_in_its_batch_the_scores_that_evaluation_gives_it(trained):
    net, config, facts = load_network(trained.run)
    data = load_split(config, "train", trained.root)
    assert sorted(i for mine, _ in trained.batches for i in mine.tolist()) == list(range(len(data)))
    together = scored(net, config, data, range(len(data)), facts["steps"])
    for mine, steps in trained.batches:
        found = scored(net, config, data, mine, steps)
        np.testing.assert_allclose(found, together[mine], rtol=0, atol=2e-5)


def streamed(net, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Outputs step by step with what comes after the end, and those of the whole sequence."""
    fast, whole = sn.compile(net), net(x)[0].detach()
    state, steps = None, []
    for frame in x:
        y, state = fast.step(frame, state)
        steps.append(y)
    return torch.cat([torch.stack(steps), fast.finish(state)]), whole


def test_a_stream_has_the_outputs_and_scores_of_evaluation(trained):
    net, config, _, data, frames, _ = evaluated(trained)
    batch = data.batch(range(len(data)), frames)
    net, rule, x = net.double().eval(), config.recipe, batch.x.double()
    tails = [layer.tail for layer in delayed_layers(net)]
    if rule.mask_padding:  # what all layers but the first say after the end needs steps as well
        x = torch.cat([x, x.new_zeros((sum(tails[1:]), *x.shape[1:]))])
    steps, whole = streamed(net, x)
    torch.testing.assert_close(steps, whole, rtol=0, atol=1e-9)
    ends = batch.lengths + sum(tails) if rule.mask_padding else None
    found = share(get_readout(rule.readout)(steps, ends), config)
    expected = scored(net, config, data, range(len(data)), frames)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("trained", OF_AUDIO, ids=id_of, indirect=True)
@pytest.mark.parametrize("ending", [".WAV", ".mp3", ".aiff", ".OGG", ".au", ".flac"])
def test_a_recording_of_any_ending_is_predicted_or_refused_by_its_name(trained, tmp_path, ending):
    path, _ = trained.files[0]
    wave, rate = soundfile.read(path)
    target = tmp_path / f"clip{ending}"
    container = {".WAV": "WAV", ".AIFF": "AIFF"}.get(ending, ending[1:].upper())
    soundfile.write(target, wave, rate, format=container)
    wanted = dict(zip(*_best(trained.run, path), strict=True))
    try:
        found = dict(zip(*_best(trained.run, target), strict=True))
    except sn.errors.SnnsimError as error:
        assert target.name in str(error)
    else:
        lossy = ending in (".mp3", ".OGG")
        assert all(abs(found[c] - wanted[c]) < (0.2 if lossy else 1e-4) for c in wanted)


def _best(run: Path, file: Path):
    (row,) = predict(run, file, None, top=100)
    return row["classes"], row["scores"]
