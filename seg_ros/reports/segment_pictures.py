"""Pictures of segments by several methods side by side, beside segments that people drew."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from seg_ros.arrays import Int32Array, UInt8Array
from seg_ros.datasets.segmented import SegmentedImages
from seg_ros.datasets.walk import walk
from seg_ros.drawing.overlay import contact_sheet
from seg_ros.evaluation.published_codes import PublishedCodes
from seg_ros.evaluation.segment_accuracy import Tuned, choose_evenly
from seg_ros.evaluation.segment_baselines import Cutter, cut
from seg_ros.images.files import write_image
from seg_ros.networks.frame_network import FrameNetwork
from seg_ros.segments.regions import boundary

N_PICTURES = 4
"""Default number of images."""

_WIDTH_OF_COLUMN = 320
_OUTLINE, _VOID = (255, 255, 255), (0, 0, 0)
_TITLES: Mapping[str, str] = {
    'slic': 'SLIC',
    'egs_default': 'EGS as published',
    'egs_tuned': 'EGS',
    'kmeans': 'k-means of logits',
    'kmeans_cnn': 'k-means of CNN',
    'published': '8 bits, ITQ',
    'codes': 'codes',
    'features': 'codes as numbers',
}


def draw_side_by_side(
    path: Path,
    images: SegmentedImages,
    frames: FrameNetwork,
    tuned: Tuned,
    methods: Sequence[str],
    limit: int = N_PICTURES,
    published: PublishedCodes | None = None,
) -> None:
    """Draw the segments of each method, with its settings for the covering, and the drawn ones.

    Args:
        path: Path of the picture to write; missing folders are made.
        images: Images with annotations; the first annotation is drawn.
        frames: Network of a model with codes.
        tuned: Settings of the methods.
        methods: Names in METHODS, a column each.
        limit: Maximum number of images, a row each, spread evenly.
        published: Codes of the method ``published``, which needs them.

    Raises:
        ImageError: The file cannot be written.
    """
    rows = []
    for _, (image, annotations) in walk(images, 'drawing', indices=choose_evenly(images, limit)):
        cutter = Cutter(image, frames, published)
        found = [cut(cutter, method, tuned[method]['covering']) for method in methods]
        rows.append([image, *(paint_segments(image, ids) for ids in (annotations[0], *found))])
    titles = ['image', 'annotation', *(_TITLES.get(method, method) for method in methods)]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, contact_sheet(rows, titles, _WIDTH_OF_COLUMN * len(titles)))


def paint_segments(image: UInt8Array, ids: Int32Array) -> UInt8Array:
    """Paint each segment in its mean colour, with a white outline.

    Args:
        image: (H, W, 3) uint8 RGB.
        ids: (H, W) int32, segments from 0; pixels below 0 become black.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    shifted = ids.ravel() + 1
    counts = np.maximum(np.bincount(shifted), 1)
    sums = [np.bincount(shifted, image[..., channel].ravel()) for channel in range(3)]
    means = np.rint(np.stack(sums, axis=1) / counts[:, None]).astype(np.uint8)
    means[0] = _VOID
    picture: UInt8Array = means[ids + 1]
    picture[boundary(ids)] = _OUTLINE
    return picture
