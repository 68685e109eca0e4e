"""Bags played through the real node, and what it published."""
