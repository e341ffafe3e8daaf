"""What a network with chunks looked up: a readable list, beside what it could have found."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from snnsim_datasets.synthetic import facts

import snnsim as sn
from snnsim.analysis import Subject, analyse
from snnsim.analysis.chunks import hits
from snnsim.baselines import RateNetwork
from snnsim.data import Arrays
from snnsim.errors import ConfigError
from snnsim.plotting.analysis import report


def subject(query=1, **options):
    torch.manual_seed(0)
    data = facts(3, 12)
    net = RateNetwork(data.channels, 6, "gru", width=8, chunk=4, chunk_query=query, **options)
    return Subject(net, data, nulls=1, readout="last", mask_padding=True)


def test_every_line_names_chunks_that_began_alike():
    looked_at = subject()
    found = analyse(looked_at, "chunks", shown=1)
    x = looked_at.data.x.reshape(12, 8, 4, -1)[0, :, 0]
    cosine = (x @ x.T) / np.outer(*[np.linalg.norm(x, axis=1)] * 2)
    assert len(found.text) == 1 + 7  # all chunks but the first
    for chunk, line in enumerate(found.text[1:], start=1):
        near = [f"({s:.2f})" for s in sorted(cosine[chunk, :chunk], reverse=True)[:2]]
        assert line.startswith(f"sample 0, chunk {chunk}: found ")
        assert [each in line for each in near] == [True] * len(near), line
    asked = found.text[-1].removeprefix("sample 0, chunk 7: found ").split(", ")
    assert {int(each.split()[0]) for each in asked} == set(np.argsort(-cosine[7, :7])[:2])


def test_figures_are_means_over_what_was_found_and_could_have_been():
    looked_at = subject()
    found, all_hits = analyse(looked_at, "chunks"), hits(looked_at)
    used = all_hits.ago > 0
    assert used.sum() == 12 * (1 + 6 * 2)
    assert found.figures["similarity"].value == pytest.approx(all_hits.similarity[used].mean())
    ages = [chunk - j for chunk in range(8) for j in range(chunk)]
    assert found.figures["ago"].null == pytest.approx(np.mean(ages))
    assert np.isfinite(all_hits.kept).sum(2).tolist() == [list(range(8))] * 12
    assert found.figures["similarity"].value > found.figures["similarity"].null
    accuracy = looked_at.accuracy(looked_at.net)
    assert found.figures["accuracy"].value == accuracy
    report(found)


def test_without_a_query_the_chunk_before_asks_and_finds_what_was_before_it():
    found = hits(subject(query=0))
    assert found.chunk.tolist() == list(range(1, 8))
    assert np.isfinite(found.kept).sum(2)[0].tolist() == list(range(7))
    assert found.ago[found.ago > 0].min() == 2


def test_chunks_after_the_end_of_a_sample_do_not_count_and_batches_are_put_in_order():
    whole = subject()
    lengths = np.array([32, 9] * 6)  # what chunk 2 finds would be of use from step 9 on
    x = whole.data.x.copy()
    for row, length in zip(x, lengths, strict=True):
        row[length:] = 0
    data = Arrays(x, whole.data.target, lengths, whole.data.classes)
    found, full = hits(replace(whole, data=data)), hits(whole)
    assert (found.ago[::2] == full.ago[::2]).all()
    assert (found.ago[1::2, :2] == full.ago[1::2, :2]).all()
    assert not found.ago[1::2, 2:].any() and np.isnan(found.kept[1::2, 2:]).all()


def test_networks_without_chunks_are_refused_with_what_to_do():
    data = facts(3, 4)
    plain = Subject(RateNetwork(data.channels, 6, "gru", width=8), data)
    with pytest.raises(ConfigError, match=r"network.chunk=20"):
        analyse(plain, "chunks")
    with pytest.raises(ConfigError, match="has no layer with chunks"):
        analyse(Subject(sn.Sequential(sn.Dense(68, 6)), data), "chunks")
    with pytest.raises(ConfigError, match="the network has layers.0"):
        analyse(replace(subject(), layer="layers.1"), "chunks")
    assert analyse(replace(subject(), nulls=0), "chunks").figures["ago"].null is None
