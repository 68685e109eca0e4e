"""Random changes of training images that leave their labels true."""

from dataclasses import dataclass

import cv2
import numpy as np

from seg_ros.arrays import UNLABELLED, UInt8Array
from seg_ros.errors import RecipeError


@dataclass(frozen=True)
class Augmentation:
    """How much training images vary. All that is random comes from the generator handed to :meth:`__call__`.

    Attributes:
        crop: (height, width) of the result in pixels; the rest of a larger image is cut away at random,
            what a smaller one lacks is mirrored at the border and void.
        scale: smallest and largest zoom, drawn log-uniformly.
        stretch: largest relative change of the aspect ratio, 0 for none.
        rotate: largest rotation either way, in degrees.
        flip: probability of mirroring left and right.
        brightness: largest relative change of all channels, 0..1, 0 for none.
        contrast: likewise, of the distance from the image's mean.
        saturation: likewise, of the distance from grey.
        white_balance: likewise, of each channel apart.
        gamma: largest exponent or its inverse minus 1, 0 for none.
        blur: largest Gaussian sigma in pixels, used for a third of the images.
        noise: largest standard deviation of Gaussian noise in grey levels, used for a third of the images.
        shadow: probability of darkening a random half-plane, as a cast shadow does.
    """

    crop: tuple[int, int]
    scale: tuple[float, float] = (1.0, 1.0)
    stretch: float = 0.0
    rotate: float = 0.0
    flip: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    white_balance: float = 0.0
    gamma: float = 0.0
    blur: float = 0.0
    noise: float = 0.0
    shadow: float = 0.0

    def __post_init__(self) -> None:
        if min(self.crop) < 8 or not 0 < self.scale[0] <= self.scale[1]:
            raise RecipeError(
                f'crop is {self.crop}, scale {self.scale}; expected a crop of 8 pixels or more and '
                'scales above 0, the smaller first'
            )
        for key in ('flip', 'shadow', 'brightness', 'contrast', 'saturation', 'white_balance'):
            if not 0 <= getattr(self, key) <= 1:
                raise RecipeError(f'{key} is {getattr(self, key)}; expected 0..1')
        for key in ('stretch', 'rotate', 'gamma', 'blur', 'noise'):
            if getattr(self, key) < 0:
                raise RecipeError(f'{key} is {getattr(self, key)}; expected 0 or more')

    def __call__(
        self, image: UInt8Array, labels: UInt8Array, rng: np.random.Generator
    ) -> tuple[UInt8Array, UInt8Array]:
        """Vary one pair.

        Args:
            image: (H, W, 3) uint8 RGB.
            labels: (H, W) uint8.
            rng: source of all randomness.

        Returns:
            Image (*crop, 3) uint8 and labels (*crop) uint8, 255 where there was no image.
        """
        image, labels = self._warp(image, labels, rng)
        return self._change_colours(image, rng), labels

    def _warp(
        self, image: UInt8Array, labels: UInt8Array, rng: np.random.Generator
    ) -> tuple[UInt8Array, UInt8Array]:
        """Zoom, stretch, rotate, mirror and crop in one resampling."""
        height, width = labels.shape
        zoom = np.exp(rng.uniform(*np.log(self.scale)))
        stretch = np.exp(rng.uniform(-1, 1) * np.log1p(self.stretch) / 2)
        scale_x, scale_y = zoom * stretch, zoom / stretch
        angle = np.deg2rad(rng.uniform(-self.rotate, self.rotate))
        mirror = -1.0 if rng.random() < self.flip else 1.0
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        linear = turn @ np.diag([scale_x * mirror, scale_y])

        # Slack is what of the zoomed image hangs over the crop: the window slides within it, both signs.
        slack = np.array([width * scale_x - self.crop[1], height * scale_y - self.crop[0]])
        shift = rng.uniform(-0.5, 0.5, 2) * slack
        centre = np.array([width - 1, height - 1]) / 2
        target = np.array([self.crop[1] - 1, self.crop[0] - 1]) / 2 + shift
        # Whole pixels: a crop or a mirror image alone must not blur.
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
        """One table a channel for exposure, contrast, gamma, white balance; then what needs neighbours."""
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
