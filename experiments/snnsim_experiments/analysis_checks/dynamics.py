"""Hidden states are decoded, and a network trained to emit as they do lives on noise alone.

Decoding: the path of a cyclic chain of three states is found from Poisson spikes by the Viterbi
algorithm with the true parameters; the control are the same spikes with their time steps in another
order, of which only the frequencies of states, 1/3, are left.

Generating: a recurrent network of 64 rectified units without bias, driven by white noise alone,
emits one of three symbols per step, and is trained to emit sequences as a chain of two states does,
which leave with probability 0.05 (2510.25674). The loss is the Sinkhorn divergence of batches of
sequences. The control is the network before training. Trained, it stays with a symbol as long as
the chain does (the probability of the same symbol in the next step), and its activity ends with its
noise: it is the noise that moves it from state to state. On the way, until about 1500 steps, it
goes through phases in which it is active by itself.
"""

from __future__ import annotations

import copy

import numpy as np
import torch
from snnsim_datasets.synthetic import hidden_states
from snnsim_datasets.synthetic.hidden_states import DT, transitions
from torch import Tensor, nn

from snnsim.analysis.dynamics import settle
from snnsim.training import set_seed
from snnsim_experiments.baselines.checks.outcome import Outcome, optimise

STATES, DECODED, CHANCE = 3, 95.0, 10.0  # percent right, and percent above chance that may be left
NOISE, UNITS, STEPS, WARM, BATCH = 16, 64, 40, 10, 256
LEAVE = 0.05
EMISSION = np.array([[0.99, 0.01, 0.0], [0.0, 0.01, 0.99]])  # of symbols, for each state
BLUR, RATE, BETAS = 0.2, 1e-3, (0.9, 0.9)  # as published
NEAR, GONE = 0.03, 0.01  # of the chain's persistence, and of the activity under noise


# --- decoding -------------------------------------------------------------------------------------


def viterbi(
    x: np.ndarray, rates: np.ndarray, onward: np.ndarray, initial: np.ndarray
) -> np.ndarray:
    """Return the most probable path ``[T]`` of a hidden chain behind Poisson spikes.

    Args:
        x: spike counts in steps of 10 ms, ``[T, N]``.
        rates: the rate of each unit in each state in Hz, ``[K, N]``.
        onward: the probability of going from each state (row) to each, ``[K, K]``.
        initial: the distribution of the first state, ``[K]``.
    """
    expected = np.maximum(rates * DT / 1000, 1e-12)
    emitted = x.astype(np.float64) @ np.log(expected).T - expected.sum(1)
    with np.errstate(divide="ignore"):
        step, best = np.log(onward), np.log(initial) + emitted[0]
    came_from = []
    for each in emitted[1:]:
        candidates = best[:, None] + step
        came_from.append(candidates.argmax(0))
        best = candidates.max(0) + each
    path = [int(best.argmax())]
    for back in reversed(came_from):
        path.append(int(back[path[-1]]))
    return np.array(path[::-1])


def _decoded(seed: int, steps: int) -> tuple[float, float]:
    """Percent of steps whose state is found: from the spikes, and from steps in another order."""
    made = hidden_states(
        4, states=STATES, topology="cyclic", leave=LEAVE, units=6 * STATES, steps=steps, seed=seed
    )
    order = np.random.default_rng(seed).permuted(np.tile(np.arange(steps), (4, 1)), axis=1)
    mixed = np.take_along_axis(made.data.x, order[:, :, None], axis=1)
    known = made.rates, made.transitions, made.initial
    found, lost = (
        np.mean([viterbi(one, *known) == path for one, path in zip(x, made.path, strict=True)])
        for x in (made.data.x, mixed)
    )
    return 100 * float(found), 100 * float(lost)


# --- generating -----------------------------------------------------------------------------------


class Generator(nn.Module):
    """A generator turns noise ``[T, B, 16]`` into scores of symbols ``[T, B, 3]``."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.RNN(NOISE, UNITS, nonlinearity="relu", bias=False)
        self.out = nn.Linear(UNITS, EMISSION.shape[1], bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the scores of every step."""
        scores: Tensor = self.out(self.rnn(x)[0])
        return scores

    def emit(self, samples: int, steps: int) -> Tensor:
        """Draw symbols, one-hot ``[T, B, 3]``, whose gradient is that of their probabilities."""
        scores = self(torch.randn(WARM + steps, samples, NOISE))[WARM:]
        return nn.functional.gumbel_softmax(scores, hard=True)


def emitted(samples: int, steps: int, random: np.random.Generator) -> Tensor:
    """Draw symbols of the chain of two states, one-hot ``[T, B, 3]``."""
    stay, z = 1 - LEAVE, random.integers(0, 2, samples)
    assert np.allclose(transitions(2, "linear", LEAVE)[0], (stay, LEAVE))
    found = []
    for _ in range(steps):
        draw = random.random((samples, 1))
        found.append((draw > EMISSION[z].cumsum(1)[:, :-1]).sum(1))
        z = np.where(random.random(samples) < LEAVE, 1 - z, z)
    return nn.functional.one_hot(torch.from_numpy(np.stack(found)), EMISSION.shape[1]).float()


def sinkhorn_divergence(x: Tensor, y: Tensor) -> Tensor:
    """Return how far two clouds of points ``[B, D]`` are apart: S(x, y) - S(x, x)/2 - S(y, y)/2.

    The cost is half the squared distance. The entropy's weight falls by halves to ``BLUR^2``, and
    only the last step has a gradient, that of the cost under the plan it has found (Feydy et al.
    2019, arXiv:1810.08278).
    """
    return _transport(x, y) - (_transport(x, x) + _transport(y, y)) / 2


def _transport(x: Tensor, y: Tensor) -> Tensor:
    cost = torch.cdist(x, y).square() / 2

    def soft(potential: Tensor, each: Tensor, epsilon: float) -> Tensor:
        shifted = potential / epsilon - np.log(len(potential))
        return -epsilon * torch.logsumexp(shifted - each / epsilon, 1)

    with torch.no_grad():
        epsilon = float(cost.max())
        f, g = torch.zeros(len(x)), torch.zeros(len(y))
        while epsilon > BLUR**2 / 2:
            epsilon = max(epsilon, BLUR**2)
            f, g = (f + soft(g, cost, epsilon)) / 2, (g + soft(f, cost.t(), epsilon)) / 2
            epsilon /= 2
    return soft(g, cost, BLUR**2).mean() + soft(f, cost.t().detach(), BLUR**2).mean()


def persistence(symbols: Tensor) -> float:
    """Return how often a symbol ``[T, B, 3]`` is the same one step later, from 0 to 1."""
    return float((symbols[1:] * symbols[:-1]).sum(2).mean())


def _generated(net: Generator) -> dict[str, float]:
    with torch.no_grad():
        settled = settle(net, torch.randn(200, 32, NOISE), 1.0, layer="rnn", steps=200)
        return {
            "persistence of symbols": persistence(net.emit(500, 100)),
            "activity left without noise": settled.lasting("off"),
            "activity left with noise": settled.lasting("noise"),
        }


def _trained(seed: int, steps: int) -> tuple[Generator, Generator]:
    """The network after and before training."""
    set_seed(seed)
    net, random = Generator(), np.random.default_rng(seed)
    before = copy.deepcopy(net)

    def loss() -> Tensor:
        y, x = emitted(BATCH, STEPS, random), net.emit(BATCH, STEPS)
        return sinkhorn_divergence(*(each.transpose(0, 1).flatten(1) for each in (x, y)))

    optimise(net, loss, steps, RATE, clip=0.9, betas=BETAS)
    return net, before


def run(seed: int = 0, short: bool = False) -> Outcome:
    """Measure how much of a hidden path is found, and what a network does that emits alike."""
    steps = 3 if short else 3000
    found, lost = _decoded(seed, 300 if short else 1500)
    net, before = _trained(seed, steps)
    figures, control = _generated(net), _generated(before)
    chain = persistence(emitted(500, 100, np.random.default_rng([seed, 1])))
    figures |= {"steps decoded %": found, "persistence of the chain": chain}
    control |= {"steps decoded %": lost}
    met = [
        found >= DECODED and abs(lost - 100 / STATES) < CHANCE,
        abs(figures["persistence of symbols"] - chain) < NEAR,
        abs(control["persistence of symbols"] - chain) > 2 * NEAR,
        figures["activity left without noise"] < GONE < figures["activity left with noise"],
    ]
    return Outcome(
        f"at least {DECODED:.0f} % of a hidden path are decoded, and of shuffled steps 1/{STATES} "
        f"within {CHANCE:.0f} %; the trained network keeps a symbol as often as the chain, within "
        f"{NEAR}, the untrained one does not, within {2 * NEAR}; less than {GONE:.0%} of its "
        "activity is left without noise",
        all(met),
        figures,
        control,
        f"{steps} steps of {BATCH} sequences of {STEPS} symbols at a rate of {RATE:g}",
    )
