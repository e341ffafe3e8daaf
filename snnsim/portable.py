"""The same results, to the bit, on every x86-64 processor with AVX2, whoever made it.

Libraries take other paths on other processors: sums in another order, functions with other last
digits. With ``SNNSIM_PORTABLE=1`` in the environment, ``snnsim`` and everything that imports
``snnsim_experiments`` before torch take one path everywhere. It is slower, and on one thread.

What is not covered: torch's ``sqrt`` outside of the optimiser, which MKL begins with an
approximation that each maker has its own of, and functions of numpy in double precision.
"""

from __future__ import annotations

import os

# read when the libraries are loaded
SETTINGS = {
    "MKL_CBWR": "COMPATIBLE",  # the only one that is the same on processors of other makers
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "NUMBA_CPU_NAME": "haswell",
    "NUMBA_CPU_FEATURES": "",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}
VARIABLE = "SNNSIM_PORTABLE"


def take_one_path() -> None:
    """Set the environment of the libraries, if portable results were asked for."""
    if os.environ.get(VARIABLE, "") not in ("", "0"):
        os.environ.update(SETTINGS)


def is_portable() -> bool:
    """Return whether this process computes as on any other x86-64 processor with AVX2."""
    return all(os.environ.get(name) == value for name, value in SETTINGS.items())
