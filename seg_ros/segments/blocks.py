"""Rectangular blocks, the simplest superpixels."""

import numpy as np

from seg_ros.arrays import Float32Array, UInt8Array
from seg_ros.errors import ImageError, ParameterError
from seg_ros.segments.regions import Regions


def blocks(
    image: UInt8Array,
    *,
    region_size: int = 20,
    n_threads: int = 0,
    planes: Float32Array | None = None,
) -> Regions:
    """Rectangles of about ``region_size`` pixels each way; the content of the image does not matter.

    Args:
        image: (H, W, 3) uint8.
        region_size: Size in pixels, 2 or more.
        n_threads: Not used; all superpixel methods take it.
        planes: Not used; all superpixel methods take it.

    Raises:
        ImageError: The image has another shape or type.
        ParameterError: ``region_size`` is out of range.
    """
    check_arguments(image, region_size)
    height, width = image.shape[:2]
    n_rows, n_columns = grid_shape(height, width, region_size)
    rows, columns = np.arange(height) * n_rows // height, np.arange(width) * n_columns // width
    ids = (rows[:, None] * n_columns + columns).astype(np.int32)
    return Regions(ids, n_rows * n_columns)


def grid_shape(height: int, width: int, region_size: int) -> tuple[int, int]:
    """Numbers of rows and columns of a grid whose cells have about ``region_size`` pixels each way."""
    return max(round(height / region_size), 1), max(round(width / region_size), 1)


def check_arguments(image: UInt8Array, region_size: int, n_iterations: int = 1, min_size: float = 0) -> None:
    """Check the arguments that superpixel methods have in common.

    Raises:
        ImageError: The image has another shape or type.
        ParameterError: An argument is out of range.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise ImageError(
            f'an image has shape {image.shape} and type {image.dtype}; expected (H, W, 3) uint8 RGB'
        )
    if region_size < 2:
        raise ParameterError(f'region_size is {region_size}; expected 2 pixels or more')
    if n_iterations < 1 or min_size < 0:
        raise ParameterError(
            f'n_iterations {n_iterations}, min_size {min_size}; expected 1 or more, 0 or more'
        )
