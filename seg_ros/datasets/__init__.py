"""Data sets, one file each; ``registry`` names them."""
