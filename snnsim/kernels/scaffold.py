"""Pieces of source that every scan scaffold, CPU or CUDA, is filled with.

Names: the model's own names stand as they are; what is made from one of them is
``_<name>_row``, ``_<name>_next``, ``_new_<name>``, ``_sum_<name>`` and the like; a scaffold's
own names begin with an underscore and have none of these forms.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from snnsim.kernels.derive import Equations
from snnsim.kernels.printer import Printer


def indented(depth: int, lines: Iterable[str]) -> str:
    """Lines of source, indented ``depth`` levels and joined."""
    return "\n".join("    " * depth + line for line in lines)


def feedback(depth: int, outputs: str, add: Iterable[str]) -> str:
    """Source that adds the recurrent input, the weights of all neurons with an output.

    Args:
        depth: of indentation.
        outputs: the expression of neuron ``_m``'s output.
        add: the statements that add ``_amount`` times the weights of that neuron.
    """
    lines = ("for _m in range(_N):", f"    _amount = {outputs}", "    if _amount != F(0.0):")
    return indented(depth, (*lines, *(f"        {line}" for line in add)))


def feedback_row(depth: int, outputs: str, weights: str, total: str) -> str:
    """Source as of :func:`feedback` that adds to the row ``total`` of all neurons."""
    loop = ("for _n in range(_N):", f"    {total}[_n] += _amount * _row_w[_n]")
    return feedback(depth, outputs, (f"_row_w = {weights}[_m]", *loop))


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

    def _common(self, depth: int) -> dict[str, Any]:
        return {
            "n_states": len(self.states),
            "lines": self.step(depth),
            "output": self.output,
            "adjoint": self.adjoint(depth),
            "g_x": self.g_x,
        }

    def for_cpu(self, place: str, columns: str, param_depth: int) -> dict[str, Any]:
        """What both CPU scaffolds are filled with: rows of arrays, indexed by ``_n``.

        ``place`` picks a sample's row of a state, ``columns`` the same columns of the parameters.
        """
        return self._common(4) | {
            "state_rows": self.each_state(2, f"_{{name}}_row = _state[{{i}}, {place}]"),
            "param_rows": self.each_param(
                param_depth, f"_{{name}}_row = _params[{{i}}, {columns}]"
            ),
            "path_rows": self.each_state(
                3, "_{name}_row = _path[_t, {i}]", "_{name}_next = _path[_t + 1, {i}]"
            ),
            "gradient_rows": self.each_state(2, f"_g_{{name}}_row = _g_state[{{i}}, {place}]")
            + "\n"
            + self.each_learnt(2, f"_g_{{name}}_row = _g_params[{{i}}, {place}]"),
            "load": self.each_state(4, "{name} = _{name}_row[_n]")
            + "\n"
            + self.each_param(4, "{name} = _{name}_row[_n]"),
            "store": self.each_state(4, "_{name}_row[_n] = {new}"),
            "store_next": self.each_state(4, "_{name}_next[_n] = {new}"),
            "load_gradients": self.each_state(4, "_g_new_{name} = _g_{name}_row[_n]"),
            "store_gradients": self.each_state(4, "_g_{name}_row[_n] = {gradient}")
            + "\n"
            + self.each_learnt(4, "_g_{name}_row[_n] += {gradient}"),
        }

    def for_cuda(self, place: str, depth: int) -> dict[str, Any]:
        """What both CUDA scaffolds are filled with: scalars of the thread's own neuron.

        ``place`` is the thread's place in a state, ``depth`` that of the code before the time loop.
        """
        loop = depth + 1
        return self._common(loop) | {
            "load_state": self.each_state(depth, f"{{name}} = _state[{{i}}, {place}]"),
            "load_params": self.each_param(depth, "{name} = _params[{i}, _n]"),
            "new": self.each_state(loop, "_new_{name} = {new}"),
            "advance": self.each_state(loop, "{name} = _new_{name}"),
            "store_state": self.each_state(depth, f"_state[{{i}}, {place}] = {{name}}"),
            "store_path": self.each_state(loop, f"_path[_t, {{i}}, {place}] = {{name}}"),
            "load_path": self.each_state(loop, f"{{name}} = _path[_t, {{i}}, {place}]"),
            "load_gradients": self.each_state(depth, f"_g_new_{{name}} = _g_state[{{i}}, {place}]"),
            "zero_gradients": self.each_learnt(depth, "_sum_{name} = F(0.0)"),
            "add_gradients": self.each_learnt(loop, "_sum_{name} += {gradient}"),
            "new_gradients": self.each_state(loop, "_g_old_{name} = {gradient}"),
            "advance_gradients": self.each_state(loop, "_g_new_{name} = _g_old_{name}"),
            "store_gradients": self.each_state(depth, f"_g_state[{{i}}, {place}] = _g_new_{{name}}")
            + "\n"
            + self.each_learnt(depth, f"_g_params[{{i}}, {place}] = _sum_{{name}}"),
        }

    def constants(self, depth: int) -> str:
        """Typed constants; call last, when everything else has been printed."""
        return self._printer.constants("    " * depth)
