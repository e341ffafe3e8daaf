"""Titans: what a chunk stores, the rule step by step, and the three architectures around it."""

from __future__ import annotations

import pytest
import torch
from toolbox import normal
from torch import nn

from snnsim.baselines.models.titans import Titans, novelty
from snnsim.errors import ConfigError

pytestmark = pytest.mark.usefixtures("float64")

ARCHITECTURES = ["context", "gate", "layer"]


def with_gates(net: Titans, eta: float, theta: float, alpha: float) -> Titans:
    """Hold the gates, whatever comes in."""
    with torch.no_grad():
        net.gates.weight.zero_()
        gates = torch.tensor([eta, theta, alpha]).repeat_interleave(net.heads)
        net.gates.bias.copy_(torch.logit(gates, 1e-12))
    return net


def of_pairs(**options) -> Titans:
    """A memory whose first 16 inputs are one-hot keys and whose last 4 are values."""
    net = Titans(20, 4, heads=1, keys=16, **options)
    with torch.no_grad():
        net.key.weight.copy_(50 * torch.eye(16, 20))
        net.query.weight.copy_(net.key.weight)
        net.value.weight.copy_(50 * torch.eye(20)[16:])
    return net


def fraction_stored(net: Titans, keys: torch.Tensor, silence: int = 0) -> torch.Tensor:
    """Write random values under keys, and return what is recalled of each as a fraction."""
    values = torch.rand(len(keys), 4) + 0.5
    x = torch.cat([torch.eye(16)[keys], values], 1)[:, None]
    _, state = net(nn.functional.pad(x, (0, 0, 0, 0, 0, silence)))
    recalled = torch.eye(16)[keys] @ state["memory"][0, 0]
    written = nn.functional.silu(50 * values)
    return (recalled * written).sum(1) / written.square().sum(1)


@pytest.mark.parametrize("eta", [0.0, 0.3])
def test_a_pair_is_stored_whole_by_default(eta):
    net = with_gates(of_pairs(), eta, 0.5, 0.0)
    assert net.chunk == 16
    found = fraction_stored(net, torch.tensor([3]), silence=40)
    torch.testing.assert_close(found, torch.ones(1), rtol=1e-2, atol=0)
    even = with_gates(of_pairs(division="even"), eta, 0.5, 0.0)
    assert fraction_stored(even, torch.tensor([3]), silence=40).item() < 0.07  # 1 / chunk


def test_all_pairs_of_a_chunk_are_stored_and_a_key_through_a_whole_chunk_is_stored_once():
    net = with_gates(of_pairs(), 0.0, 0.5, 0.0)
    found = fraction_stored(net, torch.randperm(16))
    torch.testing.assert_close(found, torch.ones(16), rtol=1e-2, atol=0)
    x = torch.cat([torch.eye(16)[:1], torch.ones(1, 4)], 1).expand(16, 1, 20)
    _, state = net(x)
    stored = state["memory"][0, 0, 0] / 50
    # repetitions have a novelty of about 1e-3 each
    assert bool((stored >= 1).all()) and bool((stored < 1 + 16 * 2e-3).all())


def unexplained(key: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
    """1 - R^2 of a key by those before it, a regression with a ridge of 1e-3."""
    if not len(before):
        return torch.ones(())
    gram = before @ before.T + 1e-3 * torch.eye(len(before))
    explained = (before @ key) @ torch.linalg.solve(gram, before @ key)
    return 1 - explained / (key @ key + 1e-3)


def test_the_novelty_of_keys_is_the_variance_that_those_before_do_not_explain():
    keys = nn.functional.normalize(normal(2, 3, 7, 4), dim=-1)
    expected = torch.zeros(2, 3, 7)
    for b in range(2):
        for h in range(3):
            for t in range(7):
                expected[b, h, t] = unexplained(keys[b, h, t], keys[b, h, :t])
    torch.testing.assert_close(novelty(keys), expected)


def remembered(net: Titans, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What a memory of one head answers to a sample ``[T, n]``, and what it is in the end."""
    silu, unit = nn.functional.silu, nn.functional.normalize
    k, q = (unit(silu(x @ m.weight.T), dim=-1, eps=1e-2) for m in (net.key, net.query))
    v = silu(x @ net.value.weight.T)
    gates = torch.sigmoid(x @ net.gates.weight.T + net.gates.bias)
    M = S = torch.zeros(k.shape[1], v.shape[1])
    outputs = []
    for t, (eta, theta, alpha) in enumerate(gates):
        chunk = t - t % net.chunk
        if t == chunk:
            start = M.clone().requires_grad_()
        if net.chunk > 1:
            theta = min(theta, torch.tensor(0.5)) * (1 - eta) * unexplained(k[t], k[chunk:t])
        loss = (start.T @ k[t].detach() - v[t].detach()).square().sum()
        S = eta * S - theta * torch.autograd.grad(loss, start)[0]
        M = ((1 - alpha) * M + S).detach()
        outputs.append(M.T @ q[t])
    return torch.stack(outputs), M


def small(**options) -> Titans:
    torch.manual_seed(3)
    net = Titans(3, 4, heads=1, keys=3, **options)
    with torch.no_grad():
        for name, p in net.named_parameters():
            p.add_(torch.randn_like(p), alpha=0.5 if "gates" in name else 0.2)
    return net


@pytest.mark.parametrize("chunk", [1, 4, 16])
def test_the_memory_is_its_equations_step_by_step(chunk):
    net, x = small(chunk=chunk), normal(21, 1, 3)
    torch.testing.assert_close(net(x)[0][:, 0], remembered(net, x[:, 0])[0])


def attended(attention, query, tokens, bias):
    """Softmax attention of one head, of one query to some tokens."""
    k, v = (tokens @ m.weight.T for m in (attention.key, attention.value))
    weights = torch.softmax(k @ (attention.query.weight @ query) / 2 + bias, 0)
    return attention.out.weight @ (weights @ v)


def over_window(net: Titans, x: torch.Tensor, reach: int) -> torch.Tensor:
    outputs, fixed = [], net.attention.persistent
    for t in range(len(x)):
        first = max(t - reach, 0)
        back = t - torch.arange(first, t + 1)
        bias = torch.cat([torch.zeros(len(fixed)), net.attention.distance[0, back]])
        outputs.append(attended(net.attention, x[t], torch.cat([fixed, x[first : t + 1]]), bias))
    return torch.stack(outputs)


def gated(net: Titans, y: torch.Tensor, read: torch.Tensor) -> torch.Tensor:
    y, read = (
        a / (a.square().mean(1, keepdim=True) + torch.finfo(a.dtype).eps).sqrt() * norm.weight
        for a, norm in zip((y, read), net.norms, strict=True)
    )
    return y * torch.sigmoid(read)


def test_memory_as_a_layer_is_window_attention_over_what_the_memory_reads():
    net, x = small(architecture="layer", chunk=4, reach=5, persistent=2), normal(18, 1, 3)
    read, _ = remembered(net, net.enter(x)[0][:, 0])
    torch.testing.assert_close(net(x)[0][:, 0], over_window(net, read, 5))


def test_memory_as_a_gate_multiplies_window_attention():
    net, x = small(architecture="gate", chunk=4, reach=5, persistent=2), normal(18, 1, 3)
    entered = net.enter(x)[0][:, 0]
    expected = gated(net, over_window(net, entered, 5), remembered(net, entered)[0])
    torch.testing.assert_close(net(x)[0][:, 0], expected)


def test_memory_as_context_is_attended_to_and_learns_what_attention_gives():
    net, x = small(architecture="context", chunk=4, persistent=2), normal(18, 1, 3)
    entered, fixed = net.enter(x)[0][:, 0], net.attention.persistent
    q = nn.functional.normalize(nn.functional.silu(entered @ net.query.weight.T), dim=-1, eps=1e-2)
    y, known, state = [], [], None
    for t in range(len(x)):
        first = t - t % 4
        if t == first:  # the memory after all chunks before
            state = remembered(net, torch.stack(y))[1] if y else torch.zeros(3, 4)
        known.append(state.T @ q[t])
        tokens = torch.cat([fixed, torch.stack(known[first:]), entered[first : t + 1]])
        y.append(attended(net.attention, entered[t], tokens, 0.0))
    y = torch.stack(y)
    torch.testing.assert_close(net(x)[0][:, 0], gated(net, y, remembered(net, y)[0]))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("forgets", [False, True])
def test_what_no_attention_reaches_any_more_is_known_by_the_memory_alone(architecture, forgets):
    net = with_gates(small(architecture=architecture, chunk=4, reach=3), 0.0, 0.5, float(forgets))
    x = normal(40, 1, 3)
    other = x.clone()
    other[0] += 1.0
    change = float((net(x)[0][-1] - net(other)[0][-1]).abs().max())
    assert (change < 1e-9) == forgets


@pytest.mark.parametrize("architecture", ["memory", *ARCHITECTURES])
@pytest.mark.parametrize("division", ["new", "even"])
@pytest.mark.parametrize("chunk", [1, 5])
def test_pieces_equal_the_whole_and_every_parameter_has_a_gradient(architecture, division, chunk):
    net = Titans(3, 8, architecture=architecture, division=division, chunk=chunk, reach=4)
    x = normal(17, 2, 3)
    whole, _ = net(x)
    outputs, state = [], None
    for piece in x.split([1, 6, 2, 8]):
        y, state = net(piece, state)
        outputs.append(y)
    torch.testing.assert_close(torch.cat(outputs), whole, rtol=1e-10, atol=1e-12)
    whole.square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in net.parameters())


@pytest.mark.parametrize("architecture", ["memory", *ARCHITECTURES])
def test_an_architecture_runs_under_autocast_and_without_persistent_tokens(architecture):
    net = Titans(3, 8, architecture=architecture, persistent=0).float()
    with torch.autocast("cpu", torch.bfloat16):
        y, _ = net(torch.randn(20, 2, 3, dtype=torch.float32))
    assert bool(torch.isfinite(y).all())


def test_an_unknown_architecture_or_division_is_refused():
    with pytest.raises(ConfigError, match="architecture"):
        Titans(3, 8, architecture="mac")
    with pytest.raises(ConfigError, match="division"):
        Titans(3, 8, division="odd")
