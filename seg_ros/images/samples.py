"""Samples of 16 bits become 8 bits: how many bits a camera uses, narrow bands of thermal cameras, depth.

A camera of 10 or 12 bits sends its samples in the low bits of 16. Read as 16 bits, its images are black.
"""

import logging
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from seg_ros.arrays import UInt8Array, UInt16Array

BIT_DEPTHS = (8, 10, 12, 14, 16)
"""Bit depths that are assumed automatically: the smallest that holds all samples seen so far."""

MEASURED = '16UC1'
"""Encoding of single values that need not be brightness: distances (REP 118), or temperatures."""

_SINGLE = (MEASURED, 'mono16')
_ENTER_BAND, _LEAVE_BAND = 2 / 3, 1 / 2
_MIN_BAND = 32
_N_LOOKED_AT = 2500
_LEAST_DISTANCE, _MOST_DISTANCE = 100, 1 << 15
_MIN_HOLES, _LARGEST_RANGE = 0.005, 20

log = logging.getLogger(__name__)


class SampleScaler:
    """Scales the samples of one stream of images from 16 to 8 bits, and remembers what they have shown.

    With a bit depth, samples are shifted right, and those above the depth become 255. Without one, the depth
    is the smallest of `BIT_DEPTHS` that holds all samples so far. It never falls again.

    A single channel whose values lie in a narrow band far from 0 comes from a thermal camera, as a rule: it
    is stretched from the 1st to the 99th percentile of the frame. The band is narrow if the lower end is at
    least 2/3 of the upper one, and stays so down to 1/2.

    Args:
        encoding: Encoding of the images, e.g. 'mono16'.

    Attributes:
        bit_depth: Bit depth of the last frame; 0 before a frame has shown any.
        is_band: Whether the last frame was stretched.
        warning: Warning about the last frame; empty if there is none.
    """

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding
        self._seen = 0
        self.bit_depth, self.is_band, self.warning = 0, False, ''

    def __call__(self, samples: UInt16Array, bit_depth: int = 0, frame_id: str = '') -> UInt8Array:
        """Scale the samples of the next frame.

        Args:
            samples: (H, W, C) uint16, of any byte order and strides.
            bit_depth: Number of bits that the camera uses, 8..16; 0 = found out.
            frame_id: Coordinate frame of the camera; a name with 'depth' shows a depth camera.

        Returns:
            (H, W, C) uint8, a new array.
        """
        bits = int(np.bitwise_or.reduce(samples, axis=None)).bit_length()
        if bit_depth:
            return self._scale_as_told(samples, bits, bit_depth)
        self.warning = ''
        looked_at = _some_of(samples) if self._encoding in _SINGLE else None
        if looked_at is not None and self._is_band(looked_at):
            self.warning = self._depth_warning(looked_at, frame_id, is_wide=False)
            return _stretched(samples, *_band(looked_at))
        if looked_at is not None:
            self.warning = self._depth_warning(looked_at, frame_id, is_wide=True)
        self._see(bits)
        return _shifted(samples, max(self._seen, 8))

    @property
    def fact(self) -> str:
        """Way in which the last frame was scaled, for diagnostics; empty before the first."""
        if self.is_band:
            return 'narrow band of values, stretched as for a thermal camera'
        return str(self.bit_depth) if self.bit_depth else ''

    def _scale_as_told(self, samples: UInt16Array, bits: int, bit_depth: int) -> UInt8Array:
        self.bit_depth, self.is_band, self.warning = bit_depth, False, ''
        if bits <= bit_depth:
            return _shifted(samples, bit_depth)
        self.warning = (
            f'{self._encoding} samples have {bits} bits, more than camera.bit_depth = {bit_depth}: '
            'they are cut off; 0 finds the depth by itself'
        )
        return _shifted(np.minimum(samples, (1 << bit_depth) - 1), bit_depth)

    def _see(self, bits: int) -> None:
        """Raise the bit depth if this frame needs it, and tell it."""
        depth = next(depth for depth in BIT_DEPTHS if bits <= depth) if bits else 0
        if depth > self._seen:
            if depth < BIT_DEPTHS[-1] or self._seen:
                log.info(
                    '%s samples have up to %d bits so far and are scaled so; camera.bit_depth sets it',
                    self._encoding,
                    depth,
                )
            self._seen = depth
        self.bit_depth = self._seen

    def _is_band(self, samples: npt.NDArray[Any]) -> bool:
        """Whether a frame is stretched; a frame without contrast changes nothing."""
        low, high = _band(samples)
        if high > low:
            fraction = _LEAVE_BAND if self.is_band else _ENTER_BAND
            is_band = low >= fraction * high and high >= 1 << BIT_DEPTHS[0]
            if is_band and not self.is_band:
                log.info(
                    '%s samples lie in a narrow band, %d to %d, as those of a thermal camera: they are '
                    'stretched to full contrast; camera.bit_depth turns that off',
                    self._encoding,
                    low,
                    high,
                )
            self.is_band = is_band
        return self.is_band

    def _depth_warning(self, samples: npt.NDArray[Any], frame_id: str, *, is_wide: bool) -> str:
        """Warning if a frame seems to hold distances; empty otherwise."""
        is_named = 'depth' in frame_id.lower()
        if self._encoding != MEASURED or not (is_named or (is_wide and _has_distances(samples))):
            return ''
        return (
            f'{MEASURED} image seems to hold depth in millimetres (REP 118), not brightness: labels mean '
            'nothing then; subscribe to a colour or grey image, or set camera.bit_depth if it is brightness'
        )


def narrowed(samples: UInt16Array, most_bits: int) -> tuple[UInt8Array, int]:
    """Scale the samples of an image that belongs to no stream, by its content as :class:`SampleScaler` does.

    A narrow band is stretched only if the samples do not use the highest bits.

    Args:
        samples: (H, W, C) uint16.
        most_bits: Number of bits that the samples may have: 16, or 15 without the sign.

    Returns:
        (H, W, C) uint8, and the number of bits that were assumed.
    """
    bits = int(np.bitwise_or.reduce(samples, axis=None)).bit_length()
    depth = next(depth for depth in (*BIT_DEPTHS[:-1], most_bits) if bits <= depth) if bits else most_bits
    if depth < most_bits and _is_grey(samples):
        low, high = _band(_some_of(samples[..., 0]))
        if low < high and low >= _ENTER_BAND * high and high >= 1 << BIT_DEPTHS[0]:
            return _stretched(samples, low, high), depth
    return _shifted(samples, depth), depth


def _is_grey(samples: npt.NDArray[Any]) -> bool:
    """Whether all channels are equal."""
    return all(np.array_equal(samples[..., 0], samples[..., k]) for k in range(1, samples.shape[2]))


def _some_of(samples: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Some thousand samples from all over a plane, (N,)."""
    step = max(int((samples.size / _N_LOOKED_AT) ** 0.5), 1)
    return samples[step // 2 :: step, step // 2 :: step].ravel()


def _band(samples: npt.NDArray[Any]) -> tuple[int, int]:
    """1st and 99th percentile."""
    below = samples.size // 100
    ordered = np.partition(samples, (below, samples.size - 1 - below))
    return int(ordered[below]), int(ordered[samples.size - 1 - below])


def _has_distances(samples: npt.NDArray[Any]) -> bool:
    """Whether a depth camera gave these: some holes of 0 or none, and nothing nearer than it can measure."""
    distances = samples[samples > 0]
    if distances.size < 0.1 * samples.size:
        return False
    n_holes = samples.size - distances.size
    low, high = _band(distances)
    if not _LEAST_DISTANCE <= low <= high < _MOST_DISTANCE:
        return False
    if n_holes == 0:
        return high / _LARGEST_RANGE <= low < high * _LEAVE_BAND
    return n_holes >= _MIN_HOLES * samples.size


def _shifted(samples: UInt16Array, bit_depth: int) -> UInt8Array:
    """The highest 8 of ``bit_depth`` bits; no sample may have more bits."""
    high = np.empty(samples.shape, np.uint8)
    np.right_shift(samples, np.uint16(bit_depth - 8), out=high, casting='unsafe')  # half the time of astype
    return high


def _stretched(samples: UInt16Array, low: int, high: int) -> UInt8Array:
    """Samples from ``low`` to ``high`` become 0 to 255; others become 0 or 255."""
    width = max(high - low, _MIN_BAND)
    low = max((low + high - width) // 2, 0)
    native = np.ascontiguousarray(samples, np.uint16)
    above = native - np.minimum(native, np.uint16(low))
    scaled: Any = cv2.convertScaleAbs(above, alpha=255 / width)
    return np.asarray(scaled, np.uint8).reshape(samples.shape)
