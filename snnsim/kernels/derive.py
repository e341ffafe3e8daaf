"""From a neuron's step function to straight-line code for one step and for its adjoint.

The step function is called once with sympy symbols. What comes back is brought into a
:class:`Program`: a list of assignments, one per common subexpression, with every spike and
every detached value on a line of its own. The adjoint is derived from those lines by the
chain rule, last line first, so that the backward pass recomputes exactly the forward's
values, bit for bit, and meets exactly the forward's spikes.
"""

from __future__ import annotations

import keyword
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch

from snnsim.equations import symbolic_functions, using_surrogate
from snnsim.errors import ConfigError
from snnsim.surrogate import Surrogate

FUNCTIONS = ("atan", "cos", "erf", "exp", "fabs", "log", "sin", "sqrt", "tanh")
RESERVED = {*FUNCTIONS, "np", "F", "kernel", "cuda", "range", "min", "max"}


@dataclass(frozen=True)
class Equations:
    """A step function with everything fixed that a kernel is compiled for.

    Attributes:
        step: ``step(x, *states, **params, **options) -> (output, (new states))``.
        states: names of the state variables, in the order of the step's arguments.
        params: names of the parameters that are tensors at run time.
        options: further keyword arguments, fixed at compile time (``dt``, ``reset``, flags).
        surrogate: stands for the derivative of every ``spike`` in the step.
    """

    step: Callable[..., Any]
    states: tuple[str, ...]
    params: tuple[str, ...]
    surrogate: Surrogate
    options: tuple[tuple[str, Any], ...] = field(default=())

    def __call__(self, x, states: Iterable[Any], params: Iterable[Any]):
        """Evaluate one step on tensors (or numbers): ``(output, (new states))``."""
        named = dict(zip(self.params, params, strict=True))
        with using_surrogate(self.surrogate):
            output, new_states = self.split(self.step(x, *states, **named, **dict(self.options)))
        return _like(output, x), tuple(_like(value, x) for value in new_states)

    def split(self, result: Any) -> tuple[Any, tuple[Any, ...]]:
        """Output and new states of a step's result, or an error that says what is wrong."""
        good = isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], tuple)
        if not good or len(result[1]) != len(self.states):
            raise ConfigError(
                f"{_name(self.step)} must return (output, (new states,)) with one new state for "
                f"each of {', '.join(self.states)}, in a tuple"
            )
        return result

    @cached_property
    def program(self) -> Program:
        """The derived straight-line program (cached)."""
        return _derive(self)


@dataclass(frozen=True)
class Line:
    """One assignment ``target = value``; ``kind`` says how gradients pass through it."""

    target: Any
    value: Any
    kind: str = "smooth"  # or "spike", "detach", "condition"


@dataclass(frozen=True)
class Program:
    """One step as assignments, and its adjoint.

    ``lines`` define everything in ``output`` and ``new_states`` from the symbols named
    ``x``, the states and the parameters. ``adjoint`` continues after ``lines``: from
    ``_g_output`` and ``_g_new_<state>`` it defines the expressions in ``gradients``, keyed by
    the name of the input they belong to. Every name made here begins with an underscore, so
    that none can meet a name of the model's.
    """

    lines: tuple[Line, ...]
    output: Any
    new_states: tuple[Any, ...]
    adjoint: tuple[Line, ...]
    gradients: dict[str, Any]


def _like(value: Any, x: Any) -> Any:
    """A result of a step as a tensor of the input's shape and dtype (numbers included)."""
    if not isinstance(x, torch.Tensor):
        return value
    return torch.as_tensor(value, dtype=x.dtype, device=x.device).expand_as(x)


def _check_names(equations: Equations) -> None:
    for name in _input_names(equations)[1:]:
        taken = name == "x" or keyword.iskeyword(name) or name in RESERVED
        if taken or not name.isidentifier() or name.startswith(("_", "g_", "new_")):
            raise ConfigError(
                f"{_name(equations.step)} has a state or parameter named {name!r}, which generated "
                "code needs for itself; choose a name that is not reserved and does not "
                "begin with '_', 'g_' or 'new_'"
            )


def _derive(equations: Equations) -> Program:
    import sympy

    _check_names(equations)
    inputs = {name: sympy.Symbol(name, real=True) for name in _input_names(equations)}
    output, new_states = equations.split(
        equations.step(
            inputs["x"],
            *(inputs[name] for name in equations.states),
            **{name: inputs[name] for name in equations.params},
            **dict(equations.options),
        )
    )
    results = [sympy.sympify(value) for value in (output, *new_states)]
    lines, results = _to_lines(results, set(inputs.values()))
    adjoint, gradients = _differentiate(lines, results, inputs, equations)
    return Program(tuple(lines), results[0], tuple(results[1:]), tuple(adjoint), gradients)


def _input_names(equations: Equations) -> list[str]:
    return ["x", *equations.states, *equations.params]


def _name(step: Callable[..., Any]) -> str:
    return getattr(step, "__qualname__", repr(step))


def _to_lines(results: list[Any], known: set[Any]) -> tuple[list[Line], list[Any]]:
    """Assignments for all common subexpressions, and the results in terms of their targets."""
    import sympy

    spike, detach = symbolic_functions()
    special: list[Line] = []
    while True:  # innermost spikes and detached values first
        calls = [c for r in results for c in r.atoms(spike, detach)]
        calls = [c for c in calls if not c.args[0].has(spike, detach)]
        if not calls:
            break
        call = min(calls, key=sympy.default_sort_key)
        kind = "spike" if isinstance(call, spike) else "detach"
        target = sympy.Symbol(f"_{kind}{len(special)}", real=True)
        argument = call.args[0]
        special.append(Line(target, argument, kind))
        results = [r.xreplace({call: target}) for r in results]
    everything = [line.value for line in special] + results
    names = (sympy.Symbol(f"_t{i}", real=True) for i in range(10**6))
    shared, reduced = sympy.cse(everything, symbols=names, order="canonical")
    pending = [Line(target, value, _kind(value)) for target, value in shared]
    for i, line in enumerate(special):
        argument = reduced[i]
        if line.kind == "spike" and not argument.is_Symbol:
            held = sympy.Symbol(f"_u{i}", real=True)
            pending.append(Line(held, argument))
            argument = held
        pending.append(Line(line.target, argument, line.kind))
    return _in_order(pending, known), list(reduced[len(special) :])


def _kind(value: Any) -> str:
    from sympy.logic.boolalg import Boolean

    return "condition" if isinstance(value, Boolean) and not value.is_Symbol else "smooth"


def _in_order(pending: list[Line], known: set[Any]) -> list[Line]:
    """The lines, each after those it uses."""
    ordered: list[Line] = []
    known = set(known)
    while pending:
        ready = next(line for line in pending if line.value.free_symbols <= known)
        pending.remove(ready)
        ordered.append(ready)
        known.add(ready.target)
    return ordered


def _differentiate(lines, results, inputs, equations) -> tuple[list[Line], dict[str, Any]]:
    """Chain rule through ``lines``, last first."""
    import sympy

    seeds = ["output", *(f"new_{name}" for name in equations.states)]
    total: dict[Any, Any] = {}

    def add(symbol, amount):
        total[symbol] = total.get(symbol, sympy.Integer(0)) + amount

    for seed, result in zip(seeds, results, strict=True):
        gradient = sympy.Symbol(f"_g_{seed}", real=True)
        for symbol in sorted(result.free_symbols, key=str):
            add(symbol, gradient * result.diff(symbol))
    adjoint = []
    for line in reversed(lines):
        incoming = total.get(line.target, sympy.Integer(0))
        if incoming == 0 or line.kind in ("detach", "condition"):
            continue
        held = sympy.Symbol(f"_g{line.target}", real=True)
        adjoint.append(Line(held, incoming))
        if line.kind == "spike":
            add(line.value, held * equations.surrogate.derivative(line.value))
            continue
        for symbol in sorted(line.value.free_symbols, key=str):
            add(symbol, held * line.value.diff(symbol))
    zero = sympy.Integer(0)
    return adjoint, {name: total.get(symbol, zero) for name, symbol in inputs.items()}
