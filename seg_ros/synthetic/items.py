"""Things that stand or move along a street, at (s, d): metres along it and to the right of its middle."""

import math
from dataclasses import dataclass

import numpy as np

from seg_ros.arrays import Float64Array
from seg_ros.synthetic.canvas import BUILDING, PEDESTRIAN, POLE, SIGN, Canvas, Texture
from seg_ros.synthetic.figures import Cyclist, Person
from seg_ros.synthetic.style import Colour
from seg_ros.synthetic.vehicles import VehicleModel, paint_vehicle


@dataclass(frozen=True)
class Curve:
    """The middle line of the street, x = amplitude * sin(s / length + phase)."""

    amplitude: float
    length: float
    phase: float

    def offset(self, s: float) -> float:
        """World x of the middle line."""
        return self.amplitude * math.sin(s / self.length + self.phase)

    def slope(self, s: float) -> float:
        """Slope dx / ds of the middle line."""
        return self.amplitude / self.length * math.cos(s / self.length + self.phase)

    def point(self, s: float, d: float, y: float = 0.0) -> Float64Array:
        """(3,) world point."""
        return np.array([self.offset(s) + d, y, s])

    def line(self, s: Float64Array, d: float, y: float = 0.0) -> Float64Array:
        """(N, 3) world points along the street."""
        x = self.amplitude * np.sin(s / self.length + self.phase) + d
        return np.stack([x, np.full_like(s, y), s], 1)


@dataclass(frozen=True)
class Item:
    """A thing to paint; ``s`` is the position of its farthest part at time 0."""

    s: float

    def at(self, time_s: float) -> float:
        """Position s of its farthest part at a time."""
        return self.s

    def paint(self, canvas: Canvas, curve: Curve, time_s: float) -> None:
        """Paint its state at a time."""
        raise NotImplementedError


@dataclass(frozen=True)
class Building(Item):
    """A block from s - length to s with its front at d, of some depth and height."""

    length: float
    d: float
    depth: float
    height: float
    front: Texture
    gable: Texture
    roof: Texture | None
    rise: float
    chimney: Colour | None

    def paint(self, canvas: Canvas, curve: Curve, time_s: float) -> None:
        """Paint the roof, the end wall that faces the camera, then the front."""
        side = 1 if self.d > 0 else -1
        s0, s1, d0, d1, h = self.s - self.length, self.s, self.d, self.d + side * self.depth, self.height
        ridge, top = d0 + side * self.depth / 2, h + self.rise

        def at(s: float, d: float, y: float) -> Float64Array:
            return curve.point(s, d, y)

        if self.roof is not None:
            if self.chimney is not None:
                self._chimney(canvas, curve, ridge, top)
            eave = d0 - side * 0.25
            canvas.quad(
                [at(s0, ridge, top), at(s1, ridge, top), at(s1, eave, h), at(s0, eave, h)],
                self.roof,
                BUILDING,
            )
            canvas.polygon([at(s0, d0, h), at(s0, d1, h), at(s0, ridge, top)], self.gable_colour(), BUILDING)
        canvas.quad([at(s0, d0, h), at(s0, d1, h), at(s0, d1, 0), at(s0, d0, 0)], self.gable, BUILDING)
        canvas.quad([at(s0, d0, h), at(s1, d0, h), at(s1, d0, 0), at(s0, d0, 0)], self.front, BUILDING)

    def gable_colour(self) -> Colour:
        """Mean colour of the end wall."""
        r, g, b = self.gable.level(1 << 6)[0][..., :3].mean((0, 1))
        return float(r), float(g), float(b)

    def _chimney(self, canvas: Canvas, curve: Curve, ridge: float, top: float) -> None:
        if self.chimney is None:
            return
        s = self.s - 0.6
        for d0, d1, y, gain in ((-0.5, 0.5, 1.3, 1.0), (-0.3, -0.1, 1.6, 1.3), (0.1, 0.3, 1.6, 1.3)):
            r, g, b = (min(255.0, c * gain) for c in self.chimney)
            outline = [
                curve.point(s, ridge + d, top + h) for d, h in ((d0, -0.6), (d1, -0.6), (d1, y), (d0, y))
            ]
            canvas.polygon(outline, (r, g, b), BUILDING)


@dataclass(frozen=True)
class Panel(Item):
    """An upright strip along the street from s - length to s: a fence, wall or hedge."""

    length: float
    d: float
    height: float
    texture: Texture
    label: int
    across: bool = False

    def paint(self, canvas: Canvas, curve: Curve, time_s: float) -> None:
        """Paint one textured quad; ``across`` panels lead away from the street at s instead."""
        if self.across:
            ends = [(self.s, self.d), (self.s, self.d + math.copysign(self.length, self.d))]
        else:
            ends = [(self.s - self.length, self.d), (self.s, self.d)]
        top = [curve.point(s, d, self.height) for s, d in ends]
        foot = [curve.point(s, d) for s, d in ends[::-1]]
        canvas.quad(top + foot, self.texture, self.label)


@dataclass(frozen=True)
class Figure(Item):
    """A flat figure that faces the camera, with its foot at height ``lift``."""

    d: float
    width: float
    height: float
    texture: Texture
    label: int
    lift: float = 0.0
    behind: float = 0.0
    """Additional distance in the order of painting, in metres, for figures behind buildings."""

    def at(self, time_s: float) -> float:
        """Position s in the order of painting."""
        return self.s + self.behind

    def paint(self, canvas: Canvas, curve: Curve, time_s: float) -> None:
        """Paint one textured quad parallel to the picture."""
        foot = curve.point(self.s, self.d, self.lift)
        canvas.stand(foot, self.width, self.height, self.texture, self.label)


@dataclass(frozen=True)
class Mast(Item):
    """A lamp post, sign post or bollard; it may have an arm over the road and plates."""

    d: float
    height: float
    width: float
    colour: Colour
    arm: float = 0.0
    plates: tuple[tuple[Texture, float, float, float], ...] = ()
    """Texture, width, height and height of the lower edge above the ground, for each plate."""

    def paint(self, canvas: Canvas, curve: Curve, time_s: float) -> None:
        """Paint the post, the arm with its lantern, and the plates."""
        foot, top = curve.point(self.s, self.d), curve.point(self.s, self.d, self.height)
        canvas.post(foot, top, self.width, self.colour, POLE)
        if self.height > 4:
            canvas.post(foot, curve.point(self.s, self.d, 1.3), self.width * 1.3, self.colour, POLE)
        if self.arm:
            tip = curve.point(self.s, self.d + self.arm, self.height + 0.3)
            canvas.post(top, tip, self.width * 0.7, self.colour, POLE)
            end = curve.point(self.s, self.d + self.arm * 1.4, self.height + 0.3)
            canvas.post(tip, end, self.width * 2.0, (150, 150, 146), POLE)
        for texture, width, height, low in self.plates:
            canvas.stand(curve.point(self.s - 0.1, self.d, low), width, height, texture, SIGN)


@dataclass(frozen=True)
class Mover(Item):
    """A person or cyclist who moves by ``speed`` along the street and ``drift`` across it, in m/s."""

    d: float
    speed: float
    figure: Person | Cyclist
    label: int
    drift: float = 0.0

    def at(self, time_s: float) -> float:
        """Position s at a time."""
        return self.s + self.speed * time_s

    def paint(self, canvas: Canvas, curve: Curve, time_s: float) -> None:
        """Paint the figure in the phase of its movement."""
        way = (abs(self.speed) + abs(self.drift)) * time_s
        phases = self.figure.phases
        texture = phases[int((way / 0.35 if self.label == PEDESTRIAN else way / 0.8) + self.s) % len(phases)]
        height = self.figure.height_m * (self.figure.scale if isinstance(self.figure, Person) else 1.0)
        width = height * texture.shape[1] / texture.shape[0]
        lift = 0.1 if self.label == PEDESTRIAN and not self.drift else 0.0
        foot = curve.point(self.at(time_s), self.d + self.drift * time_s, lift)
        right = canvas.camera.rotation[0] * width * 0.3
        away = np.array([0.0, 0.0, 0.25])
        canvas.polygon(
            [foot - right - away, foot + right - away, foot + right + away, foot - right + away],
            (38, 38, 40),
            None,
        )
        canvas.stand(foot, -width if self.drift < 0 else width, height, texture, self.label)


@dataclass(frozen=True)
class Vehicle(Item):
    """A vehicle, parked or moving; ``heading`` is in radians to the right of the street's direction."""

    d: float
    speed: float
    heading: float
    model: VehicleModel
    colour: Colour
    light: tuple[float, float]
    brakes: bool = False

    def at(self, time_s: float) -> float:
        """Position s at a time."""
        return self.s + self.speed * time_s

    def paint(self, canvas: Canvas, curve: Curve, time_s: float) -> None:
        """Paint the vehicle along the street, turned by ``heading``."""
        s = self.at(time_s)
        angle = math.atan(curve.slope(s)) + self.heading
        forward = np.array([math.sin(angle), 0.0, math.cos(angle)])
        paint_vehicle(
            canvas, self.model, curve.point(s, self.d), forward, self.colour, self.light, self.brakes
        )
