"""No sample is in two parts of a data set, whatever files it comes from."""

from __future__ import annotations

import numpy as np
import pytest
import snnsim_datasets
from data_sources import FILES
from dataset_files import (
    PARTS,
    assert_disjoint,
    fingerprints,
    load_all,
    write_images,
)
from snnsim_datasets import images, load


def test_every_data_set_is_looked_at_here():
    assert {name for name, _ in FILES.values()} | {"spoken-digits"} == set(snnsim_datasets.names())


@pytest.mark.parametrize("case", FILES)
def test_parts_of_a_data_set_share_no_sample_and_lose_none(tmp_path, case):
    name, write = FILES[case]
    options, count = write(tmp_path)
    parts = load_all(name, tmp_path, **options)
    assert_disjoint(parts)
    assert sum(map(len, parts.values())) == count
    if "train_all" in snnsim_datasets.get(name).INFO.splits:
        whole = fingerprints(load(name, "train_all", tmp_path, **options))
        apart = fingerprints(parts["train"]) + fingerprints(parts["validation"])
        assert sorted(whole) == sorted(apart)


def test_parts_of_the_embedded_digits_share_no_sample():
    assert_disjoint(load_all("spoken-digits", None))


@pytest.mark.parametrize("name", images.names())
def test_parts_of_an_image_set_share_no_image(tmp_path, name):
    write_images(tmp_path, name)
    parts = {split: images.load(name, split, tmp_path, download=False) for split in PARTS}
    assert_disjoint(parts)
    whole = images.load(name, "train_all", tmp_path, download=False)
    apart = fingerprints(parts["train"]) + fingerprints(parts["validation"])
    assert sorted(fingerprints(whole)) == sorted(apart)
    assert len(parts["test"]) == 20


def test_notmnist_of_one_file_is_cut_into_parts_that_share_no_image(tmp_path):
    random, count = np.random.default_rng(4), 80
    pixels = random.integers(0, 256, (count, 28, 28)).astype(np.uint8)
    for name, array, axes in (("images-idx3", pixels, 3), ("labels-idx1", np.arange(80) % 10, 1)):
        head = bytes([0, 0, 8, axes]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
        (tmp_path / f"t10k-{name}-ubyte").write_bytes(head + array.astype(np.uint8).tobytes())
    parts = {split: images.load("notmnist", split, tmp_path, download=False) for split in PARTS}
    assert_disjoint(parts)
    assert sum(map(len, parts.values())) == count
