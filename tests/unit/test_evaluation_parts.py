"""Evaluation, and training in several processes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_training import VALIDATION, network
from torch import nn

import snnsim as sn
from snnsim.errors import NonFiniteError, ShapeError
from snnsim.layer import Layer
from snnsim.training import (
    distributed,
    evaluate,
    predict,
)
from snnsim.training.evaluate import check_weights, counting_spikes, equally_padded, run_padded

# --- evaluation ----------------------------------------------------------------------------------


def test_batches_are_of_samples_padded_alike():
    lengths = [7, 3, 9, 7, 5, 9, 6, 2]
    found = [(c.tolist(), n) for c, n in equally_padded(lengths, 6, 3)]
    assert found == [([1, 4, 6], 6), ([7], 6), ([0, 3], 7), ([2, 5], 9)]
    assert all(type(n) is int for _, n in found)
    assert [(c.tolist(), n) for c, n in equally_padded(np.array([2, 1]), 0, 9)] == [
        ([1], 1), ([0], 2),
    ]  # fmt: skip


def test_weights_and_buffers_that_are_not_finite_are_named():
    net = network(0)
    check_weights(net)
    net[1].running_var[0] = torch.inf
    with pytest.raises(NonFiniteError, match=r"layers\.1\.running_var of the network"):
        check_weights(net)
    net = network(0)
    net[4].weight.data[0] = torch.nan
    with pytest.raises(NonFiniteError, match=r"layers\.4\.weight"):
        evaluate(net, VALIDATION)


def test_evaluation_is_in_evaluation_mode_and_leaves_the_network_as_it_was():
    net = network(0, dropout=0.9).train()
    net[1].eval()
    kept = {n: b.clone() for n, b in net.named_buffers()}
    first, second = evaluate(net, VALIDATION), evaluate(net, VALIDATION)
    assert first == second and first.samples == 13
    assert net.training and not net[1].training
    assert all(torch.equal(kept[n], b) for n, b in net.named_buffers())


def test_evaluation_is_of_all_samples_whatever_the_batches():
    net = network(0).double()
    data = type(VALIDATION)(13, seed=2, dtype=torch.float64)
    alone = [evaluate(net, data, batch_size=n) for n in (1, 4, 13, 99)]
    for found in alone[1:]:
        assert found.loss == pytest.approx(alone[0].loss, rel=1e-12)
        assert found.firing_rate == pytest.approx(alone[0].firing_rate, rel=1e-12)
        assert (found.accuracy, found.samples) == (alone[0].accuracy, 13)
    x = data.batch(np.arange(13), 11)
    with counting_spikes(net) as totals:
        scores = predict(net, x.x, "sum_softmax", x.lengths, masked=False)
    assert alone[0].firing_rate == pytest.approx(totals[0] / totals[1], rel=1e-12)
    assert alone[0].accuracy == float((scores.argmax(1) == x.labels).double().mean())


def test_a_network_without_neurons_has_a_firing_rate_of_zero():
    assert evaluate(sn.Sequential(sn.Dense(6, 3)), VALIDATION).firing_rate == 0.0


def test_hooks_that_count_spikes_are_gone_afterwards():
    net = network(0)
    with pytest.raises(ZeroDivisionError), counting_spikes(net):
        raise ZeroDivisionError
    assert not any(m._forward_hooks for m in net.modules())


def test_evaluation_of_shares_is_summed_over_processes(monkeypatch):
    """Every process takes its part of each batch, and none where there is none for it."""
    net, data = network(0).double(), type(VALIDATION)(13, seed=2, dtype=torch.float64)
    whole, sums = evaluate(net, data, batch_size=3), []
    monkeypatch.setattr(distributed, "size", lambda: 2)
    monkeypatch.setattr(
        distributed, "sum_over_processes", lambda v, device: sums.append(v.clone()) or v
    )
    for rank in (0, 1):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        evaluate(net, data, batch_size=3)
    correct, loss, samples, spikes, places = (sums[0] + sums[1]).tolist()
    assert samples == 13 and sums[1][2] == 4
    assert correct / 13 == whole.accuracy
    assert loss / 13 == pytest.approx(whole.loss, rel=1e-12)
    assert spikes / places == pytest.approx(whole.firing_rate, rel=1e-12)


class Merging(Layer):
    """Two steps become one; it wants to know the lengths."""

    def __init__(self):
        super().__init__()
        self.told = []

    def forward(self, x, state=None, lengths=None):
        self.told.append((state, lengths))
        return x[::2], None

    def output_lengths(self, lengths):
        return (lengths + 1) // 2


def test_a_network_that_merges_steps_is_told_the_lengths():
    net, lengths = Merging(), torch.tensor([5, 2])
    x = torch.rand(5, 2, 3)
    y, ends = run_padded(net, x, lengths, masked=True)
    assert torch.equal(y, x[::2]) and ends.tolist() == [3, 1]
    assert net.told == [(None, lengths)]
    scores = predict(net, x, "spike_count", lengths)
    assert torch.allclose(scores[1], x[0, 1]) and torch.allclose(scores[0], x[::2, 0].sum(0))


def test_padding_is_added_for_all_tails_but_the_first_and_only_if_masked():
    class Noting(sn.Sequential):
        def forward(self, x, state=None):
            seen.append(len(x))
            return super().forward(x, state)

    seen: list[int] = []
    options = {"dt": 1.0, "padding": "lengthen"}
    net = Noting(*(sn.Delayed(2, 2, max_delay_ms=d, **options) for d in (4, 8, 2))).eval()
    lengths = torch.tensor([6, 3])
    y, ends = run_padded(net, torch.ones(6, 2, 2), lengths, masked=True)
    assert seen == [6 + 4 + 1] and len(y) == 11 + 7 and ends.tolist() == [13, 10]
    y, ends = run_padded(net, torch.ones(6, 2, 2), lengths)
    assert seen[1] == 6 and len(y) == 13 and ends.tolist() == [13, 10]


def test_outputs_shorter_than_their_input_have_its_lengths():
    class Short(nn.Module):
        def forward(self, x):
            return x[:4], None

    lengths = torch.tensor([6, 3])
    y, ends = run_padded(Short(), torch.ones(6, 2, 2), lengths)
    assert len(y) == 4 and ends.tolist() == [6, 3]


def test_predicting_without_lengths_adds_no_padding():
    torch.manual_seed(0)
    options = {"dt": 1.0, "padding": "lengthen"}
    layers = (sn.Delayed(3, 3, max_delay_ms=4, **options) for _ in range(2))
    net, x = sn.Sequential(*layers).eval(), torch.rand(5, 2, 3)
    y = net(x)[0].detach()
    assert len(y) == 9
    assert torch.allclose(predict(net, x, "mean"), y.mean(0), atol=1e-6)


def test_spikes_of_integrators_are_none():
    net = sn.Sequential(sn.Dense(6, 4), sn.LIF(4, dt=1.0), sn.Dense(4, 3), sn.LI(3, dt=1.0))
    with counting_spikes(net) as totals:
        net(torch.ones(5, 2, 6))
    assert totals[1] == 5 * 2 * 4


def test_predicting_without_lengths_counts_all_steps_and_looks_at_the_input():
    net = sn.Sequential(sn.Dense(3, 2)).train()
    x = torch.rand(4, 2, 3)
    every = net(x)[0].detach().mean(0)
    assert torch.allclose(predict(net, x, "mean"), every)
    assert torch.allclose(predict(net, x, "mean", torch.tensor([4, 1]), masked=False), every)
    masked = predict(net, x, "mean", torch.tensor([4, 1]))
    assert torch.allclose(masked[1], net(x)[0][0, 1]) and torch.allclose(masked[0], every[0])
    assert not masked.requires_grad and net.training
    x[0, 0, 0] = torch.nan
    with pytest.raises(NonFiniteError, match="the input is nan"):
        predict(net, x, "mean")
    assert torch.isnan(predict(net, x, "mean", check_finite=False)[0]).all()


# --- processes -----------------------------------------------------------------------------------


def test_alone_everything_is_as_it_was():
    assert not distributed.active() and (distributed.rank(), distributed.size()) == (0, 1)
    values, cpu = torch.ones(2), torch.device("cpu")
    assert distributed.sum_over_processes(values, cpu) is values
    assert distributed.of_first(values, cpu) is values
    assert distributed.agree("a") == "a"
    torch.manual_seed(0)
    before = torch.get_rng_state()
    distributed.same_random_numbers(cpu)
    assert torch.equal(torch.get_rng_state(), before)
    distributed.barrier()
    distributed.stop()
    distributed.broadcast(nn.Linear(1, 1))
    distributed.sum_gradients([])


def test_a_process_joins_only_a_group_that_is_announced(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    made = []
    monkeypatch.setattr(torch.distributed, "init_process_group", made.append)
    cpu = torch.device("cpu")
    assert distributed.start(cpu) == cpu and made == []
    monkeypatch.setenv("RANK", "0")
    assert distributed.start(cpu) == cpu and made == ["gloo"]
    monkeypatch.setenv("LOCAL_RANK", "3")
    chosen = []
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    found = distributed.start(torch.device("cuda"))
    assert found == torch.device("cuda", 3) and chosen == [found] and made == ["gloo", "nccl"]


def test_a_process_does_not_join_twice(group, monkeypatch):
    monkeypatch.setenv("RANK", "0")
    assert distributed.start(torch.device("cpu")) == torch.device("cpu")


def test_a_joint_batch_is_cut_into_even_neighbouring_parts(monkeypatch):
    monkeypatch.setattr(distributed, "size", lambda: 3)
    parts = []
    for rank in range(3):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        parts.append(distributed.share(np.arange(10, 18)).tolist())
    assert parts == [[10, 11, 12], [13, 14, 15], [16, 17]]


def test_sums_of_a_group_leave_what_was_given_alone(group, monkeypatch):
    def doubled(tensor):  # as with a second process of the same values
        tensor.mul_(2)

    monkeypatch.setattr(torch.distributed, "all_reduce", doubled)
    a, b, c = (
        nn.Parameter(torch.ones(2, 3)),
        nn.Parameter(torch.ones(4)),
        nn.Parameter(torch.ones(1)),
    )
    a.grad, b.grad = torch.arange(6.0).view(2, 3), torch.arange(4.0)
    held = a.grad
    distributed.sum_gradients([a, c, b])
    assert a.grad is held and c.grad is None
    assert a.grad.tolist() == [[0, 2, 4], [6, 8, 10]] and b.grad.tolist() == [0, 2, 4, 6]
    found = distributed.sum_over_processes(torch.tensor([1.5]), torch.device("cpu"))
    assert found.tolist() == [3.0]


def test_what_the_first_process_has_is_taken_from_it(group, monkeypatch):
    def from_first(tensor, source):
        assert source == 0
        tensor.fill_(7)

    monkeypatch.setattr(torch.distributed, "broadcast", from_first)
    monkeypatch.setattr(distributed, "rank", lambda: 1)
    net = sn.Sequential(sn.BatchNorm(3))
    distributed.broadcast(net)
    assert all(bool((t == 7).all()) for t in net.state_dict().values())
    assert distributed.of_first(torch.zeros(2), torch.device("cpu")).tolist() == [7, 7]
    monkeypatch.setattr(torch.distributed, "broadcast_object_list",
                        lambda values, source: values.__setitem__(source, "first's"))  # fmt: skip
    assert distributed.agree("mine") == "first's"


def test_random_numbers_are_those_of_the_first_process(group, monkeypatch):
    torch.manual_seed(1)
    others = torch.get_rng_state()
    wanted = torch.rand(3)
    monkeypatch.setattr(torch.distributed, "broadcast", lambda tensor, source: tensor.copy_(others))
    torch.manual_seed(2)
    distributed.same_random_numbers(torch.device("cpu"))
    assert torch.equal(torch.rand(3), wanted)


def test_a_group_is_one_of_its_numbers(group, monkeypatch):
    assert distributed.active() and (distributed.rank(), distributed.size()) == (0, 1)
    waited = []
    monkeypatch.setattr(torch.distributed, "barrier", lambda: waited.append(1))
    distributed.barrier()
    assert waited == [1]


def test_statistics_of_a_joint_batch_keep_layers_apart(group):
    from snnsim.networks import fusion

    layers, x = [sn.BatchNorm(3), sn.LIF(3, dt=1.0)], torch.rand(4, 2, 3)
    assert fusion.fusable(layers) == 2
    assert not fusion.can_run(layers, x)
    layers[0].eval()
    assert fusion.can_run(layers, x)


def test_which_input_the_fused_operator_serves():
    from snnsim.networks import fusion

    layers, x = [sn.BatchNorm(3), sn.LIF(3, dt=1.0)], torch.rand(4, 2, 3)
    assert fusion.can_run(layers, x)
    assert not fusion.can_run(layers, x.double())  # of another precision than the layers
    assert not fusion.can_run(layers, x.half())
    assert not fusion.can_run(layers, x[..., :2])
    assert not fusion.can_run(layers, x[0])
    assert not fusion.can_run(layers, x[:0])
    assert not fusion.can_run(layers, x[:1, :1])  # one value per channel
    layers[0].eval()
    assert fusion.can_run(layers, x[:1, :1])
    with torch.autocast("cpu", torch.bfloat16):
        assert not fusion.can_run(layers, x)
    layers[1].backend = "reference"
    assert not fusion.can_run(layers, x)
    layers[1].backend = "auto"
    layers[0].running_mean = layers[0].running_mean.double()
    assert not fusion.can_run(layers, x)


def test_which_layers_can_be_fused():
    from snnsim.networks import fusion

    norm, neuron, dropout = sn.BatchNorm(3), sn.LIF(3, dt=1.0), sn.Dropout(0.1)
    assert fusion.fusable([norm, neuron, dropout]) == 3
    assert fusion.fusable([norm, neuron, norm]) == fusion.fusable([norm, neuron]) == 2
    for others in ([norm], [], [neuron, norm], [norm, dropout], [norm, sn.LIF(4, dt=1.0)]):
        assert fusion.fusable(others) == 0

    class Named(sn.Neuron):
        state = ("norm_gain",)

        @staticmethod
        def step(x, norm_gain):
            return x, (norm_gain + x,)

    assert fusion.fusable([norm, Named(3, dt=1.0)]) == 0
    with pytest.raises(ShapeError):
        sn.Sequential(norm, neuron)(torch.rand(1, 1, 3))
