"""What can be added to any model: joins, attention over its past, sparsity, recoding, chunks."""
