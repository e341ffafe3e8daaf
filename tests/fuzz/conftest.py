"""The modules of this folder import each other by their names."""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

# Not wholly kept yet (docs/reliability.md): run with SNNSIM_ALL_TESTS=1.
if not os.environ.get("SNNSIM_ALL_TESTS"):
    collect_ignore = ["test_settings.py"]
