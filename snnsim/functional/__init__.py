"""Pure torch functions: delay kernels, read-outs, losses. No modules, no state, no numba."""
