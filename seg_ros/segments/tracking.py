"""Tracking: segments that overlap in consecutive frames and have similar codes keep their number."""

import numpy as np

from seg_ros.arrays import UInt8Array, UInt64Array
from seg_ros.errors import ParameterError
from seg_ros.segments.hamming import hamming_pairs
from seg_ros.segments.overlaps import find_overlaps
from seg_ros.segments.regions import Regions


class Tracker:
    """Gives the same thing the same number in all frames.

    A segment takes the number of a segment of the last frame that it overlaps. Pairs are taken in the order
    of their IoU times the fraction of equal bits, the best first; each segment is used once.

    Args:
        max_distance: Maximum fraction of differing bits of the codes of one thing, 0..1.
        min_iou: Minimum IoU of one thing in consecutive frames, 0..1.

    Raises:
        ParameterError: An argument is out of range.
    """

    def __init__(self, *, max_distance: float = 0.25, min_iou: float = 0.1) -> None:
        if not (0 <= max_distance <= 1 and 0 <= min_iou <= 1):
            raise ParameterError(
                f'max_distance is {max_distance}, min_iou {min_iou}; expected fractions in 0..1'
            )
        self.max_distance, self.min_iou = max_distance, min_iou
        self._last: tuple[Regions, UInt8Array, UInt64Array] | None = None
        self._next = 1

    def __call__(self, segments: Regions, codes: UInt8Array) -> UInt64Array:
        """Number the segments of the next frame.

        Args:
            segments: Segments of the frame.
            codes: (S, n_bytes) uint8, codes of the segments.

        Returns:
            (S,) uint64, 1 or more; unique within the frame and never used for another thing.
        """
        numbers = np.zeros(segments.n, np.uint64)
        if self._last is not None and self._last[0].shape == segments.shape:
            before, codes_before, numbers_before = self._last
            if codes_before.shape[1] == codes.shape[1]:
                for new, old in self._pairs(before, codes_before, segments, codes):
                    numbers[new] = numbers_before[old]
        fresh = np.flatnonzero(numbers == 0)
        numbers[fresh] = np.arange(self._next, self._next + len(fresh), dtype=np.uint64)
        self._next += len(fresh)
        self._last = segments, codes, numbers
        return numbers

    def forget(self) -> None:
        """Start anew with the next frame, after a jump in time; used numbers stay used."""
        self._last = None

    def _pairs(
        self, before: Regions, codes_before: UInt8Array, now: Regions, codes: UInt8Array
    ) -> list[tuple[int, int]]:
        """Pairs of a segment and its predecessor, the best first, each segment once."""
        found = find_overlaps(now, before)
        new, old = found.pairs.T
        iou = found.areas / (now.sizes[new] + before.sizes[old] - found.areas)
        distance = hamming_pairs(codes, found.pairs, codes_before) / (8 * codes.shape[1])
        fits = (iou >= max(self.min_iou, 1e-9)) & (distance <= self.max_distance)
        order = np.argsort(-(iou * (1 - distance))[fits], kind='stable')
        pairs, taken_new, taken_old = [], set(), set()
        for one, other in found.pairs[fits][order].tolist():
            if one not in taken_new and other not in taken_old:
                taken_new.add(one)
                taken_old.add(other)
                pairs.append((one, other))
        return pairs
