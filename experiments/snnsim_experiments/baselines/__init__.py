"""Rate-coded baselines on the data sets of the spiking networks."""
