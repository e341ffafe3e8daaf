"""What every data set keeps to: those of files, tasks made by rules, streams, and adapters."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import snnsim_datasets
import torch
from data_sources import FILES
from dataset_files import write_images
from snnsim_datasets import images, load, synthetic
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from snnsim import data as d
from snnsim.continual import permuted, rotated, split_by_class, split_by_speaker
from snnsim.errors import ConfigError

RANDOM = np.random.default_rng(0)
X = RANDOM.random((7, 6, 3)).astype(np.float32)
LABELS = np.asarray([0, 1, 0, 1, 1, 0, 1])
TENSORS = TensorDataset(torch.from_numpy(X), torch.from_numpy(LABELS))
RAGGED = [x[: 2 + i % 5] for i, x in enumerate(X)]


def of_files(case: str) -> Callable[[Path], d.Sequences]:
    name, write = FILES[case]

    def make(folder: Path) -> d.Sequences:
        options, _ = write(folder)
        return load(name, "train", folder, **options)

    return make


def of_images(name: str, **options) -> Callable[[Path], d.Sequences]:
    def make(folder: Path) -> d.Sequences:
        write_images(folder, name)
        return images.load(name, "train", folder, download=False, **options)

    return make


class Plain:
    """A data set of a user's own, which knows nothing of ours."""

    lengths = np.asarray([len(x) for x in RAGGED])

    def __len__(self):
        return len(RAGGED)

    def batch(self, indices, steps=None):
        frames = int(self.lengths[indices].max()) if steps is None else steps
        x = torch.zeros(frames, len(indices), 3)
        for row, i in enumerate(indices):
            x[: self.lengths[i], row] = torch.from_numpy(RAGGED[i][:frames])
        lengths = torch.from_numpy(self.lengths[indices]).clamp(max=frames)
        return d.Batch(x, torch.from_numpy(LABELS[indices]), lengths)


class Iterated(IterableDataset):
    def __iter__(self):
        return zip(RAGGED, LABELS, strict=True)


def spikes() -> list[tuple[np.ndarray, np.ndarray]]:
    random = np.random.default_rng(1)
    sizes = random.integers(1, 9, 7)
    return [(random.random(n) / 20, random.integers(0, 3, n)) for n in sizes]


def digits() -> tuple[d.Sequences, d.Sequences, d.Sequences]:
    return tuple(load("spoken-digits", part) for part in ("train", "validation", "test"))


def drawn(folder: Path) -> tuple[d.Sequences, None, d.Sequences]:
    write_images(folder, "mnist")
    train, test = (images.load("mnist", p, folder, download=False) for p in ("train", "test"))
    return train, None, test


def augmented(data: d.Sequences, **options) -> d.Augmented:
    given = d.Augmentation(time_stretch=0.3, channel_shift=1, channel_stretch=0.2, **options)
    return d.Augmented(data, given, key=(1, 2))


MADE: dict[str, Callable[[Path], d.Sequences]] = {
    **{name: of_files(name) for name in FILES},
    **{name: of_images(name) for name in images.names()},
    "mnist, not flat": of_images("mnist", flat=False),
    "spoken-digits": lambda _: load("spoken-digits", "validation"),
    "parity": lambda _: synthetic.parity(3, 8),
    "match to sample": lambda _: synthetic.match_to_sample(3, 8),
    "counting": lambda _: synthetic.counting(8),
    "delayed recall": lambda _: synthetic.delayed_recall(3, 8),
    "moving bar": lambda _: synthetic.moving_bar(8),
    "sums": lambda _: synthetic.SpokenSums(load("spoken-digits", "validation"), 8),
    "permuted": lambda f: permuted("p", drawn(f), 2).tasks[1].train,
    "rotated": lambda f: rotated("r", drawn(f), [0.0, 30.0]).tasks[1].train,
    "split by class": lambda _: split_by_class("c", digits(), 10, "class").tasks[1].validation,
    "split by speaker": lambda _: split_by_speaker("s", digits()).tasks[1].test,
    "events": lambda _: d.from_events(spikes(), LABELS, 3, dt=5.0),
    "arrays": lambda _: d.Arrays(X, LABELS),
    "arrays of given lengths": lambda _: d.Arrays(X, LABELS, np.arange(7) % 6 + 1),
    "list of arrays": lambda _: d.Arrays(RAGGED, LABELS, classes=("no", "yes")),
    "tensors": lambda _: d.Arrays(torch.from_numpy(X), torch.from_numpy(LABELS)),
    "values": lambda _: d.Arrays(RAGGED, RANDOM.random((7, 2))),
    "one value": lambda _: d.Arrays(RAGGED, RANDOM.random(7)),
    "classes per step": lambda _: d.Arrays(
        RAGGED, [np.arange(len(x)) % 3 for x in RAGGED], per_step=True
    ),
    "values per step": lambda _: d.Arrays(RAGGED, [x[:, :2] for x in RAGGED], per_step=True),
    "of torch": lambda _: d.from_torch(TENSORS),
    "of an iterable": lambda _: d.from_torch(Iterated()),
    "of a loader": lambda _: d.from_torch(DataLoader(TENSORS, batch_size=3)),
    "of still samples": lambda _: d.from_torch(
        TensorDataset(torch.rand(7, 2, 4, 4), torch.from_numpy(LABELS)), still=True
    ),
    "view": lambda _: d.View(d.Arrays(RAGGED, LABELS), [6, 2, 3]),
    "view of a user's own": lambda _: d.View(Plain(), transform=lambda x: x - 0.5),
    "view that shortens": lambda _: d.View(
        d.Arrays(RAGGED, LABELS), transform=lambda x: x[::2], lengths_of=lambda n: (n + 1) // 2
    ),
    "view with other targets": lambda _: d.View(Plain(), target=RANDOM.random((7, 4))),
    "augmented": lambda _: augmented(d.Arrays(RAGGED, LABELS, classes=("no", "yes")), mix="same"),
    "augmented events": lambda _: augmented(d.from_events(spikes(), LABELS, 3, dt=5.0), drop=0.2),
    "augmented, fractions of classes": lambda _: augmented(
        d.Arrays(RAGGED, LABELS, classes=("no", "yes")), mix="cutmix"
    ),
    "augmented, a user's own": lambda _: augmented(Plain(), level=0.2),
    "user's own": lambda _: Plain(),
}
PLAIN = {"user's own"}  # has nothing but what the protocol asks for
STILL = {*images.names(), "mnist, not flat", "permuted", "rotated", "of still samples"}
NO_LABELS = {
    "values", "one value", "classes per step", "values per step", "view with other targets",
    "user's own", "view of a user's own", "augmented, fractions of classes",
    "augmented, a user's own",
}  # fmt: skip


@pytest.fixture(scope="module", params=MADE)
def made(request, tmp_path_factory) -> SimpleNamespace:
    """Data of each kind, which no test changes."""
    place = tmp_path_factory.mktemp("made")
    (place / "files").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SNNSIM_CACHE_DIR", str(place / "cache"))
        data = MADE[request.param](place / "files")
        yield SimpleNamespace(data=data, name=request.param, still=request.param in STILL)


OURS = pytest.mark.parametrize("made", [n for n in MADE if n not in PLAIN], indirect=True)


def same(one: d.Batch, other: d.Batch) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def beyond(batch: d.Batch) -> torch.Tensor:
    return torch.arange(len(batch.x))[:, None] >= batch.lengths


def is_per_step(made) -> bool:
    return "per step" in made.name


def test_every_data_set_and_task_is_looked_at_here():
    assert {FILES[n][0] for n in FILES} | {"spoken-digits"} == set(snnsim_datasets.names())
    tasks = {"parity", "match_to_sample", "counting", "delayed_recall", "moving_bar"}
    assert {name.replace("_", " ") for name in tasks} <= set(MADE)


def test_lengths_and_size_are_known(made):
    data = made.data
    assert isinstance(data, d.Sequences)
    lengths = np.asarray(data.lengths)
    assert lengths.shape == (len(data),) and lengths.dtype.kind in "iu" and lengths.min() >= 1
    assert not made.still or (lengths == 1).all()


def test_a_batch_is_input_target_and_lengths(made):
    chosen = [len(made.data) - 1, 0, 1]
    batch = d.fetch(made.data, chosen)
    assert isinstance(batch, d.Batch) and batch.labels is batch.target
    assert batch.lengths.tolist() == [int(made.data.lengths[i]) for i in chosen]
    assert batch.x.shape[:2] == (int(batch.lengths.max()), 3)
    assert (batch.x.dtype, batch.lengths.dtype) == (torch.float32, torch.int64)
    assert batch.target.dtype in (torch.int64, torch.float32)
    assert (
        batch.target.shape[: 2 if is_per_step(made) else 1]
        == batch.x.shape[0 if is_per_step(made) else 1 : 2]
    )
    assert torch.isfinite(batch.x).all()


@pytest.mark.parametrize("more", [-1, 0, 3])
def test_a_batch_is_padded_with_zeros_or_cut(made, more):
    chosen = [0, 1, len(made.data) - 1]
    own = d.fetch(made.data, chosen)
    steps = max(len(own.x) + more, 1)
    batch = d.fetch(made.data, chosen, steps)
    assert len(batch.x) == (1 if made.still and "of still" not in made.name else steps)
    assert batch.lengths.tolist() == [min(int(n), len(batch.x)) for n in own.lengths]
    shared = min(len(own.x), len(batch.x))
    if made.name == "gsc" and more > 0:  # clips of one length are reflected at their ends,
        shared -= 2  # unless silence follows them
    assert torch.allclose(batch.x[:shared], own.x[:shared], atol=1e-6)
    for each in (own, batch):
        assert each.x[beyond(each)].abs().sum() == 0
        if is_per_step(made):
            assert each.target[beyond(each)].abs().sum() == 0


def test_a_sample_is_the_same_alone_and_with_others(made):
    together = d.fetch(made.data, [0, len(made.data) - 1, 1])
    for row, i in enumerate([0, len(made.data) - 1, 1]):
        alone = d.fetch(made.data, [i])
        end = int(alone.lengths[0])
        assert torch.allclose(alone.x[:end, 0], together.x[:end, row], atol=1e-3)
        if is_per_step(made):
            assert torch.equal(alone.target[:end, 0], together.target[:end, row])
        else:
            assert torch.equal(alone.target[0], together.target[row])


def test_what_is_said_of_the_data_is_so(made):
    about, batch = d.describe(made.data), d.fetch(made.data, range(len(made.data)))
    if about.labels is not None:
        assert np.array_equal(about.labels, batch.target.numpy())
        assert batch.target.dtype == torch.int64
    assert (about.labels is None) == (made.name in NO_LABELS)
    if about.classes:
        assert (
            0
            <= int(batch.target.min())
            <= int(batch.target.max())
            < max(len(about.classes), int(batch.target.max()) + 1)
        )
    if about.channels:
        assert about.channels == np.prod(batch.x.shape[2:]) == np.prod(about.shape)
    assert about.speakers is None or np.shape(about.speakers) == (len(made.data),)
    assert about.dt is None or about.dt > 0
    assert all(isinstance(name, str) for item in about.checksums.items() for name in item)


def test_torchs_loader_gives_the_same_batches(made):
    if isinstance(made.data, Plain):
        loader = DataLoader(d.View(made.data), batch_size=2, collate_fn=d.collate)
    else:
        loader = DataLoader(made.data, batch_size=2, collate_fn=d.collate)
    for i, batch in zip(range(3), loader, strict=False):
        size = min(2, len(made.data) - 2 * i)
        assert same(batch, d.fetch(made.data, np.arange(2 * i, 2 * i + size)))


def test_samples_by_number_are_those_of_batches(made):
    data = d.View(made.data) if isinstance(made.data, Plain) else made.data
    x, target = data[-1]
    last = d.fetch(data, [len(data) - 1])
    assert torch.equal(x, last.x[:, 0])
    expected = last.target[:, 0] if is_per_step(made) else last.target[0]
    assert torch.equal(target, expected)
    assert same(data[:2], d.fetch(data, [0, 1]))
    assert sum(1 for _ in data) == len(data)
    with pytest.raises(IndexError):
        data[len(data)]


@OURS
@pytest.mark.parametrize("indices", [[], np.zeros(0, int), np.zeros(0)])
def test_a_batch_of_nothing_is_refused(made, indices):
    with pytest.raises(ConfigError, match="at least one sample"):
        made.data.batch(indices)


@OURS
def test_numbers_of_samples_that_are_not_there_are_refused(made):
    size = len(made.data)
    for wrong in ([size], [0, -size - 1]):
        with pytest.raises(IndexError, match=f"of a data set of {size}"):
            made.data.batch(wrong)
    with pytest.raises(ConfigError, match="must be whole numbers"):
        made.data.batch([0.5])
    mask = np.arange(size) < 2
    assert same(made.data.batch(mask), made.data.batch([0, 1]))
    assert same(made.data.batch([-1]), made.data.batch([size - 1]))


def test_a_view_of_any_data_is_data(made):
    data = made.data
    some = d.View(data, [1, 0], transform=lambda x: 2 * x)
    batch, own = some.batch([0, 1]), d.fetch(data, [1, 0])
    assert torch.equal(batch.x, 2 * own.x) and torch.equal(batch.target, own.target)
    about, whole = d.describe(some), d.describe(data)
    assert about.classes == whole.classes and about.checksums == whole.checksums
    if whole.labels is not None:
        assert about.labels.tolist() == [whole.labels[1], whole.labels[0]]
        assert some.labels.tolist() == about.labels.tolist()
    assert d.View(data, np.arange(len(data)) < 2).lengths.tolist() == list(data.lengths[:2])
