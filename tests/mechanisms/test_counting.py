"""Counting: the four renderings of one string, read back as text."""

from __future__ import annotations

import numpy as np
import pytest
from snnsim_datasets.synthetic import counting
from snnsim_datasets.synthetic.counting import RENDERINGS, TOKENS

from snnsim.errors import ConfigError


def texts(data, rendering):
    """The strings of one-hot tokens, as they would be printed."""
    vocabulary = TOKENS[rendering] if rendering != "plain" else ("b", "a")
    return ["".join(vocabulary[i] for i in x[:n].argmax(1))
            for x, n in zip(data.x, data.lengths, strict=True)]  # fmt: skip


PRINTED = {
    "plain": "".join,
    "spaces": " ".join,
    "commas": ", ".join,
    "quotes": lambda letters: ", ".join(f'"{letter}"' for letter in letters),
}


@pytest.mark.parametrize("rendering", RENDERINGS)
def test_all_renderings_are_of_the_same_strings(rendering):
    plain = counting(60, seed=3)
    data = counting(60, seed=3, rendering=rendering)
    expected = [PRINTED[rendering](string) for string in texts(plain, "plain")]
    assert texts(data, rendering) == expected
    assert data.target.tolist() == [s.count("a") for s in expected]
    assert (data.x.sum(2).sum(1) == data.lengths).all() and data.classes == plain.classes


@pytest.mark.parametrize("rendering", list(TOKENS))
def test_separators_keep_letters_from_being_merged_and_plain_strings_are_merged(rendering):
    one, four = (counting(20, chunk=chunk, rendering=rendering) for chunk in (1, 4))
    np.testing.assert_array_equal(one.x, four.x)
    letters = counting(20).lengths
    per_letter = {"spaces": letters, "commas": 2 * letters - 1, "quotes": 3 * letters}
    assert (one.lengths == per_letter[rendering]).all()
    assert (counting(20, chunk=4).lengths == -(-letters // 4)).all()


def test_an_unknown_rendering_is_refused():
    with pytest.raises(ConfigError, match="rendering is 'tabs'.*plain, spaces"):
        counting(3, rendering="tabs")


@pytest.mark.parametrize("rendering", RENDERINGS)
def test_a_fraction_of_the_strings_is_in_tokens_of_its_own(rendering):
    """They say the same: only the channels differ, and which pair it is depends on the seed."""
    plain = counting(400, rendering=rendering, seed=2)
    mixed = counting(400, rendering=rendering, seed=2, rare=0.2)
    assert mixed.channels == 2 * plain.channels
    common, second = np.split(mixed.x, 2, axis=-1)
    np.testing.assert_array_equal(common + second, plain.x)
    is_second = second.any((1, 2))
    assert not (is_second & common.any((1, 2))).any()
    assert abs(is_second.mean() - 0.2) < 0.06
    assert mixed.target.tolist() == plain.target.tolist()
    for rare, part in ((0.0, 0), (1.0, 1)):
        alone = np.split(counting(50, rendering=rendering, rare=rare).x, 2, axis=-1)
        assert not alone[1 - part].any() and alone[part].any()
    with pytest.raises(ConfigError, match="rare"):
        counting(4, rare=1.5)
