"""Neural process: a new speaker's classes from a few labelled utterances (2208.04600).

Half of the speakers turn every class into the next, so nobody can tell a class without knowing the
speaker. Then answers belong together: whoever guesses the speaker right has all of them right. Only
the latent variable can say so, because a draw of it is one guess at the speaker for all answers.
What is trained and measured is therefore the probability of all answers together, averaged over
draws ``z_k``, per answer and as a logarithm:

    (1 / Q) log (1 / K) sum_k prod_q p(y_q | x_q, context, z_k)

as Foong et al. 2020 (arXiv:2007.01332) train neural processes. The control is the same network with
the mean of the latent in the place of draws, trained alike. Before it knows an utterance it can at
best give two classes one half each, ``log 1/2 = -0.69``; the bound of a network that has learnt
which speakers there are is ``(log 1/2) / Q = -0.04``. Accuracy alone does not need the latent:
attention to the context tells the speaker as well, in the control too.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from snnsim_datasets.synthetic.few_shot import bumps
from torch import Tensor, nn

from snnsim.baselines.models.neural_process import NeuralProcess
from snnsim.training import set_seed
from snnsim_experiments.baselines.checks.outcome import Outcome, optimise

CHANNELS, STEPS, CLASSES, CONTEXT, ASKED = 16, 8, 4, 8, 16
SPEAKERS, DRAWS, RATE = 4, 8, 5e-3  # speakers of a training step, draws of the latent
KNOWN = (0, 1, 8)  # utterances of a new speaker
MARGIN = 0.3  # of the log probability of answers before an utterance is known


def utterances(count: int, random: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Draw utterances of one speaker, who shifts all channels alike: ``x [T, count, 16]``.

    Classes are bumps four channels apart, and speakers shift by 0 or 4 channels, which turns one
    class into the next.
    """
    shift = 4 * random.integers(0, 2)
    labels = random.integers(0, CLASSES, count)
    centre = 4 * labels + shift
    rates = bumps(centre, CHANNELS)
    x = random.poisson(np.broadcast_to(rates, (STEPS, *rates.shape)))
    return torch.from_numpy(x).float(), torch.from_numpy(labels)


class _Model(nn.Module):
    def __init__(self, draws: bool) -> None:
        super().__init__()
        self.draws = draws
        self.body = NeuralProcess(CHANNELS, 48, classes=CLASSES, slots=CONTEXT)
        self.head = nn.Linear(48, CLASSES)

    def forward(self, context: tuple[Tensor, Tensor], query: Tensor, draws: int) -> Tensor:
        """Log-probabilities of classes, ``[draws, Q, 4]``, one latent for all of a draw."""
        state = self.body.initial_state(1)
        if len(context[1]):
            state = self.body.observe(state, *context)
        count = draws if self.draws else 1
        state = {k: v.expand(count, *v.shape[1:]) for k, v in state.items()}
        mean, _ = self.body.latent_of(state)
        state = self.body.sample(state) if self.draws else {**state, "z": mean}
        asked = query.shape[1]
        state = {k: v.repeat_interleave(asked, 0) for k, v in state.items()}
        y = self.body(query.repeat(1, count, 1), state)[0][-1]
        scores: Tensor = self.head(y).log_softmax(-1)
        return scores.view(count, asked, CLASSES)


def together(scores: Tensor, labels: Tensor) -> Tensor:
    """Return the log probability of all labels ``[Q]`` together, per label.

    Args:
        scores: log-probabilities of classes, ``[draws, Q, classes]``.
        labels: the true classes, ``[Q]``.
    """
    each = scores[:, torch.arange(len(labels)), labels].sum(1)
    return (torch.logsumexp(each, 0) - math.log(len(each))) / len(labels)


def run(seed: int = 0, short: bool = False) -> Outcome:
    """Measure accuracy and joint probability on new speakers with 0, 1 and 8 utterances."""
    steps = 3 if short else 600
    figures, control = (
        _measured(_trained(draws, seed, steps), seed, 5 if short else 100)
        for draws in (True, False)
    )
    none, one, eight = (figures[f"accuracy %, {size} utterances"] for size in KNOWN)
    blind = f"log probability, {KNOWN[0]} utterances"
    return Outcome(
        "answers about a speaker who is not known belong together: their log probability is "
        f"{MARGIN} higher than without draws of the latent; from 0 to 1 utterance accuracy grows "
        "by more than 20 points, and with 8 it is above 90 %",
        figures[blind] > control[blind] + MARGIN and one > none + 20 and eight > 90,
        figures,
        control,
        f"{steps} steps of {SPEAKERS} speakers with {ASKED} answers, {DRAWS} draws of the latent, "
        f"at a rate of {RATE:g} for each",
    )


def _trained(draws: bool, seed: int, steps: int) -> _Model:
    set_seed(seed)
    model, random = _Model(draws), np.random.default_rng(seed)

    def loss() -> Tensor:
        losses = []
        for _ in range(SPEAKERS):
            size = int(random.integers(0, CONTEXT + 1))
            x, labels = utterances(CONTEXT + ASKED, random)
            scores = model((x[:, :size], labels[:size]), x[:, CONTEXT:], DRAWS)
            losses.append(-together(scores, labels[CONTEXT:]))
        return torch.stack(losses).mean()

    optimise(model, loss, steps, RATE)
    return model.eval()


@torch.no_grad()
def _measured(model: _Model, seed: int, speakers: int) -> dict[str, float]:
    figures: dict[str, float] = {}
    set_seed(seed)
    for size in KNOWN:
        right, logs, test = [], [], np.random.default_rng([seed, 10**6])
        for _ in range(speakers):
            x, labels = utterances(CONTEXT + ASKED, test)
            scores = model((x[:, :size], labels[:size]), x[:, CONTEXT:], 4 * DRAWS)
            answers = scores.exp().mean(0).argmax(1)
            right.append(float((answers == labels[CONTEXT:]).float().mean()))
            logs.append(float(together(scores, labels[CONTEXT:])))
        figures[f"accuracy %, {size} utterances"] = 100 * float(np.mean(right))
        figures[f"log probability, {size} utterances"] = float(np.mean(logs))
    return figures
