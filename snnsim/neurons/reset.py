"""The rules by which the membrane is reset after a spike, here and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from snnsim.equations import detach
from snnsim.errors import check_choice

RESETS = ("subtract", "zero", "none")


@dataclass(frozen=True)
class Reset:
    """A ``Reset`` is a reset rule, which the step function receives under the name ``reset``.

    Args:
        mode: ``"subtract"`` gives ``v = u - z * v_threshold``, ``"zero"`` gives ``v = u * (1 - z) +
            z * v_reset``, and ``"none"`` gives ``v = u``.
        detach: whether gradients stay out of the ``z`` of the reset.
    """

    mode: str = "subtract"
    detach: bool = True

    def __post_init__(self) -> None:
        check_choice("reset", self.mode, RESETS)

    def gate(self, z: Any) -> Any:
        """Return the spike as the reset sees it: detached or not."""
        return detach(z) if self.detach else z

    def __call__(self, u: Any, z: Any, v_threshold: Any, v_reset: Any = 0.0) -> Any:
        """Return the membrane after the reset, given the one before it and the spike.

        Args:
            u: the membrane before the reset.
            z: the spike, 0 or 1.
            v_threshold: what ``"subtract"`` subtracts.
            v_reset: the value to which ``"zero"`` resets.
        """
        if self.mode == "none":
            return u
        z = self.gate(z)
        if self.mode == "subtract":
            return u - z * v_threshold
        return u * (1 - z) + z * v_reset
