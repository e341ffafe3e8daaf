"""Documents re-use their own sentences, whose tokens follow one another as the language says."""

from __future__ import annotations

import numpy as np
import pytest
from snnsim_datasets.synthetic import documents

from snnsim.errors import ConfigError


def tokens(data):
    assert (data.x.sum(2) == 1).all()
    return data.x.argmax(2)


def test_a_document_has_only_its_few_sentences():
    items = tokens(documents(200, sentences=3, length=8, count=10, seed=1))
    sentences = items.reshape(200, 10, 8)
    different = [len(np.unique(each, axis=0)) for each in sentences]
    assert max(different) == 3 and np.mean(different) > 2.7
    assert not (sentences[:, 1:] == sentences[:, :-1]).all(2).any()
    first = sentences[:, 0]
    assert len(np.unique(first, axis=0)) > 195  # those of other documents are others


def test_a_document_of_one_sentence_says_it_over_and_over():
    items = tokens(documents(20, sentences=1, length=5, count=4)).reshape(20, 4, 5)
    assert (items == items[:, :1]).all()


def test_within_a_sentence_every_token_has_few_successors_all_as_likely():
    items = tokens(documents(4000, sentences=1, length=6, count=1, tokens=12, successors=3))
    counts = np.zeros((12, 12))
    np.add.at(counts, (items[:, :-1].ravel(), items[:, 1:].ravel()), 1)
    assert ((counts > 0).sum(1) == 3).all()
    fractions = counts / counts.sum(1, keepdims=True)
    assert fractions[counts > 0] == pytest.approx(1 / 3, abs=0.05)


def test_all_splits_speak_one_language_and_have_documents_of_their_own():
    one, other = (tokens(documents(500, seed=seed)) for seed in (0, 1))
    pairs = [{*zip(i[:, :7].ravel(), i[:, 1:8].ravel(), strict=True)} for i in (one, other)]
    assert len(pairs[0] ^ pairs[1]) < 0.02 * len(pairs[0] | pairs[1])
    assert not {*map(bytes, one)} & {*map(bytes, other)}
    assert np.array_equal(one, tokens(documents(500, seed=0)))


@pytest.mark.parametrize(
    "wrong",
    [{"samples": 0}, {"sentences": 0}, {"length": 0}, {"count": 0}, {"tokens": 8}, {"seed": -1}],
)
def test_there_is_at_least_one_of_everything(wrong):
    with pytest.raises(ConfigError):
        documents(**{"samples": 2} | wrong)
