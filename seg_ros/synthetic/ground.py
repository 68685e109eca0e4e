"""The ground of a street: road, kerbs, pavements and markings, and the light that falls on them."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import cv2
import numpy as np

from seg_ros.arrays import Float64Array, UInt8Array
from seg_ros.synthetic.canvas import PAVEMENT, ROAD, Canvas
from seg_ros.synthetic.items import Curve
from seg_ros.synthetic.style import Colour
from seg_ros.synthetic.textures import Rng, asphalt, noise

KERB_M = 0.11
SHADE_PIXELS_PER_M = 8
SHADE_HALF_M = 20.0
GRAIN_PIXELS_PER_M = 64


@dataclass(frozen=True)
class Patch:
    """A rectangle on the ground in street coordinates, at height y in metres."""

    s0: float
    s1: float
    d0: float
    d1: float
    colour: Colour
    label: int
    y: float = 0.0


class Ground:
    """All flat parts of a street.

    Args:
        rng: Random numbers.
        curve: Middle line of the street.
        half: Half the width of the road in metres.
        pavements: Width of the left and of the right pavement in metres.
        patches: Verges, side roads and markings on the plain ground, in the order of painting.
        grey: Grey value of the asphalt, 0..255.
        sheen: Additional brightness of the ground far ahead.
        length: Length of the street in metres that has its own shade.
    """

    def __init__(
        self,
        rng: Rng,
        curve: Curve,
        half: float,
        pavements: tuple[float, float],
        patches: list[Patch],
        grey: float,
        sheen: float,
        length: float,
    ) -> None:
        self.curve, self.half, self.pavements, self.patches = curve, half, pavements, patches
        self._sheen = sheen
        tint = rng.uniform(-3, 3)
        self.road: Colour = (grey - 2 + tint, grey, grey + 3 - tint)
        paving = grey * rng.uniform(0.75, 1.12)
        self.paving: Colour = (paving + 3 + tint, paving + 1, paving - 2)
        self.kerb: Colour = tuple(min(250.0, c * 1.3 + 8) for c in self.paving)  # type: ignore[assignment]
        self._grain = asphalt(rng)
        self._slabs = self._grain.copy()
        if rng.random() < 0.7:
            across, along = rng.choice((8, 12, 16), 2)
            self._slabs[:, :: 512 // across] -= 28
            self._slabs[:: 512 // along] -= 28
        self.shade = self._wear(rng, int(length * SHADE_PIXELS_PER_M))

    def _wear(self, rng: Rng, rows: int) -> UInt8Array:
        """(rows, columns) uint8 gain, 128 = 1: stains, wheel tracks, mended trenches and cracks."""
        columns = int(2 * SHADE_HALF_M * SHADE_PIXELS_PER_M)
        streaks = noise(rng, -(-rows // 6), columns, (3, 8, 30)).astype(np.float32)
        gain = 128 * (1 + 0.018 * cv2.resize(streaks, (columns, rows)).astype(np.float64))
        d = (np.arange(columns) / SHADE_PIXELS_PER_M - SHADE_HALF_M)[None]
        for lane in (-self.half / 2, self.half / 2):
            for track in (lane - 0.75, lane + 0.75):
                gain *= 1 + rng.uniform(-0.1, 0.03) * np.exp(-(((d - track) / 0.35) ** 2))
        gain *= 1 - 0.12 * np.exp(-((np.abs(d) - self.half) ** 2) / 0.1)
        worn = np.clip(gain, 0, 255).astype(np.uint8)
        for _ in range(rng.integers(2, 14)):
            x, y = rng.integers(columns // 4, 3 * columns // 4), rng.integers(rows)
            size = rng.integers(4, 24), rng.integers(6, 90)
            box = np.s_[y : y + size[1], x : x + size[0]]
            worn[box] = np.clip(worn[box] * rng.uniform(0.72, 1.12), 0, 255)
        for _ in range(rng.integers(0, 16)):
            start = np.array([rng.integers(columns), rng.integers(rows)])
            path = np.cumsum(rng.normal(0, (2.0, 9.0), (9, 2)), 0) + start
            cv2.polylines(worn, [path.astype(np.int32)], False, 92, 1, cv2.LINE_AA)
        for _ in range(rng.integers(0, 6)):
            centre = (int(rng.integers(columns // 3, 2 * columns // 3)), int(rng.integers(rows)))
            cv2.circle(worn, centre, int(rng.integers(2, 4)), 78, -1)
        return worn

    def cast(self, shadow: Float64Array) -> None:
        """Multiply the rows of ``shade`` by gains in 0..1; rows beyond the gains stay unchanged."""
        self.shade = np.clip(self.shade * shadow, 0, 255).astype(np.uint8)

    def paint(self, canvas: Canvas, eye_s: float) -> None:
        """Paint the ground as seen from ``eye_s``, then grain and shade over it."""
        s = eye_s + np.concatenate([[-6.0], np.geomspace(1.0, 260.0, 22)])
        left, right = self.pavements
        self._band(canvas, s, -90, 90, 0.0, self.paving, PAVEMENT)
        self._band(canvas, s, -self.half, self.half, 0.0, self.road, ROAD)
        for side, width in ((-1, left), (1, right)):
            inner, outer = side * self.half, side * (self.half + width)
            self._band(canvas, s, inner, outer, KERB_M, self.paving, PAVEMENT)
            self._band(canvas, s, inner, inner + side * 0.14, KERB_M, self.kerb, PAVEMENT)
            self._face(canvas, s, inner)
        for patch in self.patches:
            if patch.s1 > eye_s and patch.s0 < eye_s + 130:
                reach = np.linspace(patch.s0, patch.s1, 2 + int((patch.s1 - patch.s0) / 6))
                self._band(canvas, reach, patch.d0, patch.d1, patch.y, patch.colour, patch.label)
        self._texture(canvas)

    def _band(
        self, canvas: Canvas, s: Float64Array, d0: float, d1: float, y: float, colour: Colour, label: int
    ) -> None:
        """A ribbon along the street, in short pieces for haze and bends."""
        first, second = self.curve.line(s, d0, y), self.curve.line(s, d1, y)
        cuts = [0, *range(4, len(s) - 1, 6), len(s) - 1]
        for a, b in pairwise(cuts):
            canvas.polygon(np.concatenate([first[a : b + 1], second[a : b + 1][::-1]]), colour, label)

    def _face(self, canvas: Canvas, s: Float64Array, d: float) -> None:
        """The upright side of a kerb."""
        foot, top = self.curve.line(s[:14], d), self.curve.line(s[:14], d, KERB_M)
        r, g, b = (0.8 * c for c in self.kerb)
        canvas.polygon(np.concatenate([foot, top[::-1]]), (r, g, b), PAVEMENT)

    def _texture(self, canvas: Canvas) -> None:
        """Multiply everything below the horizon by grain and shade, looked up in street coordinates."""
        rows, columns = canvas.labels.shape[0] // 2, canvas.labels.shape[1] // 2
        top = max(int(canvas.camera.horizon() / 2) + 2, 0)
        if top >= rows - 1:
            return
        s, d, depth = self._lookup(canvas, top, rows, columns)
        where = (SHADE_PIXELS_PER_M * (d + SHADE_HALF_M), SHADE_PIXELS_PER_M * s)
        shade = cv2.remap(self.shade, *where, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE).astype(
            np.float32
        )
        fade = np.clip(9 / depth, 0, 1)
        grains = [self._grained(tile, s, d, fade) for tile in (self._grain, self._slabs)]
        paved = canvas.labels[2 * top : 2 * rows : 2, ::2] == PAVEMENT
        gain = np.clip(
            shade * np.where(paved, grains[1], grains[0]) * (1 + self._sheen * (1 - fade)), 0, 255
        ).astype(np.uint8)
        full = cv2.cvtColor(cv2.resize(gain, (2 * columns, 2 * (rows - top))), cv2.COLOR_GRAY2RGB)
        part = canvas.image[2 * top : 2 * rows]
        canvas.image[2 * top : 2 * rows] = cv2.multiply(part, full, scale=1 / 128)

    def _grained(
        self, tile: UInt8Array, s: Float64Array, d: Float64Array, fade: Float64Array
    ) -> Float64Array:
        where = (GRAIN_PIXELS_PER_M * d, GRAIN_PIXELS_PER_M * s)
        grain = cv2.remap(tile, *where, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP).astype(np.float32)
        return np.asarray(1 + (grain / 128 - 1) * fade)

    def _lookup(self, canvas: Canvas, top: int, rows: int, columns: int) -> tuple[Any, Any, Any]:
        """Street coordinates s, d and depth of each pixel in the rows below ``top``, float32 in metres."""
        across, down = (2 * np.arange(n, m, dtype=np.float32) + 0.5 for n, m in ((0, columns), (top, rows)))
        x, z, depth = canvas.camera.ground(across, down)
        s = z.astype(np.float32)
        c = self.curve
        bend = c.amplitude * np.sin(s / np.float32(c.length) + np.float32(c.phase))
        return s, (x - bend).astype(np.float32), depth
