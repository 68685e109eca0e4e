"""Resizing images."""

import cv2
import numpy as np

from seg_ros.arrays import UInt8Array


def resize_image(image: UInt8Array, height: int, width: int) -> UInt8Array:
    """Resize an image: by averaging if it shrinks by half or more, else by bilinear interpolation.

    Args:
        image: (H, W, 3) uint8.
        height: Height of the result in pixels, 1 or more.
        width: Width of the result in pixels, 1 or more.

    Returns:
        (height, width, 3) uint8; ``image`` itself if it has this size already.
    """
    if image.shape[:2] == (height, width):
        return image
    averages = averages_area(image.shape[:2], (height, width))
    interpolation = cv2.INTER_AREA if averages else cv2.INTER_LINEAR
    return cv2.resize(image, (width, height), interpolation=interpolation).astype(np.uint8, copy=False)


def averages_area(old: tuple[int, ...], new: tuple[int, int]) -> bool:
    """Whether an image of a (height, width) is resized to another one by averaging."""
    return old[0] >= 2 * new[0] or old[1] >= 2 * new[1]
