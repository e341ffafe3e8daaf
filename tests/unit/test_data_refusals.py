"""What data sets, adapters and views refuse, and in which words."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from snnsim import data as d
from snnsim.data.protocol import as_target, shared
from snnsim.errors import ConfigError, DataError, ShapeError

X = np.random.default_rng(0).random((5, 4, 3)).astype(np.float32)
LABELS = np.asarray([0, 1, 1, 0, 1])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"x": np.ones(5)}, r"x is float64 of shape \(5,\) but must be numbers \[n, T, ...\]"),
        ({"x": np.full((5, 4, 3), "a")}, "must be numbers"),
        ({"x": X.astype(complex)}, "must be numbers"),
        ({"x": []}, "x is an empty list"),
        ({"x": [X[0], X[1, :, :2]]}, "all must be .* differ in T only"),
        ({"x": [1.0, 2.0]}, "differ in T only"),
        ({"target": LABELS[:4]}, r"target \[4\], but the target must begin with \[5\]"),
        ({"target": np.full(5, np.nan)}, "targets have values that are NaN or infinite"),
        ({"target": np.full(5, "no")}, "targets are <U2 but must be classes or values"),
        ({"lengths": [1, 2, 3, 4]}, "there are 4 lengths but 5 are needed"),
        ({"lengths": [1, 2, 3, 4, 5]}, r"lengths are 1 .. 5 but must lie in 1 .. 4"),
        ({"lengths": [0, 1, 2, 3, 4]}, r"lengths are 0 .. 4 but must lie in 1 .. 4"),
        ({"lengths": [1.5, 2, 2, 2, 2]}, "lengths have the value 1.5"),
        ({"classes": ("one",)}, r"target 1 but targets must lie in 0 .. 0"),
        ({"target": LABELS - 1, "classes": ("a", "b")}, "target -1 but"),
        ({"target": LABELS + 0.5, "classes": ("a", "b")}, "targets have the value"),
        ({"speakers": [1, 2]}, "there are 2 speakers but 5 are needed"),
        ({"per_step": True}, r"must begin with \[5, 4\]"),
    ],
)
def test_arrays_that_do_not_fit(changes, reason):
    with pytest.raises(DataError, match=reason):
        d.Arrays(**{"x": X, "target": LABELS, **changes})


def test_targets_are_classes_or_values():
    for classes in (LABELS, LABELS.astype(np.uint8), LABELS > 0, torch.from_numpy(LABELS)):
        assert as_target(classes).dtype == np.int64
    for values in (X[:, 0], X[:, 0].astype(np.float64), torch.from_numpy(X)):
        assert as_target(values).dtype == np.float32


class Odd:
    """A data set whose batches are whatever it is told."""

    lengths = np.full(5, 4)

    def __init__(self, found):
        self.found = found

    def __len__(self):
        return 5

    def batch(self, indices, steps=None):
        return self.found


GOOD = d.Batch(torch.ones(4, 2, 3), torch.tensor([0, 1]), torch.tensor([4, 3]))


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (None, "Odd.batch returns 'NoneType' but must return snnsim.data.Batch"),
        (torch.ones(3), "but must return"),
        ((GOOD.x, GOOD.target), "returns 'tuple' but must return"),
        ((1, 2, 3), "returns 'tuple' but must return"),
        (GOOD._replace(x=torch.ones(4)), "returns 'Batch' but must return"),
        (GOOD._replace(x=torch.ones(2, 4, 3)), r"of 2 samples returns x \[2, 4, 3\]"),
        (GOOD._replace(target=torch.ones(3)), r"target \[3\] and lengths \[2\]"),
        (GOOD._replace(target=torch.ones(4, 3)), r"target \[4, 3\]"),
        (GOOD._replace(lengths=torch.tensor([4])), r"lengths \[1\]"),
        (GOOD._replace(lengths=torch.tensor([4, 5])), "samples have 4 .. 5 steps, but x has 4"),
        (GOOD._replace(lengths=torch.tensor([-1, 4])), "samples have -1 .. 4 steps"),
        (SimpleNamespace(x=GOOD.x, lengths=GOOD.lengths), "but must return"),
    ],
)
def test_batches_that_are_none(found, reason):
    with pytest.raises(DataError, match=reason):
        d.fetch(Odd(found), [0, 1])


@pytest.mark.parametrize("found", [
    GOOD, tuple(GOOD), SimpleNamespace(x=GOOD.x, labels=GOOD.target, lengths=GOOD.lengths),
    SimpleNamespace(x=GOOD.x, target=GOOD.target, lengths=GOOD.lengths),
    GOOD._replace(target=torch.ones(4, 2, 7)), GOOD._replace(target=torch.ones(2, 7)),
])  # fmt: skip
def test_batches_by_name_or_by_order(found):
    batch = d.fetch(Odd(found), [0, 1])
    assert isinstance(batch, d.Batch) and torch.equal(batch.x, GOOD.x)
    assert torch.equal(batch.lengths, GOOD.lengths) and batch.target.numel() >= 2


def test_a_process_without_a_share_has_an_empty_batch_of_the_same_shape():
    per_step = d.Arrays(X, X[:, :, :2], per_step=True)
    for data, target in ((d.Arrays(X, LABELS), (0,)), (per_step, (6, 0, 2))):
        empty = shared(data, np.zeros(0, int), np.asarray([3, 4]), 6)
        assert empty.x.shape == (6, 0, 3) and tuple(empty.target.shape) == target
        assert empty.lengths.shape == (0,)
        full = shared(data, np.asarray([4]), np.asarray([3, 4]), 6)
        assert torch.equal(full.x, data.batch([4], 6).x)


# --- views ---------------------------------------------------------------------------------------


def test_views_that_cannot_be():
    data = d.Arrays(X, LABELS)
    with pytest.raises(IndexError, match="sample 5 of a data set of 5"):
        d.View(data, [0, 5])
    with pytest.raises(DataError, match=r"targets are of shape \[3\] but must be \[5, ...\]"):
        d.View(data, target=[1, 2, 3])
    with pytest.raises(ShapeError, match="give lengths_of= if it changes the number of steps"):
        d.View(data, transform=lambda x: x[::2]).batch([0])
    with pytest.raises(ShapeError, match="lengths_of says that 4 steps of 1 samples are needed"):
        d.View(data, transform=lambda x: x[::2], lengths_of=lambda n: n).batch([0])
    with pytest.raises(DataError, match="Arrays does not say which classes|View does not say"):
        _ = d.View(d.Arrays(X, X[:, 0]), [0]).labels
    assert len(d.View(data, [])) == 0 and len(d.View(data, np.zeros(5, bool))) == 0


def test_what_a_transform_makes_of_silence_is_silence():
    data = d.Arrays([X[0], X[1, :2]], [0, 1])
    batch = d.View(data, transform=lambda x: x + 1).batch([0, 1])
    assert (batch.x[:, 0] >= 1).all() and (batch.x[:2, 1] >= 1).all()
    assert (batch.x[2:, 1] == 0).all()


@pytest.mark.parametrize("steps", [None, 1, 2, 5])
def test_a_view_of_other_lengths_is_padded_or_cut_after_the_transform(steps):
    data = d.Arrays([X[0], X[1, :3]], [0, 1])
    view = d.View(data, transform=lambda x: x[::2], lengths_of=lambda n: (n + 1) // 2)
    batch = view.batch([0, 1], steps)
    frames = 2 if steps is None else steps
    assert batch.x.shape == (frames, 2, 3)
    assert batch.lengths.tolist() == [min(2, frames)] * 2
    assert torch.equal(batch.x[0, 0], torch.from_numpy(X[0, 0]))
    assert (batch.x[2:] == 0).all()


def test_other_labels_and_targets_of_a_view():
    data = d.Arrays(X, LABELS, classes=("a", "b"))
    swapped = d.View(data, [1, 0], relabel=np.asarray([5, 4]))
    assert swapped.labels.tolist() == swapped.batch([0, 1]).target.tolist() == [4, 5]
    counted = d.View(data, [1, 0], target=[7, 8])
    assert counted.batch([1, 0]).target.tolist() == [8, 7]
    valued = d.View(data, target=X[:, 0, :2])
    assert torch.equal(valued.batch([3]).target, torch.from_numpy(X[3:4, 0, :2]))
    assert d.describe(valued).labels is None and d.describe(counted).labels.tolist() == [7, 8]


# --- torch ---------------------------------------------------------------------------------------


def test_loaders_with_time_first_and_lengths():
    x, lengths = torch.from_numpy(X), torch.tensor([4, 2, 3, 4, 1])
    loader = DataLoader(
        TensorDataset(x, torch.from_numpy(LABELS), lengths), batch_size=2,
        collate_fn=lambda s: [
            torch.stack(m, int(m[0].ndim > 0)) for m in zip(*s, strict=True)
        ],
    )  # fmt: skip
    data = d.from_torch(loader, batch_first=False, classes=("a", "b"), dt=2.0)
    assert data.lengths.tolist() == lengths.tolist() and data.dt == 2.0
    expected = d.Arrays(X, LABELS, lengths.numpy())
    assert torch.equal(data.batch([0, 1, 4]).x, expected.batch([0, 1, 4]).x)
    with pytest.raises(DataError, match="give batch_first=False"):
        d.from_torch(loader)


def test_targets_per_step_from_torch():
    x, y = torch.from_numpy(X), torch.from_numpy(X[:, :, :2])
    for source in (TensorDataset(x, y), DataLoader(TensorDataset(x, y), batch_size=2)):
        batch = d.from_torch(source, per_step=True).batch([4, 0])
        assert torch.equal(batch.target, y[[4, 0]].transpose(0, 1))


@pytest.mark.parametrize(
    ("samples", "reason"),
    [
        ([], "has no samples"),
        ([X[0]], "must be \\(x, target\\)"),
        ([(X[0],)], "must be \\(x, target\\)"),
        ([(X[0], 1, 2, 3)], "must be \\(x, target\\)"),
        ([(X[0], 0), (X[0, :, :2], 1)], "differ in T only"),
        ([(X[0], 0, 5)], "must lie in 1 .. 4"),
    ],
)
def test_torch_data_that_cannot_be_read(samples, reason):
    with pytest.raises(DataError, match=reason):
        d.from_torch(samples)


def test_collating_samples_of_any_data_set():
    batch = d.collate([(X[0], 1), (X[1, :2], 0)])
    assert batch.x.shape == (4, 2, 3) and batch.lengths.tolist() == [4, 2]
    assert batch.target.tolist() == [1, 0] and (batch.x[2:, 1] == 0).all()
    assert d.collate(batch) is batch
    with pytest.raises(DataError, match="per_step=True"):
        d.collate([(X[0], X[0]), (X[1, :2], X[1, :2])])


# --- events --------------------------------------------------------------------------------------


def test_recordings_as_pairs_of_times_and_units():
    data = d.from_events([([0.01, 0.002], [1, 0]), ([], [])], [1, 0], 2, dt=5.0,
                         classes=("a", "b"), speakers=[3, 4])  # fmt: skip
    batch = data.batch([0, 1])
    assert batch.x[:, 0].tolist() == [[1, 0], [0, 0], [0, 1]] and batch.x[:, 1].sum() == 0
    assert data.speakers.tolist() == [3, 4] and data.classes == ("a", "b")
    assert d.from_events([([0.01], [1])], [2], 4, dt=5.0, pool=2).channels == 2


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (([], [], 2, 5.0), "there are no recordings"),
        (([([0.1], [0])], [0, 1], 2, 5.0), "there are 2 labels but 1 are needed"),
        (([([0.1], [0, 1])], [0], 2, 5.0), r"recording 0 has times \[1\] and units \[2\]"),
        (([([0.1], [2])], [0], 2, 5.0), "unit 2 but units must lie in 0 .. 1"),
        (([([-0.1], [0])], [0], 2, 5.0), "sample 0 has a spike time of -0.1 s"),
        (([([500.0], [0])], [0], 2, 5.0), "look like milliseconds"),
        (([([0.1], [0])], [-1], 2, 5.0), "label -1"),
    ],
)
def test_recordings_that_cannot_be(arguments, reason):
    with pytest.raises(DataError, match=reason):
        d.from_events(*arguments)


def test_the_former_place_of_events_still_works_and_says_where_they_are():
    import importlib
    import sys

    sys.modules.pop("snnsim_datasets.tools.events", None)
    with pytest.warns(FutureWarning, match="is snnsim.data now"):
        former = importlib.import_module("snnsim_datasets.tools.events")
    assert former.Batch is d.Batch and former.from_tonic is d.from_tonic
    assert former.MOST_EVENTS == 512


def test_a_split_needs_classes_speakers_and_labels():
    from snnsim.continual import split_by_class, split_by_speaker

    named, nameless = d.Arrays(X, LABELS, classes=("a", "b")), d.Arrays(X, LABELS)
    with pytest.raises(ConfigError, match="Arrays has no classes"):
        split_by_class("s", (nameless, None, nameless), 1, "class")
    bare = SimpleNamespace(classes=("a", "b"), lengths=named.lengths, batch=named.batch)
    with pytest.raises(ConfigError, match="does not say its labels"):
        split_by_class("s", (bare, None, bare), 1, "class")
    with pytest.raises(ConfigError, match="does not say its speakers"):
        split_by_speaker("s", (bare, None, bare))
