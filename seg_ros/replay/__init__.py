"""Plays bags to the real node, and records and reports its results; start reading in `run`."""
