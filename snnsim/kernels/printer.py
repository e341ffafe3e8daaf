"""Prints sympy expressions as scalar Python in which every number carries its type.

An untyped literal such as ``0.5`` turns float32 arithmetic into float64 both in numba and on
CUDA, so each number becomes a constant ``cK = F(...)`` bound at the top of the kernel, where
``F`` is the kernel's floating-point type.
"""

from __future__ import annotations

from typing import Any

from snnsim.errors import ConfigError
from snnsim.kernels.derive import Line
from snnsim.surrogate import Surrogate

_FUNCTIONS = {
    "exp": "exp",
    "log": "log",
    "sin": "sin",
    "cos": "cos",
    "tanh": "tanh",
    "atan": "atan",
    "erf": "erf",
    "Abs": "fabs",
}
_COMPARISONS = {">": ">", ">=": ">=", "<": "<", "<=": "<=", "==": "==", "!=": "!="}


class Printer:
    """Turns lines and expressions into source text and collects the constants they need."""

    def __init__(self, surrogate: Surrogate | None = None):
        self.surrogate = surrogate
        self._constants: dict[float, str] = {}

    def constants(self, indent: str) -> str:
        """Assignments of all constants used so far."""
        numbers = ((name, repr(value)) for value, name in self._constants.items())
        # infinity and NaN are names of numpy's
        typed = (
            (name, text.replace("inf", "np.inf").replace("nan", "np.nan")) for name, text in numbers
        )
        return "".join(f"{indent}{name} = F({text})\n" for name, text in typed)

    def lines(self, lines: tuple[Line, ...], indent: str) -> str:
        """The assignments as source, one per line."""
        return "".join(f"{indent}{line.target} = {self._line(line)}\n" for line in lines)

    def _line(self, line: Line) -> str:
        if line.kind == "spike" and self.surrogate is not None and self.surrogate.smooth:
            import sympy

            return self(sympy.sympify(self.surrogate.forward(line.value)))
        if line.kind == "spike":  # NaN stays NaN, which sympy's real numbers do not know
            u, zero, one = self(line.value), self._number(0.0), self._number(1.0)
            return f"({one} if {u} >= {zero} else ({zero} if {u} < {zero} else {u}))"
        return self._condition(line.value) if line.kind == "condition" else self(line.value)

    def __call__(self, expression: Any) -> str:
        """One expression as source text."""
        import sympy

        if expression.is_Symbol:
            return str(expression)
        if expression.is_number:
            return self._number(float(expression))
        if expression.is_Add:
            return "(" + self._sum(expression) + ")"
        if expression.is_Mul:
            return self._product(expression)
        if expression.is_Pow:
            return self._power(expression)
        if isinstance(expression, sympy.Piecewise):
            return self._piecewise(expression)
        if isinstance(expression, sympy.sign):
            argument, zero = self(expression.args[0]), self._number(0.0)
            one, minus = self._number(1.0), self._number(-1.0)
            return (
                f"({one} if {argument} > {zero} else ({minus} if {argument} < {zero} else {zero}))"
            )
        name = type(expression).__name__
        if expression.is_Function and name in _FUNCTIONS:
            return f"{_FUNCTIONS[name]}({self(expression.args[0])})"
        raise ConfigError(
            f"the equations contain {expression} ({name}), for which no kernel code exists; "
            "write the step with + - * / and the functions of snnsim.equations"
        )

    def _number(self, value: float) -> str:
        return self._constants.setdefault(value, f"_c{len(self._constants)}")

    def _sum(self, expression) -> str:
        text = ""
        for term in expression.as_ordered_terms():
            negative = term.as_coeff_Mul()[0].is_negative
            printed = self(-term if negative else term)
            text += (
                (" - " if negative else " + ") + printed
                if text
                else ("-" if negative else "") + printed
            )
        return text

    def _product(self, expression) -> str:
        coefficient, rest = expression.as_coeff_Mul()
        if coefficient == -1:
            return f"(-{self(rest)})"
        above, below = [], []
        for factor in expression.as_ordered_factors():
            if factor.is_Pow and factor.exp.is_number and factor.exp.is_negative:
                below.append(factor.base ** (-factor.exp))
            else:
                above.append(factor)
        text = " * ".join(self(f) for f in above) or self._number(1.0)
        if below:
            text += " / (" + " * ".join(self(f) for f in below) + ")"
        return f"({text})"

    def _power(self, expression) -> str:
        base, exponent = expression.base, expression.exp
        if exponent.is_number and exponent.is_negative:
            return f"({self._number(1.0)} / {self(base ** (-exponent))})"
        if exponent.is_number and float(exponent) == 0.5:
            return f"sqrt({self(base)})"
        if not exponent.is_number or float(exponent) % 1 or float(exponent) > 64:
            raise ConfigError(
                f"the equations contain {expression}; powers must be whole numbers (or 0.5), "
                "write exp(b * log(a)) for others"
            )
        return "(" + " * ".join([self(base)] * int(exponent)) + ")"

    def _piecewise(self, expression) -> str:
        (value, condition), *rest = expression.args
        if condition == True or not rest:  # noqa: E712  (sympy's own truth value)
            return self(value)
        import sympy

        other = self(sympy.Piecewise(*rest))
        return f"({self(value)} if {self._condition(condition)} else {other})"

    def _condition(self, condition) -> str:
        if condition.is_Symbol:
            return str(condition)
        if condition.is_Relational:
            left, right = self(condition.lhs), self(condition.rhs)
            return f"{left} {_COMPARISONS[condition.rel_op]} {right}"
        name, parts = type(condition).__name__, [self._condition(c) for c in condition.args]
        if name in ("And", "Or"):
            return "(" + f" {name.lower()} ".join(parts) + ")"
        if name == "Not":
            return f"(not {parts[0]})"
        if name == "ITE":  # sympy's if-then-else of conditions
            return f"({parts[1]} if {parts[0]} else {parts[2]})"
        if name in ("BooleanTrue", "BooleanFalse"):
            return name.removeprefix("Boolean")
        raise ConfigError(f"the equations contain the condition {condition}; use a comparison")
