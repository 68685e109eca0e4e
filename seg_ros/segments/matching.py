"""Matching the segments of two images by their codes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from seg_ros.segments.hamming import nearest_codes
from seg_ros.segments.regions import Shapes
from seg_ros.segments.segments import Segments


@dataclass(frozen=True)
class Match:
    """Two similar segments.

    Attributes:
        a: Id of the segment in the first image, from 1.
        b: Id of the segment in the second image, from 1.
        distance: Number of differing bits of their codes.
    """

    a: int
    b: int
    distance: int


def match_segments(
    one: Segments, other: Segments, shapes: Sequence[Shapes], *, radius: float, min_area: float
) -> list[Match]:
    """Find pairs of segments that are each other's nearest neighbours.

    Args:
        one: Segments of the first image, with codes.
        other: Segments of the second image, with codes of the same codebook.
        shapes: Shapes of both, in this order.
        radius: Maximum fraction of differing bits, 0..1.
        min_area: Minimum fraction of its image that a segment covers, 0..1.

    Returns:
        Matches, sorted by distance.
    """
    candidates = [np.flatnonzero(s.areas >= min_area * s.areas.sum()) for s in shapes]
    if not all(len(ids) for ids in candidates):
        return []
    nearest, back, distances = nearest_codes(one.codes[candidates[0]], other.codes[candidates[1]])
    matches = [
        Match(int(candidates[0][a]) + 1, int(candidates[1][b]) + 1, int(distances[a]))
        for a, b in enumerate(nearest)
        if back[b] == a and distances[a] <= radius * 8 * one.codes.shape[1]
    ]
    return sorted(matches, key=lambda match: match.distance)
