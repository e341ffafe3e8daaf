"""Neuron scan with a recurrent matrix product inside the time loop. See README.md."""
