"""History of codes, which can be searched for segments of similar appearance."""

import threading
from collections import deque
from dataclasses import dataclass

import numpy as np

from seg_ros.arrays import UInt8Array, UInt64Array
from seg_ros.errors import ParameterError
from seg_ros.segments.hamming import hamming


@dataclass(frozen=True)
class Sighting:
    """A segment of an earlier frame that was found by a search.

    Attributes:
        stamp_ns: Stamp of its frame.
        segment: Index of the segment in the frame.
        number: Number of the thing over time, from ``Tracker``.
        distance: Number of bits in which its code differs from the searched code.
    """

    stamp_ns: int
    segment: int
    number: int
    distance: int


class CodeHistory:
    """Codes of the last frames. Several threads may use it at once.

    Args:
        codebook: Digest of the codebook of all codes.
        n_bits: Number of bits of a code.
        n_most: Maximum number of codes; the oldest frames are removed first.

    Raises:
        ParameterError: ``n_most`` is below 1.
    """

    def __init__(self, codebook: str, n_bits: int, n_most: int = 20_000) -> None:
        if n_most < 1:
            raise ParameterError(f'n_most is {n_most}; expected 1 or more')
        self.codebook, self.n_bits, self.n_most = codebook, n_bits, n_most
        self._lock = threading.Lock()
        self._frames: deque[tuple[int, UInt8Array, UInt64Array]] = deque()
        self._n_codes = 0

    def __len__(self) -> int:
        """Number of codes."""
        return self._n_codes

    def add(self, stamp_ns: int, codes: UInt8Array, numbers: UInt64Array) -> None:
        """Add the first ``n_most`` segments of a frame.

        Args:
            stamp_ns: Stamp of the frame.
            codes: (S, n_bits / 8) uint8.
            numbers: (S,) uint64, numbers of the segments over time.
        """
        codes, numbers = codes[: self.n_most], numbers[: self.n_most]
        with self._lock:
            self._frames.append((stamp_ns, codes, numbers))
            self._n_codes += len(codes)
            while self._n_codes > self.n_most:
                self._n_codes -= len(self._frames.popleft()[1])

    def code_of(self, segment: int) -> UInt8Array:
        """Code of a segment of the last frame, (n_bits / 8,) uint8.

        Raises:
            ParameterError: The frame does not have this segment.
        """
        with self._lock:
            codes = self._frames[-1][1] if self._frames else np.empty((0, self.n_bits // 8), np.uint8)
        if not 0 <= segment < len(codes):
            raise ParameterError(
                f'the last frame has {len(codes)} segments with a code; id {segment + 1} is not one of them'
            )
        code: UInt8Array = codes[segment]
        return code

    def search(self, code: UInt8Array, codebook: str, *, radius: int, count: int) -> list[Sighting]:
        """Nearest codes within a radius.

        Args:
            code: (n_bits / 8,) uint8.
            codebook: Digest of its codebook.
            radius: Maximum number of differing bits, 0 or more.
            count: Maximum number of sightings, 1 or more.

        Returns:
            The sightings, the nearest first; of equally near ones the latest first.

        Raises:
            ParameterError: The code has another codebook or length, or a number is out of range.
        """
        if codebook != self.codebook:
            raise ParameterError(
                f'the code belongs to codebook {codebook or "(none)"}, the history to {self.codebook}; codes '
                'of different codebooks cannot be compared: use the same model'
            )
        if code.shape != (self.n_bits // 8,):
            raise ParameterError(f'the code has {8 * code.size} bits; expected {self.n_bits}')
        if radius < 0 or count < 1:
            raise ParameterError(f'radius is {radius}, count {count}; expected 0 or more and 1 or more')
        with self._lock:
            frames = list(reversed(self._frames))
        if not frames:
            return []
        stamps = np.concatenate([np.full(len(codes), stamp, np.int64) for stamp, codes, _ in frames])
        segments = np.concatenate([np.arange(len(codes)) for _, codes, _ in frames])
        numbers = np.concatenate([numbers for _, _, numbers in frames])
        distances = hamming(code[None], np.concatenate([codes for _, codes, _ in frames]))[0]
        order = np.argsort(distances, kind='stable')[:count]
        return [
            Sighting(int(stamps[k]), int(segments[k]), int(numbers[k]), int(distances[k]))
            for k in order
            if distances[k] <= radius
        ]
