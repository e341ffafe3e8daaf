"""Putting a learning rule under the connections of a network."""

from __future__ import annotations

from snnsim.errors import ConfigError, check_choice
from snnsim.networks import Sequential
from snnsim.synapses import Recurrent
from snnsim.synapses.delayed import DelayedConnection
from snnsim.training.rules.feedback import FEEDBACKS
from snnsim.training.rules.plastic import PlasticConnection, is_connection

TRAININGS = ("bptt", "dsr", "ottt")
"""Ways to compute gradients: backpropagation through time, firing rates, or presynaptic traces."""


def prepare(
    net: Sequential,
    *,
    training: str = "bptt",
    feedback: str = "backprop",
    trace_decay: float = 0.5,
    rate_decay: float | None = None,
    spikes_enter: bool = False,
) -> Sequential:
    """Replace every dense and convolutional connection inside ``net`` by a plastic one.

    Recurrent connections and delays stay as they are: online training then learns them from the
    current step alone, without a trace, and only backpropagation can be their feedback.

    Args:
        net: the network, which is changed in place; its parameters keep their identity.
        training: ``"ottt"`` gives connections behind neurons a presynaptic trace; ``"bptt"`` and
            ``"dsr"`` do not.
        feedback: ``"backprop"``, ``"random"`` or ``"sign"``.
        trace_decay: the decay of the trace per step, which should be that of the neurons'
            membranes.
        rate_decay: the decay of the firing rates that carry the gradients of ``"dsr"``, if
            everything behind the connections takes weighted means with it; otherwise ``None``.
        spikes_enter: whether the input of ``net`` is spikes; if not, its first connection has no
            trace.

    Returns:
        ``net``.

    Raises:
        ConfigError: if another feedback than backpropagation is asked for a ``Recurrent`` or
            ``Delayed`` layer.

    >>> import snnsim as sn
    >>> net = prepare(sn.Sequential(sn.Dense(3, 4), sn.LIF(4, dt=1.0), sn.Dense(4, 2)),
    ...               training="ottt")
    >>> [m.trace_decay for m in net if isinstance(m, PlasticConnection)]
    [None, 0.5]
    """
    check_choice("training", training, TRAININGS)
    check_choice("feedback", feedback, FEEDBACKS)
    others = [
        type(m).__name__ for m in net.modules() if isinstance(m, DelayedConnection | Recurrent)
    ]
    if others and feedback != "backprop":
        raise ConfigError(
            f"feedback {feedback!r} is built for dense and convolutional connections, but the "
            f"network has a {others[0]} layer; use feedback='backprop'"
        )
    found = [
        (parent, name, child)
        for parent in net.modules()
        if not isinstance(parent, PlasticConnection)
        for name, child in parent.named_children()
        if is_connection(child)
    ]
    for index, (parent, name, child) in enumerate(found):
        decay = trace_decay if training == "ottt" and (index > 0 or spikes_enter) else None
        setattr(parent, name, PlasticConnection(child, feedback, decay, rate_decay))
    return net
