"""Twenty training steps side by side with SpikingJelly's LIF and DCLS's layers.

The reference is put together here from the peers' own layers after the description of
Hammouamri et al. 2024 (arXiv:2306.17670), with torch's optimisers and schedulers.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from snnsim_datasets import load
from torch import nn

from snnsim.networks import delay_network
from snnsim.training import Optimizers, Recipe

dcls = pytest.importorskip("DCLS.construct.modules")
pytest.importorskip("spikingjelly")
import itertools

from spikingjelly.activation_based import functional, neuron, surrogate

SIZES = (140, 12, 10, 20)
TAPS, TAU_STEPS = 25, 1.005


class ReferenceBlock(nn.Module):
    """Padding, Dcls1d and, for a hidden block, batch normalisation, LIF and dropout."""

    def __init__(self, n_in: int, n_out: int, hidden: bool):
        super().__init__()
        self.conv = dcls.Dcls1d(
            n_in, n_out, kernel_count=1, dilated_kernel_size=TAPS, bias=False, version="gauss"
        )
        self.conv.SIG.requires_grad_(False)
        self.norm = nn.BatchNorm1d(n_out) if hidden else None
        self.spike = neuron.LIFNode(
            tau=TAU_STEPS,
            decay_input=False,
            v_threshold=1.0 if hidden else 1e9,
            v_reset=0.0,
            surrogate_function=surrogate.ATan(alpha=5.0),
            detach_reset=True,
            step_mode="m",
            store_v_seq=True,
        )

    def forward(self, x, mask):
        """``x [T, B, N]``; the dropout mask is given, so that both systems draw the same."""
        x = nn.functional.pad(x.permute(1, 2, 0), (TAPS - 1, (TAPS - 1) // 2))
        y = self.conv(x).permute(2, 0, 1)
        if self.norm is None:
            self.spike(y)
            return self.spike.v_seq
        y = self.norm(y.flatten(0, 1)).view_as(y)
        return self.spike(y) * mask


class Reference(nn.Module):
    def __init__(self):
        super().__init__()
        last = len(SIZES) - 2
        self.blocks = nn.ModuleList(
            ReferenceBlock(a, b, i < last) for i, (a, b) in enumerate(itertools.pairwise(SIZES))
        )

    def forward(self, x, masks):
        functional.reset_net(self)
        for block, mask in zip(self.blocks, [*masks, None], strict=True):
            x = block(x, mask)
        return x


def pair(dtype: torch.dtype):
    """Our network and the reference with the same weights, positions and widths."""
    torch.manual_seed(0)
    ours = delay_network(SIZES, dt=10.0, tau_mem=10.05, max_delay_ms=240, dropout=0.4).to(dtype)
    reference = Reference().to(dtype)
    with torch.no_grad():
        for mine, block in zip(ours.layers[::4], reference.blocks, strict=True):
            block.conv.weight.copy_(mine.weight)
            block.conv.P.copy_((TAPS // 2 - mine.delay).unsqueeze(0))
            block.conv.SIG.fill_(TAPS // 2)
    return ours.train(), reference.train()


def reference_optimizers(reference: Reference, epochs: int):
    convs = [b.conv for b in reference.blocks]
    norms = [p for b in reference.blocks if b.norm is not None for p in b.norm.parameters()]
    main = torch.optim.Adam(
        [
            {"params": [c.weight for c in convs], "weight_decay": 1e-5},
            {"params": norms, "weight_decay": 0.0},
        ],
        lr=1e-3,
    )
    positions = torch.optim.Adam([c.P for c in convs], lr=0.1)
    return (
        (main, positions),
        (
            torch.optim.lr_scheduler.OneCycleLR(main, max_lr=5e-3, total_steps=epochs),
            torch.optim.lr_scheduler.CosineAnnealingLR(positions, T_max=epochs),
        ),
    )


def loss_of(v, labels):
    """Cross-entropy, with one-hot targets, of the summed softmaxes."""
    targets = nn.functional.one_hot(labels, SIZES[-1]).to(v.dtype)
    return nn.functional.cross_entropy(v.softmax(-1).sum(0), targets)


def gradient_pairs(ours, reference):
    """Name, our gradient and the reference's, for every trained parameter."""
    for i, (mine, block) in enumerate(zip(ours.layers[::4], reference.blocks, strict=True)):
        yield f"weight {i}", mine.weight.grad, block.conv.weight.grad
        yield f"position {i}", mine.delay.grad, -block.conv.P.grad.squeeze(0)
        if block.norm is not None:
            norm = ours.layers[4 * i + 1]
            yield f"norm weight {i}", norm.weight.grad, block.norm.weight.grad
            yield f"norm bias {i}", norm.bias.grad, block.norm.bias.grad


def batches(dtype: torch.dtype, count: int):
    data = load("spoken-digits", "train")
    generator = np.random.default_rng(0)
    for _ in range(count):
        batch = data.batch(generator.choice(len(data), 16, replace=False))
        yield batch.x.to(dtype), batch.labels


def test_twenty_steps_agree_in_loss_and_every_gradient():
    epochs, steps_per_epoch = 10, 4
    ours, reference = pair(torch.float64)
    mine = Optimizers(ours, Recipe(epochs=epochs))
    theirs, schedulers = reference_optimizers(reference, epochs)
    decay_epochs = epochs // 4
    for step, (x, labels) in enumerate(batches(torch.float64, 20)):
        if step % steps_per_epoch == 0:
            epoch = step // steps_per_epoch
            mine.start_epoch(epoch)
            if step:
                for scheduler in schedulers:
                    scheduler.step()
                for block in reference.blocks if epoch - 1 < decay_epochs else ():
                    block.conv.SIG.mul_((0.23 / (TAPS // 2)) ** (1 / decay_epochs))
        mine.zero_grad()
        v, state = ours(x)
        loss = loss_of(v, labels)
        loss.backward()
        masks = [s["mask"] for s in state if isinstance(s, dict) and "mask" in s]
        for optimizer in theirs:
            optimizer.zero_grad()
        v_reference = reference(x, masks)
        expected = loss_of(v_reference, labels)
        expected.backward()
        assert v.shape == v_reference.shape == (x.shape[0] + 3 * 12, 16, 20)
        assert abs(loss.item() - expected.item()) < 1e-9, step
        for name, a, b in gradient_pairs(ours, reference):
            assert float((a - b).abs().max()) < 1e-9 * max(1.0, float(b.abs().max())), (step, name)
        mine.step()
        for optimizer in theirs:
            optimizer.step()
        for block in reference.blocks:
            block.conv.clamp_parameters()
    for layer, block in zip(ours.layers[::4], reference.blocks, strict=True):
        assert torch.allclose(layer.weight, block.conv.weight, atol=1e-9)
        assert torch.allclose(TAPS // 2 - layer.delay, block.conv.P.squeeze(0), atol=1e-9)


def test_evaluation_rounds_like_the_reference():
    """One tap per synapse: SIG 0, triangle version, rounded positions, running statistics."""
    ours, reference = pair(torch.float64)
    (x, _), *_ = batches(torch.float64, 1)
    ours.eval()
    reference.eval()
    with torch.no_grad():
        for block in reference.blocks:
            block.conv.SIG.zero_()
            block.conv.version = block.conv.DCK.version = "max"
            block.conv.P.round_()
            block.conv.clamp_parameters()
        expected = reference(x, [1.0, 1.0])
        assert float((ours(x)[0] - expected).abs().max()) < 1e-9


def test_float32_step_agrees():
    """One step in float32: spikes that differ are ties, so the losses differ by rounding."""
    ours, reference = pair(torch.float32)
    (x, labels), *_ = batches(torch.float32, 1)
    v, state = ours(x)
    masks = [s["mask"] for s in state if isinstance(s, dict) and "mask" in s]
    v_reference = reference(x, masks)
    equal = (v - v_reference).abs().amax(-1) < 1e-4
    assert float(equal.float().mean()) > 0.999
    assert abs(loss_of(v, labels).item() - loss_of(v_reference, labels).item()) < 1e-4
