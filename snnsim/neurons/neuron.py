"""Base class of all neuron models: binds a step function to tensors, state and kernels."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from snnsim.errors import LARGEST_SIZE, ConfigError, ShapeError, check_choice, nearest, short
from snnsim.kernels import dispatch
from snnsim.kernels.derive import Equations
from snnsim.kernels.scan import reference
from snnsim.layer import Layer, as_input, autocasting
from snnsim.neurons.face import page_of, short_value, signature_of
from snnsim.neurons.parameters import Parameter, Tau, as_parameter, numbers
from snnsim.neurons.reset import RESETS, Reset
from snnsim.surrogate import Surrogate, get_surrogate
from snnsim.units import DISCRETIZATIONS, check_dt

# attributes of instances and arguments of the constructor, which no parameter can be named after
_TAKEN = {
    *("shape", "dt", "surrogate", "discretization", "backend", "options", "declared", "reset"),
    *("detach_reset", "learn", "values"),
}

# attributes that kernels are compiled for
_FIXED = {"shape", "dt", "surrogate", "discretization", "reset", "options"}


def _read_value(neuron: Neuron, name: str) -> Tensor:
    """Current value of a parameter; what ``neuron.<name>`` returns."""
    return neuron._value(name)


def _read_option(neuron: Neuron, name: str) -> Any:
    """Value of an option, which is fixed when neurons are made."""
    return neuron.options[name]


def _declared_name(argument: str) -> str:
    """Name of the class attribute behind a keyword of a step: ``decay_x`` is from ``tau_x``."""
    return f"tau_{argument.removeprefix('decay_')}" if argument.startswith("decay_") else argument


def _checked_shape(n: Any) -> tuple[int, ...]:
    shape = n if isinstance(n, (tuple, list, torch.Size)) else (n,)
    if not shape or any(type(size) is not int or not 0 <= size <= LARGEST_SIZE for size in shape):
        raise ShapeError(
            f"n is {short(n)} but must be a number of neurons or a shape of whole numbers, at most "
            f"{LARGEST_SIZE:g}"
        )
    return tuple(shape)


class Neuron(Layer):
    """A ``Neuron`` is a layer of neurons, defined by one step function.

    A model is a subclass with ``state`` (the names of its state variables), parameters as class
    attributes, and a static method::

        step(x, *state, *, parameters...) -> (output, (new state, ...))

    written with plain arithmetic and :mod:`snnsim.equations`. The keyword arguments of the step say
    what it needs: the name of a :class:`Parameter` (a plain number declares one), a ``decay_x`` for
    a :class:`Tau` declared as ``tau_x``, ``reset`` for the reset rule, ``dt`` in ms, or the name of
    a class attribute of type ``bool`` or ``str``, which is a fixed option.

    Args:
        n: the number of neurons, or the shape of the layer's output, such as ``(C, H, W)``.
        dt: the length of a time step in ms, above 0.
        surrogate: the surrogate gradient, which replaces the derivative of a spike: a name or a
            :class:`Surrogate`.
        reset: ``"subtract"``, ``"zero"`` or ``"none"``; ``None`` takes the model's own.
        detach_reset: whether gradients stay out of the reset (and of everything that it gates).
        discretization: how a ``tau`` becomes a decay, ``"exponential"`` or ``"euler"``.
        learn: the names of parameters to learn in addition to those that are declared learnable.
        backend: ``"auto"``, ``"reference"``, ``"cpu"`` or ``"cuda"``.
        values: parameters and options by name. A value is a number, a tensor that broadcasts to
            ``n`` (for neurons of shape ``(C, H, W)``, ``(C, 1, 1)`` is one value per channel), or a
            :class:`Parameter` or :class:`Tau`.

    Call: ``neuron(x, state=None) -> (output, state)`` with ``x`` of shape ``[T, B, *n]``; the state
    is a dict from name to ``[B, *n]``. Gradients flow to ``x``, the state and the learnable
    parameters.
    """

    state: ClassVar[tuple[str, ...]] = ("v",)
    initial: ClassVar[dict[str, float]] = {}
    resets: ClassVar[tuple[str, ...]] = RESETS
    default_reset: ClassVar[str] = "subtract"
    step: ClassVar[Callable[..., Any]]

    __signature__: ClassVar[inspect.Signature]
    _declared: ClassVar[dict[str, Parameter]] = {}
    _options: ClassVar[dict[str, Any]] = {}
    _arguments: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if not callable(getattr(cls, "step", None)):
            return
        if not cls.state:
            raise ConfigError(f"{cls.__name__}.state is empty; name at least one state variable")
        signature = inspect.signature(cls.step).parameters.values()
        cls._arguments = tuple(p.name for p in signature if p.kind is p.KEYWORD_ONLY)
        cls._declared, cls._options = {}, {}
        for argument in cls._arguments:
            if argument not in ("reset", "dt"):
                cls._declare(argument)
        cls.__signature__ = signature_of(cls)
        cls.__doc__ = page_of(cls)

    @classmethod
    def _declare(cls, argument: str) -> None:
        """Find what a keyword argument of the step stands for."""
        name = _declared_name(argument)
        if name in _TAKEN or hasattr(Neuron, name):
            raise ConfigError(
                f"{cls.__name__}.step takes {argument!r}, but {name!r} already means something "
                "else in a neuron; choose another name"
            )
        declared: Any = None
        for base in cls.__mro__:
            declared = base.__dict__.get(name)
            if isinstance(declared, property):  # bound already when the base was made
                known = getattr(base, "_declared", {}) | getattr(base, "_options", {})
                declared = known.get(name)
            if declared is not None:
                break
        if isinstance(declared, (bool, str)):
            cls._options[name] = declared
            setattr(cls, name, property(partial(_read_option, name=name)))
        elif isinstance(declared, (int, float, Parameter)):
            if name != argument and not isinstance(declared, Tau):
                raise ConfigError(f"{cls.__name__}.{name} must be sn.Tau(...) to give {argument}")
            declared = declared if isinstance(declared, Parameter) else Parameter(declared)
            cls._declared[name] = declared
            setattr(cls, name, property(partial(_read_value, name=name)))
        else:
            raise ConfigError(
                f"{cls.__name__}.step takes {argument!r}, but the class does not declare {name!r}; "
                f"add {name} = sn.{'Tau' if name != argument else 'Parameter'}(...) to the class"
            )

    def __init__(
        self,
        n: int | tuple[int, ...],
        *,
        dt: float,
        surrogate: Surrogate | str = "atan",
        reset: str | None = None,
        detach_reset: bool = True,
        discretization: str = "exponential",
        learn: Iterable[str] = (),
        backend: str = "auto",
        **values: Any,
    ) -> None:
        super().__init__()
        self.shape = _checked_shape(n)
        self.dt = check_dt(dt)
        self.surrogate = get_surrogate(surrogate)
        check_choice("discretization", discretization, DISCRETIZATIONS)
        self.discretization = discretization
        check_choice("backend", backend, dispatch.BACKENDS)
        self.backend = backend
        mode = self.default_reset if reset is None else reset
        check_choice(f"reset of {type(self).__name__}", mode, self.resets)
        self.reset = Reset(mode, detach_reset)
        self._bind(values, {learn} if isinstance(learn, str) else set(learn))

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; parameters can be set, but not what kernels are compiled for."""
        if "equations" not in vars(self):
            super().__setattr__(name, value)
        elif name in self._declared:
            self._set_value(name, value)
        elif name in _FIXED or name in self._options:
            raise ConfigError(
                f"{name} of {type(self).__name__} is fixed when neurons are made; make new ones "
                f"with {name}={short(value, 40)}"
            )
        else:
            super().__setattr__(name, value)

    @torch.no_grad()
    def _set_value(self, name: str, given: Any) -> None:
        """Give a parameter another value, of the layer's number type; what is learnt stays so."""
        spec, stored = self.declared[name], self._stored(name)
        if isinstance(given, nn.Parameter):
            raise ConfigError(
                f"{name} of {type(self).__name__} is given a torch Parameter; make the "
                f"neurons with learn=[{name!r}] to train it"
            )
        value = self._broadcastable(name, replace(spec, default=given)).to(stored)
        spec.check(name, value, **self._time(spec))
        if spec.learnable and not stored.dim() and value.dim():
            raise ShapeError(
                f"{name} is learnt as one number for all {self.n} neurons but is given "
                f"{tuple(value.shape)}; make the neurons with {name}=sn.Parameter(..., "
                "learnable=True, per_neuron=True)"
            )
        if spec.learnable:
            stored.copy_(spec.to_raw(value, **self._time(spec)).expand(stored.shape))
        else:
            self._buffers[f"fixed_{name}"] = value
            self._exact[name] = torch.as_tensor(given, dtype=torch.float64).detach().cpu()
        args, kwargs = vars(self)["made_with"]  # of which sn.save makes them again
        kept = kwargs.get(name)
        again = replace(kept, default=given) if isinstance(kept, Parameter) else given
        vars(self)["made_with"] = (args, kwargs | {name: again})

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        """Takes a value that was learnt where this one is not, and the other way round."""
        for name, spec in self.declared.items():
            raw, fixed = f"{prefix}raw_{name}", f"{prefix}fixed_{name}"
            if spec.learnable and raw not in state_dict and fixed in state_dict:
                value = state_dict.pop(fixed)
                value = spec.to_raw(value, **self._time(spec))
                state_dict[raw] = value.expand(self._stored(name).shape).clone()
            elif not spec.learnable and fixed not in state_dict and raw in state_dict:
                value = spec.from_raw(state_dict.pop(raw), **self._time(spec))
                state_dict[fixed] = value
                self._buffers[f"fixed_{name}"] = self._stored(name).expand(value.shape).clone()
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def _bind(self, values: dict[str, Any], learn: set[str]) -> None:
        """Store options, fixed parameters (buffers) and learnt ones (``raw_<name>``)."""
        known = {**self._declared, **self._options}
        for name in (*values, *learn):
            if name not in known:
                raise ConfigError(
                    f"{type(self).__name__} has no parameter {name!r}{nearest(name, known)}; "
                    f"it has {', '.join(known)}"
                )
        for name in learn & self._options.keys():
            raise ConfigError(
                f"{name!r} of {type(self).__name__} is an option and cannot be learnt"
            )
        for name in values.keys() & self._options.keys():
            if type(values[name]) is not type(self._options[name]):
                raise ConfigError(
                    f"option {name!r} is {values[name]!r} but must be a "
                    f"{type(self._options[name]).__name__}"
                )
        self.options = {name: values.get(name, default) for name, default in self._options.items()}
        self.declared: dict[str, Parameter] = {}
        self._exact: dict[str, Tensor] = {}  # fixed values before rounding to the buffers' dtype
        for name, declared in self._declared.items():
            spec = as_parameter(declared, values.get(name, declared.default))
            if name in learn and not spec.learnable:
                spec = as_parameter(spec, type(spec)(spec.default, True, spec.per_neuron))
            value = self._broadcastable(name, spec)
            spec.check(name, value, **self._time(spec))
            self.declared[name] = spec
            if spec.learnable:
                raw = spec.to_raw(value, **self._time(spec))
                self.register_parameter(f"raw_{name}", nn.Parameter(raw))
            else:
                self.register_buffer(f"fixed_{name}", value)
                self._exact[name] = torch.as_tensor(spec.default, dtype=torch.float64).cpu()
        self.equations = self._equations()

    def _apply(self, fn, recurse=True):
        """Convert dtype or device; widening to float64 restores what narrowing has rounded."""
        stores = {name: getattr(self, f"fixed_{name}") for name in self._exact}
        intact = [
            name
            for name, buffer in stores.items()
            if buffer.is_meta or torch.equal(self._exact[name].expand_as(buffer).to(buffer), buffer)
        ]
        super()._apply(fn, recurse)
        for name in intact:
            buffer = getattr(self, f"fixed_{name}")
            if not buffer.is_meta:
                buffer.copy_(self._exact[name])
        return self

    def _time(self, spec: Parameter) -> dict[str, Any]:
        is_tau = isinstance(spec, Tau)
        return {"dt": self.dt, "discretization": self.discretization} if is_tau else {}

    def _broadcastable(self, name: str, spec: Parameter) -> Tensor:
        value = numbers(name, spec.default).detach().clone()
        if spec.per_neuron and value.dim() == 0:
            value = value.expand(self.shape).clone()
        try:
            value.expand(self.shape)
        except RuntimeError:
            raise ShapeError(
                f"{name} has shape {tuple(value.shape)}, which does not broadcast to the "
                f"neurons' {self.shape}; give a number or a tensor of that shape"
            ) from None
        return value

    def _value(self, name: str) -> Tensor:
        spec = self.declared[name]
        stored = self._stored(name)
        return spec.from_raw(stored, **self._time(spec)) if spec.learnable else stored

    def _for_step(self, argument: str) -> Tensor:
        """The tensor that the step's keyword ``argument`` receives, before broadcasting."""
        name = _declared_name(argument)
        spec = self.declared[name]
        if spec.learnable and isinstance(spec, Tau):  # exact: skip the detour over tau
            return torch.sigmoid(self._stored(name))
        return spec.for_step(self._value(name), **self._time(spec))

    @property
    def n(self) -> int:
        """Return the number of neurons."""
        return int(torch.Size(self.shape).numel())

    def _equations(self) -> Equations:
        """The model's equations with everything that is fixed at compile time."""
        fixed = {"reset": self.reset, "dt": self.dt, **self.options}
        options = tuple((a, fixed[a]) for a in self._arguments if a in fixed)
        tensors = tuple(a for a in self._arguments if a not in fixed)
        return Equations(type(self).step, type(self).state, tensors, self.surrogate, options)

    @property
    def _tensor_arguments(self) -> tuple[str, ...]:
        return self.equations.params

    def learnt(self) -> list[bool]:
        """Return, for each tensor argument of the step, whether it needs a gradient."""
        stored = [self._stored(_declared_name(a)) for a in self._tensor_arguments]
        return [tensor.requires_grad for tensor in stored]

    def _stored(self, name: str) -> Tensor:
        """The parameter or buffer behind a value."""
        return getattr(self, f"{'raw' if self.declared[name].learnable else 'fixed'}_{name}")

    def packed_parameters(self, like: Tensor) -> Tensor:
        """Return all parameters as rows ``[P, N]`` of the number type and device of ``like``."""
        rows = [self._for_step(a).expand(self.shape).reshape(-1) for a in self._tensor_arguments]
        if not rows:
            return like.new_empty((0, self.n))
        packed = torch.stack(rows)
        if packed.dtype != like.dtype:
            raise ShapeError(
                f"x is {like.dtype} but the parameters of {type(self).__name__} are "
                f"{packed.dtype}; bring them together with x.to(...) or net.to(...)"
            )
        return packed

    def initial_state(self, x: Tensor) -> dict[str, Tensor]:
        """Return the state before the first step of ``x [T, B, *n]``, a dict of ``[B, *n]``."""
        size = (x.shape[1], *self.shape)
        return {name: x.new_full(size, self.initial.get(name, 0.0)) for name in type(self).state}

    def check_input(self, x: Tensor) -> Tensor:
        """Return ``x [T, B, *n]`` as the scans take it.

        Whole numbers become numbers of the parameters' type; half precision is widened under
        autocast.

        Raises:
            ShapeError: if ``x`` has another shape.
        """
        like = next(itertools.chain(self.parameters(), self.buffers()), None)
        if like is None:
            like = x.new_empty(0, dtype=torch.get_default_dtype())
        x = as_input(x, like, type(self).__name__)
        if x.dim() != 2 + len(self.shape) or tuple(x.shape[2:]) != self.shape:
            have = f"{x.shape[2]} channels" if x.dim() == 3 else f"shape {tuple(x.shape)}"
            want = self.shape[0] if len(self.shape) == 1 else self.shape
            raise ShapeError(
                f"x has {have} but {type(self).__name__} was built for {want}; x must be "
                f"[T, B, {', '.join(map(str, self.shape))}]: pass n=... or project x first"
            )
        half = x.dtype in (torch.float16, torch.bfloat16)
        return x.float() if half and autocasting(x) else x

    def pack_state(self, x: Tensor, state: dict[str, Tensor] | None) -> Tensor:
        """Return the state as one tensor ``[S, B, N]``."""
        state = self.initial_state(x) if state is None else state
        names = type(self).state
        good = isinstance(state, dict) and all(isinstance(state.get(n), Tensor) for n in names)
        if not good:
            raise ShapeError(
                f"the state of {type(self).__name__} must be a dict with {', '.join(names)}; "
                "pass what an earlier call returned, or None"
            )
        size = (x.shape[1], *self.shape)
        for name in names:
            if tuple(state[name].shape) != size:
                raise ShapeError(
                    f"state {name!r} of {type(self).__name__} has shape {tuple(state[name].shape)} "
                    f"but x needs {size}; pass state=None to start afresh"
                )
        return torch.stack([state[name].reshape(x.shape[1], self.n) for name in names])

    def unpack_state(self, packed: Tensor) -> dict[str, Tensor]:
        """Return the state of one tensor, as the inverse of :meth:`pack_state`."""
        rows = packed.unbind(0)
        return {
            name: row.view(row.shape[0], *self.shape)
            for name, row in zip(type(self).state, rows, strict=True)
        }

    def forward(
        self,
        x: Tensor,
        state: dict[str, Tensor] | None = None,
        feedback: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Run the neurons; ``Recurrent`` passes ``feedback``.

        Args:
            x: the input current ``[T, B, *n]``.
            state: the state before the first step; ``None`` means the initial state.
            feedback: a recurrent matrix ``[N, N]`` and the last output ``[B, N]``.
        """
        x = self.check_input(x)
        flat, packed = x.reshape(*x.shape[:2], self.n), self.pack_state(x, state)
        params, learnt = self.packed_parameters(x), self.learnt()
        if feedback is None:
            y, final = dispatch.scan(self.equations, flat, packed, params, learnt, self.backend)
        else:
            y, final = dispatch.recurrent_scan(
                self.equations, flat, packed, params, *feedback, learnt, self.backend
            )
        return y.view(x.shape), self.unpack_state(final)

    def trace(
        self,
        x: Tensor,
        state: dict[str, Tensor] | None = None,
        feedback: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Run the neurons and return every state at every step, ``[T, B, *n]`` (reference rung)."""
        y, states = self._traced(self.equations, x, state, feedback)
        names = type(self).state
        return y.view(x.shape), {s: states[:, i].view(x.shape) for i, s in enumerate(names)}

    def _traced(self, equations: Equations, x: Tensor, state: Any, feedback: Any) -> Any:
        x = self.check_input(x)
        flat = x.reshape(*x.shape[:2], self.n)
        start, parameters = self.pack_state(x, state), self.packed_parameters(x)
        return reference.trace(equations, flat, start, parameters, feedback)

    def voltage(
        self,
        x: Tensor,
        state: dict[str, Tensor] | None = None,
        feedback: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """Return the membrane at every step before its reset, ``[T, B, *n]`` (reference rung).

        Raises:
            ConfigError: if the step of these neurons does not call ``reset``.
        """
        seen: list[Tensor] = []

        class Noting(Reset):
            def __call__(self, u: Any, z: Any, v_threshold: Any, v_reset: Any = 0.0) -> Any:
                seen.append(u)
                return super().__call__(u, z, v_threshold, v_reset)

        noting = Noting(self.reset.mode, self.reset.detach)
        options = tuple((k, noting if k == "reset" else v) for k, v in self.equations.options)
        self._traced(replace(self.equations, options=options), x, state, feedback)
        if len(seen) != len(x):
            raise ConfigError(
                f"{type(self).__name__} resets its membrane otherwise than by 'reset'; record one "
                f"of its states instead: {', '.join(type(self).state)}"
            )
        if not seen:
            return torch.empty_like(x)
        return torch.stack([u.expand(x.shape[1], self.n) for u in seen]).view(x.shape)

    def extra_repr(self) -> str:
        shape = self.shape[0] if len(self.shape) == 1 else self.shape
        values = [f"{name}={short_value(self._value(name))}" for name in self.declared]
        values += [f"{name}={value!r}" for name, value in self.options.items()]
        learnt = [name for name, spec in self.declared.items() if spec.learnable]
        more = [f"learn={learnt}"] if learnt else []
        told = [str(shape), f"dt={self.dt:g}", *values, f"reset={self.reset.mode!r}", *more]
        return ", ".join(told)
