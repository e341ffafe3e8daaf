"""The recurrence of keys and values against its loop."""

import pytest
import torch
from toolbox import assert_same, named

from snnsim.baselines.ltv import in_pieces
from snnsim.baselines.models.lightnet import running_average
from snnsim.errors import ShapeError
from snnsim.functional.outer import outer_recurrence


def case(steps, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shapes = ((steps, 2, 3, 4), (steps, 2, 3, 4), (steps, 2, 3, 5), (2, 3, 4, 5), (steps, 2, 3))
    q, k, v, s, rate = (torch.randn(x, generator=generator, dtype=torch.float64) for x in shapes)
    return [a.requires_grad_() for a in (q, k, v, s, -rate.exp())]


def loop(q, k, v, s, log_decay, before):
    outputs = []
    for t in range(len(q)):
        earlier = s
        s = log_decay[t].exp()[..., None, None] * s + k[t].unsqueeze(-1) * v[t].unsqueeze(-2)
        outputs.append((q[t].unsqueeze(-2) @ (earlier if before else s)).squeeze(-2))
    return torch.stack(outputs), s


@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("decays", [False, True])
@pytest.mark.parametrize(("steps", "chunk"), [(1, 32), (7, 32), (12, 4), (13, 4), (5, 1)])
def test_chunks_equal_the_loop_in_values_and_gradients(steps, chunk, decays, before):
    q, k, v, s, log_decay = case(steps)
    if before and decays:  # what decays before it is read
        with torch.no_grad():
            log_decay[0] = -3.0
    given = (q, k, v, s, log_decay) if decays else (q, k, v, s)
    rates = log_decay if decays else torch.zeros_like(log_decay)
    expected = loop(q, k, v, s, rates, before)
    found = outer_recurrence(*given, before=before, chunk=chunk)
    total = [
        (y * torch.linspace(-1, 1, y.numel()).view_as(y)).sum() + e.sin().sum()
        for y, e in (expected, found)
    ]
    gradients = [torch.autograd.grad(t, given) for t in total]
    names = "y end q.grad k.grad v.grad s.grad" + " log_decay.grad" * decays
    results = (*expected, *gradients[0]), (*found, *gradients[1])
    assert_same(*(named(names, each) for each in results), rtol=1e-10, atol=1e-10)


def test_nothing_overflows_where_almost_everything_is_forgotten():
    q, k, v, s, _ = (a.detach().float() for a in case(40))
    y, end = outer_recurrence(q, k, v, s, torch.full((40, 2, 3), -60.0))
    own = (q * k).sum(-1, keepdim=True) * v
    assert torch.isfinite(y).all()
    torch.testing.assert_close(y, own)
    torch.testing.assert_close(end, k[-1].unsqueeze(-1) * v[-1].unsqueeze(-2))


def test_without_steps_the_state_stays():
    q, k, v, s, log_decay = case(0)
    y, end = outer_recurrence(q, k, v, s, log_decay)
    assert y.shape == v.shape
    assert torch.equal(end, s)


@pytest.mark.parametrize("name", ["k", "v", "s", "log_decay"])
def test_shapes_that_do_not_fit_are_named(name):
    named = dict(zip(("q", "k", "v", "s", "log_decay"), case(3), strict=True))
    named[name] = named[name][:, :1]
    with pytest.raises(ShapeError, match=f"{name} has shape"):
        outer_recurrence(**named)


@pytest.mark.parametrize("growth", [1.0, 200.0])  # the second overflows float32 within a piece
def test_a_running_average_equals_its_loop_however_much_a_normaliser_grows(growth):
    q, k, v, s, _ = (a.detach() for a in case(70))
    k = (k + growth * torch.linspace(0, 3, 70).view(-1, 1, 1, 1)).requires_grad_()
    z = torch.cat([torch.full_like(k[:1], -1e4), k]).logcumsumexp(0)
    found, start, outputs = running_average(q, k, v, z, s), s, []
    for t in range(70):
        share = (k[t] - z[t + 1]).exp().unsqueeze(-1)
        s = (z[t] - z[t + 1]).exp().unsqueeze(-1) * s + share * v[t].unsqueeze(-2)
        outputs.append((q[t].unsqueeze(-2) @ s).squeeze(-2))
    expected = torch.stack(outputs), s
    total = [y.square().sum() + e.sin().sum() for y, e in (found, expected)]
    gradients = [torch.autograd.grad(t, k, retain_graph=True)[0] for t in total]
    results = (*found, gradients[0]), (*expected, gradients[1])
    assert_same(*(named("y end k.grad", each) for each in results), rtol=1e-8, atol=1e-8)
    single = running_average(*(a.detach().float() for a in (q, k, v, z, start)))
    assert all(torch.isfinite(a).all() for a in single)


def test_pieces_of_a_sequence_give_what_the_whole_gives():
    def run(x, state):
        sums = state + x.cumsum(0)
        return 2 * sums, sums[-1]

    x, state = torch.rand(11, 2, 3, dtype=torch.float64), torch.rand(2, 3, dtype=torch.float64)
    for values in (6, 1 << 18, 1 << 30):  # the whole, two steps and one step at a time
        y, after = in_pieces(run, x, state, values)
        torch.testing.assert_close(y, run(x, state)[0])
        torch.testing.assert_close(after, run(x, state)[1])
