"""Run by ``test_cuda.py`` with NUMBA_ENABLE_CUDASIM=1: every kernel against the CPU rung."""

from __future__ import annotations

import torch
from models import drive, make, neuron_classes

from snnsim.functional.delays import EPSILON
from snnsim.kernels import dispatch
from snnsim.kernels.delay_conv import one_tap, one_tap_cuda

T, B, N = 5, 2, 4


def gradients(function, inputs):
    leaves = [a.detach().clone().requires_grad_() for a in inputs]
    y, final = function(*leaves)
    generator = torch.Generator().manual_seed(1)
    cotangents = [torch.randn(o.shape, generator=generator) for o in (y, final)]
    found = torch.autograd.grad((y, final), leaves, cotangents, allow_unused=True)
    zeros = [torch.zeros_like(a) for a in leaves]
    return [y.detach(), final.detach()] + [
        z if g is None else g for z, g in zip(zeros, found, strict=False)
    ]


def worst(a, b):
    return max(
        float((p - q).abs().max()) / max(1.0, float(p.abs().max()))
        for p, q in zip(a, b, strict=True)
    )


def main() -> None:
    torch.set_default_dtype(torch.float64)
    generator = torch.Generator().manual_seed(0)
    w_rec = torch.randn(N, N, generator=generator)
    for cls in neuron_classes():
        neuron = make(cls, N)
        x = drive(cls, T, B, N, seed=1)
        state, params = neuron.pack_state(x, None), neuron.packed_parameters(x)
        y0 = (torch.rand(B, N, generator=generator) < 0.5).double()
        learnt = [True] * params.shape[0]

        def scan(backend, neuron=neuron, learnt=learnt):
            return lambda *a: dispatch.scan(neuron.equations, *a, learnt, backend)

        def recurrent(backend, neuron=neuron, learnt=learnt):
            return lambda *a: dispatch.recurrent_scan(neuron.equations, *a, learnt, backend)

        plain, fed_back = (x, state, params), (x, state, params, w_rec, y0)
        for name, kind, inputs in (("scan", scan, plain), ("recurrent", recurrent, fed_back)):
            error = worst(gradients(kind("cpu"), inputs), gradients(kind("cuda"), inputs))
            print(f"{cls.__name__} {name} {error:.1e}")
            assert error < 1e-12, (cls, name, error)
    compare_delays()
    print("all equal")


def compare_delays() -> None:
    """The one-tap delay kernels: forward, and both gradients."""
    generator = torch.Generator().manual_seed(2)
    steps, inputs, outputs, copies, length, tail = 6, 3, 4, 2, 5, 2
    x = torch.randn(steps, B, inputs, generator=generator)
    x = x * (torch.rand(x.shape, generator=generator) < 0.5)
    weight = torch.randn(outputs, inputs, copies, generator=generator)
    delay = torch.randint(0, length, weight.shape, generator=generator).double()
    g = torch.randn(steps + tail, B, outputs, generator=generator)
    leaves = [a.requires_grad_() for a in (x, weight)]
    y = one_tap.one_tap_conv(*leaves, delay, length, steps + tail)
    expected = [y.detach(), *torch.autograd.grad(y, leaves, g)]
    scaled = weight.detach() / (1 + EPSILON)
    offset = (length - 1 - delay).to(torch.int32)
    columns = [a.flatten(1).t().contiguous() for a in (scaled, offset)]
    found = [one_tap_cuda.accumulate(x.detach(), length - 1, *columns, steps + tail)]
    found += one_tap._backward_cuda(x.detach(), weight.detach(), delay, g, length, True, True)
    error = worst(expected, found)
    print(f"one-tap delays {error:.1e}")
    assert error < 1e-12 and expected[0].count_nonzero() > 0


if __name__ == "__main__":
    main()
