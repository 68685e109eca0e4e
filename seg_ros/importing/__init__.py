"""Networks of others become model files: ONNX graphs as they are, and public weights of known networks."""
