"""Superpixel algorithms and rules for merging superpixels, by name: add one here."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from seg_ros.errors import LazyTable

if TYPE_CHECKING:
    from seg_ros.arrays import Float32Array, Int32Array
    from seg_ros.segments.regions import Regions
    from seg_ros.segments.rules import SegmentRules

SUPERPIXELS: LazyTable[Callable[..., Regions]] = LazyTable(
    {
        'slic': 'seg_ros.segments.slic:slic',
        'seeds': 'seg_ros.segments.seeds:seeds',
        'blocks': 'seg_ros.segments.blocks:blocks',
    }
)
"""Superpixel algorithms; each is called with an image, ``region_size``, ``n_threads`` and ``planes``."""

MERGES: LazyTable[Callable[[Regions, Float32Array, SegmentRules], tuple[Int32Array, int]]] = LazyTable(
    {
        'alike': 'seg_ros.segments.merging:merge_alike',
        'components': 'seg_ros.segments.merging:merge_components',
    }
)
"""Rules for merging; each maps superpixels and their mean bits to the segment of each and their number."""
