"""Rules of the embedding filter: values that it averages, sizes that it accepts, pairs in its window."""

from collections.abc import Iterator, Sequence
from typing import Any, Literal

from seg_ros.errors import ParameterError

LEAST_PROBABILITY = 1e-6
"""Smaller probabilities are raised to this, so that logarithms stay finite."""

Averaged = Literal['probabilities', 'scores']
"""Values that the filter averages; the paper averages scores."""


def is_finer(size: tuple[int, ...], than: tuple[int, ...]) -> bool:
    """Whether a map of ``size`` (H, W) is larger than one of ``than`` (h, w).

    Raises:
        ParameterError: It is larger, but H and W are not multiples of h and w.
    """
    if size[0] <= than[0] and size[1] <= than[1]:
        return False
    if size[0] % than[0] or size[1] % than[1]:
        raise ParameterError(
            f'scores of {size[0]}x{size[1]} and embeddings of {than[0]}x{than[1]}; expected a multiple'
        )
    return True


def check_window(window: int, size: tuple[int, ...]) -> None:
    """Check the window of a filter for a map of ``size`` (h, w).

    Raises:
        ParameterError: The window is even, below 1 or larger than the map.
    """
    if window < 1 or window % 2 == 0 or window > min(size):
        raise ParameterError(
            f'embedding filter with a window of {window}; expected an odd number of pixels, at most '
            f'{min(size) - (min(size) + 1) % 2}, because the embeddings of the image are {size[0]}x{size[1]}'
        )


def window_pairs(shape: Sequence[int], radius: int) -> Iterator[tuple[tuple[Any, ...], tuple[Any, ...]]]:
    """Indices of two views of a map, for each offset in a window; each pair of pixels occurs once.

    Args:
        shape: Shape (..., h, w) of the map.
        radius: Radius of the window in pixels; it is 2 * radius + 1 pixels wide and high.
    """
    height, width = shape[-2:]
    for down in range(radius + 1):
        for right in range(-radius, radius + 1):
            if down > 0 or right > 0:
                here = slice(0, height - down), slice(max(-right, 0), width - max(right, 0))
                there = slice(down, height), slice(max(right, 0), width - max(-right, 0))
                yield (..., *here), (..., *there)
