"""The compiled loops of the embedding filter; importing this needs Numba."""

import numpy as np
import numpy.typing as npt

from seg_ros.compiling import compiled
from seg_ros.kernels import exp

Float32Array = npt.NDArray[np.float32]

_ZERO, _ONE = np.float32(0), np.float32(1)


@compiled
def average_rows(
    values: Float32Array,
    embeddings: Float32Array,
    hardness: np.float32,
    radius: int,
    start: int,
    stop: int,
    averaged: Float32Array,
) -> None:
    """Rows ``start`` to ``stop`` of one iteration; see ``seg_ros.models.masked_average.masked_average``.

    The mask of a row against a row of the window, moved by some pixels, is computed and used at once: it is
    all that is kept of the window.

    Args:
        values: (K, h, w).
        embeddings: (D, h, w).
        hardness: above 0.
        radius: of the window, which spans 2 * radius + 1 pixels each way.
        start, stop: rows of the map.
        averaged: (K, h, w), written.
    """
    n_values, height, width = values.shape
    sums = np.empty((n_values, width), np.float32)
    total = np.empty(width, np.float32)
    room = np.empty(width, np.float32)
    for y in range(start, stop):
        sums[:] = _ZERO
        total[:] = _ZERO
        for v in range(max(y - radius, 0), min(y + radius + 1, height)):
            for right in range(-radius, radius + 1):
                first, n_columns = max(-right, 0), width - abs(right)
                mask = room[:n_columns]
                mask[:] = _ZERO
                for d in range(embeddings.shape[0]):
                    here = embeddings[d, y, first : first + n_columns]
                    there = embeddings[d, v, first + right : first + right + n_columns]
                    for x in range(n_columns):
                        mask[x] -= abs(here[x] - there[x])
                weights = total[first : first + n_columns]
                for x in range(n_columns):
                    mask[x] = exp(hardness * mask[x])
                    weights[x] += mask[x]
                for k in range(n_values):
                    row = values[k, v, first + right : first + right + n_columns]
                    out = sums[k, first : first + n_columns]
                    for x in range(n_columns):
                        out[x] += mask[x] * row[x]
        for k in range(n_values):
            for x in range(width):
                averaged[k, y, x] = sums[k, x] / total[x]
