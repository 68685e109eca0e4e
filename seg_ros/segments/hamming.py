"""Binary codes, packed into bytes, and their Hamming distances.

Bit k of a code is bit k % 8, least significant first, of byte k // 8.
"""

import numpy as np
import numpy.typing as npt

from seg_ros.arrays import Int32Array, Int64Array, UInt8Array
from seg_ros.errors import ParameterError

_PAIRS_AT_ONCE = 1 << 20
_POPCOUNT = np.array([bin(byte).count('1') for byte in range(256)], np.uint8)


def pack(bits: npt.NDArray[np.bool_]) -> UInt8Array:
    """Pack (N, n_bits) bool into codes, (N, n_bits / 8) uint8.

    Raises:
        ParameterError: The number of bits is not a multiple of 8.
    """
    if bits.ndim != 2 or bits.shape[1] % 8:
        raise ParameterError(f'bits have shape {bits.shape}; expected (N, n_bits), n_bits a multiple of 8')
    return np.packbits(bits, axis=1, bitorder='little')


def unpack(codes: UInt8Array) -> npt.NDArray[np.bool_]:
    """Unpack codes, (N, n_bits / 8) uint8, into (N, n_bits) bool."""
    _check(codes)
    return np.unpackbits(codes, axis=1, bitorder='little').astype(bool)


def hamming(codes: UInt8Array, others: UInt8Array) -> Int32Array:
    """Number of differing bits of each pair of codes.

    Args:
        codes: (N, n_bytes) uint8.
        others: (M, n_bytes) uint8, codes to compare them with.

    Returns:
        (N, M) int32.

    Raises:
        ParameterError: The codes differ in length, or are not packed codes.
    """
    _check_alike(codes, others)
    a, b = _words(codes), _words(others)
    distances = np.empty((len(codes), len(others)), np.int32)
    n_at_once = max(_PAIRS_AT_ONCE // max(len(others), 1), 1)
    for start in range(0, len(codes), n_at_once):
        part = slice(start, start + n_at_once)
        distances[part] = _count(a[part, None] ^ b)
    return distances


def hamming_pairs(
    codes: UInt8Array, pairs: npt.NDArray[np.integer], others: UInt8Array | None = None
) -> Int32Array:
    """Number of differing bits of the two codes of each listed pair.

    Args:
        codes: (N, n_bytes) uint8.
        pairs: (E, 2) integers, indices of codes.
        others: (M, n_bytes) uint8, codes that the second indices refer to; None = ``codes``.

    Returns:
        (E,) int32.

    Raises:
        ParameterError: The codes differ in length, or are not packed codes.
    """
    others = codes if others is None else others
    _check_alike(codes, others)
    words, other_words = _words(codes), _words(others)
    distances = np.empty(len(pairs), np.int32)
    for start in range(0, len(pairs), _PAIRS_AT_ONCE):
        part = slice(start, start + _PAIRS_AT_ONCE)
        distances[part] = _count(words[pairs[part, 0]] ^ other_words[pairs[part, 1]])
    return distances


def nearest_codes(codes: UInt8Array, others: UInt8Array) -> tuple[Int64Array, Int64Array, Int32Array]:
    """Nearest of the other codes for each code, and back; of equally near ones the first.

    Memory is bounded: the distances of all pairs are never held at once.

    Args:
        codes: (N, n_bytes) uint8.
        others: (M, n_bytes) uint8, M of 1 or more.

    Returns:
        (N,) int64, index of the nearest of ``others``; (M,) int64, index of the nearest of ``codes``; (N,)
        int32, number of differing bits of the nearest.

    Raises:
        ParameterError: The codes differ in length, or are not packed codes.
    """
    _check_alike(codes, others)
    nearest, least = np.zeros(len(codes), np.int64), np.zeros(len(codes), np.int32)
    back, back_least = np.zeros(len(others), np.int64), np.full(len(others), np.iinfo(np.int32).max)
    n_at_once = max(_PAIRS_AT_ONCE // max(len(others), 1), 1)
    for start in range(0, len(codes), n_at_once):
        part = hamming(codes[start : start + n_at_once], others)
        nearest[start : start + n_at_once], least[start : start + n_at_once] = part.argmin(1), part.min(1)
        closer = part.min(0) < back_least
        back[closer], back_least[closer] = start + part.argmin(0)[closer], part.min(0)[closer]
    return nearest, back, least


def _words(codes: UInt8Array) -> npt.NDArray[np.unsignedinteger]:
    """The same bits in the longest words that the number of bytes allows."""
    codes = np.ascontiguousarray(codes)
    for word in (np.uint64, np.uint32, np.uint16):
        if codes.shape[1] % np.dtype(word).itemsize == 0:
            return codes.view(word)
    return codes


def _count(words: npt.NDArray[np.unsignedinteger]) -> Int32Array:
    """Number of set bits along the last axis."""
    if hasattr(np, 'bitwise_count'):  # NumPy 2
        ones = np.bitwise_count(words)
    else:
        ones = _POPCOUNT[np.ascontiguousarray(words).view(np.uint8)]
    counts: Int32Array = ones.sum(-1, dtype=np.int32)
    return counts


def _check(codes: UInt8Array) -> None:
    if codes.ndim != 2 or codes.dtype != np.uint8 or not codes.shape[1]:
        raise ParameterError(
            f'codes have shape {codes.shape} and type {codes.dtype}; expected (N, n_bytes) uint8'
        )


def _check_alike(codes: UInt8Array, others: UInt8Array) -> None:
    _check(codes)
    _check(others)
    if codes.shape[1] != others.shape[1]:
        raise ParameterError(
            f'codes of {8 * codes.shape[1]} and {8 * others.shape[1]} bits cannot be compared; use codes of '
            'the same codebook'
        )
