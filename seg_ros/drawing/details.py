"""Details of pictures: cut out, ringed, enlarged."""

import cv2
import numpy as np

from seg_ros.arrays import UInt8Array

_RING, _OUTSIDE = (255, 210, 0), (22, 24, 28)


def cut_out(picture: UInt8Array, rows: tuple[int, int], columns: tuple[int, int]) -> UInt8Array:
    """Cut a window out of a picture.

    Args:
        picture: (H, W, 3) uint8.
        rows: First row, and the row after the last one; both may lie outside the picture.
        columns: First column, and the column after the last one; both may lie outside the picture.

    Returns:
        (height, width, 3) uint8, a new array; dark outside the picture.
    """
    (top, bottom), (left, right) = rows, columns
    window = np.full((bottom - top, right - left, 3), _OUTSIDE, np.uint8)
    inside = picture[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
    y, x = max(-top, 0), max(-left, 0)
    window[y : y + inside.shape[0], x : x + inside.shape[1]] = inside
    return window


def with_ring(picture: UInt8Array, row: int, column: int) -> UInt8Array:
    """Copy a picture, (H, W, 3) uint8, and draw a ring around a pixel unless the picture is too small."""
    ringed, radius = picture.copy(), min(picture.shape[:2]) // 12
    if radius >= 4:
        cv2.circle(ringed, (column, row), radius, _RING, max(radius // 5, 1), cv2.LINE_AA)
    return ringed


def enlarge(picture: UInt8Array, width: int) -> UInt8Array:
    """Enlarge a picture, (H, W, 3) uint8, by a whole factor until it is at least ``width`` pixels wide."""
    zoom = -(-width // picture.shape[1])
    return np.ascontiguousarray(picture.repeat(zoom, 0).repeat(zoom, 1))
