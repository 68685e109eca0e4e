"""A drive through a random street: frames with exact labels in the 11 classes of CamVid.

Everything is drawn from geometry, noise and random numbers; no pixel comes from a photograph. A frame depends
only on seed, style, size and index, so frames may be rendered in any order and by several processes. Other
versions of NumPy or OpenCV may round a few pixels differently. As in CamVid, grass counts as tree, small gaps
in a crown count as tree, and small gaps in railings count as fence.
"""

import math

import cv2
import numpy as np

from seg_ros.arrays import UNLABELLED, Float64Array, UInt8Array
from seg_ros.errors import ParameterError
from seg_ros.synthetic.canvas import BUILDING, SKY, TREE, Canvas, PinholeCamera
from seg_ros.synthetic.items import Item
from seg_ros.synthetic.sensor import Sensor
from seg_ros.synthetic.street import AHEAD_M, Street
from seg_ros.synthetic.style import Style
from seg_ros.synthetic.textures import noise, sky


class RenderedDrive:
    """A seeded random street and a camera that drives along it.

    Args:
        seed: Seed of the street, its traffic and the default style; 0 or more.
        n_frames: Number of frames, 1 or more.
        height: Height of a frame in pixels, 16 or more.
        width: Width of a frame in pixels, 16 or more.
        speed_mps: Speed of the camera in m/s, 0 or more.
        rate_hz: Number of frames per second, above 0.
        style: Light, weather and camera; None = ``Style.random(seed)``.

    Raises:
        ParameterError: A number is out of range.
    """

    def __init__(
        self,
        seed: int,
        n_frames: int = 60,
        height: int = 360,
        width: int = 480,
        speed_mps: float = 8.0,
        rate_hz: float = 10.0,
        style: Style | None = None,
    ) -> None:
        if seed < 0 or n_frames < 1 or min(height, width) < 16 or speed_mps < 0 or rate_hz <= 0:
            raise ParameterError(
                f'a drive with seed {seed}, {n_frames} frames, {height}x{width}, {speed_mps} m/s '
                f'at {rate_hz} Hz cannot be rendered; expected seed >= 0, n_frames >= 1, sides >= 16, '
                'speed_mps >= 0 and rate_hz > 0'
            )
        self.style = Style.random(seed) if style is None else style
        self._seed, self._n_frames, self._size = seed, n_frames, (height, width)
        self._speed, self._rate = speed_mps, rate_hz
        self._street = Street(seed, self.style, speed_mps * n_frames / rate_hz, speed_mps)
        rng = np.random.default_rng([seed, 3])
        self._sway = rng.uniform(0, 2 * math.pi, 4)
        self._sky = sky(rng, self.style.sky_top, self.style.sky_low, self.style.clouds)
        self._skyline = _skyline(rng)
        self._sensor = Sensor(rng, self.style, height, width)

    def __len__(self) -> int:
        return self._n_frames

    def __getitem__(self, index: int) -> tuple[UInt8Array, UInt8Array]:
        """Render frame ``index``.

        Returns:
            image: (H, W, 3) uint8 RGB.
            labels: (H, W) uint8, class id 0..10, 255 = unlabelled.

        Raises:
            IndexError: ``index`` is out of range.
        """
        if not -self._n_frames <= index < self._n_frames:
            raise IndexError(f'frame {index} of a drive of {self._n_frames} frames')
        time_s = (index % self._n_frames) / self._rate
        canvas = Canvas(*self._size, self._camera(time_s), self.style.sky_low, self.style.haze_m)
        eye_s = self._speed * time_s
        self._paint_background(canvas)
        self._street.ground.paint(canvas, eye_s)
        for item in self._visible(eye_s, time_s):
            item.paint(canvas, self._street.curve, time_s)
        image, labels = canvas.picture()
        if self.style.bonnet:
            self._paint_bonnet(image, labels)
        image = self._sensor(image, np.random.default_rng([self._seed, 4, index % self._n_frames]))
        if self.style.mirrored:
            image, labels = np.ascontiguousarray(image[:, ::-1]), np.ascontiguousarray(labels[:, ::-1])
        return image, labels

    def _camera(self, time_s: float) -> PinholeCamera:
        """The camera at a time: along the lane, with some movement of car and driver."""
        height, width = self._size
        street, s = self._street, self._speed * time_s
        wave = np.sin(self._sway + time_s * np.array([0.7, 1.9, 0.5, 3.1]))
        position = street.curve.point(s, street.lane_d + 0.12 * wave[0], self.style.camera_height)
        yaw = math.atan(street.curve.slope(s + 4)) + 0.008 * wave[2]
        pitch = self.style.pitch + 0.003 * wave[1] + 0.001 * wave[3]
        return PinholeCamera(
            position, yaw, pitch, 2 * self.style.focal * width, (float(width), float(height))
        )

    def _visible(self, eye_s: float, time_s: float) -> list[Item]:
        """Items in front of the camera, farthest first."""
        placed = [(item.at(time_s), item) for item in self._street.items]
        seen = [(s, k) for k, (s, _) in enumerate(placed) if eye_s < s < eye_s + AHEAD_M]
        return [placed[k][1] for _, k in sorted(seen, reverse=True)]

    def _paint_background(self, canvas: Canvas) -> None:
        """Sky, and a strip of far houses and trees on the horizon, both fixed in the world."""
        camera, columns = canvas.camera, canvas.labels.shape[1]
        horizon = camera.horizon()
        canvas.labels[:] = SKY
        canvas.backdrop(self._sky)
        heights, labels, greys = self._skyline
        angles = (np.arange(len(heights)) / len(heights) - 0.5) * 2.0
        x = camera.centre[0] + camera.focal * (angles - camera.yaw)
        wide = camera.focal * 2.0 / len(heights)
        for k in np.flatnonzero((x > -wide) & (x < columns)):
            top = horizon - heights[k] * camera.focal
            grey = float(greys[k])
            tint = (grey, grey, grey) if labels[k] == BUILDING else (grey * 0.9, grey, grey * 0.75)
            box = (round(x[k]), round(top)), (round(x[k] + wide), round(horizon) + 2)
            cv2.rectangle(canvas.image, *box, canvas.hazy(tint, 160.0), -1)
            cv2.rectangle(canvas.labels, *box, int(labels[k]), -1)

    def _paint_bonnet(self, image: UInt8Array, labels: UInt8Array) -> None:
        """The bonnet of the camera's own car, dark and unlabelled."""
        height, width = labels.shape
        centre, axes = (int(0.62 * width), int(1.12 * height)), (int(0.6 * width), int(0.16 * height))
        cv2.ellipse(image, centre, axes, 0, 0, 360, (26, 28, 32), -1, cv2.LINE_AA)
        cv2.ellipse(labels, centre, axes, 0, 0, 360, UNLABELLED, -1)


def _skyline(rng: np.random.Generator) -> tuple[Float64Array, Float64Array, Float64Array]:
    """Height as a tangent, label and grey value of each of the 360 columns of the far skyline."""
    columns = 360
    wooded = noise(rng, 1, columns, (20, 50))[0] > 0
    rough = np.where(
        wooded, noise(rng, 1, columns, (1, 3, 9))[0], np.repeat(rng.normal(0, 1, columns // 6), 6)
    )
    heights = np.clip(0.045 + 0.014 * rough, 0.012, 0.11)
    greys = np.where(
        wooded, 58 + 9 * rng.normal(0, 1, columns), np.repeat(rng.uniform(60, 130, columns // 6), 6)
    )
    return heights, np.where(wooded, TREE, BUILDING), greys
