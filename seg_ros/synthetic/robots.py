"""Soccer robots made of simple bodies: with legs, upright or fallen, or on wheels."""

import math
from dataclasses import dataclass

import numpy as np

from seg_ros.arrays import Float64Array
from seg_ros.synthetic.soccer_field import ROBOT
from seg_ros.synthetic.solids import Solid, Sphere, Tube, box, frustum, plain
from seg_ros.synthetic.style import Colour
from seg_ros.synthetic.textures import Rng

FRAMES: tuple[Colour, ...] = (
    (38, 38, 42), (60, 62, 66), (150, 152, 156), (196, 198, 200), (226, 226, 222), (24, 24, 28),
    (206, 204, 196),
)  # fmt: skip
JERSEYS: tuple[Colour, ...] = (
    (190, 34, 40), (30, 60, 170), (26, 24, 28), (214, 120, 30), (216, 200, 50), (40, 150, 160),
    (170, 50, 140), (220, 220, 216), (34, 110, 60), (120, 124, 130),
)  # fmt: skip


@dataclass(frozen=True)
class Make:
    """Build of the robots of one team.

    Attributes:
        kind: 'boxy' (frames and motors), 'round' (shells) or 'wheeled'.
        height: Height in metres.
        frame: Colour of the frame.
        joints: Colour of the joints.
        feet: Colour of the feet.
        jersey: Colour of the team.
        round_head: Whether the head is round; else it is a box with a lens.
    """

    kind: str
    height: float
    frame: Colour
    joints: Colour
    feet: Colour
    jersey: Colour
    round_head: bool

    @classmethod
    def random(cls, rng: Rng) -> 'Make':
        """A random build."""
        kind = str(rng.choice(['boxy', 'round', 'wheeled'], p=(0.5, 0.35, 0.15)))
        frame, joints, feet = (FRAMES[i] for i in rng.integers(len(FRAMES), size=3))
        height = rng.uniform(0.42, 0.75) if rng.random() < 0.75 else rng.uniform(0.75, 1.25)
        jersey = JERSEYS[rng.integers(len(JERSEYS))]
        return cls(kind, float(height), frame, joints, feet, jersey, kind == 'round' or rng.random() < 0.3)


def build(rng: Rng, make: Make, x: float, z: float, heading: float, fallen: bool) -> list[Solid]:
    """Build a robot.

    Args:
        rng: Random numbers for its pose.
        make: Build of the robot.
        x: Position along the field in metres.
        z: Position across the field in metres.
        heading: Direction in radians, as the yaw of a camera.
        fallen: Whether it lies on the ground; robots on wheels never do.
    """
    forward = np.array([math.sin(heading), 0.0, math.cos(heading)])
    aside = np.array([forward[2], 0.0, -forward[0]])
    up = np.array([0.0, 1.0, 0.0])
    origin = np.array([x, 0.0, z])
    if make.kind == 'wheeled':
        return _wheeled(rng, make, origin, np.stack([aside, up, forward]))
    axes = np.stack([aside, up, forward])
    if fallen:
        back = 1.0 if rng.random() < 0.5 else -1.0
        axes = np.stack([aside, forward, -back * up])
        origin = origin + 0.09 * make.height * up - 0.45 * make.height * forward
    return _Body(rng, make, origin, axes, fallen).solids


class _Body:
    """A body with legs; its axes are x to its left, y along it, z forward, in units of its height."""

    def __init__(self, rng: Rng, make: Make, origin: Float64Array, axes: Float64Array, fallen: bool) -> None:
        self._make, self._origin, self._axes = make, origin, axes
        self.solids: list[Solid] = []
        stride = rng.uniform(0, 0.5) if not fallen else rng.uniform(0, 1.0)
        legs = [self._joints(side, side * stride, rng.uniform(0.1, 0.6)) for side in (-1, 1)]
        if not fallen:
            sole = min(joints[2][1] for joints in legs) - 0.048
            self._origin = self._at(np.array([0.0, -sole, 0.0]))
        for joints in legs:
            self._leg(joints)
        self._trunk(rng)
        for side in (-1, 1):
            self._arm(rng, side)

    def _at(self, point: Float64Array) -> Float64Array:
        return np.asarray(self._origin + self._make.height * np.asarray(point) @ self._axes)

    @staticmethod
    def _joints(side: int, swing: float, bend: float) -> list[Float64Array]:
        """Hip, knee and ankle."""
        hip = np.array([0.075 * side, 0.46, 0.0])
        knee = hip + 0.21 * np.array([0, -math.cos(swing + bend / 2), math.sin(swing + bend / 2)])
        return [
            hip,
            knee,
            knee + 0.21 * np.array([0, -math.cos(swing - bend / 2), math.sin(swing - bend / 2)]),
        ]

    def _leg(self, joints: list[Float64Array]) -> None:
        make = self._make
        for (start, end), thick in zip((joints[:2], joints[1:]), (0.048, 0.04), strict=True):
            self._bar(start, end, thick)
        for joint in joints[1:]:
            self._box(joint, (0.04, 0.035, 0.045), make.joints)
        self._box(joints[2] + (0, -0.03, 0.03), (0.055, 0.018, 0.095), make.feet)

    def _arm(self, rng: Rng, side: int) -> None:
        lift, out, bend = rng.uniform(-0.6, 1.2), rng.uniform(0.05, 0.45), rng.uniform(0, 1.4)
        shoulder = np.array([0.165 * side, 0.755, 0.0])
        first = np.array([side * math.sin(out), -math.cos(out) * math.cos(lift), math.sin(lift)])
        second = np.array([side * math.sin(out), -math.cos(lift + bend), math.sin(lift + bend)])
        elbow = shoulder + 0.15 * first
        self._box(shoulder, (0.035, 0.035, 0.035), self._make.joints)
        self._bar(shoulder, elbow, 0.036, self._make.jersey if rng.random() < 0.4 else None)
        self._bar(elbow, elbow + 0.17 * second, 0.03)

    def _trunk(self, rng: Rng) -> None:
        make = self._make
        self._box(np.array([0, 0.48, 0]), (0.1, 0.045, 0.06), make.joints)
        jersey = make.jersey if rng.random() < 0.85 else make.frame
        if make.kind == 'round':
            self._bar(np.array([0, 0.58, 0]), np.array([0, 0.72, 0]), 0.115, jersey)
        else:
            self._box(np.array([0, 0.66, 0]), (0.125, 0.135, 0.07), jersey)
        patch = (230, 230, 226) if sum(jersey) < 380 else (30, 30, 34)
        reach = 0.115 if make.kind == 'round' else 0.071
        for face in (-1, 1):
            self._box(np.array([0, 0.68, face * reach]), (0.04, 0.05, 0.004), patch)
        self._box(np.array([0, 0.81, 0]), (0.03, 0.03, 0.03), make.joints)
        if make.round_head:
            self.solids.append(
                Sphere(self._at(np.array([0, 0.905, 0])), 0.085 * make.height, plain(make.frame), ROBOT)
            )
            for side in (-1, 1):
                eye = self._at(np.array([0.035 * side, 0.915, 0.07]))
                self.solids.append(Sphere(eye, 0.02 * make.height, plain((20, 20, 24)), ROBOT))
        else:
            self._box(np.array([0, 0.9, 0]), (0.07, 0.055, 0.06), make.frame)
            self._box(np.array([0, 0.91, 0.062]), (0.03, 0.03, 0.012), (16, 16, 20))

    def _bar(
        self, start: Float64Array, end: Float64Array, thick: float, colour: Colour | None = None
    ) -> None:
        make = self._make
        colour = make.frame if colour is None else colour
        if make.kind == 'round':
            radius = thick * make.height
            self.solids.append(Tube(self._at(start), self._at(end), (radius, 0.85 * radius), colour, ROBOT))
            return
        along = end - start
        length = float(np.linalg.norm(along))
        along = along / length
        second = np.cross(along, (1.0, 0.0, 0.0) if abs(along[0]) < 0.9 else (0.0, 0.0, 1.0))
        second /= np.linalg.norm(second)
        own = np.stack([np.cross(along, second), along, second])
        half = make.height * np.array([0.75 * thick, length / 2, 0.85 * thick])
        self.solids.append(box(self._at((start + end) / 2), own @ self._axes, half, colour, ROBOT))

    def _box(self, centre: Float64Array, half: tuple[float, float, float], colour: Colour) -> None:
        size = self._make.height * np.asarray(half)
        self.solids.append(box(self._at(centre), self._axes, size, colour, ROBOT))


def _wheeled(rng: Rng, make: Make, origin: Float64Array, axes: Float64Array) -> list[Solid]:
    """A drum on wheels with a mirror on a mast."""
    height = make.height
    wide = height * rng.uniform(0.28, 0.38)
    up = np.array([0.0, height, 0.0])
    sides = int(rng.choice((6, 8, 12)))
    parts: list[Solid] = [
        frustum(origin + 0.02 * up, 0.2 * height, (wide, wide), make.joints, ROBOT, sides),
        frustum(origin + 0.22 * up, 0.48 * height, (0.95 * wide, 0.7 * wide), make.frame, ROBOT, sides),
        frustum(origin + 0.7 * up, 0.22 * height, (0.12 * wide, 0.12 * wide), make.joints, ROBOT),
        Sphere(origin + 0.93 * up, 0.075 * height, plain(make.frame), ROBOT),
    ]
    for side in (-1, 1):
        at = origin + 0.5 * up + side * 0.84 * wide * axes[2]
        parts.append(box(at, axes, (0.3 * wide, 0.1 * height, 0.02 * height), make.jersey, ROBOT))
    return parts
