"""Relative indices: positions of the entries of a sparse array, in few bits.

S. Han, H. Mao, W. J. Dally, "Deep compression: compressing deep neural networks with pruning, trained
quantization and Huffman coding", ICLR 2016, section 2 and figure 2. The relative index of an entry is the
number of zeros between it and the entry before it. If that number does not fit its bits, a filler is
inserted: an entry of value 0 after as many zeros as fit.
"""

import numpy as np
import numpy.typing as npt

from seg_ros.arrays import UInt8Array
from seg_ros.errors import ModelFileError

N_BITS = 4
"""Number of bits of a relative index, as in the paper for convolutions."""

_N_INDICES = 1 << N_BITS


def encode(positions: npt.NDArray[np.int64]) -> tuple[UInt8Array, npt.NDArray[np.bool_]]:
    """Encode (n,) ascending positions.

    Returns:
        (m,) uint8 relative index of each entry, 0..15, and (m,) bool, False for fillers.
    """
    n_zeros = np.diff(positions, prepend=-1) - 1
    ends = np.cumsum(n_zeros // _N_INDICES + 1) - 1
    n_entries = int(ends[-1]) + 1 if ends.size else 0
    indices, is_real = np.full(n_entries, _N_INDICES - 1, np.uint8), np.zeros(n_entries, bool)
    indices[ends], is_real[ends] = n_zeros % _N_INDICES, True
    return indices, is_real


def decode(indices: UInt8Array, size: int) -> npt.NDArray[np.int64]:
    """Decode relative indices (m,) to the positions of all entries, fillers included.

    Args:
        indices: (m,) uint8 relative indices.
        size: Number of values of the array.

    Returns:
        (m,) int64.

    Raises:
        ModelFileError: An entry is beyond the end of the array.
    """
    positions = np.cumsum(indices.astype(np.int64) + 1) - 1
    if positions.size and positions[-1] >= size:
        raise ModelFileError(f'relative indices lead to position {positions[-1]} of {size} values')
    return positions
