"""Global workspace: specialists that a controller connects through one shared state.

In every bin, for a few internal steps: an LSTM controller ``h`` sees the workspace ``w`` and a
summary of the input. Its reading gates choose from which specialist ``m`` the workspace reads, and
how much of it stays:

    r = softmax(W_r h),  w = r_0 w + sum_m r_m z_m

Specialists are small encoders, one per group of channels, ``z_m = f_m(x_m)``, and inner ones, which
work on the workspace alone. With ``broadcast``, its broadcasting gates choose to which inner
specialists, and whether to the output module, the workspace is sent; those keep what they made of
the last broadcast:

    b = sigmoid(W_b h),  z_m = (1 - b_m) z_m + b_m f_m(w),  y = (1 - b_y) y + b_y f_y(w)

Without it, all of them see the workspace in every step: ``z_m = f_m(w)`` of the step before, and
``y = w``. Source: Chateau-Laurent & VanRullen 2025 (arXiv:2503.01906), whose routing this follows;
the specialists are ours.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from snnsim.baselines.baseline import Cell, State, bias_of, linear
from snnsim.baselines.heads import group_size, grouped
from snnsim.baselines.torch_recurrent import lstm_step
from snnsim.errors import check_number


class Workspace(Cell):
    """A workspace is a state that specialists share, and a controller routes what they write.

    Args:
        n_in, n_out: numbers of input and output channels; the workspace has ``n_out``.
        groups: number of specialists, each for a group of neighbouring channels; smaller groups are
            padded with zeros.
        inner: number of specialists that work on the workspace alone.
        steps: number of internal steps per bin.
        control: number of units of the controller; 0 for ``n_out / 2``.
        broadcast: whether there are broadcasting gates and an output module, as in the paper; if
            not, the workspace is open to every specialist and is itself the output.
        temperature: number above 0 by which the arguments of all gates are divided; it may be
            lowered during training, which makes the gates sharper.

    State: ``(w, h, c)``: the workspace ``[B, n_out]`` and the state of the controller; with
    ``broadcast`` also ``(z, y)``: what the inner specialists hold, ``[B, inner, n_out]``, and the
    output ``[B, n_out]``.

    >>> tuple(Workspace(6, 8, broadcast=True)(torch.rand(7, 2, 6))[0].shape)
    (7, 2, 8)
    """

    source = "Chateau-Laurent & VanRullen 2025, arXiv:2503.01906"
    left_out = (
        "modules made for digits: ours are encoders of channel groups and maps of the state; "
        "broadcasting gates and the output module are there with broadcast=True only"
    )

    def __init__(
        self,
        n_in: int,
        n_out: int,
        *,
        groups: int = 4,
        inner: int = 2,
        steps: int = 2,
        control: int = 0,
        broadcast: bool = False,
        temperature: float = 1.0,
    ):
        super().__init__(n_in, n_out)
        check_number("temperature", temperature, above=0)
        self.groups, self.steps, self.temperature = groups, steps, temperature
        self.control = control or max(n_out // 2, 1)
        size = group_size(n_in, groups)
        self.encoders = nn.ModuleList(linear(size, n_out) for _ in range(groups))
        self.inner = nn.ModuleList(linear(n_out, n_out) for _ in range(inner))
        self.w_in = linear(n_in, 4 * self.control)
        self.w_rec = linear(n_out + self.control, 4 * self.control, bias=False)
        self.route = linear(self.control, 1 + groups + inner)
        bias_of(self.route)[0] += 1.0  # keeps at first
        self.send = linear(self.control, inner + 1) if broadcast else None
        self.out = linear(n_out, n_out) if broadcast else None

    def initial_state(self, batch: int) -> State:
        control = self.zeros(batch, self.control)
        w = self.zeros(batch, self.n_out)
        state = (w, control, control.clone())
        if self.send is None:
            return state
        return *state, self.zeros(batch, len(self.inner), self.n_out), w.clone()

    def project(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return what drives the controller, and what the encoders say, ``[T, B, groups, n_out]``.

        With :meth:`think` and :meth:`answer` it is all that specialists do: override the three for
        specialists of your own.
        """
        parts = grouped(x, self.groups).unbind(-2)
        written = [torch.tanh(e(p)[0]) for e, p in zip(self.encoders, parts, strict=True)]
        return self.w_in(x)[0], torch.stack(written, 2)

    def think(self, w: Tensor) -> Tensor:
        """Return what the inner specialists make of a workspace, ``[B, inner, n_out]``."""
        return torch.stack([torch.tanh(m(w)[0]) for m in self.inner], 1)

    def answer(self, w: Tensor) -> Tensor:
        """Return what the output module makes of a workspace, ``[B, n_out]``."""
        y: Tensor = w if self.out is None else self.out(w)[0]
        return y

    def cell(self, p: tuple[Tensor, Tensor], state: State) -> tuple[Tensor, State]:
        (drive, written), (w, h, c, *held) = p, state
        for _ in range(self.steps):
            h, c = lstm_step(drive + self.w_rec(torch.cat([w, h], -1))[0], c)
            read = (self.route(h)[0] / self.temperature).softmax(-1).unsqueeze(-1)
            own = held[0] if held else self.think(w)
            w = (read * torch.cat([w.unsqueeze(1), written, own], 1)).sum(1)
            if self.send is not None:
                sent = torch.sigmoid(self.send(h)[0] / self.temperature).unsqueeze(-1)
                z, y = held
                z = z + sent[:, :-1] * (self.think(w) - z)
                held = [z, y + sent[:, -1] * (self.answer(w) - y)]
        return (held[1] if held else w), (w, h, c, *held)
