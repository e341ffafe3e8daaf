"""The CUDA kernels without a GPU: in numba's simulator, and compiled to PTX and machine code."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from snnsim.errors import BackendError
from snnsim.kernels import cuda_runtime
from snnsim.kernels.delay_conv import one_tap_cuda
from snnsim.kernels.recurrent_scan import cuda as recurrent_scan
from snnsim.kernels.scan import cuda as scan
from snnsim.neurons import LIF
from snnsim.surrogate import SURROGATES

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
from models import make, neuron_classes

CAPABILITIES = [(8, 0), (9, 0)]
SCANS = {"scan": scan, "recurrent_scan": recurrent_scan}


def missing(what: str) -> None:
    """Skip, or fail where the environment promises everything."""
    (pytest.fail if os.environ.get("SNNSIM_REQUIRE_CUDA_TOOLS") == "1" else pytest.skip)(what)


def ptx(kernels, neuron, name, capability) -> str:
    source = kernels.source(neuron.equations, tuple([True] * len(neuron.equations.params)))
    return compiled(source, name, kernels.signatures("float32")[name], capability)


def compiled(source, name, signature, capability) -> str:
    try:
        return cuda_runtime.compile_ptx(source, "float32", name, signature, capability)
    except (BackendError, ImportError, RuntimeError) as error:
        if "libnvrtc" in str(error) or "libnvvm" in str(error) or "numba-cuda" in str(error):
            missing(f"no CUDA compiler: {error}")
        raise


def assemble(text: str, capability: tuple[int, int], folder: Path) -> str:
    """What ptxas says of registers and spills."""
    ptxas = shutil.which("ptxas")
    if ptxas is None:
        missing("ptxas is not on the path")
    source = folder / "kernel.ptx"
    source.write_text(text)
    architecture = "sm_{}{}".format(*capability)
    command = [ptxas, "-v", f"-arch={architecture}", "-o", os.devnull, str(source)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    return answer.stderr


def test_simulator_equals_cpu():
    """Every neuron, both scans, outputs and all gradients, in numba's CUDA simulator."""
    pytest.importorskip("numba_cuda")
    environment = {**os.environ, "NUMBA_ENABLE_CUDASIM": "1"}
    command = [sys.executable, str(HERE / "cuda_simulator.py")]
    answer = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert answer.stdout.strip().endswith("all equal")


@pytest.mark.parametrize("capability", CAPABILITIES, ids=["sm_80", "sm_90"])
@pytest.mark.parametrize("package", SCANS)
@pytest.mark.parametrize("cls", neuron_classes(), ids=lambda c: c.__name__)
def test_float32_kernels_have_no_double_and_no_spill(cls, package, capability, tmp_path):
    for name in ("forward", "backward"):
        text = ptx(SCANS[package], make(cls, 4), name, capability)
        assert ".f64" not in text
        report = assemble(text, capability, tmp_path)
        assert "0 bytes spill stores, 0 bytes spill loads" in report
        assert int(re.search(r"Used (\d+) registers", report).group(1)) <= 255


@pytest.mark.parametrize("capability", CAPABILITIES, ids=["sm_80", "sm_90"])
@pytest.mark.parametrize("name", ["accumulate", "correlate"])
def test_float32_delay_kernels_have_no_double_and_no_spill(name, capability, tmp_path):
    signature = one_tap_cuda.signatures("float32")[name]
    text = compiled(one_tap_cuda.SOURCE, name, signature, capability)
    assert ".f64" not in text
    report = assemble(text, capability, tmp_path)
    assert "0 bytes spill stores, 0 bytes spill loads" in report


@pytest.mark.parametrize("surrogate", SURROGATES)
def test_every_surrogate_compiles_for_the_gpu(surrogate, tmp_path):
    neuron = LIF(4, dt=1.0, surrogate=surrogate, detach_reset=False)
    text = ptx(scan, neuron, "backward", (8, 0))
    assert ".f64" not in text
    assert "0 bytes spill stores, 0 bytes spill loads" in assemble(text, (8, 0), tmp_path)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_named_backend_that_cannot_run_says_why():
    with pytest.raises(BackendError, match="device 'cpu'"):
        LIF(3, dt=1.0, backend="cuda")(torch.zeros(2, 1, 3))
