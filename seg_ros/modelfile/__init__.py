"""Model files: metadata, tensors, packing, golden record."""
