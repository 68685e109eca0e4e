"""Files that users write: bounded reading of bytes and text, YAML, and writing."""
