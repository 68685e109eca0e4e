"""PBM, PGM and PPM files: their header, and the samples of PGM and PPM as they are stored (Netpbm)."""

import math
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from seg_ros.errors import ImageError

_TOKEN = re.compile(rb'(?:\s|#[^\n\r]*[\n\r])*([0-9]{1,10})')
_COMMENT = re.compile(rb'#[^\n\r]*')
_BITMAPS, _WRITTEN, _COLOURED = (1, 4), (1, 2, 3), (3, 6)
_MOST = 65535


@dataclass(frozen=True)
class _PnmHeader:
    """Digit behind the P, size, largest possible value, and position behind the header."""

    kind: int
    width: int
    height: int
    most: int
    end: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array of samples."""
        size = self.height, self.width
        return (*size, 3) if self.kind in _COLOURED else size


def parse(content: bytes) -> dict[str, int]:
    """Properties of a PBM, PGM or PPM file, see seg_ros.images.header.ImageHeader.

    Raises:
        ImageError: The file is damaged or ends early.
    """
    header = _read(content)
    n_samples = math.prod(header.shape)
    needed = n_samples * (2 if header.most > 255 else 1)
    if header.kind == 4:
        needed = (header.width + 7) // 8 * header.height
    if header.end + 1 + needed > len(content) + (header.kind in _WRITTEN):
        raise ImageError('is a PNM file that ends early')
    found = {'width': header.width, 'height': header.height, 'bits': header.most.bit_length()}
    return found if header.kind in _BITMAPS else {**found, 'most': header.most}


def samples(content: bytes) -> npt.NDArray[Any]:
    """Samples of a PGM or PPM file as they are stored.

    Returns:
        (H, W) grey or (H, W, 3) RGB; uint8, or uint16 if the header states values above 255.

    Raises:
        ImageError: The file ends early, or has something else than values up to the stated one.
    """
    header = _read(content)
    n_samples = math.prod(header.shape)
    try:
        values = _samples(content, header, n_samples)
    except (ValueError, ArithmeticError) as err:
        raise ImageError('is a damaged PNM file') from err
    if values.min() < 0 or values.max() > header.most:
        raise ImageError(f'is a damaged PNM file: it has values outside 0 .. {header.most}')
    return values.reshape(header.shape).astype(np.uint16 if header.most > 255 else np.uint8)


def _samples(content: bytes, header: _PnmHeader, n_samples: int) -> npt.NDArray[Any]:
    if header.kind in _WRITTEN:
        numbers = _COMMENT.sub(b'', content[header.end :]).split(maxsplit=n_samples)
        return np.fromiter(map(int, numbers[:n_samples]), np.int64, n_samples)
    return np.frombuffer(content, '>u2' if header.most > 255 else 'u1', n_samples, header.end + 1)


def _read(content: bytes) -> _PnmHeader:
    kind, position = content[1] - ord('0'), 2
    numbers = []
    for _ in range(2 if kind in _BITMAPS else 3):
        match = _TOKEN.match(content, position)
        if match is None:
            raise ImageError('is a damaged PNM file')
        numbers.append(int(match[1]))
        position = match.end()
    width, height, most = (*numbers, 1)[:3]
    if not 1 <= most <= _MOST:
        raise ImageError(f'is a PNM file with values up to {most}; expected 1 .. {_MOST}')
    return _PnmHeader(kind, width, height, most, position)
