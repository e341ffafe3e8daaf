"""Chunks with a memory: summaries, and the earlier chunks that a query finds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from models_by_hand import close, normal, randomised
from snnsim_datasets.synthetic import facts
from snnsim_experiments.baselines.checks import facts as check

from snnsim.baselines import RateNetwork
from snnsim.baselines.models.gru import GRU
from snnsim.baselines.options import chunks as module
from snnsim.baselines.options.chunks import ChunkRecurrent, lookups, without_lookups
from snnsim.errors import ConfigError

pytestmark = pytest.mark.usefixtures("float64")
CHUNK, QUERY, SIMILAR, SLOTS = 4, 2, 2, 3


def make(**options):
    sizes = {"chunk": CHUNK, "query": QUERY, "similar": SIMILAR, "slots": SLOTS} | options
    return randomised(ChunkRecurrent(3, 4, GRU, **sizes), 0.8)


def by_hand(net, x):
    """One sample ``[T, 3]``: outputs, and of every chunk the earlier chunks in use, best first."""
    starts, summaries, outputs, used = [], [], [], []
    for first in range(0, len(x), CHUNK):
        now, state, y = x[first : first + CHUNK], None, []
        last = summaries[-1] if summaries else np.zeros(4)
        found, hits = np.zeros(4), []
        for i, step in enumerate(now):
            if i == QUERY:
                asked = now[:QUERY].mean(0)
                kept = range(max(0, len(starts) - SLOTS), len(starts))
                angle = [
                    starts[j] @ asked / np.linalg.norm(starts[j]) / np.linalg.norm(asked)
                    for j in kept
                ]
                empty = [(-2.0, None)] * (SLOTS - len(angle))
                ranked = sorted([*zip(angle, kept, strict=True), *empty], key=lambda each: -each[0])
                hits = [j for _, j in ranked[:SIMILAR]]
                found = sum(np.zeros(4) if j is None else summaries[j] for j in hits) / SIMILAR
            seen = torch.from_numpy(np.concatenate([step, last, found]))
            out, state = net.inner(seen.view(1, 1, -1), state)
            y.append(out[0, 0].detach().numpy())
        outputs += y
        starts.append(now[:QUERY].mean(0))
        summaries.append(np.mean(y, axis=0))
        used.append(hits)
    return np.stack(outputs), used


def test_a_chunk_is_told_its_last_summary_and_those_of_chunks_that_began_like_it():
    net, x = make(), normal(5 * CHUNK + 3, 3, 3)
    with lookups() as found:
        y, _ = net(x)
    assert [each.step for each in found] == [first + QUERY for first in range(0, 23, CHUNK)]
    seen_none, seen_old = False, False
    for b in range(3):
        wanted, used = by_hand(net, x[:, b].numpy())
        close(y[:, b], wanted, 1e-12)
        for number, (hits, each) in enumerate(zip(used, found, strict=True)):
            ago = [0 if j is None else number - j for j in hits]
            assert each.ago[b].tolist() == ago and each.layer is net
            seen_none, seen_old = seen_none or 0 in ago, seen_old or max(ago) > 1
    assert seen_none and seen_old


def test_similarities_are_the_cosines_of_the_beginnings():
    net, x = make(similar=1), normal(2 * CHUNK, 1, 3)
    x[CHUNK : CHUNK + QUERY] = x[:QUERY] * 2
    with lookups() as found:
        net(x)
    assert found[1].ago.tolist() == [[1]]
    assert found[1].similarity.item() == pytest.approx(1.0, abs=1e-12)
    with lookups() as outside:
        pass
    assert outside == []


def test_without_a_query_the_last_summary_asks_and_each_hit_says_how_long_ago_it_was():
    net = make(query=0, similar=1)
    x = normal(4 * CHUNK, 1, 3)
    with lookups() as found:
        y, _ = net(x)
    codes = [y[i : i + CHUNK, 0].detach().mean(0) for i in range(0, len(x), CHUNK)]
    angle = [float(torch.cosine_similarity(codes[2], codes[j], dim=0)) for j in (0, 1)]
    best = int(np.argmax(angle))
    assert max(angle) > 0
    assert found[2].ago.item() == 3 - best  # before chunk 3, in which it is used
    assert found[2].similarity.item() == pytest.approx(max(angle))
    assert found[0].ago.item() == 0


@pytest.mark.parametrize("query", [0, 1, 3])
def test_any_cut_of_the_input_gives_the_same_outputs(query):
    net, x = make(query=query), normal(19, 2, 3)
    whole, end = net(x)
    for cut in (1, 2, 5, 7):
        parts, state = [], None
        for first in range(0, len(x), cut):
            y, state = net(x[first : first + cut], state)
            parts.append(y)
        close(torch.cat(parts), whole.detach().numpy(), 1e-12)
        for name in ("codes", "found", "total", "recent", "place"):
            close(state[name], end[name].detach().numpy(), 1e-12)


def test_what_is_not_looked_up_changes_the_steps_after_the_query_only():
    net, x = make(), normal(2 * CHUNK, 2, 3)
    y, _ = net(x)
    with without_lookups(), lookups() as found:
        z, _ = net(x)
    assert found == []
    same = (y == z).all(-1).all(-1).tolist()
    assert same[: CHUNK + QUERY] == [True] * (CHUNK + QUERY)
    assert not any(same[CHUNK + QUERY :])


def test_gradients_go_through_what_was_found():
    net = make(similar=1)
    x = normal(3 * CHUNK, 1, 3).requires_grad_()
    with without_lookups():
        (without,) = torch.autograd.grad(net(x)[0][-1].sum(), x)
    (grad,) = torch.autograd.grad(net(x)[0][-1].sum(), x)
    assert not torch.allclose(grad, without)


@pytest.mark.parametrize("query", [CHUNK, CHUNK + 1])
def test_a_query_must_leave_steps_of_its_chunk(query):
    with pytest.raises(ConfigError, match=rf"query is {query} but must be less than chunk, 4"):
        make(query=query)


def test_options_reach_the_layers_of_a_network():
    net = RateNetwork(5, 2, "gru", width=8, chunk=6, chunk_query=2, chunk_similar=3, chunk_slots=9)
    layer = net.layers[0]
    assert (layer.chunk, layer.query, layer.similar, layer.slots) == (6, 2, 3, 9)
    with pytest.raises(ConfigError, match="chunk_query is 2 but chunk is 0"):
        RateNetwork(5, 2, "gru", width=8, chunk_query=2)
    with pytest.raises(ConfigError, match="chunk_similar is 0"):
        RateNetwork(5, 2, "gru", width=8, chunk=6, chunk_similar=0)


# --- the task ------------------------------------------------------------------------------------


def test_questions_show_two_of_the_first_keys_and_want_their_values():
    over, first, steps = 3, 4, 5
    data = facts(over, 300, first=first, steps=steps, noise=0.0, seed=3)
    assert data.classes == ("0 and 1", "0 and 2", "0 and 3", "1 and 2", "1 and 3", "2 and 3")
    x = data.x.reshape(300, over + first + 1, steps, -1)
    assert not x[:, :, 2:].any() and not x[:, -1, 1:].any() and not x[:, :, 0, 64:].any()
    for chunks, label in zip(x, data.target, strict=True):
        keys, told = chunks[:, 0, :64], chunks[:-1, 1, 64:].argmax(1)
        assert (chunks[:-1, 1].sum(-1) == 1).all() and sorted(told[:first]) == [0, 1, 2, 3]
        asked = [j for j in range(over + first) if (keys[j] <= keys[-1]).all()]
        assert len(asked) == 2 and max(asked) < first
        assert "{} and {}".format(*sorted(told[asked])) == data.classes[label]
    assert np.bincount(data.target).min() > 30
    again = facts(over, 300, first=first, steps=steps, noise=0.0, seed=4)
    assert (again.target != data.target).any()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"over": -1}, "over is -1"), ({"first": 1}, "first is 1"), ({"steps": 1}, "steps is 1"),
        ({"noise": 2}, "noise is 2"), ({"samples": 0}, "samples"),
        ({"over": 13}, r"first \+ over is 17 but there are 16 keys"),
    ],
)  # fmt: skip
def test_facts_that_cannot_be_are_refused(wrong, said):
    with pytest.raises(ConfigError, match=said):
        facts(**{"over": 3, "samples": 4} | wrong)


def test_a_question_finds_the_two_chunks_that_it_asks_for():
    data = facts(6, 100, seed=1)
    net = RateNetwork(data.channels, 6, "gru", width=8, chunk=4, chunk_query=1).float()
    with lookups() as found, torch.no_grad():
        net(data.batch(range(100)).x)
    x = data.x.reshape(100, 11, 4, -1)[:, :, 0, :64]
    shared = (x[:, :-1] * x[:, -1:]).sum(-1) / x[:, :-1].sum(-1)
    asked = np.sort(np.argsort(-shared, axis=1, kind="stable")[:, :2], axis=1)
    ago = np.sort(10 - found[-1].ago.numpy(), axis=1)
    assert (ago == asked).all(1).mean() > 0.95


@pytest.mark.parametrize(
    ("recall", "zeroed", "without", "passed"),
    [
        ([99, 91], [18, 20], [26, 15, 20, 10, 11, 26], True),
        ([99, 90], [18, 20], [16] * 6, False),
        ([99, 91], [18, 27], [16] * 6, False),
        ([99, 91], [18, 20], [16, 16, 16, 16, 27, 16], False),
    ],
)
def test_the_check_wants_recall_that_only_lookups_give(
    monkeypatch, recall, zeroed, without, passed
):
    made = []
    monkeypatch.setattr(check, "_trained", lambda *given: made.append(given) or given)
    left = {"on": iter(recall), "zeroed": iter(zeroed), "off": iter(without)}

    def off():
        return not module._looks_up.get()

    def measured(net, over, seed):
        if not off():
            return next(left["on"])
        return next(left["zeroed" if len(made) in (1, 5) else "off"])

    monkeypatch.setattr(check, "_recall", measured)
    found = check.run(seed=3)
    assert found.passed is passed
    assert found.figures == {"over 3": recall[0], "over 12": recall[1]}
    assert found.control["over 12, trained without"] == max(without[3:])
    assert all(given[1] == 3 and given[3] == 200 for given in made) and len(made) == 8
