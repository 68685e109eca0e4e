"""Settings that decide how an image is divided into segments."""

import math
from dataclasses import dataclass, replace

from seg_ros.segments.blocks import grid_shape

MAX_SUPERPIXELS = 10_000
"""Maximum number of superpixels that an image is divided into at first; regions are larger if needed."""


@dataclass(frozen=True)
class SegmentRules:
    """Settings for superpixels and for merging them.

    Attributes:
        superpixels: Name in ``seg_ros.segments.registry.SUPERPIXELS``.
        region_size: Size of the superpixels in pixels of the network's input.
        merge: Name in ``seg_ros.segments.registry.MERGES``.
        merge_limit: Maximum fraction of differing bits, 0..1, for merging adjacent segments. 0 merges equal
            codes only.
        size_power: Strength with which small segments are merged before large ones; 0 = the codes alone
            decide. Used by 'alike' only.
        border_share: Weight, 0..1, of the codes along the common border against the codes of the whole
            segments. Used by 'alike' only.
    """

    superpixels: str = 'slic'
    region_size: int = 16
    merge: str = 'alike'
    merge_limit: float = 0.1
    size_power: float = 0.0
    border_share: float = 0.0

    def bounded(self, height: int, width: int) -> 'SegmentRules':
        """These rules with regions that are large enough for `MAX_SUPERPIXELS`, for an image of this size."""
        region_size = max(self.region_size, round((height * width / MAX_SUPERPIXELS) ** 0.5) - 1)
        while math.prod(grid_shape(height, width, region_size)) > MAX_SUPERPIXELS:
            region_size += 1
        return replace(self, region_size=region_size)
