"""pLSTM on a grid: the sum over all paths."""

from __future__ import annotations

import itertools

import torch

from snnsim.baselines.models.plstm2d import grid


def test_the_grid_recurrence_is_the_sum_over_all_paths():
    T, G, n, d = 5, 5, 2, 3
    q, k, v = (torch.randn(T, 1, G, 1, size) for size in (n, n, d))
    weights = torch.rand(T, 1, G, 9, 1)
    y, _ = grid(q, k, v, weights, torch.zeros(G, 1, 1, n, d))
    up_up, on_up, up_on, on_on, s_u, s_n, m_u, m_n, direct = weights[:, 0, :, :, 0].unbind(2)
    turn = {  # weight from an edge into a node to an edge out of it
        ("u", "u"): up_up, ("n", "u"): on_up, ("u", "n"): up_on, ("n", "n"): on_on,
    }  # fmt: skip
    start, mark = {"u": s_u, "n": s_n}, {"u": m_u, "n": m_n}
    for t, g in itertools.product(range(T), range(G)):
        total = direct[t, g] * (q[t, 0, g, 0] @ k[t, 0, g, 0]) * v[t, 0, g, 0]
        for t0, g0 in itertools.product(range(t + 1), range(g + 1)):
            weight = torch.zeros(())
            for ons in itertools.combinations(range(t - t0 + g - g0), t - t0):
                steps = ["n" if i in ons else "u" for i in range(t - t0 + g - g0)]
                weight = weight + path_weight(steps, (t0, g0), turn, start, mark)
            written = (q[t, 0, g, 0] @ k[t0, 0, g0, 0]) * v[t0, 0, g0, 0]
            total = total + weight * written
        torch.testing.assert_close(y[t, 0, g], total)


def path_weight(steps, node, turn, start, mark):
    if not steps:
        return torch.zeros(())
    weight = start[steps[0]][node]
    for before, after in itertools.pairwise(steps):
        node = moved(node, before)
        weight = weight * turn[before, after][node]
    return weight * mark[steps[-1]][moved(node, steps[-1])]


def moved(node, step):
    return (node[0] + 1, node[1]) if step == "n" else (node[0], node[1] + 1)
