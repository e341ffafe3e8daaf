"""Sudoku of 4 x 4: 288 solutions, and puzzles that have one each.

After the task of Palm, Paquet & Winther 2018 (arXiv:1711.08028), section 3.2, in small.
"""

from __future__ import annotations

from functools import cache
from itertools import permutations, product

import numpy as np

from snnsim.data import Arrays
from snnsim.errors import check_choice, check_seed, check_size

CELLS, DIGITS = 16, 4


@cache
def solutions() -> np.ndarray:
    """Return all filled grids, ``[288, 16]`` with digits 1 .. 4.

    >>> solutions().shape
    (288, 16)
    """
    rows = list(permutations(range(1, DIGITS + 1)))
    bands = [pair for pair in product(rows, repeat=2) if _boxes_differ(pair)]
    grids = (np.array([*top, *bottom]) for top, bottom in product(bands, repeat=2))
    found = [grid for grid in grids if all(len(set(column)) == DIGITS for column in grid.T)]
    return np.stack(found).reshape(-1, CELLS)


def _boxes_differ(band: tuple[tuple[int, ...], ...]) -> bool:
    """Whether each of the two boxes of two rows has all digits."""
    return all(len({*band[0][i : i + 2], *band[1][i : i + 2]}) == DIGITS for i in (0, 2))


def edges() -> list[tuple[int, int]]:
    """Return all ordered pairs of cells that must differ: of one row, column or box.

    >>> len(edges())
    112
    """

    def groups(cell: int) -> tuple[int, int, int]:
        row, column = divmod(cell, DIGITS)
        return row, column, row // 2 * 2 + column // 2

    return [
        (i, j)
        for i in range(CELLS)
        for j in range(CELLS)
        if i != j and any(a == b for a, b in zip(groups(i), groups(j), strict=True))
    ]


def sudoku(samples: int, part: str = "train", seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Make minimal puzzles: each has one solution, and would have more without any of its digits.

    Args:
        samples: number of puzzles.
        part: ``"train"``, with four fifths of the solutions, or ``"test"``, with the others.
        seed: seed of the choice of puzzles; the parts do not depend on it.

    Returns:
        Puzzles ``[samples, 16]`` with 0 for an empty cell, and their solutions.

    >>> puzzles, answers = sudoku(3, seed=1)
    >>> bool((answers[puzzles > 0] == puzzles[puzzles > 0]).all())
    True
    """
    check_size("samples", samples)
    check_choice("part", part, ("train", "test"))
    every = solutions()
    order = np.random.default_rng(0).permutation(len(every))
    cut = len(order) * 4 // 5
    mine = order[:cut] if part == "train" else order[cut:]
    random = np.random.default_rng([check_seed(seed), len(mine)])
    chosen = every[random.choice(mine, samples)]
    return np.stack([_minimal(grid, every, random) for grid in chosen]), chosen


def _minimal(grid: np.ndarray, every: np.ndarray, random: np.random.Generator) -> np.ndarray:
    same = every == grid  # which solutions agree with this one, cell by cell
    given = np.ones(CELLS, dtype=bool)
    for cell in random.permutation(CELLS):
        given[cell] = False
        if same[:, given].all(1).sum() > 1:
            given[cell] = True
    return np.where(given, grid, 0)


def sudoku_cell(samples: int, *, part: str = "train", seed: int = 0) -> Arrays:
    """Make puzzles as sequences of their cells that ask for the digit of one empty cell.

    A step is one cell, row by row: a channel for each digit that may be given, and a last one that
    marks the cell that is asked.

    Args:
        samples: number of puzzles.
        part: ``"test"`` for the solutions that are kept for tests; others have those of training.
        seed: seed of the puzzles and of the cells that are asked.

    >>> data = sudoku_cell(3)
    >>> data.x.shape, data.x[:, :, -1].sum(1).tolist()
    ((3, 16, 5), [1.0, 1.0, 1.0])
    """
    puzzles, answers = sudoku(samples, "test" if part == "test" else "train", seed)
    random = np.random.default_rng([seed, samples])
    rank = np.where(puzzles == 0, random.random(puzzles.shape), -1)
    asked = rank.argmax(1)
    x = np.concatenate([np.eye(DIGITS + 1)[puzzles][..., 1:], np.zeros((samples, CELLS, 1))], -1)
    rows = np.arange(samples)
    x[rows, asked, DIGITS] = 1
    return Arrays(x, answers[rows, asked] - 1, classes=("1", "2", "3", "4"))
