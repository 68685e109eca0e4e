"""Superpixels, segments and their binary codes."""
