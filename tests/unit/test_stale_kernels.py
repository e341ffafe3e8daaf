"""A compiled kernel is made anew when anything it calls has changed, and kept when nothing has."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import snnsim
from snnsim.kernels import cache, plain_vector

PROGRAM = """
import numba, sys, torch
from snnsim.kernels.delay_conv import shifts, delay_conv
x = torch.arange(120.0).sin().abs().view(30, 2, 2)
one = torch.ones(2, 2, 1)
print(delay_conv(x, one, 2 * one, 0.0, length=5, profile="one_tap", backend="one_tap").sum().item())
print(sum(shifts.accumulate.stats.cache_misses.values()))
"""
WHOLE = "return builder.fadd(product, args[2], flags"
BROKEN = WHOLE.replace("fadd", "fsub")


@pytest.fixture
def copy(tmp_path):
    shutil.copytree(
        Path(snnsim.__file__).parent, tmp_path / "snnsim", ignore=shutil.ignore_patterns("*.pyc")
    )
    return tmp_path


def run(copy) -> tuple[float, int]:
    """Its result, and how many kernels were compiled for it."""
    places = {"PYTHONPATH": str(copy), "SNNSIM_CACHE_DIR": str(copy / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=copy,
        env=os.environ | places,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    total, misses = done.stdout.split()
    return float(total), int(misses)


@pytest.mark.slow
def test_a_change_in_what_a_kernel_calls_reaches_it(copy):
    vector = copy / "snnsim" / "kernels" / "vector.py"
    text = vector.read_text()
    assert text.count(WHOLE) == 2
    right, compiled = run(copy)
    assert right > 0 and compiled == 1
    vector.write_text(text.replace(WHOLE, BROKEN))
    assert run(copy)[0] != right
    vector.write_text(text)
    assert run(copy) == (right, 0)


def test_the_text_of_a_kernel_holds_all_it_imports_and_no_more():
    text = cache.text_of("snnsim.kernels.delay_conv.spikes")
    for part in ("def accumulate(spikes", "def fma(typing", "OFFSET = {", "BEFORE = "):
        assert part in text
    assert "class LIF" not in text


def test_kernels_that_were_not_used_for_longest_go_first(tmp_path):
    (tmp_path / "__pycache__").mkdir()
    for n in range(6):
        for place in (f"kernel_{n}.py", f"__pycache__/kernel_{n}.forward-1.nbi"):
            (tmp_path / place).write_text("")
            os.utime(tmp_path / place, (1000 + n, 1000 + n))
    cache.write_once(tmp_path / "kernel_0.py", "")  # used again
    cache.evict(tmp_path, 3)
    assert {p.name for p in tmp_path.glob("*.py")} == {"kernel_0.py", "kernel_4.py", "kernel_5.py"}
    left = {p.name for p in (tmp_path / "__pycache__").iterdir()}
    assert left == {f"kernel_{n}.forward-1.nbi" for n in (0, 4, 5)}


def test_a_kernel_that_is_used_again_keeps_the_date_at_which_it_was_written(tmp_path):
    """Else numba up to 0.66 takes what it compiled from it for stale."""
    path = tmp_path / "kernel_0.py"
    cache.write_once(path, "text")
    os.utime(path, (1000, 1000))
    cache.write_once(path, "text")
    assert path.stat().st_mtime == 1000 and path.stat().st_atime > 1000


def test_vectors_in_registers_do_what_they_do_in_numpy():
    import numba

    from snnsim.kernels import vector

    @numba.njit
    def compiled(a, b, out, place):
        value = vector.multiply_add(vector.load(a, place), vector.load(b, 0), vector.zeros_like(a))
        value = vector.fma(a[0], vector.load(b, place), value)
        vector.store(out, 1, value)
        narrow = vector.fma(b[1], vector.load_narrow(a, place), vector.load_narrow(b, 2))
        vector.store(out, 40, narrow)
        return vector.total(value)

    p = plain_vector
    random = np.random.default_rng(0)
    a, b = random.standard_normal((2, 50))
    found, expected = np.zeros(60), np.zeros(60)
    total = compiled(a, b, found, 3)
    value = p.multiply_add(p.load(a, 3), p.load(b, 0), p.zeros_like(a))
    value = p.fma(a[0], p.load(b, 3), value)
    p.store(expected, 1, value)
    p.store(expected, 40, p.fma(b[1], p.load_narrow(a, 3), p.load_narrow(b, 2)))
    np.testing.assert_allclose(found, expected, atol=1e-14)
    assert total == pytest.approx(float(p.total(value)), abs=1e-12)


def test_without_a_compiler_the_same_comes_out():
    program = (
        "import torch, snnsim as sn; torch.manual_seed(0); "
        "net = sn.Sequential(sn.Delayed(3, 4, dt=1.0, max_delay_ms=4, sigma=0.1, "
        "backend='events'), sn.LIF(4, dt=1.0)); x = (torch.rand(9, 2, 3) < 0.5).float(); "
        "y, _ = net(x); "
        "y.sum().backward(); print(y.sum().item(), net[0].weight.grad.sum().item())"
    )
    results = []
    for value in ("0", "1"):
        done = subprocess.run(
            [sys.executable, "-c", program], env=os.environ | {"NUMBA_DISABLE_JIT": value},
            capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        results.append([float(v) for v in done.stdout.split()])
    assert results[0] == pytest.approx(results[1], rel=1e-4)
    assert results[0][0] > 0


def test_a_source_that_cannot_be_found_is_no_empty_text(monkeypatch):
    """A kernel under the digest of nothing would be taken for any other."""
    import importlib.util

    with pytest.raises(ImportError, match="no_such_kernel"):
        cache.text_of("snnsim.kernels.no_such_kernel")
    cache.text_of.cache_clear()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)  # as tests of plots do
    assert "def accumulate" in cache.text_of("snnsim.kernels.delay_conv.spikes")
