"""A layer driven by events: connection, delays and neurons in one pass; see README.md."""
