"""Picture of the matching segments of two images."""

from collections.abc import Sequence

import cv2
import numpy as np

from seg_ros.arrays import UInt8Array
from seg_ros.drawing.overlay import code_colours, draw_segments
from seg_ros.segments.matching import Match
from seg_ros.segments.regions import Shapes
from seg_ros.segments.segments import Segments

_OPACITY = 0.45
_OUTLINE = (20, 20, 20)


def draw_matches(
    images: Sequence[UInt8Array],
    segments: Sequence[Segments],
    shapes: Sequence[Shapes],
    matches: Sequence[Match],
) -> UInt8Array:
    """Draw two images side by side in the colours of their codes, with a line for each match.

    Args:
        images: Two images, (H, W, 3) uint8 RGB each; the smaller one is scaled to the height of the other.
        segments: Segments of each image.
        shapes: Shapes of the segments of each image.
        matches: Matches to draw.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    height = max(image.shape[0] for image in images)
    scales = [height / image.shape[0] for image in images]
    pictures = []
    for image, found, scale in zip(images, segments, scales, strict=True):
        drawn = draw_segments(image, found, opacity=_OPACITY)
        size = round(image.shape[1] * scale), height
        pictures.append(cv2.resize(drawn, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False))
    picture = np.ascontiguousarray(np.concatenate(pictures, axis=1))
    shifts = (0, pictures[0].shape[1])
    colours = code_colours(segments[0].codes)
    for match in matches:
        ends = []
        for side, segment in enumerate((match.a, match.b)):
            x, y = shapes[side].centroids[segment - 1] * scales[side]
            ends.append((round(x) + shifts[side], round(y)))
        _draw_line(picture, ends[0], ends[1], colours[match.a - 1])
    return picture


def _draw_line(picture: UInt8Array, start: tuple[int, int], end: tuple[int, int], rgb: UInt8Array) -> None:
    """Draw a line with an outline and a dot at each end, at (x, y) positions."""
    colour = tuple(int(value) for value in rgb)
    cv2.line(picture, start, end, _OUTLINE, 3, cv2.LINE_AA)
    cv2.line(picture, start, end, colour, 1, cv2.LINE_AA)
    for point in (start, end):
        cv2.circle(picture, point, 4, _OUTLINE, -1, cv2.LINE_AA)
        cv2.circle(picture, point, 3, colour, -1, cv2.LINE_AA)
