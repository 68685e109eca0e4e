"""Networks, one file each; seg_ros.registry.MODELS names them."""
