"""The published SHD network: a training step, evaluation, and a stream."""

from __future__ import annotations

from collections.abc import Callable

import torch
from DCLS.construct.modules import Dcls1d
from spikingjelly.activation_based import functional, neuron, surrogate
from torch import nn

import snnsim as sn
from benchmarks.measure import Case, Run

STEPS, RATE = 101, 0.08
TRAINED = (0.58, 0.52)  # norm weights at which 4.4 % and 3.3 % fire, as after dropout in training


def _ours(sigma: float, norm_weights: tuple[float, ...] = (1.0, 1.0)) -> sn.Sequential:
    torch.manual_seed(0)
    net = sn.shd_network(dropout=0.0)  # so that both compute the same
    for layer in net.layers[::4]:
        layer.sigma.fill_(sigma)
    for norm, weight in zip(net.layers[1::4], norm_weights, strict=False):
        nn.init.constant_(norm.weight, weight)
    return net


def calm(net: sn.Sequential, x: torch.Tensor) -> sn.Sequential:
    """The network with running averages of its input; 6 % and 15 % of its neurons fire."""
    norms = [layer for layer in net if isinstance(layer, sn.BatchNorm)]
    with torch.no_grad():
        for norm in norms:
            norm.momentum = 1.0
            norm.weight.fill_(0.5)
            net.train()(x)
    return net.eval()


class PeerNetwork(nn.Module):
    """The same out of SpikingJelly's and DCLS's layers."""

    def __init__(self, ours: sn.Sequential, sigma: float):
        super().__init__()
        self.convs, self.norms, self.neurons = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        self.sigma = sigma
        for index, mine in enumerate(ours.layers[::4]):
            last = mine is ours.layers[-2]
            self.convs.append(self._connection(mine))
            self.norms.append(nn.Identity() if last else nn.BatchNorm1d(mine.n_out))
            if not last:
                self.norms[-1].load_state_dict(ours.layers[4 * index + 1].state_dict(), False)
            self.neurons.append(
                neuron.LIFNode(
                    tau=1.005,
                    decay_input=False,
                    v_threshold=1e9 if last else 1.0,
                    detach_reset=True,
                    step_mode="m",
                    store_v_seq=last,
                    surrogate_function=surrogate.ATan(5.0),
                )
            )
        self.train(ours.training)

    def _connection(self, mine: sn.Delayed) -> nn.Module:
        options = {"kernel_count": 1, "dilated_kernel_size": 25, "bias": False, "version": "gauss"}
        conv = Dcls1d(mine.n_in, mine.n_out, **options)
        conv.SIG.requires_grad_(False)
        with torch.no_grad():
            conv.weight.copy_(mine.weight)
            conv.P.copy_((12 - mine.delay).unsqueeze(0))
            conv.SIG.fill_(self.sigma)
        return conv

    def round_(self) -> PeerNetwork:
        """As the reference system evaluates: whole delays, width 0, the triangle's one tap."""
        for conv in self.convs:
            conv.version = conv.DCK.version = "max"
            with torch.no_grad():
                conv.SIG.fill_(0.0)
                conv.P.round_().clamp_(-12, 12)
        return self

    def forward(self, x):
        functional.reset_net(self)
        for conv, norm, lif in zip(self.convs, self.norms, self.neurons, strict=True):
            y = conv(nn.functional.pad(x.permute(1, 2, 0), (24, 12))).permute(2, 0, 1)
            y = norm(y.flatten(0, 1)).view_as(y)
            x = lif(y)
        return self.neurons[-1].v_seq


def _input(batch: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return (torch.rand(STEPS, batch, 140, generator=generator) < RATE).float()


def training_step(batch: int, sigma: float, trained: bool = False) -> Case:
    """Forward, backward and Adam's update (of size 0, so that turns are alike).

    ``trained`` neurons fire as rarely as those of a trained network; else as at the start.
    """
    norm_weights = TRAINED if trained else (1.0, 1.0)
    x = _input(batch)
    labels = torch.randint(0, 20, (batch,), generator=torch.Generator().manual_seed(1))

    def runner(forward: Callable, parameters: list[nn.Parameter]) -> Run:
        optimizer = torch.optim.Adam(parameters, lr=0.0)

        def run():
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(forward(x).softmax(-1).sum(0), labels)
            loss.backward()
            optimizer.step()
            return (loss.detach(),)

        return run

    def ours() -> Run:
        net = _ours(sigma, norm_weights)
        return runner(lambda a: net(a)[0], list(net.parameters()))

    def peer() -> Run:
        net = PeerNetwork(_ours(sigma, norm_weights), sigma)
        return runner(net, [p for p in net.parameters() if p.requires_grad])

    return Case(
        f"SHD training step, batch {batch}, sigma {sigma:g}{', trained' * trained}",
        {"snnsim": ours, "SpikingJelly + DCLS": peer},
        same={"SpikingJelly + DCLS": 1e-3},
        weigh=True,
    )


def evaluation(batch: int) -> Case:
    """The network in evaluation mode with whole delays; see :func:`calm`."""
    x = _input(batch)

    def without_gradient(forward: Callable) -> Run:
        @torch.no_grad()
        def run():
            return (forward(x).softmax(-1).sum(0),)

        return run

    def compiled() -> Run:
        fast = sn.compile(calm(_ours(0.23), x))
        return without_gradient(lambda a: fast(a)[0])

    def network() -> Run:
        net = calm(_ours(0.23), x)
        return without_gradient(lambda a: net(a)[0])

    def peer() -> Run:
        return without_gradient(PeerNetwork(calm(_ours(0.23), x), 0.0).round_())

    return Case(
        f"SHD evaluation, batch {batch}",
        {"snnsim": compiled, "snnsim net.eval()": network, "SpikingJelly + DCLS": peer},
        same={"snnsim net.eval()": 1e-3, "SpikingJelly + DCLS": 1e-3},
    )


def stream(steps: int = 500) -> Case:
    """One stream, one step of 10 ms at a time: ``steps`` steps."""
    x = _input(1)

    def ours() -> Run:
        fast = sn.compile(calm(_ours(0.23), _input(64)))

        def run():
            state = None
            for t in range(steps):
                y, state = fast.step(x[t % STEPS], state)
            return (y,)

        return run

    return Case(f"stream, {steps} steps of 10 ms", {"snnsim": ours})
