"""Two physical blocks, each applied several times, do what eight trained ones do.

Eight blocks are trained with stochastic depth on ten patterns of spikes, as in the check ``paths``.
Phases come from the similarity of their rates; one block for each of two phases is trained to act
like the teacher's, without labels (2512.19941). The control are the same blocks before they are
trained. That phases must lie where the similarity says is not claimed: the eight blocks are alike,
and another division, or one block in place of all, does nearly as well (given for comparison).
"""

from __future__ import annotations

from snnsim.activity import record
from snnsim.analysis import Subject
from snnsim.analysis.depth import phases, similarity
from snnsim.analysis.stack import stack_of
from snnsim.analysis.tying import tie
from snnsim_experiments.analysis_checks.paths import CLASSES, deep
from snnsim_experiments.baselines.checks.outcome import Outcome

BLOCKS, PHASES, LEFT_OUT = 8, 2, 0.3
KEPT, MORE = 0.9, 20.0  # of the teacher's accuracy, and percent above blocks that were not trained
RATE = 0.01  # the learning rate of tying


def run(seed: int = 0, short: bool = False) -> Outcome:
    """Measure the accuracy of two blocks in place of eight, and of other divisions."""
    epochs, samples, blocks, tying = (1, 100, 3, 1) if short else (30, 1600, BLOCKS, 8)
    made = deep(blocks, seed, epochs, samples, LEFT_OUT)
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
    figures = {
        "teacher %": teacher,
        "tied %": percent(labels.tolist(), tying),
        "another division %": percent(other.tolist(), tying),
        "one block %": percent([0] * blocks, tying),
    }
    control = {"not trained %": percent(labels.tolist(), 0)}
    return Outcome(
        f"{PHASES} blocks in place of {blocks} keep {KEPT:.0%} of the teacher's accuracy, "
        f"{MORE:.0f} % more than blocks that were not trained",
        teacher > 2 * 100 / CLASSES
        and figures["tied %"] >= KEPT * teacher
        and figures["tied %"] > control["not trained %"] + MORE,
        figures,
        control,
        f"teacher: {epochs} epochs of {samples} samples; tying: {tying} epochs with teacher "
        f"forcing and {tying} free running at a rate of {RATE:g}",
    )
