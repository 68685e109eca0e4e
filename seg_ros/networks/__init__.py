"""Network architectures, one file each; ``registry`` names them."""
