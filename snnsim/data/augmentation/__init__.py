"""Augmentation: training samples that are changed at random, in every epoch anew."""

from snnsim.data.augmentation.augmented import Augmented
from snnsim.data.augmentation.options import Augmentation

__all__ = ["Augmentation", "Augmented"]
