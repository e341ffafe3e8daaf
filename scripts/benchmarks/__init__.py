"""The benchmark: one file per group of cases; run it with ./scripts/bench."""
