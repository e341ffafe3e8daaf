"""What the data sets share: files, events, binning, audio, splits."""
