"""Metrics for label images and for segments."""
