"""Networks of one kind of model: encoder, layers, linear head."""

from __future__ import annotations

import inspect
import math
from functools import partial
from typing import Any

from torch import Tensor, nn

from snnsim.baselines.baseline import linear, within
from snnsim.baselines.encoder import RateEncoder
from snnsim.baselines.models import get
from snnsim.baselines.options.additions import Additions
from snnsim.baselines.options.attend import HEADS
from snnsim.baselines.options.join import Join
from snnsim.baselines.options.recode import Recode
from snnsim.errors import ConfigError
from snnsim.layer import Layer
from snnsim.networks.dropout import Dropout
from snnsim.networks.passing import passing_on
from snnsim.networks.sequential import split_state
from snnsim.sparsity import sparsify


def multiple_of(model: str, options: dict[str, Any] | None = None, attend: int = 0) -> int:
    """Return the number that the width of a :class:`RateNetwork` must be a multiple of.

    Args:
        model: name of the model.
        options: options of the model.
        attend: as in :class:`~snnsim.baselines.options.additions.Additions`.

    >>> multiple_of("gru"), multiple_of("gru", attend=5), multiple_of("sasrec", {"heads": 2})
    (1, 4, 2)
    """
    return math.lcm(get(model).multiple_of(options or {}), HEADS if attend else 1)


class RateNetwork(Layer):
    """A rate-coded network has the same interface as the spiking ones.

    It is an encoder, a dense connection if its layers are residual, the layers, and a dense head
    that gives scores at every step, for the same read-outs. A layer is ``drop(f(x))``, or
    ``join(x, drop(f(norm(x))))`` where the model or ``join`` asks for residual blocks.

    Args:
        n_in: number of channels of the counts.
        n_out: number of classes; 0 for no head: the outputs are then the ``width`` features of
            the last layer.
        model: name of the model, see :mod:`snnsim.baselines.models`.
        width: number of outputs of each layer.
        depth: number of layers.
        dropout: probability of dropout behind each layer.
        encoder: arguments of :class:`RateEncoder` by name.
        options: arguments of the model by name.
        shared_head: whether the scores of the next channel are the products of the features with
            the model's own embedding of each channel, as published for SASRec, in place of a head;
            for one layer of a model with ``next_scores``, and as many outputs as channels.
        added: arguments of :class:`~snnsim.baselines.options.additions.Additions`: ``join``,
            ``attend``, ``think``, ``chunk`` and its further options, ``recode`` and ``density``.

    Call: ``net(x [T, B, n_in], state=None, lengths=None) -> (y [T', B, n_out], state)``.

    >>> net = RateNetwork(6, 3, "gru", width=8)
    >>> import torch
    >>> y, state = net(torch.rand(7, 2, 6))
    >>> tuple(y.shape), net.causal
    ((7, 2, 3), True)
    """

    @passing_on(Additions)
    def __init__(
        self,
        n_in: int,
        n_out: int,
        model: str,
        *,
        width: int,
        depth: int = 1,
        dropout: float = 0.0,
        encoder: dict[str, Any] | None = None,
        options: dict[str, Any] | None = None,
        shared_head: bool = False,
        **added: Any,
    ):
        super().__init__()
        cls, additions = get(model), Additions(**added)
        multiple = multiple_of(model, options, additions.attend)
        if width < 1 or depth < 1 or width % multiple:
            raise ConfigError(
                f"width is {width} and depth {depth}; both must be 1 or more, and the width of "
                f"{model} here a multiple of {multiple}"
            )
        self.model, self.residual = model, cls.residual or bool(additions.join)
        self.encoder = RateEncoder(n_in, **(encoder or {}))
        entry = width if self.residual else self.encoder.n
        self.enter = linear(self.encoder.n, width) if self.residual else None
        self.layers, self.norms, self.joins = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for _ in range(depth):
            self.layers.append(additions.layer(partial(cls, **(options or {})), entry, width))
            if self.residual:
                self.norms.append(nn.LayerNorm(width))
                self.joins.append(Join(width, additions.join or "add"))
            entry = width
        self.drop = Dropout(dropout)
        self.shared_head = shared_head
        if shared_head:
            self._check_shared(n_out)
        self.head = linear(width, n_out) if n_out and not shared_head else None
        if additions.recode:
            self.recode(additions.recode)
        if additions.density < 1:
            sparsify(self, additions.density)

    def _check_shared(self, n_out: int) -> None:
        """Refuse a shared head where the only layer does not embed the channels themselves."""
        one = len(self.layers) == 1 and hasattr(self.layers[0], "next_scores")
        if not one or n_out != self.encoder.n:
            raise ConfigError(
                f"shared_head needs one layer of a model with an embedding of channels, such as "
                f"sasrec, and as many outputs as channels, but there are {len(self.layers)} layers "
                f"of {self.model}, and {n_out} outputs for {self.encoder.n} channels; set depth=1 "
                'and target="next-event", or shared_head=False'
            )

    @property
    def causal(self) -> bool:
        """Whether no output depends on later steps."""
        return all(layer.causal for layer in self._baselines())

    @property
    def streaming(self) -> str:
        """How input may be cut: ``"exact"``, ``"chunked"`` (between merged bins) or ``"none"``."""
        if any(layer.streaming == "none" for layer in self._baselines()):
            return "none"
        return "chunked" if self.encoder.bins > 1 else "exact"

    @property
    def state_size(self) -> int | None:
        """How many numbers the state of one sample has; ``None`` if the whole sequence is kept."""
        if self.streaming == "none":
            return None
        return sum(layer.state_size for layer in self._baselines())

    def recode(self, alpha: float, **options: Any) -> None:
        """Let the state of the last layer move down the entropy of the head's answer at each step.

        Args:
            alpha: size of the step, in place of that of an earlier call; below 0 it goes up.
            options: further arguments of :class:`~snnsim.baselines.options.recode.Recode`.

        Raises:
            ConfigError: if there is no head, the layers are residual, or the state of the last is
                not its output.
        """
        if self.residual or self.head is None:
            raise ConfigError(
                f"recoding needs layers that a head follows directly, but {self.model} here has "
                f"{'residual blocks' if self.residual else 'no head'}; take a model such as gru"
            )
        last: Any = self.layers[-1]
        inner = last.inner if isinstance(last, Recode) else last
        self.layers[-1] = Recode(inner, self._scores, alpha=alpha, **options)

    def _baselines(self) -> list[Any]:
        return list(self.layers)  # a ModuleList does not tell what it holds

    def output_lengths(self, lengths: Tensor | None) -> Tensor | None:
        """Return the lengths of the outputs for samples of these lengths."""
        return self.encoder.lengths(lengths)

    def prepare(self, x: Tensor) -> None:
        """Let models take what they need to know of the data, such as a graph, from ``x``."""
        module: Any
        for module in self.layers[0].modules():
            if hasattr(module, "count_together"):
                if len(module.together) != self.encoder.n:
                    raise ConfigError(
                        f"{self.model} takes its graph from the channels, but think or chunk adds "
                        "channels in front of it; remove them"
                    )
                module.count_together(self.encoder(x)[0])

    def initial_state(self, batch: int) -> tuple[Any, ...]:
        """Return the state of ``batch`` samples before the first step."""
        return tuple(layer.initial_state(batch) for layer in self._baselines())

    def forward(
        self, x: Tensor, state: tuple[Any, ...] | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, tuple[Any, ...]]:
        if lengths is not None and self.encoder.bins > 1:  # the last merged bin of a sample
            x = x * within(len(x), lengths, x)
        x, _ = self.encoder(x)
        lengths = self.encoder.lengths(lengths)
        given = tuple(state) if isinstance(state, list) else state
        states = split_state(given, len(self.layers))
        if self.enter is not None:
            x = self.enter(x)[0]
        after = []
        for i, (layer, before) in enumerate(zip(self.layers, states, strict=True)):
            y, new = layer(self.norms[i](x) if self.residual else x, before, lengths)
            y = self.drop(y)[0]
            x = self.joins[i](x, y) if self.residual else y
            after.append(new)
        return self._scores(x), tuple(after)

    def _scores(self, x: Tensor) -> Tensor:
        """The outputs for features of the last layer."""
        if self.shared_head:
            return self._baselines()[0].next_scores(x)
        return x if self.head is None else self.head(x)[0]

    def step(self, x: Tensor, state: tuple[Any, ...] | None = None) -> tuple[Tensor, Any]:
        """Run one (merged) bin of a stream, ``[B, n_in] -> [B, n_out]``."""
        if not self.causal or self.streaming != "exact":
            raise ConfigError(
                f"{self.model} here is {'causal' if self.causal else 'not causal'} and streams "
                f"{self.streaming!r}; single steps need a causal model and an encoder with bins=1"
            )
        y, state = self(x.unsqueeze(0), state)
        return y[0], state


RateNetwork.__doc__ = f"{inspect.getdoc(RateNetwork)}\n\n{inspect.getdoc(Additions)}"
