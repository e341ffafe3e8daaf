"""What the compiler says of the CUDA kernels in float32, as a Markdown table.

Occupancy is what registers alone allow: resident threads of the most a multiprocessor takes.
Bytes are those a neuron (or synapse event) moves per step at least; a kernel that does nothing
else takes them divided by the memory bandwidth.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from pathlib import Path

import snnsim as sn
from snnsim.kernels import cuda_runtime
from snnsim.kernels.delay_conv import one_tap_cuda
from snnsim.kernels.scan import cuda as scan

CAPABILITIES = {"sm_80": (8, 0), "sm_90": (9, 0)}
REGISTERS, THREADS, WARP = 65536, 2048, 32  # of a multiprocessor, both architectures
GRANULE = 8  # registers per thread are handed out in eights


def occupancy(registers: int, block: int) -> float:
    """Share of a multiprocessor's threads that can be resident."""
    used = (registers + GRANULE - 1) // GRANULE * GRANULE
    blocks = REGISTERS // (used * block)
    return min(blocks * block, THREADS) / THREADS


def assemble(ptx: str, architecture: str) -> tuple[int, int]:
    """Registers per thread and bytes spilled."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "kernel.ptx"
        source.write_text(ptx)
        command = ["ptxas", "-v", f"-arch={architecture}", "-o", os.devnull, str(source)]
        answer = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    registers = int(re.search(r"Used (\d+) registers", answer).group(1))
    spilled = sum(map(int, re.findall(r"(\d+) bytes spill", answer)))
    return registers, spilled


def kernels():
    """Name, source, entry, signature, and bytes per step of every kernel."""
    for cls in (sn.LIF, sn.CubaLIF, sn.ALIF, sn.SEAdLIF, sn.Izhikevich):
        neuron = cls(64, dt=1.0)
        source = scan.source(neuron.equations, (False,) * len(neuron.equations.params))
        states = len(neuron.equations.states)
        moved = {"forward": 8, "backward": 4 * (4 + 2 * states)}  # x, y; x twice, g_y, g_x, path
        for entry, signature in scan.signatures("float32").items():
            yield f"{cls.__name__} scan, {entry}", source, entry, signature, moved[entry]
    for entry, signature in one_tap_cuda.signatures("float32").items():
        moved = {"accumulate": 16, "correlate": 8}[entry]  # weight, offset, sum twice; x, g
        yield f"whole-step delays, {entry}", one_tap_cuda.SOURCE, entry, signature, moved


def main() -> None:
    heads = [f"{name}: registers, spilled, occupancy" for name in CAPABILITIES]
    print(f"| kernel | {' | '.join(heads)} | bytes per step |\n|---|---|---|---|")
    for name, source, entry, signature, moved in kernels():
        cells = []
        for architecture, capability in CAPABILITIES.items():
            ptx = cuda_runtime.compile_ptx(source, "float32", entry, signature, capability)
            registers, spilled = assemble(ptx, architecture)
            cells.append(f"{registers}, {spilled}, {occupancy(registers, scan.THREADS):.0%}")
        print(f"| {name} | {' | '.join(cells)} | {moved} |")


if __name__ == "__main__":
    main()
