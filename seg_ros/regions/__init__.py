"""Regions of images: superpixels, their binary codes, and segments merged from them."""
