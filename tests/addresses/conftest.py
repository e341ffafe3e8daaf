"""These tests run in a process of their own, from ``tests/unit/test_addresses.py``."""

import os

if os.environ.get("NUMBA_BOUNDSCHECK") != "1":
    collect_ignore = ["operators.py"]
