"""Generation with a recurrent-depth model: position by position, or many positions at once.

In parallel, a wave of unfinished positions is iterated together: each gets a few iterations of the
core on the current guess of its token, all are decoded, a new position joins, and the leftmost ones
whose state hardly changes any more are frozen. Source: Geiping et al. 2025 (arXiv:2510.14961),
algorithm 1, without noise and averaging. It saves core passes, in which many positions are wide;
a machine with few cores gains less time than passes.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from snnsim.baselines.models.recurrent_depth import RecurrentDepth
from snnsim.baselines.window import Past
from snnsim.errors import ConfigError
from snnsim.layer import evaluating


class Generated(NamedTuple):
    """Generated tokens, and how often the core was applied, to any number of positions."""

    tokens: list[int]
    passes: int


def _one_hot(net: RecurrentDepth, tokens: list[int]) -> Tensor:
    """Tokens ``[T, 1, n_in]`` on the device, and of the type, of a model."""
    found = nn.functional.one_hot(torch.tensor(tokens), net.n_in)
    return found.to(next(net.parameters()))[:, None]


@torch.no_grad()
def generate(net: RecurrentDepth, head: nn.Module, prompt: list[int], count: int) -> Generated:
    """Generate the likeliest next tokens, one after the other.

    Args:
        net: model from one-hot tokens to features.
        head: module from features to scores of the next token.
        prompt: one or more tokens to begin with.
        count: number of tokens to add, 1 or more.
    """
    _check(prompt, count, net)
    with evaluating(net):
        y, state = net(_one_hot(net, prompt))
        found = [int(head(y[-1]).argmax())]
        while len(found) < count:
            y, state = net(_one_hot(net, found[-1:]), state)
            found.append(int(head(y[-1]).argmax()))
    return Generated(found, net.iterations * count)


@torch.no_grad()
def generate_in_parallel(
    net: RecurrentDepth,
    head: nn.Module,
    prompt: list[int],
    count: int,
    *,
    inner: int = 4,
    limit: float = 0.03,
    widest: int = 32,
    longest: int = 64,
) -> Generated:
    """Generate the same tokens by a wave of positions.

    Args:
        net, head, prompt, count: as for :func:`generate`.
        inner: number of iterations of the core per round.
        limit: relative change of a state in a round below which its position is done.
        widest: largest number of positions in the wave, at most the model's ``reach``.
        longest: number of rounds after which the leftmost position is taken as it is.

    Returns:
        As :func:`generate`. The tokens are the same where the model's iterations converge.
    """
    _check(prompt, count, net)
    if min(inner, widest, longest) < 1 or widest > net.reach:
        raise ConfigError(
            f"inner is {inner}, widest {widest} and longest {longest}; all must be 1 or more, and "
            f"widest at most the model's reach, {net.reach}"
        )
    with evaluating(net):
        return _by_wave(net, head, prompt, count, inner, limit, widest, longest)


def _by_wave(
    net: RecurrentDepth,
    head: nn.Module,
    prompt: list[int],
    count: int,
    inner: int,
    limit: float,
    widest: int,
    longest: int,
) -> Generated:
    tokens, passes = list(prompt), net.iterations
    first, cores, last = net.initial_state(1)
    past: tuple[Past, Past, Past] = (first, cores[-1], last)
    if len(prompt) > 1:
        _, (first, cores, last) = net(_one_hot(net, prompt[:-1]))
        past = (first, cores[-1], last)
    goal, done = len(prompt) + count, len(prompt) - 1  # positions up to here are final
    states = net.zeros(1, 1, net.n_out)
    rounds = 0
    while True:
        wave = tokens[done : done + len(states)]
        e, whole_first = _extended(net.prelude, net.enter(_one_hot(net, wave))[0], past[0])
        before = states
        for _ in range(inner):
            mixed = net.adapter(torch.cat([states, e], -1))[0]
            states, whole_core = _extended(net.core, mixed, past[1])
            passes += 1
        y, whole_last = _extended(net.coda, states, past[2])
        guesses = head(net.norm(y))[:, 0].argmax(-1).tolist()
        tokens = tokens[: done + 1] + guesses
        rounds += 1
        change = (states - before).norm(dim=-1) / states.norm(dim=-1).clamp(min=1e-9)
        still = int((change[:, 0] >= limit).int().argmax()) if bool((change >= limit).any()) else -1
        ready = len(states) if still < 0 else still
        if rounds >= longest:
            ready = max(ready, 1)
        if ready:
            rounds, done = 0, done + ready
            if done + 1 >= goal:
                return Generated(tokens[len(prompt) : goal], passes)
            past = tuple(  # type: ignore[assignment]
                tuple(part[ready : ready + net.reach] for part in whole)
                for whole in (whole_first, whole_core, whole_last)
            )
            states = states[ready:]
        if len(states) < widest and done + len(states) < goal - 1:
            states = torch.cat([states, torch.zeros_like(e[:1])])  # the next position joins


def _extended(block: nn.Module, x: Tensor, past: Past) -> tuple[Tensor, Past]:
    """A block's output, and its past with all of the wave behind it."""
    y, later = block(x, past)
    n = len(x)
    keys, values, known = (torch.cat([a[:n], b]) for a, b in zip(past, later, strict=True))
    return y, (keys, values, known)


def _check(prompt: list[int], count: int, net: RecurrentDepth) -> None:
    if not prompt or count < 1 or not all(0 <= t < net.n_in for t in prompt):
        raise ConfigError(
            f"prompt must be one or more tokens 0 .. {net.n_in - 1}, and count, {count}, must be 1 "
            "or more"
        )
