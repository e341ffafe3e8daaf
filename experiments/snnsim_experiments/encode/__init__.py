"""Turning recordings into spikes or mel bands: kinds.py, job.py and workers.py, and the command."""
