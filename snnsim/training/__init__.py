"""Training: the loop, its recipe, checkpoints and evaluation."""

from snnsim.training.evaluate import Scores, evaluate, predict
from snnsim.training.fit import Trainer, Watcher, set_seed
from snnsim.training.recipe import Optimizers, Recipe

__all__ = [
    "Optimizers",
    "Recipe",
    "Scores",
    "Trainer",
    "Watcher",
    "evaluate",
    "predict",
    "set_seed",
]
