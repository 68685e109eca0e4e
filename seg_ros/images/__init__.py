"""Images: files, messages, resizing, interpolation."""
