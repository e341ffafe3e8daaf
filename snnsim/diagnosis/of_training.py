"""What is wrong with the training: what may be learnt, how fast, and what came of it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator

from snnsim.diagnosis.findings import NOTE, PROBLEM, WARNING, Finding
from snnsim.diagnosis.observation import Observation
from snnsim.diagnosis.of_data import is_at_chance
from snnsim.diagnosis.of_layers import weights_of

# relative change of a weight in the whole training: 0.1 % changes no answer
UNMOVED = 1e-3
# the loss after trial steps beside the larger of the first one and chance: a first step with Adam
# may raise it by half
JUMP = 4.0
# epochs after which a training that works is above chance; with a learning rate that only rises, as
# one_cycle begins, the first one or two may not be
PATIENCE = 5
# fraction of the samples for which the network answers the same class
SAME_ANSWER = 0.95


def of_frozen(seen: Observation) -> Iterator[Finding]:
    """Yield parameters that are not trained."""
    weights = weights_of(seen.net)
    frozen = [name for name, p in weights.items() if not p.requires_grad]
    free = [name for name, p in weights.items() if p.requires_grad]
    if not frozen:
        return
    part = f"{len(frozen)} of {len(frozen) + len(free)} weight matrices"
    yield Finding(
        "frozen", frozen[0], WARNING if free else PROBLEM,
        f"{part} have requires_grad=False and are not trained: {', '.join(frozen[:4])}.",
        "Call requires_grad_(True) on what is to be learnt, before the optimiser is made.",
        {"frozen": float(len(frozen)), "free": float(len(free))},
    )  # fmt: skip


def of_learning_rate(seen: Observation) -> Iterator[Finding]:
    """Yield a learning rate with which weights do not move, or the loss explodes."""
    recipe = seen.recipe
    if recipe is None:
        return
    if recipe.lr == 0:
        yield Finding(
            "learning rate zero", "training", PROBLEM,
            "The learning rate lr is 0, so that no weight changes.",
            "Set training.lr; 0.001 to 0.005 suits adam.",
        )  # fmt: skip
        return
    yield from _too_large(seen)
    updates = recipe.epochs * math.ceil(len(seen.lengths) / recipe.batch_size)
    names = weights_of(seen.net)
    moved = [seen.moved[n] for n, p in names.items() if p.requires_grad and n in seen.moved]
    most = max(moved, default=0.0) * updates
    if moved and max(moved) > 0 and most < UNMOVED:
        yield Finding(
            "learning rate too small", "training", PROBLEM,
            f"With lr={recipe.lr:g} a step changes weights by {max(moved):.1g} of their size; all "
            f"{updates} steps of the training by {most:.1g} at most.",
            "Take a learning rate that is 100 times larger, or more; 0.001 to 0.005 suits adam.",
            {"per_step": max(moved), "in_all": most},
        )  # fmt: skip


def _too_large(seen: Observation) -> Iterator[Finding]:
    assert seen.recipe is not None
    if len(seen.losses) < 2:
        return
    before = max(seen.losses[0], seen.chance or 0.0)
    late = sorted(seen.losses[-3:])
    after = late[len(late) // 2] if all(map(math.isfinite, late)) else math.inf
    if after > JUMP * abs(before):
        yield Finding(
            "learning rate too large", "training", PROBLEM,
            f"In {len(seen.losses)} trial steps with lr={seen.recipe.lr:g} the loss went from "
            f"{seen.losses[0]:.3g} to {after:.3g}.",
            "Take a learning rate that is 10 to 100 times smaller, or set training.clip=1.",
            {"before": seen.losses[0], "after": after},
        )  # fmt: skip


def of_change(seen: Observation) -> Iterator[Finding]:
    """Yield weights that have not moved since an earlier point in time."""
    names = [n for n, p in weights_of(seen.net).items() if n in seen.changed and p.requires_grad]
    still = [n for n in names if seen.changed[n] < UNMOVED]
    if not still:
        return
    most = max(seen.changed[n] for n in still)
    every = len(still) == len(names)
    yield Finding(
        "weights do not move", still[0], PROBLEM if every else WARNING,
        f"{len(still)} of {len(names)} weight matrices changed by at most {most:.1g} of their "
        f"size since the start: {', '.join(still[:4])}.",
        "Make the learning rate larger, check that they are among the optimiser's parameters, and "
        "mend what keeps gradients from them.",
        {"most": most},
    )  # fmt: skip


def of_outcome(seen: Observation) -> Iterator[Finding]:
    """Yield that a trained network is at chance, and that it always answers the same."""
    if seen.trained and is_at_chance(seen):
        short = seen.recipe is not None and seen.recipe.epochs < PATIENCE
        yield Finding(
            "at chance", "training", WARNING if short else PROBLEM,
            f"The loss of the trained network, {seen.loss:.4g}, is no better than that of the best "
            f"constant answer, {seen.chance:.4g}.",
            "Mend the other findings first. If there are none, train for longer, then try to learn "
            "10 samples by heart: a network that cannot do that has an error in its code or data.",
            {"loss": seen.loss, "chance": seen.chance or 0.0},
        )  # fmt: skip
    if not seen.answers:
        return
    answer, count = Counter(seen.answers).most_common(1)[0]
    fraction = count / len(seen.answers)
    kinds = 0 if seen.labels is None else len(set(seen.labels.ravel().tolist()))
    if fraction >= SAME_ANSWER and kinds > 1:
        yield Finding(
            "one answer", "read-out", WARNING if seen.trained else NOTE,
            f"The network answers class {answer} for {fraction:.0%} of the samples.",
            "An untrained network may do so; else mend the other findings first.",
            {"fraction": fraction},
        )  # fmt: skip
