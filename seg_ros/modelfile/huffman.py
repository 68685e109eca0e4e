"""Canonical Huffman coding of whole numbers below 2**16.

Code lengths are optimal under a limit of 16 bits, by package-merge: L. L. Larmore, D. S. Hirschberg, "A fast
algorithm for optimal length-limited Huffman codes", Journal of the ACM 37(3), 1990.

A message is one stream of bits, most significant bit first, padded with zeros to a whole byte. It has three
parts:

1. The size of the alphabet (largest symbol + 1), in Elias' gamma code.
2. For each symbol, the difference of its code length from that of the symbol before it; length 0 = no code.
   Differences 0, 1, -1, 2, ... are written as 1, 2, 3, 4, ... in Elias' gamma code.
3. The codes of the symbols.

A message without symbols has no bits. A message that only repeats its largest symbol has no codes.
"""

import numpy as np
import numpy.typing as npt

from seg_ros._numba import compiled_where_possible
from seg_ros.arrays import Int32Array, Int64Array, UInt8Array, UInt16Array
from seg_ros.errors import ModelFileError, ParameterError

LONGEST = 16
"""Maximum number of bits of a code, enough for an alphabet of 2**16."""

_N_SYMBOLS = 1 << 16


def encode(symbols: npt.NDArray[np.integer]) -> bytes:
    """Encode (n,) whole numbers in 0..65535 as a message; ``b''`` for none.

    Raises:
        ParameterError: The symbols have another shape or dtype, or are out of range.
    """
    if symbols.ndim != 1 or symbols.dtype.kind not in 'iu':
        raise ParameterError(f'symbols are {symbols.dtype} {symbols.shape}; expected (n,) whole numbers')
    if not symbols.size:
        return b''
    if not 0 <= symbols.min() <= symbols.max() < _N_SYMBOLS:
        raise ParameterError(f'symbols are in {symbols.min()}..{symbols.max()}; expected 0..{_N_SYMBOLS - 1}')
    lengths = code_lengths(np.bincount(symbols))
    steps = np.diff(lengths, prepend=0)
    header = np.array([lengths.size, *np.where(steps > 0, 2 * steps, 1 - 2 * steps)])
    values = np.concatenate([header, _codes(lengths)[symbols]])
    # The exponent of frexp is the number of binary digits; gamma code puts one zero less before them.
    widths = np.concatenate([2 * np.frexp(header)[1] - 1, lengths[symbols]])
    out = np.zeros(-(-int(widths.sum()) // 8), np.uint8)
    _write_bits(values, widths, out)
    return out.tobytes()


def decode(data: bytes, n_symbols: int) -> UInt16Array:
    """Decode the symbols of a message.

    Args:
        data: The whole message and nothing else.
        n_symbols: Number of symbols. It is checked, unless the message repeats one symbol.

    Returns:
        (n_symbols,) uint16.

    Raises:
        ModelFileError: ``data`` is not a message of ``n_symbols`` symbols.
    """
    bits = np.frombuffer(data, np.uint8)
    if n_symbols <= 0 or not bits.size:
        if n_symbols or bits.size:
            raise ModelFileError(
                f'{n_symbols} Huffman-coded symbols in {bits.size} bytes; the data are damaged'
            )
        return np.empty(0, np.uint16)
    n_alphabet, place = _read_gamma(bits, 0)
    if not 1 <= n_alphabet <= _N_SYMBOLS:
        raise ModelFileError(
            f'Huffman code with an alphabet of {n_alphabet} symbols; expected 1..{_N_SYMBOLS}'
        )
    lengths = np.zeros(n_alphabet, np.int64)
    place = _read_lengths(bits, place, lengths)
    if place < 0:
        raise ModelFileError(f'Huffman code lengths end too early or are outside 0..{LONGEST}')
    if not lengths.any():
        symbols = np.full(n_symbols, n_alphabet - 1, np.uint16)
    else:
        table, longest = _decoding_table(lengths)
        if n_symbols > 8 * bits.size - place:
            raise ModelFileError(f'{n_symbols} Huffman-coded symbols in {8 * bits.size - place} bits')
        symbols = np.empty(n_symbols, np.uint16)
        place = _read_codes(bits, place, table, longest, symbols)
    n_left = 8 * bits.size - place
    if not 0 <= n_left < 8 or bits[-1] & ((1 << n_left) - 1):
        raise ModelFileError(f'{n_symbols} Huffman-coded symbols end {n_left} bits before their data does')
    return symbols


def code_lengths(counts: npt.NDArray[np.integer], longest: int = LONGEST) -> Int64Array:
    """Number of bits of each symbol's code, for the shortest message.

    Args:
        counts: (n,) number of occurrences of each symbol, 0 or more.
        longest: Maximum number of bits of a code.

    Returns:
        (n,) int64: 1..longest; 0 for symbols that do not occur, and if only one symbol occurs.

    Raises:
        ParameterError: There are more symbols than codes of ``longest`` bits.
    """
    lengths = np.zeros(counts.size, np.int64)
    present = np.flatnonzero(counts)
    n = present.size
    if n < 2:
        return lengths
    if n > 1 << longest:
        raise ParameterError(f'{n} symbols; codes of {longest} bits can distinguish at most {1 << longest}')
    rising = present[np.argsort(counts[present], kind='stable')]
    leaves = counts[rising].astype(np.int64)
    weights, levels = leaves, [np.ones(n, bool)]
    for _ in range(longest - 1):
        pairs = weights[: weights.size // 2 * 2].reshape(-1, 2).sum(1)
        weights = np.concatenate([leaves, pairs])
        order = np.argsort(weights, kind='stable')
        weights = weights[order]
        levels.append(order < n)
    # Take the lightest 2 n - 2 items of the last level, and with each pair its two items of the level before.
    # The code of a leaf has as many bits as there are levels that take it; each takes its rarest.
    n_taken = 2 * n - 2
    for is_leaf in reversed(levels):
        n_leaves = int(is_leaf[:n_taken].sum())
        lengths[rising[:n_leaves]] += 1
        n_taken = 2 * (n_taken - n_leaves)
    return lengths


def _in_order(lengths: Int64Array) -> Int64Array:
    """Symbols that have codes, in the order of their codes."""
    present = np.flatnonzero(lengths)
    return present[np.argsort(lengths[present], kind='stable')]


def _codes(lengths: Int64Array) -> Int64Array:
    """(n,) the canonical code of each symbol, as a number."""
    codes = np.zeros_like(lengths)
    symbols = _in_order(lengths)
    if symbols.size:
        longest = int(lengths.max())
        spans = 1 << (longest - lengths[symbols])
        codes[symbols] = (np.cumsum(spans) - spans) >> (longest - lengths[symbols])
    return codes


def _decoding_table(lengths: Int64Array) -> tuple[Int32Array, int]:
    """Table of all numbers with as many bits as the longest code: 32 * symbol + code length of their prefix.

    Returns:
        The table, (2**longest,) int32, and ``longest``.

    Raises:
        ModelFileError: The lengths are not those of a complete prefix code.
    """
    symbols = _in_order(lengths)
    longest = int(lengths.max())
    spans = 1 << (longest - lengths[symbols])
    if spans.sum() != 1 << longest:
        amount = 'too many' if spans.sum() > 1 << longest else 'too few'
        raise ModelFileError(f'{amount} Huffman codes for their lengths; expected a complete prefix code')
    return np.repeat((symbols * 32 + lengths[symbols]).astype(np.int32), spans), longest


@compiled_where_possible
def _write_bits(values: Int64Array, widths: Int64Array, out: UInt8Array) -> None:
    """Write numbers below 2**17, each with its width of at most 33 bits, one after the other."""
    held, n_held, place = 0, 0, 0
    for k in range(values.size):
        width = int(widths[k])
        held = (held << width) | int(values[k])
        n_held += width
        while n_held >= 8:
            n_held -= 8
            out[place] = held >> n_held
            held &= (1 << n_held) - 1
            place += 1
    if n_held:
        out[place] = held << (8 - n_held)


@compiled_where_possible
def _read_gamma(data: UInt8Array, place: int) -> tuple[int, int]:
    """Read the number below 2**17 at bit ``place``; returns it (0 = damaged) and the place after it."""
    n_bits = 8 * data.size
    n_zeros = 0
    while place < n_bits and n_zeros <= 16 and not (int(data[place >> 3]) >> (7 - (place & 7))) & 1:
        n_zeros += 1
        place += 1
    if n_zeros > 16 or place + n_zeros >= n_bits:
        return 0, place
    number = 0
    for _ in range(n_zeros + 1):
        number = 2 * number + ((int(data[place >> 3]) >> (7 - (place & 7))) & 1)
        place += 1
    return number, place


@compiled_where_possible
def _read_lengths(data: UInt8Array, place: int, lengths: Int64Array) -> int:
    """Read all code lengths from bit ``place``; returns the place after them, -1 if they are damaged."""
    length = 0
    for symbol in range(lengths.size):
        number, place = _read_gamma(data, place)
        step = number // 2
        length += -step if number % 2 else step
        if number == 0 or length < 0 or length > LONGEST:
            return -1
        lengths[symbol] = length
    return place


@compiled_where_possible
def _read_codes(data: UInt8Array, place: int, table: Int32Array, longest: int, symbols: UInt16Array) -> int:
    """Read all symbols from bit ``place``; returns the place after them. Zeros follow the end of the data."""
    byte = (place + 7) >> 3
    n_held = 8 * byte - place
    held = int(data[byte - 1]) & ((1 << n_held) - 1)
    for k in range(symbols.size):
        while n_held < longest:
            held <<= 8
            if byte < data.size:
                held |= int(data[byte])
            byte += 1
            n_held += 8
        entry = int(table[held >> (n_held - longest)])
        symbols[k] = entry >> 5
        n_held -= entry & 31
        held &= (1 << n_held) - 1
    return 8 * byte - n_held
