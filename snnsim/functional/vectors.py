"""Structured records as vectors: binding by orthogonal matrices, bundling by sums.

An object is ``sum_r M_r enc(value_r)`` with a random orthogonal matrix per role, so norms and
angles survive any depth of nesting and ``M_r^T`` takes a value out again (plus noise of the
other roles). Source: Gallant 2022 (arXiv:2202.04771).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from snnsim.errors import ConfigError


def random_orthogonal(n: int, generator: torch.Generator | None = None) -> Tensor:
    """Return a matrix ``[n, n]`` from the uniform (Haar) distribution over orthogonal matrices.

    >>> m = random_orthogonal(5, torch.Generator().manual_seed(0))
    >>> bool(torch.allclose(m @ m.t(), torch.eye(5), atol=1e-5))
    True
    """
    q, r = torch.linalg.qr(torch.randn(n, n, generator=generator, dtype=torch.float64))
    # QR leaves the signs of r's diagonal to the library; they decide the distribution
    return (q * r.diagonal().sign()).to(torch.get_default_dtype())


class RecordEncoder:
    """A ``RecordEncoder`` turns JSON-like records into vectors; their cosine is the similarity.

    Text, true, false and null are random unit vectors; numbers vary smoothly on the scale of their
    logarithm, so 100 and 110 are similar and 100 and 100000 are not.

    Args:
        size: the length of the vectors, at least 2.
        seed: the seed of everything random.

    >>> encoder = RecordEncoder(256)
    >>> a, b, c = (encoder.encode(r) for r in (
    ...     {"net": {"layers": 2}, "lr": 0.1}, {"net": {"layers": 2}, "lr": 0.11},
    ...     {"net": {"layers": 9}, "lr": 3.0}))
    >>> bool(a @ b > a @ c)
    True
    """

    def __init__(self, size: int = 512, seed: int = 0):
        if size < 2:
            raise ConfigError(f"size is {size} but must be 2 or more")
        self.size, self.seed = size, seed
        self.role = cache(self._role)
        self.scalar = cache(self._scalar)

    def encode(self, value: Any) -> Tensor:
        """Return the vector of a record, ``[size]``; its norm is 1 unless the record is empty.

        Args:
            value: nested mappings, sequences, text, numbers, booleans and ``None``.

        Raises:
            ConfigError: if the record holds anything else.
        """
        if isinstance(value, Mapping):
            parts = [self.role(str(key)) @ self.encode(each) for key, each in value.items()]
        elif isinstance(value, Sequence) and not isinstance(value, str):
            parts, place = [], self.role("\x00next")
            for each in reversed(value):  # the first is bound once, the second twice, ...
                bound = [place @ part for part in parts]
                parts = [place @ self.encode(each), *bound]
        elif isinstance(value, bool) or value is None or isinstance(value, str):
            return self.scalar(repr(value))
        elif isinstance(value, int | float):
            return self._number(float(value))
        else:
            raise ConfigError(
                f"a record holds {type(value).__name__}; it may hold mappings, sequences, text, "
                "numbers, true, false and null"
            )
        total = torch.stack(parts).sum(0) if parts else torch.zeros(self.size)
        return total / total.norm().clamp(min=1e-12)

    def unbind(self, vector: Tensor, *path: str) -> Tensor:
        """Return the vector under a path of keys, plus noise from what lies beside it."""
        for key in path:
            vector = self.role(key).t() @ vector
        return vector

    def _generator(self, text: str) -> torch.Generator:
        digest = hashlib.sha256(f"{self.seed}/{text}".encode()).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)

    def _role(self, key: str) -> Tensor:
        return random_orthogonal(self.size, self._generator(f"role {key}"))

    def _scalar(self, text: str) -> Tensor:
        vector = torch.randn(self.size, generator=self._generator(f"scalar {text}"))
        return vector / vector.norm()

    def _number(self, value: float) -> Tensor:
        """Random Fourier features of the signed logarithm: alike within a third of a decade."""
        if not math.isfinite(value):
            return self.scalar(repr(value))
        place = math.copysign(math.log10(1 + 1000 * abs(value)), value)
        generator = self._generator("number")
        frequency = 3.0 * torch.randn(self.size // 2, generator=generator) * place
        waves = torch.cat([frequency.cos(), frequency.sin()])
        waves = torch.cat([waves, torch.zeros(self.size - len(waves))])
        return waves / waves.norm()


def nearest(vector: Tensor, others: Tensor, count: int = 5) -> list[tuple[int, float]]:
    """Return indices and cosines of the rows of ``others [n, size]`` most similar to ``vector``.

    >>> nearest(torch.tensor([1.0, 0.0]), torch.eye(2), 1)
    [(0, 1.0)]
    """
    lengths = others.norm(dim=1) * vector.norm()
    cosines = others @ vector / lengths.clamp(min=1e-12)
    best = cosines.topk(min(count, len(others)))
    return list(zip(best.indices.tolist(), best.values.tolist(), strict=True))
