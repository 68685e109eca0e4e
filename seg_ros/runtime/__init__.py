"""Backends that run a network, one file each; seg_ros.registry.BACKENDS names them."""
