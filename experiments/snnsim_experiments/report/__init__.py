"""Reports of runs: one page that needs no network, and the card of a saved network."""
