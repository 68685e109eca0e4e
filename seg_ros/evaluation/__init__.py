"""Measuring models: accuracy, size, speed, sensitivity, and what units respond to."""
