"""Baselines compute what independent implementations of the same papers compute.

All in float64 and with our own parameters on both sides, so outputs, states and gradients agree to
rounding. What an oracle adds around the shared mechanism is set to do nothing.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.func import functional_call

from snnsim.baselines.models.peephole_lstm import PeepholeLSTM
from snnsim.baselines.models.s6 import S6
from snnsim.baselines.models.titans import Titans
from snnsim.functional.scan import linear_recurrence

STEPS, BATCH = 13, 3  # parallel scans pad what is no power of two


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64).requires_grad_()


def randomised(model: nn.Module) -> nn.Module:
    """All parameters away from where they start, which for some is 0 or 1."""
    for p in model.double().parameters():
        nn.init.normal_(p, std=p.shape[-1] ** -0.5 if p.dim() > 1 else 1.0)
    return model


def assert_agree(ours, theirs, inputs: dict, rounded: tuple[str, ...] = ()):
    """All outputs, and the gradients of a random weighting of them to all inputs.

    Gradients named in ``rounded`` went through float32 in the oracle.
    """
    gradients, weights = [], [torch.randn_like(y) for y in ours]
    for y, expected in zip(ours, theirs, strict=True):
        torch.testing.assert_close(y, expected, rtol=1e-10, atol=1e-12)
    for side in (ours, theirs):
        loss = sum((w * y).sum() for w, y in zip(weights, side, strict=True))
        gradients.append(torch.autograd.grad(loss, list(inputs.values())))
    for name, mine, expected in zip(inputs, *gradients, strict=True):
        assert mine.abs().max() > 1e-3, f"{name} has no gradient to compare"
        rtol = 4 * torch.finfo(torch.float32).eps if name in rounded else 1e-10
        assert torch.allclose(mine, expected, rtol=rtol, atol=1e-12), name


@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.parametrize("steps", [2, STEPS, 16])
def test_the_linear_recurrence_is_the_scan_of_mambapy(steps, parallel):
    pscan = pytest.importorskip("mambapy.pscan").pscan
    torch.manual_seed(0)
    a, b = noise(BATCH, steps, 4, 5), noise(BATCH, steps, 4, 5)
    ours = linear_recurrence(a.transpose(0, 1), b.transpose(0, 1), parallel=parallel)
    assert_agree([ours.transpose(0, 1)], [pscan(a, b)], {"a": a, "b": b})


@pytest.mark.parametrize("parallel", [False, True])
def test_s6_selects_decays_drives_and_reads_as_the_mamba_block(parallel):
    """Compared is ``ssm``, without the convolution, SiLU and projection that S6 leaves out."""
    mamba = pytest.importorskip("mambapy.mamba")
    torch.manual_seed(0)
    ours = randomised(S6(5, 32, states=4))
    with torch.no_grad():  # the oracle casts A and D to float32: take values that it holds
        powers = torch.randint(-2, 3, (32, 4)).double()
        ours.log_decay.copy_(powers * math.log(2))
        ours.skip.copy_(ours.skip.float())
        assert torch.equal(ours.log_decay.float().exp().double(), 2**powers)
    options = {"dt_rank": ours.rank, "d_state": 4, "pscan": parallel}
    block = mamba.MambaBlock(mamba.MambaConfig(d_model=16, n_layers=1, **options)).double()
    block.forward = lambda u: block.ssm(u.transpose(0, 1), None).transpose(0, 1)
    weights = {
        "x_proj.weight": ours.select.weight,
        "dt_proj.weight": ours.rate.weight,
        "dt_proj.bias": ours.rate.bias,
        "A_log": ours.log_decay,
        "D": ours.skip,
    }
    x = noise(STEPS, BATCH, 5)
    expected = functional_call(block, weights, (ours.enter(x)[0],))
    expected = expected * nn.functional.silu(ours.gate(x)[0])
    inputs = {"x": x, **dict(ours.named_parameters())}
    assert_agree([ours(x)[0]], [expected], inputs, rounded=("log_decay", "skip"))


@pytest.mark.parametrize(("oracle", "present"), [("PeepholeLSTM", True), ("OriginalLSTM", False)])
def test_lstms_with_and_without_peepholes_and_forget_gate_agree(oracle, present):
    """The equations are the same: in both the output gate sees the new cell, others the old."""
    torchrecurrent = pytest.importorskip("torchrecurrent")
    torch.manual_seed(0)
    ours = randomised(PeepholeLSTM(5, 7, peepholes=present, forget_gate=present))
    theirs = getattr(torchrecurrent, oracle)(5, 7, recurrent_bias=False).double()

    def gates(parameter, indices):  # in the oracle's order: i f g o, peepholes i f o
        return torch.cat([parameter.reshape(-1, 7, *parameter.shape[1:])[i] for i in indices])

    order = (1, 3, 0, 2) if present else (1, 0, 2)
    weights = {
        "cells.0.weight_ih": gates(ours.w_in.weight, order),
        "cells.0.weight_hh": gates(ours.w_rec.weight, order),
        "cells.0.bias_ih": gates(ours.w_in.bias, order),
    }
    if present:
        weights["cells.0.weight_ph"] = gates(ours.peephole.flatten(), (0, 2, 1))
    x, h, c = noise(STEPS, BATCH, 5), noise(BATCH, 7), noise(BATCH, 7)
    y, state = ours(x, {"h": h, "c": c})
    expected, (last_h, last_c) = functional_call(theirs, weights, (x, (h[None], c[None])))
    inputs = {"x": x, "h": h, "c": c, **dict(ours.named_parameters())}
    assert_agree([y, state["h"], state["c"]], [expected, last_h[0], last_c[0]], inputs)


def test_titans_is_the_neural_memory_of_one_matrix_that_is_updated_every_step():
    """In chunks of 1: longer ones share their gates in the oracle, and not in ours.

    Its mean squared error becomes a sum, its RMS norm of keys and queries a unit norm; its gate
    on the outputs of heads is held at 1/2 and undone by the projection behind it.
    """
    titans = pytest.importorskip("titans_pytorch")
    torch.manual_seed(0)
    ours = randomised(Titans(8, 8, heads=2, keys=4, chunk=1))
    theirs = titans.NeuralMemory(
        dim=8,
        heads=2,
        dim_head=4,
        chunk_size=1,
        batch_size=1,
        model=titans.MemoryMLP(4, depth=1),
        store_memory_loss_fn=lambda read, v: (read - v).pow(2).sum(-1),
        activation=nn.SiLU(),
        pre_rmsnorm=False,
        qk_rmsnorm=True,
        mem_model_norm_add_residual=False,
    ).double()
    weights = {
        "to_queries.0.weight": ours.query.weight,
        "to_keys.0.weight": ours.key.weight,
        "to_values.0.weight": ours.value.weight,
        "memory_model_parameters.0": torch.zeros(2, 4, 4).double(),
        "q_norm.gamma": torch.full((2, 1, 4), 4**-0.5 - 1).double(),
        "k_norm.gamma": torch.full((2, 1, 4), 4**-0.5 - 1).double(),
        "retrieve_gate.0.weight": torch.zeros(2, 8).double(),
        "combine_heads.weight": 2 * torch.eye(8).double(),
    }
    for i, name in enumerate(("to_momentum", "to_adaptive_step", "to_decay_factor")):
        weights[f"{name}.0.weight"] = ours.gates.weight.chunk(3)[i]
        weights[f"{name}.0.bias"] = ours.gates.bias.chunk(3)[i]
    x = noise(STEPS, BATCH, 8)
    y, state = ours(x)
    expected, last = functional_call(theirs, weights, (x.transpose(0, 1),))
    memory, momentum = (next(iter(each.values())).view(BATCH, 2, 4, 4) for each in last.states)
    assert_agree(
        [y, state["memory"], state["momentum"]],
        [expected.transpose(0, 1), memory, momentum],
        {"x": x, **dict(ours.named_parameters())},
    )
