"""Connections with learnable delays."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from snnsim.errors import (
    LARGEST_SIZE,
    ConfigError,
    ShapeError,
    check_choice,
    check_number,
    check_size,
)
from snnsim.functional import delays
from snnsim.kernels.delay_conv import BACKENDS, FUSED, choose_rung, delay_conv, most_spikes
from snnsim.kernels.guard import check_profile
from snnsim.layer import Layer, as_input, autocasting
from snnsim.synapses.dense import kaiming_uniform
from snnsim.units import check_dt, ms_to_steps, steps_to_ms

GRANULARITIES = ("synaptic", "axonal", "dendritic")
PADDINGS = ("causal", "lengthen")
PER_SYNAPSE = (
    "with a delay for every synapse each output sees activity of its own delays, so one subspace "
    "cannot protect all outputs; use granularity='axonal' or 'dendritic'"
)
CANNOT_CONTINUE = (
    "a connection with padding='lengthen' runs beyond the end of its input and so cannot continue "
    "from a state; give the whole sequence at once, build the network with padding='causal' to "
    "stream, or use snnsim.compile(net).step"
)


class DelayedConnection(Layer):
    """A delayed connection multiplies its input by weights and delays what comes of it.

    It is the base of :class:`Delayed`, which describes how delays are learned, and of
    :class:`snnsim.synapses.DelayedConv2d`; they differ in where their weights lead.

    Args:
        shape: the shape of the weights.
        fan_in: the number of weights that lead to one output, which scales their initial values.
        delay_shape: the shape of the delays.
        dt, max_delay_ms, profile, sigma, learn_sigma, learn_delay, padding: as in :class:`Delayed`.
    """

    sigma: Tensor

    def __init__(
        self,
        shape: tuple[int, ...],
        fan_in: int,
        delay_shape: tuple[int, ...],
        *,
        dt: float,
        max_delay_ms: float,
        profile: str,
        sigma: float | None,
        learn_sigma: bool,
        learn_delay: bool,
        padding: str,
    ):
        super().__init__()
        check_choice("padding", padding, PADDINGS)
        check_choice("profile", profile, delays.PROFILES)
        self.dt, self.padding, self.learn_delay = dt, padding, learn_delay
        self.length = _length(max_delay_ms, dt)
        self.profile = profile if learn_delay else "one_tap"
        self.weight = nn.Parameter(kaiming_uniform(shape, fan_in))
        delay = delays.uniform_delay(delay_shape, self.length)
        delay = delay if learn_delay else delays.round_delay(delay, self.length)
        self.delay = nn.Parameter(delay, requires_grad=learn_delay)
        self.initial_sigma = self._initial_sigma(sigma)
        width = torch.tensor(self.initial_sigma)
        self._width_is_managed = False  # by narrow_
        self._has_trained = False
        if learn_sigma and learn_delay:
            self.sigma = nn.Parameter(width)
        else:
            self.register_buffer("sigma", width)

    def _initial_sigma(self, sigma: float | None) -> float:
        if not self.learn_delay:
            return 0.0
        if sigma is None:
            return float(self.length // 2)
        check_number("sigma", sigma, 0, LARGEST_SIZE)
        return float(sigma)

    def rung(self, steps: int, samples: int) -> str:
        """Return the name of the kernel that runs a sequence of a given size in the present mode.

        Args:
            steps: the number of time steps.
            samples: the number of samples of a batch.
        """
        raise NotImplementedError

    @property
    def tail(self) -> int:
        """Return the number of time steps by which the output is longer than the input."""
        return (self.length - 1) // 2 if self.padding == "lengthen" else 0

    def delay_ms(self) -> Tensor:
        """Return the delays in ms, in the shape of ``delay``, without gradient."""
        return steps_to_ms(self.delay.detach(), self.dt)

    @torch.no_grad()
    def narrow_(self, sigma: float) -> None:
        """Set the width of the kernels in time steps, unless it is learned or has no meaning."""
        check_number("sigma", sigma, 0)
        self._width_is_managed = True
        if self.learn_delay and not self.sigma.requires_grad:
            self.sigma.fill_(sigma)

    @torch.no_grad()
    def clamp_(self) -> None:
        """Bring the delays back into range, as a call in training mode does by itself."""
        self.delay.copy_(delays.clamp_delay(self.delay, self.length))

    def _bounded_delay(self) -> Tensor:
        """The delays within their range, where those that an optimiser put outside are clamped.

        The parameter itself is changed, so that training equals the published system's, which
        clamps after every step. A tensor that stands for it (traced, or given by
        ``functional_call``) is not changed: its values are clamped, and gradients pass.
        """
        if torch.compiler.is_compiling() or not isinstance(self.delay, nn.Parameter):
            outside = delays.clamp_delay(self.delay, self.length) - self.delay
            return self.delay + outside.detach()
        low, high = (float(end) for end in torch.aminmax(self.delay.detach()))
        if low < 0 or high > self.length - 1:  # never for NaN, which the kernels refuse
            self.clamp_()
        return self.delay

    def warn_if_wide(self) -> None:
        """Warn once if evaluation, with whole-step delays, does not match what was trained."""
        if self._width_is_managed or not self._has_trained or not self.learn_delay:
            return
        if torch.compiler.is_compiling() or float(self.sigma.detach().abs()) <= 1:
            return
        self._width_is_managed = True  # said
        warnings.warn(
            f"evaluating a {type(self).__name__} whose kernels are "
            f"{float(self.sigma.detach()):g} steps wide: they were trained spread over many steps "
            "and are now rounded to one, which costs accuracy; call "
            "snnsim.narrow_delays(net, epoch, epochs) at the start of each epoch",
            stacklevel=4,
        )

    @torch.no_grad()
    def round_(self) -> None:
        """Round the delays to whole steps permanently; evaluation only does so temporarily."""
        self.delay.copy_(delays.round_delay(self.delay, self.length))

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        self._check_shape(x)
        x = as_input(x, self.weight, type(self).__name__)
        if self.padding == "lengthen":
            if state is not None:
                raise ConfigError(CANNOT_CONTINUE)
            return self._connect(x, self.tail), {}  # not None: it cannot be mistaken for a start
        reach = self.length - 1
        if state is None:
            history = x.new_zeros((reach, *x.shape[1:]))
            y = self._connect(x, 0)
        else:
            given = state.get("history") if isinstance(state, dict) else None
            if not isinstance(given, Tensor):
                raise ShapeError(
                    f"the state of {type(self).__name__} is "
                    f"{{'history': [max_delay_steps, B, {self._step()}]}}"
                )
            history = given
            if history.shape != (reach, *x.shape[1:]):
                raise ShapeError(
                    f"history has shape {tuple(history.shape)} but x needs "
                    f"{(reach, *x.shape[1:])}; pass state=None to start afresh"
                )
            if history.dtype != x.dtype or history.device != x.device:
                raise ShapeError(
                    f"history is {history.dtype} on {history.device} but x is {x.dtype} on "
                    f"{x.device}; bring them together with .to(...)"
                )
            y = self._connect(torch.cat([history, x]), 0)[reach:]
        together = x if x.shape[0] >= reach else torch.cat([history, x])
        return y, {"history": together[together.shape[0] - reach :].clone()}

    def _connect(self, x: Tensor, tail: int) -> Tensor:
        """All of it in the weights' precision, also under autocast: delays need the digits."""
        if autocasting(x):
            with torch.autocast(x.device.type, enabled=False):
                return self._connect(x.to(self.weight.dtype), tail)
        sigma: Tensor = self.sigma
        profile = self.profile
        if self.training:
            delay = self._bounded_delay()
            self._has_trained = self._has_trained or torch.is_grad_enabled()
        else:
            self.warn_if_wide()
            delay, profile = delays.round_delay(self.delay, self.length), "one_tap"
        return self._delayed(x, delay, sigma, profile, tail)

    def _delayed(self, x: Tensor, delay: Tensor, sigma: Tensor, profile: str, tail: int) -> Tensor:
        """What arrives of ``x`` through weights with these delays, ``tail`` steps longer."""
        raise NotImplementedError

    def _check_shape(self, x: Tensor) -> None:
        """Raise :class:`ShapeError` unless the layer was built for ``x``."""
        raise NotImplementedError

    def _step(self) -> str:
        """The axes of one step of the input, for errors."""
        raise NotImplementedError


class Delayed(DelayedConnection):
    """A delayed connection leads from every input to every output, through learnable delays.

    In training mode a delay is a real number, and its weight is spread over neighbouring time steps
    (:func:`snnsim.functional.delays.delay_kernel`), so that the delay can be learned. In evaluation
    mode every delay is rounded to one whole step. Evaluation therefore matches training only if the
    spread has become narrow: call :func:`snnsim.narrow_delays` once per epoch (or step), as the
    trainers do. Delays stay within ``0 .. max_delay_ms`` by themselves: a value that an optimiser's
    step moves outside is clamped when the layer next runs in training mode.

    Args:
        n_in, n_out: the numbers of input and output channels, at least 1.
        dt: the length of a time step in ms, above 0.
        max_delay_ms: the largest delay in ms, an even number of time steps.
        granularity: ``"synaptic"`` (one delay per pair of input and output), ``"axonal"`` (one per
            input) or ``"dendritic"`` (one per output).
        kernel_count: the number of delayed connections per pair (for axonal delays, of delayed
            copies of an input; for dendritic ones, of an output), each with its own weight; at
            least 1.
        profile: the shape of the spread, ``"gauss"``, ``"triangle"`` or ``"linear"``.
        sigma: the initial width of the spread in time steps; ``None`` means half the kernel.
            :meth:`narrow_` changes it.
        learn_sigma: whether ``sigma`` is a parameter instead of a buffer.
        learn_delay: whether delays are learned; if not, they are random whole steps and stay so,
            and ``profile`` and ``sigma`` have no meaning.
        padding: ``"causal"`` keeps the length of the input; ``"lengthen"`` appends half the largest
            delay, so that late spikes are not cut off (as in the reference system).
        backend: ``"auto"``, or a rung of :func:`snnsim.kernels.delay_conv.delay_conv`.

    Call: ``[T, B, n_in] -> [T (+ tail), B, n_out]``; ``x`` may also be bool or whole numbers. With
    ``padding="causal"`` the state is the inputs still under way, ``{"history": [max_delay_steps, B,
    n_in]}``; with ``"lengthen"`` it is empty, and the layer cannot continue from it.

    >>> layer = Delayed(3, 2, dt=10.0, max_delay_ms=240)
    >>> y, state = layer(torch.ones(7, 1, 3))
    >>> tuple(y.shape), tuple(state["history"].shape)
    ((7, 1, 2), (24, 1, 3))
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        *,
        dt: float,
        max_delay_ms: float,
        granularity: str = "synaptic",
        kernel_count: int = 1,
        profile: str = "gauss",
        sigma: float | None = None,
        learn_sigma: bool = False,
        learn_delay: bool = True,
        padding: str = "causal",
        backend: str = "auto",
    ):
        check_choice("granularity", granularity, GRANULARITIES)
        check_choice("backend", backend, BACKENDS)
        n_in, n_out = check_size("n_in", n_in), check_size("n_out", n_out)
        kernel_count = check_size("kernel_count", kernel_count)
        shape = (n_out, n_in, kernel_count)
        delay_shape = {
            "synaptic": shape,
            "axonal": (n_in, kernel_count),
            "dendritic": (n_out, kernel_count),
        }[granularity]
        super().__init__(
            shape,
            n_in * kernel_count,
            delay_shape,
            dt=dt,
            max_delay_ms=max_delay_ms,
            profile=profile,
            sigma=sigma,
            learn_sigma=learn_sigma,
            learn_delay=learn_delay,
            padding=padding,
        )
        self.n_in, self.n_out = n_in, n_out
        self.granularity, self.backend = granularity, backend

    def rung(self, steps: int, samples: int) -> str:
        """Return the name of the kernel that runs a sequence of a given size in the present mode.

        ``"shift"`` stands for axonal and dendritic delays: one delay per channel, and a matrix
        product. If a batch with few spikes will run on the rung ``"events"`` once the kernel is
        narrow, this is stated after a comma.

        Args:
            steps: the number of time steps.
            samples: the number of samples of a batch.
        """
        if self.granularity != "synaptic":
            return "shift"
        shape = (steps, samples, self.n_in, self.n_out)
        profile = self.profile if self.training else "one_tap"
        device = self.weight.device.type
        frames = steps + self.tail
        rung = choose_rung(self.backend, profile, device, shape, self.length, frames, self.training)
        most = most_spikes(shape, self.length, frames)
        if self.backend == "auto" and device == "cpu" and profile in FUSED and most > 0:
            return f"{rung}, events below {most:.1%} of spikes once narrow"
        return rung

    def _check_shape(self, x: Tensor) -> None:
        if x.dim() != 3 or x.shape[2] != self.n_in:
            raise ShapeError(
                f"x has shape {tuple(x.shape)} but Delayed was built for [T, B, {self.n_in}]"
            )

    def _step(self) -> str:
        return "n_in"

    def _delayed(self, x: Tensor, delay: Tensor, sigma: Tensor, profile: str, tail: int) -> Tensor:
        if self.granularity == "synaptic":
            return delay_conv(
                x,
                self.weight,
                delay,
                sigma,
                length=self.length,
                profile=profile,
                tail=tail,
                backend=self.backend,
            )
        check_profile(delay, sigma, self.length)
        taps = delays.delay_profile(delay, sigma, self.length, profile).flatten(0, 1)
        if self.granularity == "axonal":
            return self._arrived(x, taps, tail) @ self.weight.flatten(1).t()
        weight = self.weight.permute(0, 2, 1).flatten(0, 1)  # [O * K, I]
        branches = delays.delay_channels(x @ weight.t(), taps, tail)
        return branches.unflatten(2, (self.n_out, -1)).sum(-1)

    def _arrived(self, x: Tensor, taps: Tensor, tail: int) -> Tensor:
        """Every input, once for each of its kernels, as it leaves an axon, ``[T, B, I * K]``."""
        copies = x.repeat_interleave(self.weight.shape[2], dim=2)
        return delays.delay_channels(copies, taps, tail)

    def presynaptic(self, x: Tensor) -> Tensor:
        """Return the activity by which the weights are multiplied, with whole-step delays.

        Args:
            x: the input ``[T, B, n_in]``.

        Returns:
            For axonal delays, what arrives after them, ``[T', B, n_in * kernel_count]``; for
            dendritic ones, which come after the weights, ``x`` itself.

        Raises:
            ConfigError: if there is one delay per synapse, because every output then sees other
                activity.
        """
        if self.granularity == "synaptic":
            raise ConfigError(f"Delayed({self.n_in}, {self.n_out}): {PER_SYNAPSE}")
        if self.granularity == "dendritic":
            return x
        delay = delays.round_delay(self.delay.detach(), self.length)
        taps = delays.delay_profile(delay, 0.0, self.length, "one_tap").flatten(0, 1)
        return self._arrived(x, taps, self.tail)

    def extra_repr(self) -> str:
        return (
            f"{self.n_in}, {self.n_out}, dt={self.dt:g}, "
            f"max_delay_ms={steps_to_ms(self.length - 1, self.dt):g}, "
            f"granularity={self.granularity!r}, learn_delay={self.learn_delay}, "
            f"padding={self.padding!r}"
        )


def delayed_layers(net: nn.Module) -> Iterator[DelayedConnection]:
    """Yield all delayed connections of a network."""
    return (module for module in net.modules() if isinstance(module, DelayedConnection))


def narrow_delays(
    net: nn.Module, epoch: float, epochs: int, *, end: float = 0.23, fraction: float = 0.25
) -> None:
    """Set the kernel width of all delayed connections of a network for a point in its training.

    Call it at the start of every epoch, before training on it. The width falls exponentially from
    each layer's initial one to ``end`` over the first part of the epochs and stays there, so that
    evaluation, which rounds delays to whole steps, evaluates what was trained.

    Args:
        net: any module.
        epoch: the number of completed epochs, 0 or more; short trainings may include a fraction of
            an epoch.
        epochs: the number of epochs of the whole training, at least 1.
        end: the final width in time steps.
        fraction: the fraction of the epochs during which the width falls, from 0 to 1; if this is
            one epoch or more, it is rounded down to whole epochs.

    Source: Hammouamri et al. 2024, arXiv:2306.17670, with these defaults.

    >>> layer = Delayed(3, 2, dt=10.0, max_delay_ms=240)
    >>> for epoch in (0, 37):
    ...     narrow_delays(layer, epoch, 150)
    ...     print(round(float(layer.sigma), 2))
    12.0
    0.23
    """
    check_number("epoch", epoch, 0)
    check_number("epochs", epochs, 1)
    check_number("fraction", fraction, 0, 1)
    falling = epochs * fraction
    for layer in delayed_layers(net):
        falls = float(int(falling)) if falling >= 1 else falling
        layer.narrow_(delays.sigma_after(epoch, layer.initial_sigma, end, falls))


def _length(max_delay_ms: float, dt: float) -> int:
    check_number("max_delay_ms", max_delay_ms)
    check_number("max_delay_ms in steps", max_delay_ms / check_dt(dt), most=LARGEST_SIZE)
    steps = ms_to_steps(max_delay_ms, dt)
    if abs(max_delay_ms / dt - steps) > 1e-6:
        raise ConfigError(
            f"max_delay_ms = {max_delay_ms:g} is not a whole number of steps of {dt:g} ms"
        )
    if steps < 0:
        raise ConfigError(f"max_delay_ms is {max_delay_ms:g} but must not be negative")
    if steps % 2:
        raise ConfigError(
            f"max_delay_ms = {max_delay_ms:g} is {steps} steps of {dt:g} ms, which makes a kernel "
            f"of {steps + 1} taps; the number of taps must be odd, because with an even one the "
            "centre lies between two taps and the largest delay falls outside the kernel. Use "
            f"max_delay_ms={steps_to_ms(steps - 1, dt):g} or {steps_to_ms(steps + 1, dt):g}"
        )
    return delays.check_length(steps + 1)
