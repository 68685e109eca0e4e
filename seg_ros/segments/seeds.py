"""SEEDS superpixels: blocks that exchange smaller and smaller pieces at their borders.

M. Van den Bergh, X. Boix, G. Roig, B. de Capitani, L. Van Gool, "SEEDS: superpixels extracted via
energy-driven sampling", 2012: a piece moves to a neighbour whose colour histogram it fits better. Deliberate
difference: a move may cut a superpixel in two. The part that is cut off joins the neighbour of the most
similar colour at the end.
"""

import numpy as np

from seg_ros._numba import compiled_where_possible, import_kernels
from seg_ros.arrays import Float32Array, Int32Array, UInt8Array
from seg_ros.segments.blocks import blocks, check_arguments
from seg_ros.segments.colour import lab_planes
from seg_ros.segments.regions import KERNELS, Regions
from seg_ros.segments.small_parts import clean_parts

N_LEVELS = 6
"""Number of steps of a colour channel in histograms."""


def seeds(
    image: UInt8Array,
    *,
    region_size: int = 20,
    n_iterations: int = 4,
    min_size: float = 0.25,
    n_threads: int = 0,
    planes: Float32Array | None = None,
) -> Regions:
    """SEEDS superpixels.

    Args:
        image: (H, W, 3) uint8 RGB.
        region_size: Size of the blocks at the start in pixels, 2 or more.
        n_iterations: Number of iterations for each size of the pieces, 1 or more.
        min_size: Fraction of ``region_size`` squared below which a connected part joins a neighbour.
        n_threads: Not used; all superpixel methods take it.
        planes: (3, H, W) float32, the image from ``lab_planes`` if it is known already.

    Raises:
        ImageError: The image has another shape or type.
        ParameterError: An argument is out of range.
    """
    import_kernels(*KERNELS)  # warns if the loops are not compiled
    check_arguments(image, region_size, n_iterations, min_size)
    start = blocks(image, region_size=region_size)
    planes, labels = lab_planes(image) if planes is None else planes, start.ids.copy()
    bins = quantise(planes)
    histograms = np.zeros((start.n, N_LEVELS**3), np.float32)
    sizes = np.zeros(start.n, np.float32)
    count_colours(bins, labels, histograms, sizes)
    block = region_size // 2
    while block > 1:
        for _ in range(n_iterations):
            exchange_blocks(bins, labels, block, histograms, sizes)
        block //= 2
    for _ in range(n_iterations):
        exchange_pixels(bins, labels, histograms, sizes)
    return clean_parts(labels, planes, round(min_size * region_size**2))


def quantise(planes: Float32Array) -> Int32Array:
    """Bins of a colour histogram, (H, W) int32; each step of a channel has the same number of pixels.

    Args:
        planes: (3, H, W) float32 8-bit CIELAB.
    """
    bins = np.zeros(planes.shape[1:], np.int32)
    for plane in planes:
        edges = np.quantile(plane[::4, ::4], np.arange(1, N_LEVELS) / N_LEVELS)
        bins = bins * N_LEVELS + np.searchsorted(edges, plane).astype(np.int32)
    return bins


@compiled_where_possible
def count_colours(
    bins: Int32Array, labels: Int32Array, histograms: Float32Array, sizes: Float32Array
) -> None:
    """Count the pixels of each region by colour.

    Args:
        bins: (H, W) int32 from :func:`quantise`.
        labels: (H, W) int32, region of each pixel.
        histograms: (n, N_LEVELS ** 3) float32, zero before, written.
        sizes: (n,) float32, zero before, written: number of pixels.
    """
    for y in range(bins.shape[0]):
        for x in range(bins.shape[1]):
            histograms[labels[y, x], bins[y, x]] += 1
            sizes[labels[y, x]] += 1


@compiled_where_possible
def _intersection(
    found: Int32Array,
    counts: Float32Array,
    n_found: int,
    of_region: Float32Array,
    size: np.float32,
    without: bool,
) -> np.float32:
    """Intersection of the normalised histograms of a block and a region.

    Args:
        found: (n_found,) or longer int32, bins of the block.
        counts: (n_found,) or longer float32, number of pixels of the block in these bins.
        n_found: Number of bins of the block.
        of_region: (bins,) float32, histogram of the region.
        size: Number of pixels of the region.
        without: Whether to remove the block from the region first.
    """
    n_pixels = np.float32(0)
    for k in range(n_found):
        n_pixels += counts[k]
    left = size - n_pixels if without else size
    if left <= 0:
        return np.float32(0)
    total = np.float32(0)
    for k in range(n_found):
        there = of_region[found[k]] - counts[k] if without else of_region[found[k]]
        total += min(counts[k] / n_pixels, there / left)
    return np.float32(total)


@compiled_where_possible
def _count_block(bins: Int32Array, labels: Int32Array, found: Int32Array, counts: Float32Array) -> int:
    """Count the pixels of a block by colour.

    Args:
        bins: (h, w) int32, bin of each pixel of the block.
        labels: (h, w) int32, region of each pixel of the block.
        found: (h * w,) or longer int32, written: bins that occur.
        counts: (h * w,) or longer float32, written: number of pixels in these bins.

    Returns:
        Number of bins that occur; -1 if the block does not lie within one region.
    """
    n_found, own = 0, labels[0, 0]
    for row in range(bins.shape[0]):
        for column in range(bins.shape[1]):
            if labels[row, column] != own:
                return -1
            k = 0
            while k < n_found and found[k] != bins[row, column]:
                k += 1
            if k == n_found:
                found[k], counts[k] = bins[row, column], 0
                n_found += 1
            counts[k] += 1
    return n_found


@compiled_where_possible
def exchange_blocks(
    bins: Int32Array, labels: Int32Array, block: int, histograms: Float32Array, sizes: Float32Array
) -> int:
    """Move each block that lies within one region to the adjacent region that it fits best.

    Args:
        bins: (H, W) int32 from :func:`quantise`.
        labels: (H, W) int32, region of each pixel, changed.
        block: Size of the blocks in pixels.
        histograms: (n, bins) float32 of the regions, changed.
        sizes: (n,) float32, number of pixels of the regions, changed.

    Returns:
        Number of blocks moved.
    """
    height, width = labels.shape
    n_moved = 0
    found, counts = np.empty(block * block, np.int32), np.empty(block * block, np.float32)
    for top in range(0, height, block):
        bottom = min(top + block, height)
        for left in range(0, width, block):
            right = min(left + block, width)
            own = labels[top, left]
            best, best_region = np.float32(-1), own
            n_found = 0
            for side in range(4):
                y, x = (top + bottom) // 2, (left + right) // 2
                if side == 0:
                    y = top - 1
                elif side == 1:
                    y = bottom
                elif side == 2:
                    x = left - 1
                else:
                    x = right
                if y < 0 or x < 0 or y >= height or x >= width or labels[y, x] == own:
                    continue
                if n_found == 0:
                    n_found = _count_block(
                        bins[top:bottom, left:right], labels[top:bottom, left:right], found, counts
                    )
                    if n_found < 0:
                        break
                    best = _intersection(found, counts, n_found, histograms[own], sizes[own], True)
                other = labels[y, x]
                fit = _intersection(found, counts, n_found, histograms[other], sizes[other], False)
                if fit > best:
                    best, best_region = fit, other
            if best_region != own:
                n_moved += 1
                labels[top:bottom, left:right] = best_region
                for k in range(n_found):
                    histograms[own, found[k]] -= counts[k]
                    histograms[best_region, found[k]] += counts[k]
                    sizes[own] -= counts[k]
                    sizes[best_region] += counts[k]
    return n_moved


@compiled_where_possible
def exchange_pixels(
    bins: Int32Array, labels: Int32Array, histograms: Float32Array, sizes: Float32Array
) -> int:
    """Move each pixel at a border to the adjacent region that its colour and its neighbours fit best.

    Arguments and result are those of :func:`exchange_blocks`.
    """
    height, width = labels.shape
    n_moved = 0
    for y in range(1, height - 1):
        for x in range(1, width - 1):
            own = labels[y, x]
            best, best_region = np.float32(-1), own
            for side in range(4):
                dy, dx = (side == 1) - (side == 0), (side == 3) - (side == 2)
                other = labels[y + dy, x + dx]
                if other == own:
                    continue
                n_own, n_other = 0, 0
                for row in range(y - 1, y + 2):
                    for column in range(x - 1, x + 2):
                        n_own += labels[row, column] == own
                        n_other += labels[row, column] == other
                if best < 0:
                    best = histograms[own, bins[y, x]] / sizes[own] * n_own
                fit = histograms[other, bins[y, x]] / sizes[other] * n_other
                if fit > best:
                    best, best_region = fit, other
            if best_region != own and sizes[own] > 1:
                n_moved += 1
                labels[y, x] = best_region
                histograms[own, bins[y, x]] -= 1
                histograms[best_region, bins[y, x]] += 1
                sizes[own] -= 1
                sizes[best_region] += 1
    return n_moved
