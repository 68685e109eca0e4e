"""Images: messages, resizing, interpolation."""
