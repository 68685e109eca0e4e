"""Damage inside the compressed pixels of JPEG files, which decoders pass over (ITU T.81, annex F).

Damage shifts the codes behind it, so that the pixels end before or after their compressed data, or codes are
met that do not exist. Sequential files are checked; progressive and arithmetic ones are not.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from seg_ros._numba import compiled
from seg_ros.errors import ImageError

_WITHIN_PIXELS = {b'', b'\0', b'\xff', *(bytes([marker]) for marker in range(0xD0, 0xD8))}
_RESTART = re.compile(rb'\xff+[\xd0-\xd7]')
_HUFFMAN, _SCAN, _END, _INTERVAL = 0xC4, 0xDA, 0xD9, 0xDD
_SEQUENTIAL, _OTHER_FRAMES = (0xC0, 0xC1), (*range(0xC2, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xD0))
_AHEAD, _END_OF_BLOCK, _LATER_BITS = 64, 128, 7
_SPARE_BYTES = 8
"""Number of bytes behind the last pixel that are no damage: some cameras leave a few there in every image."""

_Table = npt.NDArray[np.uint16]
_Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class _FrameComponent:
    """Sampling factors of a component."""

    across: int
    down: int


class _SequentialFile:
    """The part of a sequential JPEG file that has been read: frame, tables, restart interval."""

    def __init__(self) -> None:
        self.height = self.width = self.interval = 0
        self.components: dict[int, _FrameComponent] = {}
        self.tables: dict[int, _Table] = {}

    def read_frame(self, segment: bytes) -> None:
        """Read a frame header."""
        self.height, self.width = (int.from_bytes(segment[k : k + 2], 'big') for k in (1, 3))
        for k in range(6, 6 + 3 * segment[5], 3):
            self.components[segment[k]] = _FrameComponent(segment[k + 1] >> 4, segment[k + 1] & 15)

    def read_tables(self, segment: bytes) -> None:
        """Read Huffman tables."""
        while segment:
            n_symbols = sum(segment[1:17])
            self.tables[segment[0]] = _look_up_table(
                segment[1:17], segment[17 : 17 + n_symbols], is_first=segment[0] < 16
            )
            segment = segment[17 + n_symbols :]

    def is_damaged(self, segment: bytes, pixels: bytes) -> bool:
        """Whether the compressed pixels of a scan, behind its header, are damaged."""
        scanned = [segment[k : k + 2] for k in range(1, 1 + 2 * segment[0], 2)]
        n_left, tables = self._n_units([key for key, _ in scanned]), []
        for key, table in scanned:
            part = self.components[key]
            if table >> 4 not in self.tables or 16 | table & 15 not in self.tables:
                return False  # of Motion JPEG, whose tables are those of the standard
            n_blocks = part.across * part.down if len(scanned) > 1 else 1
            tables += [(self.tables[table >> 4], self.tables[16 | table & 15])] * n_blocks
        stacked = _stacked(tables)
        for stretch in _RESTART.split(pixels) if self.interval else (pixels,):
            n_units = min(self.interval or n_left, n_left)
            n_left -= n_units
            n_spare = 0 if n_left else _SPARE_BYTES
            if _is_stretch_damaged(stretch, n_units, stacked, n_spare):
                return True
        return n_left > 0

    def _n_units(self, keys: list[int]) -> int:
        """Number of minimum coded units of a scan."""
        most_across = max(part.across for part in self.components.values())
        most_down = max(part.down for part in self.components.values())
        if len(keys) > 1:
            return _ceil(self.width, 8 * most_across) * _ceil(self.height, 8 * most_down)
        part = self.components[keys[0]]
        across, down = _ceil(self.width * part.across, most_across), _ceil(self.height * part.down, most_down)
        return _ceil(across, 8) * _ceil(down, 8)


def check_pixels(content: bytes) -> None:
    """Refuse a JPEG file whose compressed pixels are damaged.

    A change of few bits may give other valid codes of the same number, and is not found then.

    Args:
        content: Content of a complete file; see seg_ros.images.jpeg.

    Raises:
        ImageError: There are more or fewer compressed pixels than the file should have, or invalid codes.
    """
    try:
        if _kernel() is None or not any(_damages(content)):
            return
    except (LookupError, ValueError, ArithmeticError) as err:
        raise ImageError('is a damaged JPEG file') from err
    raise ImageError('is a damaged JPEG file: its pixels are not as many as its size')


def _damages(content: bytes) -> Iterator[bool]:
    """Whether each scan of a sequential file is damaged."""
    file = _SequentialFile()
    for marker, segment, pixels in _segments(content):
        if marker in _OTHER_FRAMES:
            return
        if marker in _SEQUENTIAL:
            file.read_frame(segment)
        elif marker == _HUFFMAN:
            file.read_tables(segment)
        elif marker == _INTERVAL:
            file.interval = int.from_bytes(segment[:2], 'big')
        elif marker == _SCAN and file.height:
            yield file.is_damaged(segment, pixels)


def _segments(content: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Marker and data of each segment, and the compressed pixels behind a scan header."""
    position = 2
    while position + 4 <= len(content):
        if content[position] == 0xFF == content[position + 1]:  # fill byte
            position += 1
            continue
        marker = content[position + 1]
        if marker == _END:
            return
        end = position + 2 + int.from_bytes(content[position + 2 : position + 4], 'big')
        start, position = position + 4, end
        if marker == _SCAN:
            position = _end_of_pixels(content, end)
        yield marker, content[start:end], content[end:position]


def _end_of_pixels(content: bytes, position: int) -> int:
    """Position of the first marker that is not one of restart."""
    while (position := content.find(b'\xff', position)) >= 0:
        if content[position + 1 : position + 2] not in _WITHIN_PIXELS:
            return position
        position += 1
    return len(content)


@lru_cache(maxsize=64)
def _look_up_table(counts: bytes, symbols: bytes, *, is_first: bool) -> _Table:
    """Steps by the next 16 bits: bits of code and value times 256, plus positions in the block; 0 = no code.

    A code that ends the block steps beyond all its positions. The same follows for the first 9 bits alone, 0
    where they do not decide.
    """
    table, code, k = np.zeros(1 << 16, np.uint16), 0, 0
    for length, count in enumerate(counts, start=1):
        for symbol in symbols[k : k + count]:
            n_bits, n_positions = length + (symbol & 15), (symbol >> 4) + 1 if symbol else _END_OF_BLOCK
            if is_first:
                n_bits, n_positions = length + symbol, 1
            table[code << (16 - length) : (code + 1) << (16 - length)] = n_bits << 8 | n_positions
            code += 1
        k, code = k + count, code << 1
    by_start = table.reshape(-1, 1 << _LATER_BITS)
    is_decided = (by_start == by_start[:, :1]).all(axis=1)
    return np.concatenate([table, np.where(is_decided, by_start[:, 0], 0).astype(np.uint16)])


def _stacked(of_blocks: list[tuple[_Table, _Table]]) -> tuple[_Table, _Numbers]:
    """The different tables as one array, and the numbers of both tables of each block."""
    different = list({id(table): table for pair in of_blocks for table in pair}.values())
    number = {id(table): k for k, table in enumerate(different)}
    numbers = np.array([[number[id(table)] for table in pair] for pair in of_blocks], np.int64)
    return np.stack(different), numbers


def _is_stretch_damaged(stretch: bytes, n_units: int, tables: tuple[_Table, _Numbers], n_spare: int) -> bool:
    """Whether data without restart markers are not those of a number of units."""
    kernel = _kernel()
    if kernel is None:
        return False
    data = stretch.replace(b'\xff\0', b'\xff')
    words = np.frombuffer(data + bytes(_AHEAD - len(data) % 4), '>u4').astype(np.uint32)
    end = kernel(words, 8 * len(data), n_units, *tables)
    return end < 0 or len(data[(end + 7) // 8 :].strip(b'\0\xff')) > n_spare


@cache
def _kernel() -> Callable[..., int] | None:
    """The compiled loop; None if Numba is missing, without which it would take too long."""
    try:
        return compiled(_last_bit)
    except ImportError:
        return None


def _last_bit(
    words: npt.NDArray[np.uint32], n_bits: int, n_units: int, tables: _Table, of_blocks: _Numbers
) -> int:
    """Position behind the codes of a number of units; -1 if one is invalid, or the data end before.

    Args:
        words: The data in units of 32 bits, with two more behind ``n_bits``.
        n_bits: Number of bits of the data.
        n_units: Number of minimum coded units.
        tables: (N, 66048) uint16, look-up tables for 16 bits, and behind them for the first 9 of these.
        of_blocks: (M, 2) int64, numbers of the tables for the first and the other values of each block.
    """
    window, n_ahead, word, at = np.uint64(0), 0, 0, 0
    for _ in range(n_units):
        for block in range(len(of_blocks)):
            k = 0
            while k < 64:
                if n_ahead <= 32:
                    window = (window << np.uint64(32)) | np.uint64(words[word])
                    word, n_ahead = word + 1, n_ahead + 32
                table = of_blocks[block, 1 if k else 0]
                bits = (window >> np.uint64(n_ahead - 16)) & np.uint64(0xFFFF)
                step: Any = np.int64(tables[table, np.uint64(65536) + (bits >> np.uint64(7))])
                if step == 0:
                    step = np.int64(tables[table, bits])
                n_ahead, at, k = n_ahead - (step >> 8), at + (step >> 8), k + (step & 255)
                if step == 0 or at > n_bits:
                    return -1
            if 64 < k < 128:
                return -1
    return at


def _ceil(length: int, step: int) -> int:
    return -(-length // step)
