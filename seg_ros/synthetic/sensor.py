"""Model of a camera: from the light of a scene to pixels."""

import cv2
import numpy as np

from seg_ros.arrays import UInt8Array
from seg_ros.synthetic.style import Exposure
from seg_ros.synthetic.textures import Rng

_SPARE = 64
"""Pixels by which the noise pattern is larger than the picture, for random crops of it."""


class Sensor:
    """Lens, sensor and tone of one camera.

    Args:
        rng: Random numbers of the noise pattern.
        exposure: Parameters of the camera.
        height: Height of the picture in pixels.
        width: Width of the picture in pixels.
    """

    def __init__(self, rng: Rng, exposure: Exposure, height: int, width: int) -> None:
        self._exposure, self._size = exposure, (height, width)
        noise = rng.normal(0, 1, (height + _SPARE, width + _SPARE, 3)).astype(np.float32)
        self._noise = cv2.GaussianBlur(noise, (0, 0), 0.6) * 1.6
        self._vignette = _vignette(height, width, exposure.vignette)
        self._table = _tone_table(exposure)

    def __call__(self, image: UInt8Array, rng: Rng) -> UInt8Array:
        """Apply blur, vignette, tone curve and noise.

        Args:
            image: (H, W, 3) uint8 RGB.
            rng: Random numbers for the crop of the noise pattern.

        Returns:
            (H, W, 3) uint8 RGB.
        """
        height, width = self._size
        exposure = self._exposure
        if exposure.blur > 0.2:
            image = np.asarray(cv2.GaussianBlur(image, (3, 3), exposure.blur), np.uint8)
        if exposure.saturation != 1:
            grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
            image = np.asarray(
                cv2.addWeighted(image, exposure.saturation, grey, 1 - exposure.saturation, 0), np.uint8
            )
        image = np.asarray(cv2.LUT(cv2.multiply(image, self._vignette, scale=1 / 255), self._table), np.uint8)
        x, y = rng.integers(0, _SPARE, 2)
        grain = self._noise[y : y + height, x : x + width]
        exposed = cv2.scaleAdd(grain, exposure.noise, image.astype(np.float32))
        return np.asarray(np.clip(np.rint(exposed), 0, 255), np.uint8)


def _tone_table(exposure: Exposure) -> UInt8Array:
    """(1, 256, 3) uint8: gain of the light, tone curve, lift, for each channel."""
    levels = np.arange(256)[:, None] / 255 * np.asarray(exposure.light)
    toned = 255 * np.clip(levels, 0, 1) ** exposure.gamma
    return np.asarray(np.clip(exposure.lift + toned, 0, 255), np.uint8)[None]


def _vignette(height: int, width: int, loss: float) -> UInt8Array:
    """(H, W, 3) uint8 gain, 255 = 1, falling towards the corners."""
    y, x = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)[None]
    gain = 255 * (1 - loss * (x**2 + y**2) / 2)
    return np.repeat(gain.astype(np.uint8)[..., None], 3, 2)
