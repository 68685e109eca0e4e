"""Pictures of the pixels at which two label images differ."""

import cv2
import numpy as np

from seg_ros.arrays import UNLABELLED, UInt8Array
from seg_ros.errors import ImageError

LOST, WON, BOTH_WRONG = (230, 40, 40), (40, 190, 70), (240, 190, 40)
"""Colours (r, g, b): only the first is right, only the second is right, both are wrong in different ways."""

VOID = (110, 110, 110)
"""Colour (r, g, b) of pixels without a true label."""

_DIMMED = 0.45
_UNDER_TINT = 0.45


def draw_difference(image: UInt8Array, truth: UInt8Array, first: UInt8Array, other: UInt8Array) -> UInt8Array:
    """Mark the pixels at which two label images differ, over a dark grey image.

    Args:
        image: (H, W, 3) uint8 RGB.
        truth: (H, W) uint8, the true labels; UNLABELLED pixels are not marked.
        first: (H, W) uint8, the first labels.
        other: (H, W) uint8, the second labels.

    Returns:
        (H, W, 3) uint8 RGB: red (LOST), green (WON) and yellow (BOTH_WRONG) on grey.
    """
    picture = np.repeat((image.mean(axis=2, keepdims=True) * _DIMMED).astype(np.uint8), 3, axis=2)
    differs = (first != other) & (truth != UNLABELLED)
    picture[differs] = BOTH_WRONG
    picture[differs & (first == truth)] = LOST
    picture[differs & (other == truth)] = WON
    return picture


def draw_correctness(image: UInt8Array, truth: UInt8Array, labels: UInt8Array) -> UInt8Array:
    """Tint the right pixels green, the wrong ones red and the void ones grey, over the dimmed image.

    Args:
        image: (H, W, 3) uint8 RGB.
        truth: (H, W) uint8, the true labels; UNLABELLED pixels are void.
        labels: (H, W) uint8; unlabelled pixels are wrong where a class is true.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ImageError: The sizes differ.
    """
    if not image.shape[:2] == truth.shape == labels.shape:
        raise ImageError(
            f'image {image.shape[:2]}, true labels {truth.shape} and labels {labels.shape} have different '
            'sizes; expected one size'
        )
    verdict = np.where(labels == truth, 1, 2).astype(np.uint8)
    verdict[truth == UNLABELLED] = 0
    colours = np.array([VOID, WON, LOST], np.uint8)[verdict]
    picture: UInt8Array = cv2.addWeighted(
        np.ascontiguousarray(image), _UNDER_TINT, colours, 1 - _UNDER_TINT, 0
    ).astype(np.uint8, copy=False)
    return picture
