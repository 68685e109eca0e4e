"""Rules for merging superpixels into segments.

To add a rule, write a function with the same signature and enter it in ``registry.MERGES``. The node then
accepts its name as the parameter ``segments.merge``.
"""

import math

import numpy as np

from seg_ros.arrays import Float32Array, Int32Array
from seg_ros.segments.greedy_merging import merge_most_similar
from seg_ros.segments.hamming import hamming_pairs, pack
from seg_ros.segments.regions import Regions, find_borders
from seg_ros.segments.rules import SegmentRules
from seg_ros.segments.union_find import connected_components


def merge_alike(superpixels: Regions, means: Float32Array, rules: SegmentRules) -> tuple[Int32Array, int]:
    """Merge the two most similar adjacent segments, again and again; see ``greedy_merging``."""
    borders = find_borders(superpixels)
    fractions = (superpixels.sizes / math.prod(superpixels.shape)).astype(np.float32)
    return merge_most_similar(
        borders.pairs,
        borders.lengths,
        means * fractions[:, None],
        fractions,
        True,
        np.float32(rules.merge_limit),
        np.float32(rules.size_power),
        np.float32(rules.border_share),
    )


def merge_components(
    superpixels: Regions, means: Float32Array, rules: SegmentRules
) -> tuple[Int32Array, int]:
    """Merge all adjacent superpixels whose codes differ in few bits at once: connected components.

    This is the rule of M. Ravanbakhsh et al., "Efficient convolutional neural network with binary
    quantization layer", 2016.
    """
    pairs = find_borders(superpixels).pairs
    distances = hamming_pairs(pack(means > 0), pairs)
    return connected_components(superpixels.n, pairs[distances <= rules.merge_limit * means.shape[1]])
