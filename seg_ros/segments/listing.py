"""The segments of a frame as messages have them: a list of the largest ones, and an image of their ids."""

from dataclasses import dataclass

import numpy as np

from seg_ros.arrays import Float32Array, UInt8Array, UInt16Array, UInt64Array
from seg_ros.segments.regions import region_shapes
from seg_ros.segments.segments import Segments

ID_LIMIT = 65535
"""Largest id in a segment image, whose pixels have 16 bits."""


@dataclass(frozen=True)
class ListedSegment:
    """One segment; the fields of ``seg_ros/SegmentCode``.

    Attributes:
        id: Value of its pixels in the image of ids, 1 or more.
        track_id: Its number over time; 0 = not tracked.
        class_id: Its class; 255 = unlabelled.
        confidence: Mean confidence of its pixels, 0..1.
        area: Number of pixels.
        left: First column of its box.
        top: First row of its box.
        width: Width of its box in pixels.
        height: Height of its box in pixels.
        centroid: (2,) float32: x, y in pixels.
        code: (n_bits / 8,) uint8.
    """

    id: int
    track_id: int
    class_id: int
    confidence: float
    area: int
    left: int
    top: int
    width: int
    height: int
    centroid: Float32Array
    code: UInt8Array


def list_segments(
    segments: Segments, confidence: UInt8Array, track_ids: UInt64Array, max_count: int
) -> list[ListedSegment]:
    """List the largest segments of a frame.

    Args:
        segments: Segments of the frame, at its size.
        confidence: (H, W) uint8; 255 stands for 1.
        track_ids: (S,) uint64, number of each segment over time.
        max_count: Maximum number of listed segments.
    """
    shapes, runs = region_shapes(segments.regions), segments.regions.runs
    of_runs = np.add.reduceat(confidence.ravel(), runs.starts[:-1], dtype=np.uint32)
    sums = np.bincount(runs.ids, of_runs, segments.n)
    confidences = (sums / (255 * shapes.areas)).tolist()
    tops, lefts, bottoms, rights = shapes.boxes.T.tolist()
    areas, centroids = shapes.areas.tolist(), shapes.centroids.astype(np.float32)
    return [
        ListedSegment(
            id=k + 1,
            track_id=int(track_ids[k]),
            class_id=int(segments.class_ids[k]),
            confidence=confidences[k],
            area=areas[k],
            left=lefts[k],
            top=tops[k],
            width=rights[k] - lefts[k],
            height=bottoms[k] - tops[k],
            centroid=centroids[k],
            code=segments.codes[k],
        )
        for k in range(min(segments.n, max_count, ID_LIMIT))
    ]


def segment_ids(segments: Segments) -> UInt16Array:
    """(H, W) uint16: id of the segment of each pixel, from 1; 0 for an id that does not fit into 16 bits."""
    runs = segments.regions.runs
    return runs.spread(np.where(runs.ids < ID_LIMIT, runs.ids + 1, 0).astype(np.uint16))
