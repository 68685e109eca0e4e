"""A soccer field for robots: its dimensions, its markings, and the ground with its light.

World axes: x along the field from goal to goal, y up, z across it, in metres; the origin is the middle of the
field.
"""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from seg_ros.arrays import Float32Array, Float64Array, UInt8Array
from seg_ros.synthetic.canvas import Canvas
from seg_ros.synthetic.style import Colour
from seg_ros.synthetic.textures import Rng, asphalt, noise

BACKGROUND, FIELD, LINE, GOAL, BALL, ROBOT, PERSON = range(7)

GREENS: tuple[Colour, ...] = (
    (54, 104, 48), (70, 124, 58), (36, 84, 52), (24, 104, 62), (44, 108, 76), (94, 122, 50), (38, 66, 38),
    (116, 140, 100), (112, 118, 70), (60, 140, 64),
)  # fmt: skip
FLOORS: tuple[Colour, ...] = (
    (116, 112, 106), (150, 146, 138), (74, 74, 78), (156, 120, 80), (128, 92, 60), (60, 84, 110),
    (58, 92, 70), (120, 60, 50), (44, 42, 44),
)  # fmt: skip


_MAP_PIXELS_PER_M = 12
_MAP_BORDER_M = 6.0
_GRAIN_PIXELS_PER_M = 110


@dataclass(frozen=True)
class Field:
    """Dimensions of a field in metres, measured along the middles of lines.

    Attributes:
        length: Distance of the goal lines.
        width: Distance of the touchlines.
        border: Width of the carpet outside the lines.
        line: Width of the lines.
        circle: Radius of the centre circle.
        areas: Depth and width of each rectangle in front of a goal.
        mark: Distance of the penalty mark from the goal line.
        goal_width: Width of the goals between the middles of the posts.
        goal_height: Height of the goals.
        goal_depth: Depth of the goals.
        post: Diameter of posts and crossbar.
    """

    length: float = 9.0
    width: float = 6.0
    border: float = 0.9
    line: float = 0.05
    circle: float = 0.75
    areas: tuple[tuple[float, float], ...] = ((1.0, 3.0),)
    mark: float = 1.5
    goal_width: float = 2.6
    goal_height: float = 1.2
    goal_depth: float = 0.6
    post: float = 0.1

    @classmethod
    def random(cls, rng: Rng) -> 'Field':
        """Random dimensions near those of the humanoid leagues."""
        size = rng.uniform(0.65, 1.15)
        two = rng.random() < 0.5
        goal_depth = rng.uniform(0.4, 0.7)
        return cls(
            length=9 * size * rng.uniform(0.9, 1.1),
            width=6 * size * rng.uniform(0.9, 1.1),
            border=goal_depth + rng.uniform(0.15, 0.6),
            line=rng.uniform(0.04, 0.075),
            circle=0.75 * size * rng.uniform(0.9, 1.2),
            areas=((0.75 * size, 2.6 * size), (1.7 * size, 3.8 * size)) if two else ((size, 3 * size),),
            mark=size * rng.uniform(1.3, 2.0),
            goal_width=rng.uniform(1.5, 2.3) * size,
            goal_height=rng.uniform(0.8, 1.3) * max(size, 0.8),
            goal_depth=goal_depth,
            post=rng.uniform(0.06, 0.11),
        )

    def on_carpet(self, x: float, z: float, margin: float = 0.0) -> bool:
        """Whether a place is on the carpet, at least ``margin`` metres from its edge."""
        reach = self.border - margin
        return abs(x) < self.length / 2 + reach and abs(z) < self.width / 2 + reach

    def markings(self) -> list[Float64Array]:
        """Lines and marks as convex polygons of (N, 3) world points."""
        x, z, half = self.length / 2, self.width / 2, self.line / 2
        strips = [(0.0, -z, 0.0, z), (-x, -z, x, -z), (-x, z, x, z)]
        for end in (-1, 1):
            strips.append((end * x, -z, end * x, z))
            for depth, width in self.areas:
                near, side = end * (x - depth), width / 2
                strips.append((near, -side, near, side))
                strips += [(near, k * side, end * x, k * side) for k in (-1, 1)]
        found = [
            _rectangle(min(x0, x1) - half, min(z0, z1) - half, max(x0, x1) + half, max(z0, z1) + half)
            for x0, z0, x1, z1 in strips
        ]
        found += [_disc(mark, 1.1 * self.line) for mark in (0.0, x - self.mark, self.mark - x)]
        inner, outer = (_ring(self.circle + k * half) for k in (-1, 1))
        n = len(inner)
        found += [np.stack([inner[k], inner[(k + 1) % n], outer[(k + 1) % n], outer[k]]) for k in range(n)]
        return found


def _rectangle(x0: float, z0: float, x1: float, z1: float) -> Float64Array:
    return np.array([(x0, 0, z0), (x1, 0, z0), (x1, 0, z1), (x0, 0, z1)], np.float64)


def _ring(radius: float, n: int = 48) -> Float64Array:
    turn = np.linspace(0, 2 * np.pi, n, endpoint=False)
    return np.stack([radius * np.cos(turn), np.zeros(n), radius * np.sin(turn)], 1)


def _disc(x: float, radius: float) -> Float64Array:
    return np.asarray(_ring(radius, 16) + np.array([x, 0, 0]))


@dataclass(frozen=True)
class Shadow:
    """A soft shadow on the ground around the line from ``start`` (x, z) to ``end`` (x, z)."""

    start: tuple[float, float]
    end: tuple[float, float]
    radius: float
    strength: float


class Turf:
    """The ground: field, lines and the floor around it, with their grain, stains and light.

    Args:
        rng: Random numbers of colours and wear.
        field: Dimensions of the field.
        floor: Colour of the floor beyond the carpet.
        floor_lines: Whether the floor has lines of other games, as in sports halls.
    """

    def __init__(self, rng: Rng, field: Field, floor: Colour, floor_lines: bool) -> None:
        self._field, self._floor = field, floor
        green = np.asarray(GREENS[rng.integers(len(GREENS))]) * rng.uniform(0.75, 1.2)
        self._green = _colour(green + rng.normal(0, 6, 3))
        self._white = _colour(np.full(3, rng.uniform(170, 215)) + rng.normal(0, 4, 3))
        self._grain = _grain(int(rng.integers(8)))
        self._roughness = float(rng.uniform(0.3, 2.2))
        self._light = self._light_map(rng)
        self._floor_lines = _floor_lines(rng, field) if floor_lines else []

    def _light_map(self, rng: Rng) -> UInt8Array:
        """(rows along z, columns along x, 3) uint8 gain, 128 = 1: wear, seams, mowing, pools of light."""
        columns, rows = (
            int((side + 2 * _MAP_BORDER_M) * _MAP_PIXELS_PER_M)
            for side in (self._field.length, self._field.width)
        )
        x = np.linspace(-1, 1, columns, dtype=np.float32)[None]
        z = np.linspace(-1, 1, rows, dtype=np.float32)[:, None]
        gain = 1 + rng.uniform(0.02, 0.1) * noise(rng, rows, columns, (4, 14, 50))
        angle, slope = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.3)
        gain *= 1 + slope * (np.cos(angle) * x + np.sin(angle) * z)
        for _ in range(int(rng.integers(0, 5))):
            at, size = rng.uniform(-1, 1, 2), rng.uniform(0.1, 0.4)
            gain *= 1 + rng.uniform(-0.25, 0.4) * np.exp(-((x - at[0]) ** 2 + (z - at[1]) ** 2) / size**2)
        stripe = int(rng.uniform(0.8, 2.2) * _MAP_PIXELS_PER_M)
        kind = rng.random()
        if kind < 0.25:
            gain[:, (np.arange(columns) // stripe) % 2 == 0] *= rng.uniform(0.8, 0.95)
        elif kind < 0.6:
            gain[:: 2 * stripe] *= rng.uniform(0.6, 0.95)
        tint = rng.normal(0, 0.05, 3) * noise(rng, rows, columns, (30, 80))[..., None]
        return np.asarray(np.clip(128 * gain[..., None] * (1 + tint), 0, 255), np.uint8)

    def paint(self, canvas: Canvas, shadows: list[Shadow]) -> None:
        """Paint everything below the horizon."""
        x, z = (side / 2 + self._field.border for side in (self._field.length, self._field.width))
        canvas.polygon(_rectangle(-60, -60, 60, 60), self._floor, BACKGROUND)
        for outline, colour in self._floor_lines:
            canvas.polygon(outline, colour, BACKGROUND)
        canvas.polygon(_rectangle(-x, -z, x, z), self._green, FIELD)
        canvas.polygons([(outline, self._white, LINE) for outline in self._field.markings()])
        self._texture(canvas, shadows)

    def _texture(self, canvas: Canvas, shadows: list[Shadow]) -> None:
        """Multiply the image by grain, wear and shadow, computed at every second pixel of the canvas."""
        rows, columns = (side // 2 for side in canvas.labels.shape)
        across, down = (2 * np.arange(n, dtype=np.float32) + 0.5 for n in (columns, rows))
        *place, depth = canvas.camera.ground(across, down)
        x, z = (np.clip(side, -1e3, 1e3).astype(np.float32) for side in place)
        light_at = (
            (self._field.length / 2 + _MAP_BORDER_M + x) * _MAP_PIXELS_PER_M,
            (self._field.width / 2 + _MAP_BORDER_M + z) * _MAP_PIXELS_PER_M,
        )
        gain = cv2.remap(self._light, *light_at, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        grain_at = (_GRAIN_PIXELS_PER_M * x, _GRAIN_PIXELS_PER_M * z)
        grain = cv2.remap(self._grain, *grain_at, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
        is_floor = canvas.labels[::2, ::2] == BACKGROUND
        rough = np.where(is_floor, np.float32(0.3), np.float32(self._roughness)) * np.clip(2.5 / depth, 0, 1)
        factor = 1 + (grain.astype(np.float32) / 128 - 1) * rough
        for shadow in shadows:
            factor *= 1 - shadow.strength * _shade(shadow, x, z)
        gain = np.clip(gain * factor[..., None], 0, 255).astype(np.uint8)
        gain[depth > 500 * canvas.camera.position[1]] = 128  # at the horizon and above
        full = cv2.resize(gain, (2 * columns, 2 * rows))
        canvas.image[:] = cv2.multiply(canvas.image, full, scale=1 / 128)


def _shade(shadow: Shadow, x: Float32Array, z: Float32Array) -> Float32Array:
    """Depth of the shadow at each place, 0..1."""
    (x0, z0), (x1, z1) = shadow.start, shadow.end
    along = np.array([x1 - x0, z1 - z0], np.float32)
    length = max(float(along @ along), 1e-6)
    t = np.clip(((x - np.float32(x0)) * along[0] + (z - np.float32(z0)) * along[1]) / length, 0, 1)
    apart = (x - x0 - t * along[0]) ** 2 + (z - z0 - t * along[1]) ** 2
    return np.asarray(np.clip(1 - apart / shadow.radius**2, 0, 1) * (1 - 0.6 * t), np.float32)


def _floor_lines(rng: Rng, field: Field) -> list[tuple[Float64Array, Colour]]:
    """Lines of other games on the floor of a sports hall."""
    found: list[tuple[Float64Array, Colour]] = []
    reach = (field.length / 2 + 5, field.width / 2 + 5)
    for _ in range(int(rng.integers(3, 9))):
        colour = _colour(
            np.asarray([(206, 204, 198), (190, 60, 50), (40, 70, 150), (200, 180, 60)][rng.integers(4)])
        )
        at, wide = rng.uniform(-1, 1), rng.uniform(0.04, 0.08)
        if rng.random() < 0.5:
            x = at * reach[0]
            found.append((_rectangle(x, -reach[1], x + wide, reach[1]), colour))
        else:
            z = at * reach[1]
            found.append((_rectangle(-reach[0], z, reach[0], z + wide), colour))
    return found


@lru_cache(maxsize=8)
def _grain(kind: int) -> UInt8Array:
    """One of a few cached tiles of grain; making one takes longer than rendering a picture."""
    return asphalt(np.random.default_rng([7, kind]))


def _colour(values: Float64Array) -> Colour:
    r, g, b = np.clip(values, 0, 255)
    return float(r), float(g), float(b)
