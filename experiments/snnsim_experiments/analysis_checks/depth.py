"""Two physical blocks, each applied several times, do what eight trained ones do.

Eight blocks are trained with stochastic depth on ten patterns of spikes, as in the check ``paths``.
Phases come from the similarity of their rates; one block for each of two phases is trained to act
like the teacher's, without labels (2512.19941). The controls are another division into two, trained
alike, and the copies that training begins from.
"""

from __future__ import annotations

from snnsim.activity import record
from snnsim.analysis import Subject
from snnsim.analysis.depth import phases, similarity, tie
from snnsim.analysis.stack import stack_of
from snnsim_experiments.analysis_checks.paths import CLASSES, deep
from snnsim_experiments.baselines.checks.outcome import Outcome

BLOCKS, PHASES = 8, 2
KEPT, RATE = 0.9, 0.01  # of the teacher's accuracy; learning rate of tying


def run(seed: int = 0, short: bool = False) -> Outcome:
    """Measure the accuracy of two blocks in place of eight, and of the controls."""
    epochs, samples, blocks, tying = (1, 100, 3, 1) if short else (12, 800, BLOCKS, 8)
    made = deep(blocks, seed, epochs, samples)
    names = stack_of(made.net).names
    activity = record(made.net, made.test, names)
    labels = phases(similarity([activity[name] for name in names]), PHASES)
    other = (labels * 0).copy()
    other[1 if labels[1] == labels[0] else 2 :] = 1  # the second phase begins elsewhere
    subject = Subject(made.net, made.test)

    def percent(division: list[int], epochs: int) -> float:
        tied = tie(made.net, made.train, division, epochs, lr=RATE, seed=seed)
        return 100 * subject.accuracy(tied)

    teacher = 100 * subject.accuracy(made.net)
    figures = {"teacher %": teacher, "tied %": percent(labels.tolist(), tying)}
    control = {
        "another division %": percent(other.tolist(), tying),
        "not trained %": percent(labels.tolist(), 0),
    }
    return Outcome(
        f"{PHASES} blocks in place of {blocks} keep {KEPT:.0%} of the teacher's accuracy, and more "
        "than another division and than blocks that were not trained",
        teacher > 2 * 100 / CLASSES
        and figures["tied %"] >= KEPT * teacher
        and figures["tied %"] > max(control.values()),
        figures,
        control,
        f"teacher: {epochs} epochs of {samples} samples; tying: {tying} epochs with teacher "
        f"forcing and {tying} free running at a rate of {RATE:g}",
    )
