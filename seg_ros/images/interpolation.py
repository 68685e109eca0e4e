"""Interpolation and means along one axis, with pixel centres aligned as in torch (align_corners=False)."""

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


def linear_matrix(n_in: int, n_out: int) -> Float32Array:
    """Linear interpolation along one axis as a matrix, (n_out, n_in) float32."""
    index, weight = neighbours_1d(n_in, n_out)
    rows, matrix = np.arange(n_out), np.zeros((n_out, n_in), np.float32)
    matrix[rows, index] = 1 - weight
    matrix[rows, np.minimum(index + 1, n_in - 1)] += weight
    return matrix


def area_matrix(n_in: int, n_out: int) -> Float32Array:
    """Means over the inputs that each output covers, along one axis, as a matrix (n_out, n_in) float32.

    Args:
        n_in: Number of inputs, ``n_out`` or more.
        n_out: Number of outputs.
    """
    edges, starts = np.arange(n_out + 1) * (n_in / n_out), np.arange(n_in)
    covered = np.minimum(edges[1:, None], starts + 1) - np.maximum(edges[:-1, None], starts)
    return np.asarray(covered.clip(0) * (n_out / n_in), np.float32)
