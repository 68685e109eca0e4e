"""Pictures of the pixels at which two label images differ."""

import numpy as np

from seg_ros.arrays import UNLABELLED, UInt8Array

LOST, WON, BOTH_WRONG = (230, 40, 40), (40, 190, 70), (240, 190, 40)
"""Colours (r, g, b): only the first is right, only the second is right, both are wrong in different ways."""

_DIMMED = 0.45


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
