"""How errors are assigned to weights: backpropagation and its alternatives.

``prepare(net, training=..., feedback=...)`` puts a learning rule under every connection of a
network.
"""

from snnsim.training.rules.feedback import FEEDBACKS
from snnsim.training.rules.plastic import PlasticConnection, connections
from snnsim.training.rules.prepare import TRAININGS, prepare

__all__ = ["FEEDBACKS", "TRAININGS", "PlasticConnection", "connections", "prepare"]
