"""The contract of every baseline, and the base of those that go step by step."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from snnsim.errors import ShapeError, check_number
from snnsim.layer import Layer, map_state
from snnsim.synapses import Dense

State = Any


class Baseline(Layer):
    """A baseline is a rate-coded model ``[T, B, n_in] -> [T, B, n_out]`` with explicit state.

    A subclass writes :meth:`initial_state` and :meth:`run`; ``forward``, ``step`` and the size of
    the state follow. Class attributes describe what it can do; an option may change them on the
    instance:

    Attributes:
        causal: whether ``y[t]`` depends on ``x[: t + 1]`` alone.
        streaming: ``"exact"`` if any cut of a sequence gives the same outputs; ``"none"`` if the
            whole sequence is needed.
        residual: whether networks stack it in residual blocks, behind a normalisation.
        multiple: number that ``n_out`` must be a multiple of; so must it be of ``heads``, if any.
        may_be_none: names of options that may be 0 though their default is not.
        conditional: prefixes of the names of parameters that take part only once the state was
            given something, such as labelled examples.
        tables: names of parameters with two axes or more that do not connect channels, such as
            learnt queries; methods that protect connections freeze them.
        formerly: values that options had in effect before there was the option, where these are
            not their defaults; a run that an earlier version stored is read with them.
        source: authors, year, arXiv id or DOI.
        left_out: how the model differs from the source.

    Keyword options that are numbers are checked against their defaults: a whole number must be 1
    or more unless its default is 0 or ``may_be_none`` names it; other numbers must be 0 or more.

    Args:
        n_in, n_out: numbers of input and output channels.
        heads: number of heads into which ``n_out`` is divided.
    """

    causal: bool = True
    streaming: str = "exact"
    residual: ClassVar[bool] = False
    multiple: ClassVar[int] = 1
    conditional: ClassVar[tuple[str, ...]] = ()
    may_be_none: ClassVar[tuple[str, ...]] = ()
    tables: ClassVar[tuple[str, ...]] = ()
    formerly: ClassVar[dict[str, Any]] = {}
    source: str = ""
    left_out: ClassVar[str] = ""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "__init__" in cls.__dict__:
            cls.__init__ = _checked(cls.__init__)  # type: ignore[method-assign]

    def __init__(self, n_in: int, n_out: int, heads: int = 1):
        super().__init__()
        multiple = math.lcm(self.multiple, heads)
        if n_in < 1 or n_out < 1 or n_out % multiple:
            raise ShapeError(
                f"{type(self).__name__}({n_in}, {n_out}): both must be 1 or more, and n_out a "
                f"multiple of {multiple}"
            )
        self.n_in, self.n_out = n_in, n_out

    @classmethod
    def multiple_of(cls, options: Mapping[str, Any]) -> int:
        """Return the number that ``n_out`` must be a multiple of, with these options."""
        default = inspect.signature(cls).parameters.get("heads")
        heads = options.get("heads", 1 if default is None else default.default)
        check_number("heads", heads, 1)
        return math.lcm(cls.multiple, heads)

    def initial_state(self, batch: int) -> State:
        """Return the state of ``batch`` samples before the first step, as ``state=None`` has it.

        A model that does not stream cannot continue from a state, whatever this holds."""
        raise NotImplementedError

    def run(self, x: Tensor, state: State, lengths: Tensor | None) -> tuple[Tensor, State]:
        """Return outputs and final state for a checked ``x [T, B, n_in]``, T at least 1."""
        raise NotImplementedError

    def forward(
        self, x: Tensor, state: State = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """Run the model over a sequence.

        Args:
            x: input ``[T, B, n_in]``.
            state: state that an earlier call returned; ``None`` for the initial state.
            lengths: optional ``[B]``, the number of steps of each sample. Outputs beyond are 0,
                and models that look ahead do not look beyond. The state returned has seen the
                padding too.

        Returns:
            Outputs ``[T, B, n_out]`` and the final state.
        """
        if x.dim() != 3 or x.shape[2] != self.n_in:
            raise ShapeError(
                f"x has shape {tuple(x.shape)} but {type(self).__name__} needs [T, B, {self.n_in}]"
            )
        if state is not None and self.streaming == "none":
            raise ShapeError(
                f"{type(self).__name__} needs the whole sequence and cannot continue from a state; "
                "pass state=None"
            )
        state = self.initial_state(x.shape[1]) if state is None else state
        if x.shape[0] == 0:
            return x.new_zeros((0, x.shape[1], self.n_out)), state
        y, state = self.run(x, state, lengths)
        return y if lengths is None else y * within(x.shape[0], lengths, y), state

    def step(self, x: Tensor, state: State = None) -> tuple[Tensor, State]:
        """Run one step, ``[B, n_in] -> [B, n_out]``, as ``forward`` does for a sequence of one."""
        if not self.causal:
            raise ShapeError(
                f"{type(self).__name__} looks at the whole sequence, so it has no single step; "
                "pass all of it to forward, or choose a causal model"
            )
        y, state = self(x.unsqueeze(0), state)
        return y[0], state

    @property
    def state_size(self) -> int | None:
        """How many numbers the state of one sample has; ``None`` if the whole sequence is kept."""
        return None if self.streaming == "none" else count(self.initial_state(1))

    def zeros(self, *shape: int, fill: float = 0.0) -> Tensor:
        """Return a constant tensor on the device, and of the type, of the parameters."""
        like = next(self.parameters())
        return torch.full(shape, fill, device=like.device, dtype=like.dtype)

    def extra_repr(self) -> str:
        return f"{self.n_in}, {self.n_out}"


def _checked(init: Any) -> Any:
    """A constructor that refuses options which cannot be: a count of none, a negative weight."""

    @wraps(init)
    def checked(self: Baseline, *args: Any, **options: Any) -> None:
        for name, parameter in inspect.signature(init).parameters.items():
            value, default = options.get(name), parameter.default
            if isinstance(default, bool) or value is None or not isinstance(default, int | float):
                continue
            counts = isinstance(default, int) and default > 0 and name not in self.may_be_none
            check_number(name, value, 1 if counts else 0)
        init(self, *args, **options)

    return checked


Make = Callable[[int, int], Baseline]  # from numbers of channels, such as a class of a model


class Cell(Baseline):
    """A cell is a baseline that goes step by step.

    A subclass writes :meth:`cell`, and :meth:`project` for what can be computed for all steps at
    once.
    """

    def project(self, x: Tensor) -> Any:
        """Return what can be computed from ``x [T, B, n_in]`` at once, a tensor or several."""
        return x

    def cell(self, p: Any, state: State) -> tuple[Tensor, State]:
        """Take one step, with one step of the projection, to ``(y [B, n_out], state)``."""
        raise NotImplementedError

    def run(self, x: Tensor, state: State, lengths: Tensor | None) -> tuple[Tensor, State]:
        projected, outputs = self.project(x), []
        several = isinstance(projected, tuple)
        steps = zip(*(p.unbind() for p in projected), strict=True) if several else projected
        for p in steps:
            y, state = self.cell(p, state)
            outputs.append(y)
        return torch.stack(outputs), state


class DrivenCell(Cell):
    """A driven cell gets its input by one connection, ``w_in``, which its constructor makes."""

    w_in: Dense

    def project(self, x: Tensor) -> Tensor:
        return self.w_in(x)[0]


def linear(n_in: int, n_out: int, bias: bool = True, gain: float = 1.0) -> Dense:
    """Return a connection that starts within ``gain / sqrt(n_in)``, as ``torch.nn.Linear``."""
    layer = Dense(n_in, n_out, bias=bias)
    bound = gain / n_in**0.5
    nn.init.uniform_(layer.weight, -bound, bound)
    if layer.bias is not None:
        nn.init.uniform_(layer.bias, -bound, bound)
    return layer


def bias_of(layer: nn.Module) -> Tensor:
    """Return the bias of a connection, without gradient, to be changed in place."""
    bias: Any = layer.bias
    return bias.detach()


def own_generator(seed: int | None) -> torch.Generator:
    """Return a generator with a seed; ``None`` draws one from torch's own random numbers."""
    drawn = int(torch.randint(1 << 31, ())) if seed is None else seed
    return torch.Generator().manual_seed(drawn)


def within(steps: int, lengths: Tensor, like: Tensor) -> Tensor:
    """Return ``[T, B, 1]`` that is 1 within the samples and 0 beyond their ends.

    >>> within(3, torch.tensor([1, 3]), torch.zeros(1)).squeeze(2).tolist()
    [[1.0, 1.0], [0.0, 1.0], [0.0, 1.0]]
    """
    inside = torch.arange(steps, device=like.device)[:, None] < lengths.to(like.device)
    return inside.unsqueeze(2).to(like.dtype)


def mean_within(x: Tensor, lengths: Tensor | None) -> Tensor:
    """Return the mean over samples of the mean of ``x [T, B]`` over the steps of each.

    >>> mean_within(torch.tensor([[1.0, 2.0], [3.0, 100.0]]), torch.tensor([2, 1])).item()
    2.0
    """
    if lengths is None:
        return x.mean()
    inside = within(len(x), lengths, x).squeeze(2)
    return ((x * inside).sum(0) / inside.sum(0).clamp(min=1)).mean()


def count(state: State) -> int:
    """Return how many numbers a state has."""
    return sum(tensor.numel() for tensor in tensors_in(state))


def tensors_in(state: State) -> list[Tensor]:
    """Return the tensors of a state, in its order.

    >>> [float(each) for each in tensors_in(({"h": torch.tensor(1.0)}, None, torch.tensor(2.0)))]
    [1.0, 2.0]
    """
    found: list[Tensor] = []
    map_state(found.append, state)
    return found
