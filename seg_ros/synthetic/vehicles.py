"""Cars, vans, lorries and buses: side profiles extruded to their width, as flat shaded polygons."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from seg_ros.arrays import Float64Array
from seg_ros.synthetic.canvas import CAR, Canvas
from seg_ros.synthetic.style import Colour

Profile = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class VehicleModel:
    """A kind of vehicle; lengths in metres, y above the road, x forward from its middle.

    Attributes:
        profile: Points x, y from the front bumper over the roof to the rear bumper.
        glass: Indices of the profile segments that are windows.
        windows: Outlines x, y of the side windows.
        width: Width of the body.
        belt: Height above which the body leans inwards.
        lean: Distance by which each side leans inwards at the roof.
        wheels: Positions x of the axles.
        wheel: Radius of the wheels.
    """

    profile: Profile
    glass: tuple[int, ...]
    windows: tuple[Profile, ...]
    width: float
    belt: float
    lean: float
    wheels: tuple[float, ...]
    wheel: float = 0.31


def _box(front: float, rear: float, low: float, high: float) -> Profile:
    return ((front, low), (front, high), (rear, high), (rear, low))


HATCHBACK = VehicleModel(
    ((1.95, 0.25), (2.0, 0.58), (1.85, 0.76), (0.95, 0.97), (0.2, 1.42), (-1.2, 1.45), (-1.8, 0.98),
     (-1.92, 0.7), (-1.92, 0.27)),
    (3, 5),
    (((0.85, 0.97), (0.2, 1.36), (-0.3, 1.38), (-0.3, 0.97)), ((-0.38, 0.97), (-0.38, 1.38), (-1.15, 1.38),
                                                              (-1.55, 1.0))),
    1.68, 0.96, 0.17, (1.2, -1.25),
)  # fmt: skip
SALOON = VehicleModel(
    ((2.2, 0.25), (2.25, 0.58), (2.1, 0.74), (0.95, 0.95), (0.25, 1.4), (-0.95, 1.41), (-1.55, 1.02),
     (-2.2, 0.98), (-2.28, 0.7), (-2.25, 0.28)),
    (3, 5),
    (((0.88, 0.95), (0.25, 1.34), (-0.25, 1.35), (-0.25, 0.95)), ((-0.33, 0.95), (-0.33, 1.35), (-0.9, 1.34),
                                                              (-1.35, 1.0))),
    1.76, 0.95, 0.18, (1.35, -1.35),
)  # fmt: skip
ESTATE = VehicleModel(
    ((2.2, 0.28), (2.28, 0.65), (2.15, 0.84), (1.0, 1.05), (0.35, 1.55), (-1.9, 1.58), (-2.2, 1.08),
     (-2.26, 0.75), (-2.26, 0.3)),
    (3, 5),
    (((0.95, 1.05), (0.35, 1.48), (-0.2, 1.5), (-0.2, 1.05)), ((-0.28, 1.05), (-0.28, 1.5), (-1.05, 1.5),
                                                              (-1.05, 1.05)),
     ((-1.13, 1.05), (-1.13, 1.5), (-1.8, 1.48), (-2.0, 1.08))),
    1.8, 1.04, 0.16, (1.38, -1.4), 0.34,
)  # fmt: skip
VAN = VehicleModel(
    ((2.4, 0.3), (2.45, 0.85), (2.3, 1.05), (1.7, 1.25), (1.05, 1.95), (-2.4, 2.02),
     (-2.48, 1.2), (-2.48, 0.35)),
    (3,),
    (((1.6, 1.22), (1.05, 1.8), (0.5, 1.8), (0.5, 1.18)),),
    1.95, 1.2, 0.1, (1.6, -1.6), 0.34,
)  # fmt: skip
LORRY = VehicleModel(
    ((3.6, 0.4), (3.65, 1.3), (3.5, 2.3), (2.0, 2.35), (1.9, 3.3), (-3.6, 3.3), (-3.6, 0.5)),
    (1,),
    (((3.4, 1.5), (3.35, 2.15), (2.5, 2.15), (2.5, 1.4)),),
    2.4, 1.5, 0.0, (2.7, -2.2), 0.48,
)  # fmt: skip
BUS = VehicleModel(
    ((5.2, 0.35), (5.25, 1.1), (5.15, 2.6), (5.0, 3.0), (-5.1, 3.0), (-5.2, 1.4), (-5.2, 0.4)),
    (1, 4),
    tuple(_box(4.3 - i * 1.55, 2.9 - i * 1.55, 1.3, 2.4) for i in range(6)),
    2.5, 1.3, 0.03, (3.4, -2.9), 0.48,
)  # fmt: skip
DOUBLE_DECKER = VehicleModel(
    ((5.0, 0.35), (5.05, 1.1), (5.0, 2.3), (4.98, 2.8), (4.9, 3.9), (4.7, 4.3),
     (-5.0, 4.3), (-5.1, 2.2), (-5.1, 0.4)),
    (1, 3, 6),
    tuple(_box(4.2 - i * 1.5, 2.85 - i * 1.5, y, y + 0.95) for i in range(6) for y in (1.25, 2.9)),
    2.5, 1.3, 0.02, (3.2, -2.9), 0.48,
)  # fmt: skip

MODELS = (HATCHBACK, SALOON, ESTATE, VAN, LORRY, BUS, DOUBLE_DECKER)
FREQUENCIES = (0.38, 0.22, 0.18, 0.12, 0.03, 0.03, 0.04)

PAINTS: tuple[Colour, ...] = (
    (30, 32, 36), (50, 54, 60), (150, 154, 158), (186, 190, 194), (222, 224, 224), (110, 20, 24),
    (28, 44, 92), (24, 60, 44), (96, 104, 112), (64, 82, 112), (150, 30, 30), (110, 96, 70), (70, 130, 170),
)  # fmt: skip
BUS_PAINTS: tuple[Colour, ...] = ((176, 22, 28), (30, 70, 140), (210, 210, 200), (30, 110, 80))


def paint_vehicle(
    canvas: Canvas,
    model: VehicleModel,
    origin: Float64Array,
    forward: Float64Array,
    colour: Colour,
    light: tuple[float, float],
    brakes: bool = False,
) -> None:
    """Paint a vehicle with the middle of its footprint at ``origin``.

    Args:
        canvas: Canvas to paint on.
        model: Kind of vehicle.
        origin: (3,) world point on the road.
        forward: (3,) horizontal unit vector of its direction.
        colour: Colour r, g, b of its paint.
        light: Brightness of its left and right side, near 1.
        brakes: Whether its brake lights are on.
    """
    _VehiclePainter(canvas, model, origin, forward, light).paint(colour, brakes)


class _VehiclePainter:
    """One vehicle at one place; its axes are x forward, y up, z to its right."""

    def __init__(
        self,
        canvas: Canvas,
        model: VehicleModel,
        origin: Float64Array,
        forward: Float64Array,
        light: tuple[float, float],
    ) -> None:
        self.canvas, self.model, self.origin, self.light = canvas, model, origin, light
        right = np.array([forward[2], 0.0, -forward[0]])
        self.axes = np.stack([forward, (0.0, 1.0, 0.0), right])
        self.eye = self.axes @ (canvas.camera.position - origin)
        self.distance = float(np.linalg.norm(self.eye))
        self._faces: list[tuple[list[tuple[float, float, float]], Colour, int | None]] = []

    def paint(self, colour: Colour, brakes: bool) -> None:
        """Paint shadow, wheels, body, glass and lights, as far as they face the camera."""
        detailed = self.distance < 45
        self._shadow()
        if detailed:
            self._wheels(near=False)
        self._underside()
        self._hull(colour)
        for side in (-1, 1):
            if side * self.eye[2] > self.model.width / 2:
                self._side(side, colour)
        if detailed:
            self._wheels(near=True)
            self._ends(brakes)
        self._flush()

    def _flush(self) -> None:
        """Transform all faces to world axes and paint them."""
        points = self.origin + np.array([p for face in self._faces for p in face[0]]) @ self.axes
        cuts = np.cumsum([len(face[0]) for face in self._faces])[:-1]
        parts = np.split(points, cuts)
        self.canvas.polygons([(part, *face[1:]) for part, face in zip(parts, self._faces, strict=True)])

    def _fill(
        self, points: list[tuple[float, float, float]], colour: Colour, label: int | None = CAR
    ) -> None:
        self._faces.append((points, colour, label))

    def _half(self, y: float) -> float:
        """Half the width at height y."""
        m = self.model
        roof = max(p[1] for p in m.profile)
        return m.width / 2 - m.lean * max(0.0, (y - m.belt) / max(roof - m.belt, 1e-6))

    def _shadow(self) -> None:
        front, rear, half = self.model.profile[0][0], self.model.profile[-1][0], self.model.width / 2
        for grow, grey in ((0.2, 58.0), (0.08, 42.0), (-0.1, 22.0)):
            x0, x1, z = front + grow, rear - grow, half + grow
            colour = (grey, grey, grey * 1.05)
            self._fill([(x0, 0.01, -z), (x0, 0.01, z), (x1, 0.01, z), (x1, 0.01, -z)], colour, None)

    def _underside(self) -> None:
        """The dark gap between body and road, seen from both ends."""
        half = self.model.width / 2 - 0.05
        for x in (self.model.profile[0][0] - 0.3, self.model.profile[-1][0] + 0.3):
            self._fill([(x, 0.16, -half), (x, 0.5, -half), (x, 0.5, half), (x, 0.16, half)], (14, 14, 15))
            for z in (-half, half - 0.2):
                self._fill([(x, 0, z), (x, 0.4, z), (x, 0.4, z + 0.2), (x, 0, z + 0.2)], (16, 16, 17))

    def _hull(self, colour: Colour) -> None:
        """Bonnet, screens, roof and tail: one strip per segment of the profile, farthest first."""
        profile = self.model.profile
        strips = []
        for i, ((x0, y0), (x1, y1)) in enumerate(pairwise(profile)):
            normal = np.array([y1 - y0, x0 - x1])
            if normal @ (self.eye[:2] - (x0, y0)) > 0:
                strips.append((abs((x0 + x1) / 2 - self.eye[0]), i, x0, y0, x1, y1, normal))
        for _, i, x0, y0, x1, y1, normal in sorted(strips, key=lambda s: -s[0]):
            up = float(normal[1] / max(np.hypot(*normal), 1e-6))
            h0, h1 = self._half(y0), self._half(y1)
            outline = [(x0, y0, -h0), (x0, y0, h0), (x1, y1, h1), (x1, y1, -h1)]
            self._fill(outline, _shade(colour, 0.62 + 0.5 * max(up, 0)))
            if i in self.model.glass:
                self._screen(x0, y0, x1, y1)

    def _screen(self, x0: float, y0: float, x1: float, y1: float) -> None:
        """Front or rear screen, darker below."""
        for lower, upper, grey in ((0.08, 0.9, 40.0), (0.55, 0.9, 72.0)):
            if y1 < y0:
                lower, upper = 1 - upper, 1 - lower
            outline = []
            for t in (lower, upper):
                x, y = x0 + t * (x1 - x0), y0 + t * (y1 - y0)
                half = self._half(y) - 0.1
                outline += [(x, y, -half), (x, y, half)][:: 1 if t == lower else -1]
            self._fill(outline, (grey * 0.9, grey, grey * 1.05))

    def _side(self, side: int, colour: Colour) -> None:
        """The flank that faces the camera: lower body, then the leaning upper part with its windows."""
        m = self.model
        light = self.light[side > 0]
        half = side * m.width / 2
        low, front, rear = m.profile[0][1], m.profile[0][0], m.profile[-1][0]
        lower = [(x, y, half) for x, y in _cut(m.profile, m.belt, below=True)]
        sill = [(front, low, half), (front, 0.5, half), (rear, 0.5, half), (rear, low, half)]
        upper = [(x, y, side * self._half(y)) for x, y in _cut(m.profile, m.belt, below=False)]
        self._fill(lower, _shade(colour, 0.75 * light))
        self._fill(sill, _shade(colour, 0.55 * light))
        self._fill(upper, _shade(colour, 0.85 * light))
        for window in m.windows:
            self._fill([(x, y, side * (self._half(y) + 0.005)) for x, y in window], (34, 38, 42))
            low = min(y for _, y in window)
            high = max(y for _, y in window)
            strip = [
                (x, y if y > low + 0.1 else high - 0.2, side * (self._half(y) + 0.006)) for x, y in window
            ]
            self._fill(strip, _shade((74, 80, 86), light))

    def _wheels(self, near: bool) -> None:
        """Tyres and rims on the flank that faces the camera (near) or on the other one."""
        m = self.model
        side = 1 if self.eye[2] > 0 else -1
        z = side * (m.width / 2 - 0.02) * (1 if near else -1)
        turn = np.linspace(0, 2 * np.pi, 15)[:-1]
        for axle in m.wheels:
            for radius, grey in ((m.wheel + 0.05, 12.0), (m.wheel, 26.0), (m.wheel * 0.62, 120.0))[
                0 if near else 1 :
            ]:
                rim = [(axle + radius * np.cos(a), m.wheel + radius * np.sin(a), z) for a in turn]
                if near and abs(self.eye[2]) > m.width / 2:
                    grey *= self.light[side > 0]
                    self._fill(rim, (grey, grey, grey))
                elif not near:
                    self._fill(rim, (18, 18, 18))

    def _ends(self, brakes: bool) -> None:
        """Lamps and number plate of the end that faces the camera."""
        m = self.model
        front = self.eye[0] > 0
        x = (m.profile[1][0] if front else min(p[0] for p in m.profile)) + (0.01 if front else -0.01)
        if (front and self.eye[0] < x) or (not front and self.eye[0] > x):
            return
        half, low = m.width / 2, 0.62 if m.belt < 1.1 else 0.85
        lamp: Colour = (225, 228, 220) if front else ((250, 60, 40) if brakes else (150, 26, 24))
        plate: Colour = (212, 214, 210) if front else (198, 172, 60)
        for side in (-1, 1):
            z0, z1 = side * (half - 0.05), side * (half - 0.36)
            self._fill([(x, low, z0), (x, low + 0.17, z0), (x, low + 0.15, z1), (x, low, z1)], lamp)
        if front:
            self._fill([(x, 0.4, -0.5), (x, 0.62, -0.55), (x, 0.62, 0.55), (x, 0.4, 0.5)], (22, 22, 24))
        self._fill([(x, 0.44, -0.26), (x, 0.55, -0.26), (x, 0.55, 0.26), (x, 0.44, 0.26)], plate)


def _cut(profile: Profile, y: float, below: bool) -> list[tuple[float, float]]:
    """The part of a profile above or below a height, closed along that height."""
    kept = []
    for (x0, y0), (x1, y1) in pairwise((*profile, profile[0])):
        if (y0 <= y) == below:
            kept.append((x0, y0))
        if (y0 <= y) != (y1 <= y):
            kept.append((x0 + (y - y0) / (y1 - y0) * (x1 - x0), y))
    return kept


def _shade(colour: Colour, gain: float) -> Colour:
    r, g, b = (min(255.0, c * gain + 6 * gain) for c in colour)
    return r, g, b
