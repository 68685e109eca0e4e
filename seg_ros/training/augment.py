"""Random changes of training images and their labels."""

from dataclasses import dataclass
from typing import Annotated

import cv2
import numpy as np
from msgspec import Meta

from seg_ros import schema
from seg_ros.arrays import UNLABELLED, UInt8Array
from seg_ros.errors import RecipeError
from seg_ros.schema import Fraction

_Side = Annotated[int, Meta(ge=8, le=8192)]
_Zoom = Annotated[float, Meta(gt=0, le=64)]
_Change = Annotated[float, Meta(ge=0, le=10)]


@dataclass(frozen=True)
class Augmentation:
    """Ranges of random changes. All randomness comes from the generator passed to :meth:`__call__`.

    Attributes:
        crop: (height, width) of the result in pixels. Larger images are cut at a random place; smaller ones
            are mirrored at the border and unlabelled there.
        scale: Minimum and maximum zoom, drawn log-uniformly.
        stretch: Maximum relative change of the aspect ratio, 0 = none.
        rotate: Maximum rotation in either direction, in degrees.
        flip: Probability of a left-right flip.
        brightness: Maximum relative change of all channels, 0 = none.
        contrast: Maximum relative change of the distance from the image's mean.
        saturation: Maximum relative change of the distance from grey.
        white_balance: Maximum relative change of each channel by itself.
        gamma: Maximum of the exponent or of its inverse, minus 1, 0 = none.
        blur: Maximum Gaussian sigma in pixels, applied to a third of the images.
        noise: Maximum standard deviation of Gaussian noise in grey levels, applied to a third of the images.
        shadow: Probability of darkening a random half-plane, as a cast shadow does.
    """

    crop: tuple[_Side, _Side]
    scale: tuple[_Zoom, _Zoom] = (1.0, 1.0)
    stretch: _Change = 0.0
    rotate: Annotated[float, Meta(ge=0, le=360)] = 0.0
    flip: Fraction = 0.0
    brightness: Fraction = 0.0
    contrast: Fraction = 0.0
    saturation: Fraction = 0.0
    white_balance: Fraction = 0.0
    gamma: _Change = 0.0
    blur: Annotated[float, Meta(ge=0, le=100)] = 0.0
    noise: Annotated[float, Meta(ge=0, le=255)] = 0.0
    shadow: Fraction = 0.0

    def __post_init__(self) -> None:
        schema.check_fields(self, RecipeError)
        is_sorted = self.scale[0] <= self.scale[1]
        schema.require(is_sorted, 'scale', self.scale, 'the smaller zoom first', RecipeError)

    def __call__(
        self, image: UInt8Array, labels: UInt8Array, rng: np.random.Generator
    ) -> tuple[UInt8Array, UInt8Array]:
        """Change an image and its labels at random.

        Args:
            image: (H, W, 3) uint8 RGB.
            labels: (H, W) uint8.
            rng: Source of all randomness.

        Returns:
            Image (*crop, 3) uint8 and labels (*crop) uint8, 255 where there was no image.
        """
        image, labels = self._warp(image, labels, rng)
        return self._change_colours(image, rng), labels

    def _warp(
        self, image: UInt8Array, labels: UInt8Array, rng: np.random.Generator
    ) -> tuple[UInt8Array, UInt8Array]:
        """Zoom, stretch, rotate, flip and crop in one resampling."""
        height, width = labels.shape
        zoom = np.exp(rng.uniform(*np.log(self.scale)))
        stretch = np.exp(rng.uniform(-1, 1) * np.log1p(self.stretch) / 2)
        scale_x, scale_y = zoom * stretch, zoom / stretch
        angle = np.deg2rad(rng.uniform(-self.rotate, self.rotate))
        mirror = -1.0 if rng.random() < self.flip else 1.0
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        linear = turn @ np.diag([scale_x * mirror, scale_y])

        # Slack: size of the zoomed image minus the crop, may be negative; the crop lies anywhere within it.
        slack = np.array([width * scale_x - self.crop[1], height * scale_y - self.crop[0]])
        shift = rng.uniform(-0.5, 0.5, 2) * slack
        centre = np.array([width - 1, height - 1]) / 2
        target = np.array([self.crop[1] - 1, self.crop[0] - 1]) / 2 + shift
        # Whole pixels: a crop or a flip alone must not blur.
        matrix = np.column_stack([linear, np.rint(target - linear @ centre)])

        size = (self.crop[1], self.crop[0])
        image = np.asarray(
            cv2.warpAffine(image, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101),
            np.uint8,
        )
        labels = np.asarray(
            cv2.warpAffine(labels, matrix, size, flags=cv2.INTER_NEAREST, borderValue=(UNLABELLED,)), np.uint8
        )
        return image, labels

    def _change_colours(self, image: UInt8Array, rng: np.random.Generator) -> UInt8Array:
        """Change exposure, contrast, gamma and white balance by a table per channel, then the rest."""
        levels = np.linspace(0, 1, 256)[:, None]
        gamma = np.exp(rng.uniform(-1, 1) * np.log1p(self.gamma))
        contrast = 1 + rng.uniform(-self.contrast, self.contrast)
        gain = (1 + rng.uniform(-self.brightness, self.brightness)) * (
            1 + rng.uniform(-self.white_balance, self.white_balance, 3)
        )
        pivot = image.mean() / 255
        table = ((levels - pivot) * contrast + pivot).clip(0, 1) ** gamma * gain
        image = np.asarray(cv2.LUT(image, np.rint(table.clip(0, 1) * 255).astype(np.uint8)[None]), np.uint8)

        saturation = 1 + rng.uniform(-self.saturation, self.saturation)
        grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        image = np.asarray(cv2.addWeighted(image, saturation, grey, 1 - saturation, 0), np.uint8)
        if rng.random() < self.shadow:
            image = _shadowed(image, rng)
        if self.blur and rng.random() < 1 / 3:
            image = np.asarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(0, self.blur) + 0.05), np.uint8)
        if self.noise and rng.random() < 1 / 3:
            noise = rng.standard_normal(image.shape, np.float32) * rng.uniform(0, self.noise)
            image = np.rint(image + noise).clip(0, 255).astype(np.uint8)
        return image


def _shadowed(image: UInt8Array, rng: np.random.Generator) -> UInt8Array:
    """Darken one side of a random line."""
    height, width = image.shape[:2]
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[:height, :width]
    through_y, through_x = rng.uniform(0, height), rng.uniform(0, width)
    side = (x - through_x) * np.cos(angle) + (y - through_y) * np.sin(angle) > 0
    factor = np.where(side, rng.uniform(0.4, 0.9), 1.0).astype(np.float32)
    return (image * factor[..., None]).astype(np.uint8)
