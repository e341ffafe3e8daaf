"""SASRec: Kang & McAuley 2018 with distances as positions, and each of its parts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from models_by_hand import arrays, attention, close, layer_norm, normal, one_hot, randomised

from snnsim.baselines.models.sasrec import SASRec

pytestmark = pytest.mark.usefixtures("float64")


def by_hand(p, x, blocks, count, reach):
    """One sample of weighted items ``[T, items]``."""
    n = len(p["embedding.weight"])
    x = np.sqrt(n) * (x @ p["embedding.weight"].T)
    for i in range(blocks):
        at = f"blocks.{i}"
        normed = layer_norm(p, f"{at}.norms.0", x)
        x = x + attention(p, f"{at}.attention", normed[:, None], count, reach)[:, 0]
        inner = layer_norm(p, f"{at}.norms.1", x) @ p[f"{at}.up.weight"].T + p[f"{at}.up.bias"]
        x = x + np.maximum(inner, 0) @ p[f"{at}.down.weight"].T + p[f"{at}.down.bias"]
    return layer_norm(p, "norm", x)


@pytest.mark.parametrize(("blocks", "heads"), [(1, 1), (2, 2)])
def test_sasrec_is_its_equations(blocks, heads):
    net = randomised(SASRec(5, 6, blocks=blocks, heads=heads, reach=3))
    x = normal(9, 2, 5)
    y, _ = net(x)
    for b in range(2):
        close(y[:, b], by_hand(arrays(net), x[:, b].numpy(), blocks, heads, 3), 1e-12)


def test_scores_come_from_the_embedding_that_items_enter_by():
    net = randomised(SASRec(5, 6))
    y = net(one_hot([[0], [3], [2]], 5).double())[0]
    scores = net.next_scores(y)
    p = arrays(net)
    for t in range(3):
        for item in range(5):
            expected = p["embedding.weight"][:, item] @ y[t, 0].detach().numpy()
            assert scores[t, 0, item].item() == pytest.approx(expected, abs=1e-12)


def test_both_parts_of_a_block_are_added_to_what_enters_it():
    """With both silent the block passes its input on."""
    net, x = randomised(SASRec(5, 6)), normal(9, 1, 5)
    with torch.no_grad():
        for block in net.blocks:
            block.attention.out.weight.zero_()
            block.down.weight.zero_()
            block.down.bias.zero_()
    p = arrays(net)
    close(net(x)[0], layer_norm(p, "norm", np.sqrt(6) * x.numpy() @ p["embedding.weight"].T), 1e-12)


def test_the_order_of_items_matters_by_their_distances_alone():
    """In one block, items of the past that swap places are the same without distances."""
    net = randomised(SASRec(5, 6, blocks=1))
    one, two = (one_hot([[a] for a in items], 5).double() for items in ((0, 3, 2), (3, 0, 2)))
    assert float((net(one)[0][-1] - net(two)[0][-1]).detach().abs().max()) > 1e-3
    with torch.no_grad():
        net.blocks[0].attention.distance.zero_()
    close(net(one)[0][-1], net(two)[0][-1].detach().numpy(), 1e-12)


def test_only_items_within_the_reach_are_seen():
    net, x = randomised(SASRec(5, 6, blocks=1, reach=2), 0.3), normal(7, 1, 5)
    changed = x.clone()
    changed[1] += 1.0
    moved = (net(changed)[0] - net(x)[0]).detach().abs().amax((1, 2))
    assert (moved > 1e-9).tolist() == [False, True, True, True, False, False, False]
