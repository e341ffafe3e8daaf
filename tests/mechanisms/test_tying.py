"""Blocks that share their weights, and how they are trained, against their equations."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from small_training import TRAIN, deep_network, trained_deep_network
from toolbox import random

import snnsim as sn
from snnsim.analysis.stack import stack_of
from snnsim.analysis.tying import KERNEL, NORMS, applications, tie, tied_loss
from snnsim.errors import ConfigError


@pytest.fixture(scope="module")
def trained():
    return trained_deep_network()


def test_the_loss_is_that_of_each_block_by_itself_or_of_all_in_a_row():
    weights = [random(4, 4, seed=seed) - 0.5 for seed in range(3)]
    row = [sn.Dense(4, 4).double() for _ in weights]
    for layer, weight in zip(row, weights, strict=True):
        layer.weight.data = weight
    teacher = [random(6, 2, 4, seed=10 + number) for number in range(4)]
    h = [each.numpy() for each in teacher]

    def error(difference):
        """Of an exponential filter that sums to 1."""
        kept, total = np.exp(-1 / KERNEL), 0.0
        v = np.zeros_like(difference[0])
        for step in difference:
            v = kept * v + (1 - kept) * step
            total += (v**2).mean() / len(difference)
        return total

    forced = sum(error(h[n] @ weights[n].numpy().T - h[n + 1]) for n in range(3))
    free, g = 0.0, h[0]
    for n in range(3):
        g = g @ weights[n].numpy().T
        free += error(g - h[n + 1])
    found = [float(tied_loss(row, teacher, how).detach()) for how in (False, True)]
    assert found == pytest.approx([forced, free], rel=1e-12)
    assert forced != pytest.approx(free)


def test_a_late_spike_is_a_smaller_error_than_a_missing_one():
    spikes = torch.zeros(20, 1, 1)
    spikes[5] = 1
    row = [torch.nn.Identity()]
    late, missing = (
        float(tied_loss(row, [spikes, other], True))
        for other in (spikes.roll(1, 0), torch.zeros_like(spikes))
    )
    assert 0 < late < 0.6 * missing


def norms(block):
    return [module for module in block.modules() if isinstance(module, NORMS)]


def tensors(block):
    """What is shared: all but normalisation."""
    own = {id(tensor) for norm in norms(block) for tensor in (*norm.parameters(), *norm.buffers())}
    return [t for t in (*block.parameters(), *block.buffers()) if id(t) not in own]


def test_a_network_of_equal_blocks_needs_one():
    net = deep_network().eval()
    first, *others = stack_of(net).blocks
    for other in others:
        other.load_state_dict(first.state_dict())
    for number, block in enumerate(stack_of(net).blocks):
        for norm in norms(block):  # each application has its own
            norm.running_mean += 0.1 * number
    tied, x = tie(net, TRAIN, [0, 0, 0], 0), TRAIN.batch(range(5)).x
    assert torch.equal(tied(x)[0], net(x)[0])


@pytest.mark.parametrize("labels", [[0, 0, 0], [0, 1, 1], [0, 1, 2]])
def test_applications_share_all_but_their_normalisation(trained, labels):
    blocks = stack_of(trained).blocks
    row = applications(blocks, np.array(labels))
    for place, block in enumerate(row):
        members = [p for p in range(3) if labels[p] == labels[place]]
        middle = blocks[members[len(members) // 2]]
        for own, expected in zip(tensors(block), tensors(middle), strict=True):
            assert torch.equal(own, expected) and own is not expected
        for norm, expected in zip(norms(block), norms(blocks[place]), strict=True):
            assert torch.equal(norm.running_mean, expected.running_mean)
            assert torch.equal(norm.weight, expected.weight)
        for other in range(place):
            same = [a is b for a, b in zip(tensors(block), tensors(row[other]), strict=True)]
            assert same and all(s == (other in members) for s in same)
            pairs = zip(norms(block), norms(row[other]), strict=True)
            assert all(a.weight is not b.weight for a, b in pairs)


def test_training_goes_on_with_the_statistics_of_each_application(trained):
    before = [n.running_mean.clone() for block in stack_of(trained).blocks for n in norms(block)]
    tied = tie(trained, TRAIN, [0, 0, 0], 1)
    after = [n for block in list(tied)[1:-1] for n in norms(block)]
    assert not tied.training and not any(norm.training for norm in after)
    for norm, mean in zip(after, before, strict=True):
        assert not torch.equal(norm.running_mean, mean)
    again = tie(trained, TRAIN, [0, 0, 0], 0)
    kept = [n.running_mean for block in list(again)[1:-1] for n in norms(block)]
    assert all(torch.equal(a, b) for a, b in zip(kept, before, strict=True))


def free_running_loss(net, tied):
    """Of the row of tied blocks against the teacher."""
    stack, x = stack_of(net), TRAIN.batch(range(22)).x
    with torch.no_grad():
        h = [stack.before(x)[0]]
        for block in stack.blocks:
            h.append(block(h[-1])[0])
        return float(tied_loss(list(tied)[1:-1], h, True))


@pytest.mark.parametrize("labels", [[0, 0, 1], [0, 0, 0]])
def test_training_brings_tied_blocks_nearer_and_leaves_the_teacher_as_it_was(trained, labels):
    before = {name: tensor.clone() for name, tensor in trained.state_dict().items()}
    copies = tie(trained, TRAIN, labels, 0)
    tied = tie(trained, TRAIN, labels, 60, lr=3e-3)
    assert len({id(tensors(block)[0]) for block in list(tied)[1:-1]}) == labels[-1] + 1
    assert free_running_loss(trained, tied) < 0.97 * free_running_loss(trained, copies)
    for name, tensor in trained.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    assert torch.equal(tied[0][0].weight, trained[0].weight)  # only the blocks are trained
    assert torch.equal(tied[-1][0].weight, trained[-2].weight)


def test_phases_must_be_one_for_each_block_and_never_fall(trained):
    for labels in ([0, 1, 0], [0, 1]):
        with pytest.raises(ConfigError, match="never falling"):
            tie(trained, TRAIN, labels, 1)


def test_a_tied_network_continues_a_sequence_and_is_saved_as_copies(tmp_path, trained):
    tied, x = tie(trained, TRAIN, [0, 0, 1], 0), TRAIN.batch(range(5)).x
    whole, _ = tied(x)
    first, state = tied(x[:4])
    torch.testing.assert_close(torch.cat([first, tied(x[4:], state)[0]]), whole)
    file = tmp_path / "tied.safetensors"
    with pytest.raises(ConfigError, match="layers.1.*are one tensor"):
        sn.save(tied, file)
    sn.save(sn.Sequential(*(copy.deepcopy(layer) for layer in tied)), file)
    assert torch.equal(sn.load(file)(x)[0], whole)


def test_both_stages_are_run_teacher_forcing_first(monkeypatch, trained):
    stages = []

    def loss(row, teacher, free):
        stages.append(free)
        return tied_loss(row, teacher, free)

    monkeypatch.setattr("snnsim.analysis.tying.tied_loss", loss)
    tie(trained, TRAIN, [0, 0, 0], 2)
    assert stages == [False, False, True, True]
