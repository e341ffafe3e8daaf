"""What happens to the membrane after a spike: the one place where resets are written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from snnsim.equations import detach
from snnsim.errors import check_choice

RESETS = ("subtract", "zero", "none")


@dataclass(frozen=True)
class Reset:
    """A reset rule, passed to the step function under the name ``reset``.

    ``subtract``: ``v = u - z * v_threshold``. ``zero``: ``v = u * (1 - z) + z * v_reset``.
    ``none``: ``v = u``. With ``detach`` no gradient flows through the ``z`` in it.
    """

    mode: str = "subtract"
    detach: bool = True

    def __post_init__(self) -> None:
        check_choice("reset", self.mode, RESETS)

    def gate(self, z: Any) -> Any:
        """The spike as the reset sees it: detached or not."""
        return detach(z) if self.detach else z

    def __call__(self, u: Any, z: Any, v_threshold: Any, v_reset: Any = 0.0) -> Any:
        """Membrane after the reset from membrane ``u`` before it and spike ``z``."""
        if self.mode == "none":
            return u
        z = self.gate(z)
        if self.mode == "subtract":
            return u - z * v_threshold
        return u * (1 - z) + z * v_reset
