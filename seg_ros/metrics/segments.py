"""Agreement of found segments with segments drawn by people.

- Mean IoU per segment, Ravanbakhsh et al., arXiv 1611.06764: the best IoU of each drawn segment with any
  found segment, averaged over all drawn segments of all annotations of all images.
- Covering, P. Arbelaez et al., PAMI 2011, section 3.1.3: the same, weighted by area within an annotation,
  averaged over annotations, then over images.
- Boundary recall and undersegmentation error, P. Neubert and P. Protzel, "Superpixel benchmark and
  comparison", 2012, sections 3.1 and 3.2. Their error tolerates displacements of a few pixels.
  ``benchmarks/superpixels.py`` measures both on BSDS500.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
import numpy.typing as npt

from seg_ros.arrays import Float64Array, Int32Array
from seg_ros.errors import ImageError
from seg_ros.segments.regions import boundary


def overlaps(found: Int32Array, drawn: Int32Array) -> npt.NDArray[np.int64]:
    """Number of pixels that each drawn segment shares with each found segment.

    Args:
        found: (H, W) int32, 0 .. F - 1.
        drawn: (H, W) int32, 0 .. D - 1; negative for pixels without a drawn segment, which are not counted.

    Returns:
        (D, F) int64.

    Raises:
        ImageError: The sizes differ.
    """
    if found.shape != drawn.shape:
        raise ImageError(f'segments have {found.shape} and {drawn.shape} pixels; expected the same size')
    counted = drawn >= 0
    inside, n_found = drawn[counted].astype(np.int64), int(found.max()) + 1
    n_drawn = int(inside.max(initial=-1)) + 1
    pairs = inside * n_found + found[counted]
    return np.bincount(pairs, minlength=n_drawn * n_found).reshape(n_drawn, n_found)


def best_ious(table: npt.NDArray[np.int64]) -> Float64Array:
    """Best IoU of each drawn segment, (D,) float64, from a table of :func:`overlaps`."""
    if not table.size:
        return np.zeros(len(table))
    union = table.sum(1, keepdims=True) + table.sum(0) - table
    best: Float64Array = (table / np.maximum(union, 1)).max(1)
    return best


@dataclass
class SegmentScores:
    """Mean IoU per segment and covering, collected over images.

    Attributes:
        ious: Best IoU of each drawn segment, one array for each annotation.
        coverings: Covering of each image.
        ious_of: Kind of segments -> best IoU of each drawn segment of this kind.
    """

    ious: list[Float64Array] = field(default_factory=list)
    coverings: list[float] = field(default_factory=list)
    ious_of: dict[str, list[float]] = field(default_factory=dict)

    def add(
        self,
        found: Int32Array,
        annotations: Sequence[Int32Array],
        kinds: Sequence[Sequence[str]] = (),
    ) -> None:
        """Add one image.

        Args:
            found: (H, W) int32, found segments.
            annotations: (H, W) int32, drawn segments of each annotation.
            kinds: Kind of each drawn segment of each annotation, such as 'things'; '' = none. Empty = none of
                them has a kind.
        """
        coverings = []
        for position, drawn in enumerate(annotations):
            table = overlaps(found, drawn)
            if not table.size:
                continue
            ious, areas = best_ious(table), table.sum(1)
            self.ious.append(ious)
            for kind, iou in zip(kinds[position] if kinds else (), ious, strict=False):
                if kind:
                    self.ious_of.setdefault(kind, []).append(float(iou))
            coverings.append(float((ious * areas).sum() / areas.sum()))
        if coverings:
            self.coverings.append(float(np.mean(coverings)))

    @property
    def per_segment(self) -> float:
        """Mean best IoU of all drawn segments, 0..1; NaN if there are none."""
        return float(np.mean(np.concatenate(self.ious))) if self.ious else float('nan')

    @property
    def per_segment_of(self) -> dict[str, float]:
        """Kind -> mean best IoU of its drawn segments, 0..1."""
        return {kind: float(np.mean(ious)) for kind, ious in sorted(self.ious_of.items())}

    @property
    def covering(self) -> float:
        """Mean covering of the images, 0..1; NaN if there are none."""
        return float(np.mean(self.coverings)) if self.coverings else float('nan')


def boundary_recall(found: Int32Array, drawn: Int32Array, tolerance: int = 2) -> float:
    """Fraction of the drawn boundary pixels with a found boundary pixel within ``tolerance`` pixels, 0..1.

    It is 1 if no boundary is drawn.
    """
    wanted = boundary(drawn)
    if not wanted.any():
        return 1.0
    away = np.where(boundary(found), 0, 255).astype(np.uint8)
    distance = cv2.distanceTransform(away, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return float((distance[wanted] <= tolerance).mean())


def undersegmentation_error(found: Int32Array, drawn: Int32Array) -> float:
    """Mean size per pixel, 0 or more, of the parts of found segments that leak over drawn boundaries.

    Of each found segment that a boundary divides, the smaller side counts.
    """
    table = overlaps(found, drawn)
    leaks = np.minimum(table, table.sum(0) - table)
    return float(leaks.sum() / max(table.sum(), 1))
