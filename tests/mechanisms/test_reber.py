"""The Reber grammar against a regular expression."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest
from snnsim_datasets.synthetic import reber
from snnsim_datasets.synthetic.reber import LETTERS, accepts

from snnsim.errors import ConfigError

THIRD = "(XT*VP)*(S|XT*VV)"  # what may follow the third node
PLAIN = re.compile(f"B(TS*X{THIRD}|PT*V(V|P{THIRD}))E")


def expected(string, embedded):
    if not embedded:
        return PLAIN.fullmatch(string) is not None
    inner = re.fullmatch("B([TP])(.*)([TP])E", string)
    return bool(inner) and inner[1] == inner[3] and PLAIN.fullmatch(inner[2]) is not None


def strings(data):
    return ["".join(LETTERS[i] for i in x[:n].argmax(1))
            for x, n in zip(data.x, data.lengths, strict=True)]  # fmt: skip


def test_all_short_strings_are_judged_as_by_the_expression():
    made = ["".join(s) for n in range(6) for s in itertools.product("BTPSXVE", repeat=n)]
    assert [s for s in made if accepts(s, False)] == ["BTXSE", "BPVVE"]
    assert all(accepts(s, False) == expected(s, False) for s in made)
    assert all(not accepts(s) for s in made)
    enclosed = [f"B{a}{s}{b}E" for s in made for a in "TPS" for b in "TP"]
    assert all(accepts(s) == expected(s, True) for s in enclosed)


@pytest.mark.parametrize("embedded", [True, False])
def test_half_of_the_strings_are_accepted_as_their_labels_say(embedded):
    data = reber(300, embedded=embedded, longest=30, seed=1)
    judged = [expected(s, embedded) for s in strings(data)]
    assert judged == data.labels.astype(bool).tolist() and sum(judged) == 150
    assert data.lengths.max() <= 30 and (data.x.sum(2).sum(1) == data.lengths).all()
    assert data.x.shape == (300, 30, 7) and data.classes == ("rejected", "accepted")


@pytest.mark.parametrize("corrupt", [0.0, 0.5, 1.0])
def test_a_fraction_of_the_rejected_ones_differ_in_the_last_branch_alone(corrupt):
    data = reber(1000, corrupt=corrupt, seed=2)
    other = str.maketrans("TP", "PT")
    rejected = [s for s, label in zip(strings(data), data.labels, strict=True) if not label]
    repaired = [expected(s[:-2] + s[-2].translate(other) + "E", True) for s in rejected]
    assert np.mean(repaired) == pytest.approx(corrupt, abs=0.15)
    assert corrupt < 1 or all(repaired)


def test_the_first_and_last_letters_do_not_tell():
    data = reber(2000, corrupt=1.0, seed=3)
    first, last = data.x[:, 1, 1], data.x[np.arange(2000), data.lengths - 2, 1]
    for letter in (first, last):
        assert abs(np.corrcoef(letter, data.labels)[0, 1]) < 0.08


@pytest.mark.parametrize("wrong", [{"longest": 11}, {"corrupt": 1.5}, {"samples": 0}])
def test_wrong_sizes_are_refused(wrong):
    with pytest.raises(ConfigError):
        reber(**{"samples": 3} | wrong)
