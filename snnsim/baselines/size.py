"""Counting what a network costs, and finding the width that fits a budget."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from snnsim.baselines.baseline import count
from snnsim.baselines.encoder import RateEncoder
from snnsim.baselines.looped import AdaptiveHalting
from snnsim.baselines.newton import DiagonalCell
from snnsim.baselines.options.chunks import ChunkRecurrent
from snnsim.errors import ConfigError, check_choice
from snnsim.layer import evaluating, listening
from snnsim.neurons.neuron import Neuron
from snnsim.sparsity import Mask
from snnsim.synapses import Delayed, DelayedConv2d, Dense, Recurrent
from snnsim.synapses.delayed import DelayedConnection

MEASURES = ("parameters", "state", "operations")
PRODUCTS = ("mul", "addcmul", "div")
WIDEST = 4096
CONVOLUTIONS = (DelayedConv2d, nn.Conv1d, nn.Conv2d)


def _of_attention(q: Any, k: Any, v: Any, *_: Any, **__: Any) -> int:
    """Flops of ``[B, H, T, n]`` queries and ``[B, H, S, n]`` keys, not counted by torch."""
    batch, heads, steps, n = q
    return int(2 * batch * heads * steps * k[2] * (n + v[3]))


ATTENTION = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _of_attention}


class Cost(NamedTuple):
    """The cost of a network has three measures.

    Attributes:
        parameters: number of parameters that can be trained.
        state: how many numbers one sample's state has between two steps; delays count with the
            whole history that they reach back to, a number per step and channel. ``None`` for a
            network that looks ahead, which keeps the whole sequence.
        operations: multiplications per step and sample, those of matrix products and elementwise
            ones. In networks with spiking neurons only the connections count, as if every input
            spiked: one multiplication per synapse, which a convolution has for every output pixel.
    """

    parameters: int
    state: int | None
    operations: float


def cost_of(net: nn.Module, channels: int, steps: int = 50) -> Cost:
    """Return what a network ``[T, B, channels] -> ...`` costs.

    Operations are counted on ``steps`` steps of one sample. Models that stream are counted
    step by step (or merged bin by merged bin; over a whole chunk where there are chunks), as in
    use: a logarithmic scan or padding inside a whole sequence would count more. What halts by
    itself is counted up to its last possible application. Masks on weights save no operations.

    Args:
        net: the network.
        channels: number of its input channels.
        steps: number of steps on which operations are counted.

    >>> from snnsim.baselines.network import RateNetwork
    >>> cost_of(RateNetwork(6, 3, "elman", width=8), 6).state
    8
    """
    like = next(net.parameters())
    x = torch.ones(steps, 1, channels, device=like.device, dtype=like.dtype)
    encoders = [m for m in net.modules() if isinstance(m, RateEncoder)]
    bins = max((each.bins for each in encoders), default=1)  # steps that are one to the layers
    said = {m.streaming for m in net.modules() if hasattr(m, "streaming")}
    keeps_all, streams = "none" in said, bool(said) and "none" not in said
    chunks = [m.chunk for m in net.modules() if isinstance(m, ChunkRecurrent)]
    parts = [x[:bins]] * max(chunks, default=1) if streams else [x]
    with torch.no_grad(), evaluating(net), _plain_kernels(), _at_most(net), parametrize.cached():
        shapes, (_, state) = _run(net, x)
        size = count(state) + _unseen_history(shapes)
        counter = FlopCounterMode(display=False, custom_mapping=ATTENTION)
        with _Products() as products, counter as flops:
            for part in parts:
                _, state = net(part, state) if streams else net(part)
    seen = sum(map(len, parts))
    operations = (flops.get_total_flops() / 2 + products.count) / seen
    if any(isinstance(module, Neuron) for module in net.modules()):
        operations = float(_synapses_used(net, shapes))  # kernels count for nothing
    return Cost(parameters_of(net), None if keeps_all else size, operations)


class _Shapes(NamedTuple):
    """The shapes of the input and of the output of a connection."""

    module: Any
    given: torch.Size
    made: torch.Size


def _run(net: nn.Module, x: Tensor) -> tuple[list[_Shapes], Any]:
    """What goes through delayed connections and convolutions, and the answer of a network."""
    found: dict[str, _Shapes] = {}

    def note(name: str, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        y = output[0] if isinstance(output, tuple) else output
        found[name] = _Shapes(module, inputs[0].shape, y.shape)

    kinds = (DelayedConnection, *CONVOLUTIONS)
    with listening({n: m for n, m in net.named_modules() if isinstance(m, kinds)}, note):
        answer = net(x)
    return list(found.values()), answer


def _unseen_history(shapes: list[_Shapes]) -> int:
    """What a stream keeps of delays that run on beyond the input, and so return no state."""
    delayed = [s for s in shapes if getattr(s.module, "padding", "") == "lengthen"]
    return sum((s.module.length - 1) * math.prod(s.given[2:]) for s in delayed)


def _synapses_used(net: nn.Module, shapes: list[_Shapes]) -> int:
    """The synapses of a spiking network, those of a convolution once for every output pixel."""
    found = sum(w.numel() for w in synapses(net))
    for module, _, made in shapes:
        if isinstance(module, CONVOLUTIONS):
            weight = module.weight
            found += weight.numel() * math.prod(made[-(weight.dim() - 2) :])
    return found


def synapses(net: nn.Module) -> list[Tensor]:
    """Return the weights of all fully connected synapses of a spiking network."""
    found: list[Any] = []
    for module in net.modules():
        if isinstance(module, Dense | Delayed):
            found.append(module.weight)
        elif isinstance(module, Recurrent):
            found.append(module.w_rec)
    return found


def parameters_of(net: nn.Module) -> int:
    """Return how many weights can be trained; those that a mask keeps at 0 do not count.

    >>> parameters_of(nn.Linear(3, 2))
    8
    """
    trained = sum(p.numel() for p in net.parameters() if p.requires_grad)
    masked = sum(int((m.mask == 0).sum()) for m in net.modules() if isinstance(m, Mask))
    return trained - masked


def _narrowest(make: Callable[[int], nn.Module], multiple: int) -> int:
    """The first power of 2 times ``multiple`` of which a network can be made."""
    width = 1
    while True:
        try:
            make(width * multiple)
        except ConfigError:
            if 2 * width * multiple > WIDEST:
                raise
            width *= 2
        else:
            return width


@contextmanager
def _plain_kernels() -> Iterator[None]:
    """Without oneDNN, whose fused LSTM the counter cannot see into."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with torch.backends.mkldnn.flags(enabled=False):
            yield


@contextmanager
def _at_most(net: nn.Module) -> Iterator[None]:
    """Nothing halts before its last application, and nothing takes Newton's detour."""
    most = {AdaptiveHalting: ("epsilon", -math.inf), DiagonalCell: ("parallel", False)}
    with ExitStack() as undo:
        for module in net.modules():
            for kind, (name, value) in most.items():
                if isinstance(module, kind):
                    undo.callback(setattr, module, name, getattr(module, name))
                    setattr(module, name, value)
        yield


class _Products(TorchDispatchMode):
    """Counts elementwise multiplications."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None) -> Any:
        y = func(*args, **(kwargs or {}))
        if func.overloadpacket.__name__.rstrip("_") in PRODUCTS and isinstance(y, Tensor):
            self.count += y.numel()
        return y


def width_for(
    make: Callable[[int], nn.Module],
    channels: int,
    budget: float,
    measure: str = "parameters",
    multiple: int = 1,
) -> int:
    """Return the largest width whose network stays within a budget.

    Args:
        make: function that makes a network of a width; its cost must grow with the width.
        channels: number of input channels of the network.
        budget: largest amount of what is measured.
        measure: ``"parameters"``, ``"state"`` or ``"operations"``.
        multiple: number that the width is a multiple of.

    Raises:
        ConfigError: if the narrowest network needs more, or the budget fits the widest allowed.

    >>> from snnsim.baselines.network import RateNetwork
    >>> width_for(lambda width: RateNetwork(6, 3, "gru", width=width), 6, 1000)
    14
    """
    check_choice("measure", measure, MEASURES)

    def fits(width: int) -> bool:
        net = make(width * multiple)
        if measure == "parameters":  # the same as cost_of says, without running it
            return parameters_of(net) <= budget
        found = getattr(cost_of(net, channels), measure)
        if found is None:
            raise ConfigError(
                "a network that looks ahead keeps the whole sequence and has no state to limit; "
                "use a budget of parameters or operations"
            )
        return found <= budget

    low = _narrowest(make, multiple)
    if not fits(low):
        raise ConfigError(
            f"a budget of {budget:g} {measure} is too small: the narrowest network, of width "
            f"{low * multiple}, needs more"
        )
    high = 2 * low
    while fits(high):
        low, high = high, 2 * high
        if high * multiple > WIDEST:
            raise ConfigError(
                f"a budget of {budget:g} {measure} fits a width of {low * multiple} and more; give "
                "a width, or a smaller budget"
            )
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low * multiple
