"""Data sets, and the transforms that training applies to them."""
