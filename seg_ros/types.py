"""Values that the parts of seg_ros hand to one another."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

UInt8Array = npt.NDArray[np.uint8]

UNLABELLED = 255
"""Class id of a pixel without a class, in every label image (vision_msgs and torchvision agree)."""


@dataclass(frozen=True)
class Prediction:
    """What the pipeline says about one image.

    Attributes:
        labels: (H, W) uint8, class id per pixel, 255 = unlabelled.
        confidence: (H, W) uint8, round(255 * largest softmax probability); None unless asked for.
    """

    labels: UInt8Array
    confidence: UInt8Array | None = None
