"""Small recordings of event cameras in the formats of their makers, written by their rules."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np


def events(count=200, height=24, width=32, seed=0, last=400_000) -> np.ndarray:
    """Events ``[n, 4]`` of t, x, y, p; the first at 0, one in the last corner."""
    random = np.random.default_rng(seed)
    t = np.sort(random.integers(0, last, count))
    t[0] = 0
    columns = (random.integers(0, most, count) for most in (width, height, 2))
    found = np.stack([t, *columns], 1)
    found[-1, 1:3] = width - 1, height - 1
    return found


def write_evt2(path: Path, given, header="% evt 2.0\n% geometry 32x24\n% end\n") -> None:
    words, high = [], -1
    for t, x, y, p in np.asarray(given).tolist():
        if t >> 6 != high:
            high = t >> 6
            words.append(8 << 28 | high & 0xFFFFFFF)
        words.append(p << 28 | (t & 63) << 22 | x << 11 | y)
    path.write_bytes(header.encode() + struct.pack(f"<{len(words)}I", *words))


EVT3_HEADER = "% evt 3.0\n% format EVT3;height=24;width=32\n% end\n"


def write_evt3(path: Path, given, header=EVT3_HEADER, vectors=True) -> None:
    """Events of one time, row and polarity in ascending columns become vectors of 12 or 8."""
    words, high, low, row = [], -1, -1, -1
    rows = np.asarray(given).tolist()
    place = 0
    while place < len(rows):
        t, x, y, p = rows[place]
        if t >> 12 != high:
            high, low = t >> 12, 0
            words.append(8 << 12 | high & 0xFFF)
        if t & 0xFFF != low:
            low = t & 0xFFF
            words.append(6 << 12 | low)
        if y != row:
            row = y
            words.append(y)
        together = [x]
        while vectors and place + len(together) < len(rows):
            following = rows[place + len(together)]
            if following[::2] != [t, y] or following[3] != p or following[1] <= together[-1]:
                break
            together.append(following[1])
        place += len(together)
        words += _columns(together, p)
    path.write_bytes(header.encode() + struct.pack(f"<{len(words)}H", *words))


def _columns(together, p) -> list[int]:
    if len(together) == 1:
        return [2 << 12 | p << 11 | together[0]]
    words, base = [3 << 12 | p << 11 | together[0]], together[0]
    left = set(together)
    while left:
        width = 12 if len(words) % 2 else 8  # both kinds
        mine = {x for x in left if base <= x < base + width}
        words.append((4 if width == 12 else 5) << 12 | sum(1 << (x - base) for x in mine))
        left -= mine
        base += width
    return words


def write_dat(path: Path, given, header="% Version 2\n% Width 32\n% Height 24\n") -> None:
    words = []
    for t, x, y, p in np.asarray(given).tolist():
        words += [t & 0xFFFFFFFF, p << 28 | y << 14 | x]
    path.write_bytes(header.encode() + bytes([12, 8]) + struct.pack(f"<{len(words)}I", *words))


def write_addresses(path: Path, given) -> None:
    content, overflows = b"", 0
    for t, x, y, p in np.asarray(given).tolist():
        while t - overflows * 8192 >= 8192:
            content += bytes([0, 240, 0, 0, 0])
            overflows += 1
        content += bytes([x, y]) + (p << 23 | t - overflows * 8192).to_bytes(3, "big")
    path.write_bytes(content)


def write_npz(path: Path, given) -> None:
    t, x, y, p = np.asarray(given).T
    np.savez(path, t=t, x=x.astype(np.uint16), y=y.astype(np.uint16), p=p.astype(bool))


def write_structured(path: Path, given) -> None:
    kind = [("x", "<u2"), ("y", "<u2"), ("polarity", "?"), ("timestamp", "<i8")]
    made = np.zeros(len(given), kind)
    made["timestamp"], made["x"], made["y"], made["polarity"] = np.asarray(given).T
    np.save(path, made)


def write_csv(path: Path, given, header="t,x,y,p\n") -> None:
    path.write_text(header + "".join(",".join(map(str, row)) + "\n" for row in given.tolist()))


WRITERS = {
    "evt2.raw": write_evt2,
    "evt3.raw": write_evt3,
    "a.dat": write_dat,
    "a.bin": write_addresses,
    "a.npz": write_npz,
    "a.npy": write_structured,
    "a.csv": write_csv,
}
DECLARING = ("evt2.raw", "evt3.raw", "a.dat")  # whose header has the size of the camera
