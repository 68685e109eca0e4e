"""Number of set bits of a word, for compiled loops; NumPy's own ``bitwise_count`` is not known to Numba."""

from typing import Any

import numpy as np

from seg_ros._numba import inlined_where_possible

_TWOS, _FOURS, _EIGHTS = (
    np.uint64(0x5555555555555555),
    np.uint64(0x3333333333333333),
    np.uint64(0x0F0F0F0F0F0F0F0F),
)
_SHIFTS = (np.uint64(1), np.uint64(2), np.uint64(4), np.uint64(8), np.uint64(16), np.uint64(32))
_COUNT = np.uint64(0x7F)


@inlined_where_possible
def n_ones(word: Any) -> int:
    """Number of set bits of a uint64."""
    word = word - ((word >> _SHIFTS[0]) & _TWOS)
    word = (word & _FOURS) + ((word >> _SHIFTS[1]) & _FOURS)
    word = (word + (word >> _SHIFTS[2])) & _EIGHTS
    word = word + (word >> _SHIFTS[3])
    word = word + (word >> _SHIFTS[4])
    word = word + (word >> _SHIFTS[5])
    return int(word & _COUNT)
