"""Pieces of source that every scan scaffold, CPU or CUDA, is filled with.

Names: the model's own names stand as they are; what is made from one of them is
``_<name>_row``, ``_<name>_next``, ``_new_<name>``, ``_sum_<name>`` and the like; a scaffold's
own names begin with an underscore and have none of these forms.
"""

from __future__ import annotations

from collections.abc import Iterable

from snnsim.kernels.derive import Equations
from snnsim.kernels.printer import Printer


def indented(depth: int, lines: Iterable[str]) -> str:
    """Lines of source, indented ``depth`` levels and joined."""
    return "\n".join("    " * depth + line for line in lines)


class Pieces:
    """The derived program of some equations as text, for use inside a scaffold.

    ``each_state``, ``each_param`` and ``each_learnt`` repeat a pattern over the names; in it
    ``{name}`` is the name, ``{i}`` its row, ``{new}`` the expression of the state's new value
    and ``{gradient}`` the expression of the gradient for that input.
    """

    def __init__(self, equations: Equations, learnt: tuple[bool, ...]):
        self._program, self._printer = equations.program, Printer(equations.surrogate)
        self.states, self.params = equations.states, equations.params
        self._learnt = [p for p, needed in zip(self.params, learnt, strict=True) if needed]
        self._new = dict(zip(self.states, self._program.new_states, strict=True))
        self.output = self._printer(self._program.output)
        self.g_x = self._printer(self._program.gradients["x"])

    def step(self, depth: int) -> str:
        """The forward assignments."""
        return self._printer.lines(self._program.lines, "    " * depth)

    def adjoint(self, depth: int) -> str:
        """The backward assignments, to stand after the forward ones."""
        return self._printer.lines(self._program.adjoint, "    " * depth)

    def _each(self, names: Iterable[str], depth: int, patterns: tuple[str, ...]) -> str:
        rows = {name: i for group in (self.states, self.params) for i, name in enumerate(group)}
        fields = [
            {
                "name": name,
                "i": rows[name],
                "new": self._printer(self._new[name]) if name in self._new else "",
                "gradient": self._printer(self._program.gradients[name]),
            }
            for name in names
        ]
        return indented(depth, (p.format(**f) for p in patterns for f in fields))

    def each_state(self, depth: int, *patterns: str) -> str:
        return self._each(self.states, depth, patterns)

    def each_param(self, depth: int, *patterns: str) -> str:
        return self._each(self.params, depth, patterns)

    def each_learnt(self, depth: int, *patterns: str) -> str:
        return self._each(self._learnt, depth, patterns)

    def constants(self, depth: int) -> str:
        """Typed constants; call last, when everything else has been printed."""
        return self._printer.constants("    " * depth)
