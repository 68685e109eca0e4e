"""Judges models on bags: accuracy, agreement, stability and latency, frame by frame."""
