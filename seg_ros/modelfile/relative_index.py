"""Positions of what is left in a sparse array, each relative to the one before it, in few bits.

S. Han, H. Mao, W. J. Dally, "Deep compression: compressing deep neural networks with pruning, trained
quantization and Huffman coding", ICLR 2016, section 2 and figure 2. A gap is the number of places left out
between an entry and the one before it. Where it does not fit its bits, a filler, an entry for a zero, is put
after the longest gap that does.
"""

import numpy as np
import numpy.typing as npt

from seg_ros.arrays import UInt8Array
from seg_ros.errors import ModelFileError

N_BITS = 4
"""Bits of a gap, as in the paper for convolutions."""

_N_GAPS = 1 << N_BITS


def encode(positions: npt.NDArray[np.int64]) -> tuple[UInt8Array, npt.NDArray[np.bool_]]:
    """Gaps of (n,) rising positions.

    Returns:
        (m,) uint8 in 0..15, the gap before each entry; (m,) bool, False for fillers.
    """
    left_out = np.diff(positions, prepend=-1) - 1
    ends = np.cumsum(left_out // _N_GAPS + 1) - 1
    n_entries = int(ends[-1]) + 1 if ends.size else 0
    gaps, is_real = np.full(n_entries, _N_GAPS - 1, np.uint8), np.zeros(n_entries, bool)
    gaps[ends], is_real[ends] = left_out % _N_GAPS, True
    return gaps, is_real


def decode(gaps: UInt8Array, size: int) -> npt.NDArray[np.int64]:
    """(m,) int64 positions of all entries, fillers too, in an array of ``size``.

    Raises:
        ModelFileError: an entry is beyond the end.
    """
    positions = np.cumsum(gaps.astype(np.int64) + 1) - 1
    if positions.size and positions[-1] >= size:
        raise ModelFileError(f'gaps lead to position {positions[-1]} of {size} values')
    return positions
