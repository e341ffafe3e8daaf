"""Chunks of work on threads: every item exactly once, and the same bits for any number."""

from __future__ import annotations

import pytest
import torch
from toolbox import assert_same, gradients

import snnsim as sn
from snnsim.kernels.threads import SMALLEST_PARALLEL_WORK, run_chunked


@pytest.fixture
def threads():
    """A function that sets torch's number of threads for this test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("number", [1, 2, 3, 7])
@pytest.mark.parametrize("items", [1, 2, 5, 100])
def test_every_item_is_done_exactly_once(threads, number, items):
    threads(number)
    done = []
    run_chunked(lambda a, b: done.extend(range(a, b)), (), items, SMALLEST_PARALLEL_WORK)
    assert sorted(done) == list(range(items))


def test_an_error_in_a_thread_is_raised(threads):
    threads(4)

    def fail(first, last):
        if last == 8:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_chunked(fail, (), 8, SMALLEST_PARALLEL_WORK)


@pytest.mark.parametrize("wrap", [lambda n: n, sn.Recurrent], ids=["scan", "recurrent"])
def test_the_number_of_threads_does_not_change_a_bit(threads, wrap):
    torch.manual_seed(0)
    layer = wrap(sn.LIF(65, dt=1.0, learn=["tau_mem", "v_threshold"]))
    x = torch.rand(40, 33, 65, generator=torch.Generator().manual_seed(0))
    assert x.numel() > SMALLEST_PARALLEL_WORK
    results = []
    for number in (1, 2, 5):
        threads(number)
        leaf = x.clone().requires_grad_()
        layer.zero_grad()
        y, _ = layer(leaf)
        y.backward(torch.linspace(0, 1, y.numel()).view_as(y))
        found = {"y": y.detach(), "x.grad": leaf.grad.clone(), **gradients(layer)}
        found.pop("w_rec.grad", None)
        results.append(found)
    for other in results[1:]:
        assert_same(other, results[0])
