"""The factors that a period of the Fourier transforms may have."""

from __future__ import annotations

RADICES = (4, 2, 3, 5)


def radices(count: int) -> list[int] | None:
    """``count`` as a product of the radices; ``None`` where it has another factor.

    >>> radices(60), radices(7)
    ([4, 3, 5], None)
    """
    found = []
    for radix in RADICES:
        while count % radix == 0:
            found.append(radix)
            count //= radix
    return found if count == 1 else None
