"""Feed-forward neuron scan: the time loop around a neuron's step. See README.md."""
