"""Measurement of models: accuracy, size, speed, sensitivity, units of layers, embeddings and segments."""
