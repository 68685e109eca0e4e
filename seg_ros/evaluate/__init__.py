"""Measuring: what networks get right, and how fast, on data sets and on bags."""
