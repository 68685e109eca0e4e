"""Normalisation: 8-bit images become the input of a network."""

import math
from dataclasses import asdict, dataclass
from typing import Any

from seg_ros.errors import ModelFileError


@dataclass(frozen=True)
class Normalisation:
    """Conversion of 8-bit values to network input: (value / 255 - mean) / std, in ``channel_order``.

    Attributes:
        mean: Mean of each channel on the scale 0..1, in the order of the network's channels.
        std: Standard deviation of each channel on the same scale, above 0.
        channel_order: Order of channels that the network was trained with, 'rgb' or 'bgr'.

    Raises:
        ModelFileError: A value is missing, not finite or out of range.
    """

    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    channel_order: str = 'rgb'

    def __post_init__(self) -> None:
        values = (*self.mean, *self.std)
        if (
            len(self.mean) != 3
            or len(self.std) != 3
            or not all(map(math.isfinite, values))
            or min(self.std) <= 0
        ):
            raise ModelFileError(
                f'normalisation: mean {self.mean}, std {self.std}; expected 3 finite values each, std above 0'
            )
        if self.channel_order not in ('rgb', 'bgr'):
            raise ModelFileError(
                f"normalisation has channel order '{self.channel_order}'; expected 'rgb' or 'bgr'"
            )

    def as_json(self) -> dict[str, Any]:
        """The normalisation as JSON values, as in the metadata of a model file."""
        return asdict(self)
