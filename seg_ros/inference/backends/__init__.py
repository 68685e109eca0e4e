"""Inference backends, one file each; ``registry`` names them, ``select`` chooses one."""
