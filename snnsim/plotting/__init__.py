"""Plots of training, spikes and delays. Needs matplotlib: ``pip install 'snnsim[viz]'``."""

from snnsim.plotting.figures import curves, delay_histogram, raster, save

__all__ = ["curves", "delay_histogram", "raster", "save"]
