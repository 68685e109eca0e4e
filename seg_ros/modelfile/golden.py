"""The golden record of a model file: images, and the labels that a working copy gives for them."""

from dataclasses import dataclass

from seg_ros.arrays import UInt8Array
from seg_ros.errors import ModelFileError

GOLDEN_LIMIT_BYTES = 32 * 1024


@dataclass(frozen=True)
class Golden:
    """Images and the labels that a working copy of the model gives for them.

    Attributes:
        images: (N, H, W, 3) uint8 RGB, rendered scenes; seg_ros writes one or two.
        labels: (N, H, W) uint8; 255 everywhere for a model without classes.
        codes: (N, S, n_bits / 8) uint8, of blocks of the images (seg_ros.segments.code_pooling); or None.
        filtered: (N, H, W) uint8, labels with the model's own embedding filter; None without one.
    """

    images: UInt8Array
    labels: UInt8Array
    codes: UInt8Array | None = None
    filtered: UInt8Array | None = None

    def __post_init__(self) -> None:
        parts = (self.images, self.labels, self.codes, self.filtered)
        n_bytes = sum(part.nbytes for part in parts if part is not None)
        if self.images.ndim != 4 or self.images.shape[3] != 3 or self.images.shape[:3] != self.labels.shape:
            raise ModelFileError(
                f'golden images {self.images.shape} with labels {self.labels.shape}; '
                'expected (N, H, W, 3) with (N, H, W)'
            )
        if self.filtered is not None and self.filtered.shape != self.labels.shape:
            raise ModelFileError(
                f'golden labels with the filter {self.filtered.shape}; expected {self.labels.shape}'
            )
        if self.codes is not None and (self.codes.ndim != 3 or len(self.codes) != len(self.images)):
            raise ModelFileError(
                f'golden codes {self.codes.shape}; expected those of {len(self.images)} images'
            )
        if not self.images.nbytes or n_bytes > GOLDEN_LIMIT_BYTES:
            raise ModelFileError(
                f'golden images {self.images.shape}, golden record of {n_bytes} bytes; '
                f'expected 1..{GOLDEN_LIMIT_BYTES}'
            )
