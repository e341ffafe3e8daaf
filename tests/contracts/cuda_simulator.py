"""Run by ``test_cuda.py`` with NUMBA_ENABLE_CUDASIM=1: every kernel against the CPU rung."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from snnsim.kernels import dispatch

sys.path.insert(0, str(Path(__file__).parent))
from models import drive, make, neuron_classes

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
    print("all equal")


if __name__ == "__main__":
    main()
