"""Bilinear interpolation with pixel centres aligned as in torch (align_corners=False)."""

import numpy as np

from seg_ros.arrays import Float32Array, UInt32Array


def neighbours_1d(n_in: int, n_out: int) -> tuple[UInt32Array, Float32Array]:
    """Inputs and weights for linear interpolation along one axis.

    Args:
        n_in: Number of inputs.
        n_out: Number of outputs.

    Returns:
        (n_out,) uint32, index of the input before each output; (n_out,) float32, weight of the input after
        it.
    """
    position = (np.arange(n_out, dtype=np.float32) + np.float32(0.5)) * np.float32(n_in / n_out)
    position = np.clip(position - np.float32(0.5), 0, n_in - 1)
    index = position.astype(np.uint32)
    return index, position - index.astype(np.float32)
