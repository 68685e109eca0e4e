"""Video files: frames in RGB in memory, any format of OpenCV on disk."""

import math
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np

from seg_ros.arrays import UInt8Array
from seg_ros.errors import ImageError
from seg_ros.userfiles.reading import is_file, shown_path

VIDEO_SUFFIXES = ('.mp4', '.avi', '.mkv', '.mov', '.webm', '.m4v', '.mpg', '.mpeg')
"""Suffixes of the files that are videos, in lower case."""

_COUNTED = ('.mp4', '.avi', '.mov', '.m4v')
"""Suffixes of the files that state their number of frames; it is a guess by the duration in others."""

_MAX_GAP = 1000
_DEFAULT_RATE_HZ = 25.0
_MAX_NUMERATOR = 65535


class VideoReader:
    """Reads the frames of a video file; a context manager that closes the file.

    Args:
        path: Path of the file.

    Attributes:
        rate_hz: Frame rate, above 0; 25 if the file has none.
        n_frames: Number of frames that the file announces; 0 if it has none.
        n_read: Number of frames that have been read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._video = cv2.VideoCapture(_name(path) if is_file(path) else '')
        rate_hz, n_frames = (self._video.get(key) for key in (cv2.CAP_PROP_FPS, cv2.CAP_PROP_FRAME_COUNT))
        self.rate_hz = rate_hz if math.isfinite(rate_hz) and rate_hz > 0 else _DEFAULT_RATE_HZ
        self.n_frames = int(n_frames) if 0 < n_frames < 2**63 else 0
        self.n_read = self._n_failed = 0

    def __enter__(self) -> 'VideoReader':
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._video.release()

    def __iter__(self) -> Iterator[UInt8Array]:
        """Read the frames in order, (H, W, 3) uint8 RGB each; damaged frames are left out.

        Raises:
            ImageError: The file is missing, or is not a video that OpenCV reads.
        """
        gap = 0
        while gap <= _MAX_GAP:
            is_read, frame = self._video.read()
            if is_read:
                self._n_failed += gap
                self.n_read, gap = self.n_read + 1, 0
                yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)
                continue
            gap += 1
            if self.n_read + self._n_failed + gap > self.n_frames:
                break
        if not self.n_read:
            raise ImageError(f'{shown_path(self._path)} is missing or is not a video that OpenCV reads')

    def check_complete(self) -> None:
        """Refuse a video, after all of its frames, if some could not be read.

        Raises:
            ImageError: Frames are missing, by the number that the file states, or between others.
        """
        n_missing = self._n_failed
        if self._path.suffix.lower() in _COUNTED:
            n_missing = max(n_missing, self.n_frames - self.n_read)
        if n_missing:
            raise ImageError(
                f'{shown_path(self._path)}: {n_missing} of {self.n_read + n_missing} frames cannot be read '
                'and are left out; the file is damaged or cut off'
            )


class VideoWriter:
    """Writes an MP4 file; a context manager that closes the file. The first frame creates it.

    Args:
        path: Path of the file in an existing folder.
        rate_hz: Frame rate; it is rounded to one that the format has, see `storable_rate`.
    """

    def __init__(self, path: Path, rate_hz: float) -> None:
        self._path, self._rate_hz = path, storable_rate(rate_hz)
        self._video: cv2.VideoWriter | None = None
        self._size = (0, 0)

    def __enter__(self) -> 'VideoWriter':
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._video is not None:
            self._video.release()

    def write(self, picture: UInt8Array) -> None:
        """Add a frame.

        Args:
            picture: (H, W, 3) uint8 RGB; all frames have the size of the first one.

        Raises:
            ImageError: The file cannot be written, or the frame has another size.
        """
        if self._video is None:
            height, width = self._size = picture.shape[:2]
            code = cv2.VideoWriter.fourcc(*'mp4v')
            self._video = cv2.VideoWriter(_name(self._path), code, self._rate_hz, (width, height))
            if not self._video.isOpened():
                raise ImageError(
                    f'{shown_path(self._path)} cannot be written as a video; '
                    'check that its folder allows new files'
                )
        if picture.shape[:2] != self._size:  # OpenCV would leave it out without a word
            raise ImageError(
                f'{shown_path(self._path)} has frames of {self._size[1]}x{self._size[0]} pixels; '
                f'a frame of {picture.shape[1]}x{picture.shape[0]} does not fit'
            )
        self._video.write(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))


def storable_rate(rate_hz: float) -> float:
    """The nearest frame rate that an MPEG-4 video can have.

    The format stores a fraction with numbers up to 65535, and OpenCV makes it from a decimal number.

    Args:
        rate_hz: Frame rate.

    Returns:
        Frame rate, 0.01 .. 1000; 25 if ``rate_hz`` is not a number above 0.
    """
    if not (math.isfinite(rate_hz) and rate_hz > 0):
        return _DEFAULT_RATE_HZ
    rate_hz = min(max(rate_hz, 0.01), 1000.0)
    digits = next(digits for digits in (3, 2, 1, 0) if rate_hz * 10**digits <= _MAX_NUMERATOR)
    return round(rate_hz, digits)


def _name(path: Path) -> str:
    """Name of a file for OpenCV, which ends the process if the name is not UTF-8.

    Raises:
        ImageError: The name is not UTF-8.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError as err:
        raise ImageError(f'{shown_path(path)} has a name that is not UTF-8; rename the video') from err
    return str(path)
