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
    shrinks = image.shape[0] >= 2 * height or image.shape[1] >= 2 * width
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(image, (width, height), interpolation=interpolation).astype(np.uint8, copy=False)
