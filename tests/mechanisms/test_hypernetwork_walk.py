"""The hypernetwork's LSTM against its equations, and the dependency between layers it carries."""

import pytest
import torch
from torch import nn
from torch.func import functional_call

from snnsim.continual.methods.hypernetwork import Generator

SHAPES = {"first": (6, 5), "second": (4, 6), "third": (3, 4)}


def generator(chunk=8):
    torch.manual_seed(4)
    targets = {name: torch.randn(shape).double() for name, shape in SHAPES.items()}
    torch.manual_seed(5)
    return Generator(targets, tasks=2, embedding=3, hidden=7, chunk=chunk).double()


def walked(made, task, chunk, stateless=False):
    """The weights of all layers by the equations of an LSTM, one chunk after the other."""
    w_in, w_rec, b_in, b_rec = (p.detach() for p in made.walker.parameters())
    h = c = torch.zeros(7, dtype=torch.float64)
    found = {}
    places = iter(made.chunks.detach())
    for scale, (name, shape) in zip(made.scales, SHAPES.items(), strict=True):
        size, written = shape[0] * shape[1], []
        while len(written) * chunk < size:
            x = torch.cat([made.tasks[task].detach(), next(places)])
            if stateless:
                h = c = torch.zeros_like(h)
            i, f, g, o = (w_in @ x + b_in + w_rec @ h + b_rec).split(7)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
            written.append(made.emit.weight.detach() @ h + made.emit.bias.detach())
        found[name] = scale * torch.cat(written)[:size].view(shape)
    return found


@pytest.mark.parametrize("task", [0, 1])
@pytest.mark.parametrize("chunk", [8, 64])
def test_generated_weights_are_those_of_the_lstms_equations(task, chunk):
    made = generator(chunk)
    expected, found = walked(made, task, chunk), made(task)
    without = walked(made, task, chunk, stateless=True)
    assert found.keys() == SHAPES.keys()
    for name in SHAPES:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-12, atol=1e-14)
        if name != "first":  # which, in one chunk, begins without a state in any case
            assert float((without[name] - expected[name]).abs().max()) > 1e-3


def test_a_layers_weights_depend_on_the_layers_before_it_and_not_on_those_behind():
    """Layers whose weights are generated apart depend on none."""
    made = generator(chunk=64)  # a step of the LSTM for each layer
    for target, name in enumerate(SHAPES):
        weights = made(0)[name]
        (slope,) = torch.autograd.grad(weights.square().sum(), made.chunks)
        for source in range(3):
            reach = float(slope[source].abs().max())
            assert (reach > 1e-4) == (source <= target), (source, name, reach)


class Apart(nn.LSTM):
    """An LSTM that begins anew with every chunk, as if each were a sequence of its own."""

    def forward(self, x):
        y, state = super().forward(x[None])
        return y[0], state


def error(kind):
    """What remains when the last layer is to be +1 or -1, as the first one's embedding says."""
    made = generator(chunk=64)
    made.walker.__class__ = kind
    learned = [p for name, p in made.named_parameters() if name != "chunks"]
    optimizer = torch.optim.Adam(learned, lr=0.03)
    for _ in range(150):
        losses = []
        for sign in (1.0, -1.0):
            chunks = made.chunks.detach().clone()
            chunks[0] = sign
            last = functional_call(made, {"chunks": chunks}, (0,))["third"]
            losses.append((last - sign).square().mean() / 2)
        optimizer.zero_grad()
        sum(losses).backward()
        optimizer.step()
    return float(sum(losses).detach())


def test_layers_can_agree_on_what_only_the_first_of_them_was_told():
    """Without the state between layers the best answer is the mean, 0, whose error is 1."""
    assert error(nn.LSTM) < 0.05
    assert error(Apart) > 0.95
