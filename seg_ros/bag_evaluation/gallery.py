"""Single frames that a report shows."""

from dataclasses import dataclass

from seg_ros.arrays import UInt8Array

REASONS = ('worst', 'best', 'flickering', 'uncertain', 'unlike')
"""Reasons for which a report shows a frame."""


@dataclass(frozen=True)
class GalleryFrame:
    """A frame that a report shows.

    Attributes:
        bag: Name of the bag.
        index: Position in the topic.
        time_s: Time since the start of the bag in seconds.
        stamp_ns: Time stamp in nanoseconds.
        reasons: Reasons to show the frame, of ``REASONS``; empty for a frame of the scrubber only.
        values: Measured values by name, such as ``{'mean_iou': 0.41}``; fractions 0..1.
        image: (h, w, 3) uint8 RGB, at most 480 pixels wide.
        labels: (h, w) uint8, labels of the drawn system.
        difference: (h, w) uint8: 1 where the labels differ from the others, 0 where they are equal, 255 where
            there is nothing to compare; None without others.
        difference_to: The other labels: 'labels' for true labels, 'reference' for those of the reference, ''.
    """

    bag: str
    index: int
    time_s: float
    stamp_ns: int
    reasons: tuple[str, ...]
    values: dict[str, float]
    image: UInt8Array
    labels: UInt8Array
    difference: UInt8Array | None
    difference_to: str
