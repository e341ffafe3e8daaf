"""Prefix scans in a logarithmic number of steps, and the linear recurrence that uses them.

``y[t] = op(... op(op(e[0], e[1]), e[2]) ..., e[t])`` for an associative ``op``.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from snnsim.errors import ShapeError

Elements = tuple[Tensor, ...]
Operator = Callable[[Elements, Elements], Elements]


def scan(op: Operator, elements: Elements, dim: int = 0) -> Elements:
    """All prefixes of a sequence under an associative operator.

    The recursion of Blelloch 1990: pairs are joined, the half as long sequence of pairs is
    scanned, and what lies between is filled in. About ``2 T`` calls' worth of ``op`` in
    ``2 log2 T`` vectorised calls; backward the same. It agrees bit for bit with torch's
    ``associative_scan(combine_mode="generic")``, which is private and no faster here.

    Args:
        op: ``op(earlier, later)`` on tuples of tensors, elementwise along ``dim`` and
            associative. Gradients flow through it by autograd.
        elements: tensors of the same length ``T`` along ``dim``.
        dim: along which to scan.

    Returns:
        Tensors of the shapes of ``elements``.

    Raises:
        ShapeError: lengths along ``dim`` differ.

    >>> scan(lambda a, b: (a[0] + b[0],), (torch.arange(5),))[0].tolist()
    [0, 1, 3, 6, 10]
    """
    lengths = {e.shape[dim] for e in elements}
    if len(lengths) != 1:
        raise ShapeError(f"elements of a scan have lengths {sorted(lengths)} but need the same")
    if dim != 0:
        moved = scan(op, tuple(e.movedim(dim, 0) for e in elements))
        return tuple(e.movedim(0, dim) for e in moved)
    return _scan(op, elements)


def _scan(op: Operator, elements: Elements) -> Elements:
    length = elements[0].shape[0]
    if length < 2:
        return elements
    pairs = op(tuple(e[:-1:2] for e in elements), tuple(e[1::2] for e in elements))
    odd = _scan(op, pairs)
    between = (length - 1) // 2
    even = op(tuple(o[:between] for o in odd), tuple(e[2::2] for e in elements))
    firsts = (e[:1] for e in elements)
    return tuple(
        _interleaved(torch.cat([first, ev]), od)
        for first, ev, od in zip(firsts, even, odd, strict=True)
    )


def _interleaved(even: Tensor, odd: Tensor) -> Tensor:
    both = torch.stack([even[: len(odd)], odd], 1).flatten(0, 1)
    return both if len(even) == len(odd) else torch.cat([both, even[-1:]])


def linear(earlier: Elements, later: Elements) -> Elements:
    """The operator of ``h[t] = a[t] h[t-1] + b[t]`` on elements ``(a, b)``.

    >>> a, b = torch.tensor([0.5, 0.5, 0.5]), torch.ones(3)
    >>> scan(linear, (a, b))[1].tolist()
    [1.0, 1.5, 1.75]
    """
    return earlier[0] * later[0], earlier[1] * later[0] + later[1]


def linear_recurrence(
    a: Tensor, b: Tensor, h: Tensor | None = None, parallel: bool | None = None
) -> Tensor:
    """All states of ``h[t] = a[t] h[t-1] + b[t]``, elementwise.

    Args:
        a: decays ``[T, ...]``, or anything that broadcasts to the shape of ``b``.
        b: drives ``[T, ...]``.
        h: the state before the first step, of the shape ``b.shape[1:]``; ``None``: 0.
        parallel: whether to scan (more work, few steps) or to go step by step; ``None``: scan
            on all devices but the CPU, where at 100 steps the loop is 2 to 4 times faster.

    Returns:
        ``[T, ...]``. Gradients flow to ``a``, ``b`` and ``h``.

    Raises:
        ShapeError: ``h`` does not fit.

    >>> linear_recurrence(torch.tensor(0.5), torch.ones(3, 1)).flatten().tolist()
    [1.0, 1.5, 1.75]
    """
    if h is not None and h.shape != b.shape[1:]:
        raise ShapeError(f"h has shape {tuple(h.shape)} but b needs {tuple(b.shape[1:])}")
    a = a.expand_as(b)
    if b.shape[0] == 0:
        return b
    parallel = b.device.type != "cpu" if parallel is None else parallel
    h = b.new_zeros(b.shape[1:]) if h is None else h
    if parallel:
        return scan(linear, (a, torch.cat([a[:1] * h + b[:1], b[1:]])))[1]
    states = []
    for decay, drive in zip(a.unbind(), b.unbind(), strict=True):
        h = torch.addcmul(drive, decay, h)
        states.append(h)
    return torch.stack(states)
