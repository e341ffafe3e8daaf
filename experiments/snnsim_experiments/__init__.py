"""The ``snnsim`` command line: experiments on the project's data sets."""

import os

# Idle OpenMP threads spin by default. On a machine with other work every barrier then waits for
# a core that another process holds, and training slows down tenfold. Read when torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Large memory pages for large tensors: fresh ordinary ones cost more than what is computed in
# them. Only Linux heeds it.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
