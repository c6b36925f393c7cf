"""Figures that the project draws, and the raw layouts of data sets that they are written in."""
