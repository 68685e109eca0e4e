"""Measures of agreement between labels, and between segmentations."""
