"""A soccer field seen by one of its robots: image and exact labels, one scene per seed.

Scenes are drawn from geometry, noise and random numbers, like street drives (:mod:`seg_ros.synthetic.drive`).
Posts, bar and frame have the label of goals. The net is transparent: its pixels have the label of the things
behind it. A scene depends only on seed, style and size.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from seg_ros.arrays import Float64Array, UInt8Array
from seg_ros.errors import ParameterError
from seg_ros.synthetic.canvas import Canvas, PinholeCamera
from seg_ros.synthetic.goal import goal
from seg_ros.synthetic.hall import Surroundings, spectator
from seg_ros.synthetic.robots import Make, build
from seg_ros.synthetic.sensor import Sensor
from seg_ros.synthetic.soccer_field import BALL, GOAL, LINE, Field, Shadow, Turf
from seg_ros.synthetic.solids import Light, Skin, Solid, Sphere, paint_all, plain
from seg_ros.synthetic.style import Colour, Exposure
from seg_ros.synthetic.textures import Rng

NEAR_M = 0.12
"""Minimum distance in metres; small robots see near things."""


@dataclass(frozen=True)
class SoccerStyle(Exposure):
    """Appearance of a scene: camera, light, and number of robots and people.

    Attributes:
        camera_height: Height of the camera above the ground in metres.
        pitch: Rotation of the camera upwards, in radians.
        roll: Rotation of the camera to the right, in radians.
        focal: Focal length as a fraction of the width of the image.
        indoors: Whether the field is in a hall.
        sun: Direction of the main light, in radians.
        sun_height: Elevation of the main light, in radians.
        sun_strength: Fraction of directed light, 0 (diffuse) .. 1 (hard shadows).
        smear: Length of the motion blur in pixels of the output.
        smear_angle: Direction of the motion blur, in radians.
        n_robots: Number of robots on the field.
        n_people: Number of people on the field.
    """

    camera_height: float = 0.5
    pitch: float = -0.25
    roll: float = 0.0
    focal: float = 0.75
    indoors: bool = True
    sun: float = 0.6
    sun_height: float = 1.0
    sun_strength: float = 0.4
    smear: float = 0.0
    smear_angle: float = 0.0
    n_robots: int = 4
    n_people: int = 1

    @classmethod
    def random(cls, seed: int) -> 'SoccerStyle':
        """A random style, from a dim hall to a sunny lawn; it depends only on the seed."""
        rng = np.random.default_rng([seed, 21])
        indoors = bool(rng.random() < 0.78)
        brightness = rng.uniform(0.55, 1.4) if indoors else rng.uniform(0.9, 1.5)
        warmth = rng.normal(0, 0.07)
        return cls(
            light=(brightness * (1 + warmth), brightness, brightness * (1 - warmth)),
            gamma=float(rng.uniform(0.9, 1.5)),
            lift=float(rng.uniform(0, 16)),
            saturation=float(rng.uniform(0.4, 1.15)),
            noise=float(rng.uniform(0.5, 8)),
            blur=float(rng.uniform(0, 0.9)),
            vignette=float(rng.uniform(0, 0.35)),
            camera_height=float(rng.uniform(0.28, 0.6) if rng.random() < 0.7 else rng.uniform(0.6, 1.2)),
            pitch=float(np.clip(rng.normal(-0.25, 0.18), -0.8, 0.1)),
            roll=float(rng.normal(0, 0.05)),
            focal=float(rng.uniform(0.55, 0.95)),
            indoors=indoors,
            sun=float(rng.uniform(0, 2 * math.pi)),
            sun_height=float(rng.uniform(0.5, 1.4)),
            sun_strength=float(rng.uniform(0, 0.5) if indoors else rng.uniform(0, 1)),
            smear=float(rng.uniform(1, 7) if rng.random() < 0.3 else 0),
            smear_angle=float(rng.uniform(0, math.pi)),
            n_robots=int(rng.integers(0, 8)),
            n_people=int(rng.choice((0, 1, 2), p=(0.55, 0.3, 0.15))),
        )


class SoccerScene:
    """A seeded random scene.

    Args:
        seed: Seed of the scene and of the default style and field; 0 or more.
        height: Height of the picture in pixels, 16 or more.
        width: Width of the picture in pixels, 16 or more.
        style: Appearance; None = ``SoccerStyle.random(seed)``.
        field: Dimensions of the field; None = ``Field.random`` of the seed.

    Attributes:
        style: Appearance, given or random.
        field: Dimensions, given or random.
        camera: Camera, with focal length and centre in pixels of a picture of twice the size.
        ball: (3,) world point of the centre of the ball.
        ball_radius: Radius of the ball in metres.

    Raises:
        ParameterError: A number is out of range.
    """

    def __init__(
        self,
        seed: int,
        height: int = 240,
        width: int = 320,
        style: SoccerStyle | None = None,
        field: Field | None = None,
    ) -> None:
        if seed < 0 or min(height, width) < 16:
            raise ParameterError(
                f'a soccer scene with seed {seed} and size {height}x{width} cannot be rendered; '
                'expected seed >= 0 and sides >= 16'
            )
        self._seed, self._size = seed, (height, width)
        self.style = SoccerStyle.random(seed) if style is None else style
        rng = np.random.default_rng([seed, 22])
        self.field = Field.random(rng) if field is None else field
        self.camera = self._camera(rng)
        around = Surroundings(rng, self.field, self.style.indoors)
        self._around = around
        floor_lines = self.style.indoors and rng.random() < 0.35
        self._turf = Turf(rng, self.field, around.floor, floor_lines)
        self._taken = [(self.camera.position[0], self.camera.position[2], 0.55)]
        self._taken += [(x, z, 0.3) for x, z in self._posts()]
        self._shadows: list[Shadow] = []
        self.ball_radius = float(rng.uniform(0.05, 0.11))
        self.ball = self._place_ball(rng)
        self._solids = [*self._goals(rng), Sphere(self.ball, self.ball_radius, _ball_skin(rng), BALL)]
        self._solids += self._robots(rng) + self._people(rng)

    def render(self) -> tuple[UInt8Array, UInt8Array]:
        """Render the scene.

        Returns:
            image: (H, W, 3) uint8 RGB.
            labels: (H, W) uint8, class ids of ``config/labels/soccer.yaml``.
        """
        around = self._around
        canvas = Canvas(*self._size, self.camera, around.haze, 2e3, near_m=NEAR_M, thin=(LINE, GOAL))
        around.paint_behind(canvas)
        self._turf.paint(canvas, self._shadows)
        around.paint(canvas, self._light)
        paint_all(self._solids, canvas, self._light)
        image, labels = canvas.picture()
        rng = np.random.default_rng([self._seed, 23])
        sensor = Sensor(rng, self.style, *self._size)
        return sensor(_smeared(image, self.style.smear, self.style.smear_angle), rng), labels

    @property
    def _light(self) -> Light:
        style = self.style
        flat = math.cos(style.sun_height)
        towards = flat * math.cos(style.sun), math.sin(style.sun_height), flat * math.sin(style.sun)
        return Light(np.array(towards), 0.15 + 0.45 * style.sun_strength, 0.75 - 0.25 * style.sun_strength)

    def _camera(self, rng: Rng) -> PinholeCamera:
        """A random camera on the carpet that looks across the field."""
        height, width = self._size
        x, z = (
            (self.field.length / 2 + 0.3) * rng.uniform(-1, 1),
            (self.field.width / 2 + 0.3) * rng.uniform(-1, 1),
        )
        aim = rng.uniform(-0.5, 0.5, 2) * (self.field.length, self.field.width)
        yaw = math.atan2(aim[0] - x, aim[1] - z) + rng.normal(0, 0.3)
        position = np.array([x, self.style.camera_height, z])
        focal, centre = 2 * self.style.focal * width, (float(width), float(height))
        return PinholeCamera(position, yaw, self.style.pitch, focal, centre, self.style.roll)

    def _ahead(self, rng: Rng, nearest: float, farthest: float) -> tuple[float, float]:
        """A random place that the camera may see."""
        half = math.atan(0.5 / self.style.focal)
        bearing = self.camera.yaw + rng.uniform(-half, half)
        far = nearest + (farthest - nearest) * rng.random() ** 1.5
        eye = self.camera.position
        return eye[0] + far * math.sin(bearing), eye[2] + far * math.cos(bearing)

    def _free(
        self, rng: Rng, gap: float, fraction_ahead: float, nearest: float
    ) -> tuple[float, float] | None:
        """A random place on the carpet, ``gap`` metres from everything there; None = not found."""
        for _ in range(20):
            if rng.random() < fraction_ahead:
                x, z = self._ahead(rng, nearest, 6.0)
            else:
                x = rng.uniform(-0.5, 0.5) * self.field.length
                z = rng.uniform(-0.5, 0.5) * self.field.width
            if self.field.on_carpet(x, z, 0.2) and all(
                math.hypot(x - x0, z - z0) > gap + gap0 for x0, z0, gap0 in self._taken
            ):
                self._taken.append((x, z, gap))
                return x, z
        return None

    def _cast(self, x: float, z: float, radius: float, height: float) -> None:
        """Shadows of a thing: one from the main light, and one directly below it."""
        style = self.style
        reach = min(height / math.tan(style.sun_height), 3.0)
        tip = x - reach * math.cos(style.sun), z - reach * math.sin(style.sun)
        self._shadows.append(Shadow((x, z), (x, z), 1.3 * radius, 0.5))
        if style.sun_strength > 0.1:
            self._shadows.append(Shadow((x, z), tip, radius, 0.65 * style.sun_strength))

    def _place_ball(self, rng: Rng) -> Float64Array:
        place = self._free(rng, self.ball_radius, 0.85, 0.35) or (0.0, 0.0)
        self._cast(*place, self.ball_radius, self.ball_radius)
        return np.array([place[0], self.ball_radius, place[1]])

    def _posts(self) -> list[tuple[float, float]]:
        return [
            (end * self.field.length / 2, side * self.field.goal_width / 2)
            for end in (-1, 1)
            for side in (-1, 1)
        ]

    def _goals(self, rng: Rng) -> list[Solid]:
        """Both goals, as parts that can be sorted by distance."""
        tint = np.asarray((222, 222, 218)) * rng.uniform(0.85, 1.1)
        if rng.random() < 0.15:
            tint = np.asarray([(214, 190, 40), (40, 80, 180)][rng.integers(2)])
        colour: Colour = tuple(np.clip(tint, 0, 255).tolist())
        net: Colour = (215, 215, 212) if rng.random() < 0.8 else (40, 40, 44)
        mesh = rng.uniform(0.06, 0.14) if rng.random() < 0.85 else None
        for x, z in self._posts():
            self._cast(x, z, 0.8 * self.field.post, self.field.goal_height)
        return [part for end in (-1, 1) for part in goal(self.field, end, colour, net, mesh)]

    def _robots(self, rng: Rng) -> list[Solid]:
        makes = [Make.random(rng) for _ in range(2)]
        found: list[Solid] = []
        for k in range(self.style.n_robots):
            make = makes[k % 2]
            place = self._free(rng, 0.35 * make.height, 0.6, 0.7)
            if place is not None:
                fallen = rng.random() < 0.12 and make.kind != 'wheeled'
                found += build(rng, make, *place, rng.uniform(0, 2 * math.pi), fallen)
                self._cast(*place, 0.28 * make.height, 0.1 if fallen else make.height)
        return found

    def _people(self, rng: Rng) -> list[Solid]:
        found: list[Solid] = []
        for _ in range(self.style.n_people):
            place = self._free(rng, 0.3, 0.6, 1.6)
            if place is not None:
                person = self._around.people[int(rng.integers(2))]
                found.append(spectator(rng, person, *place))
                self._cast(*place, 0.25, 1.7)
        return found


def _ball_skin(rng: Rng) -> Skin:
    """A ball: black and white, spotted, patched or plain."""
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    white = np.full(3, rng.uniform(200, 235))
    kind = rng.choice(['classic', 'spots', 'patches', 'plain'], p=(0.45, 0.25, 0.1, 0.2))
    if kind == 'plain':
        colours: tuple[Colour, ...] = ((214, 96, 28), (206, 60, 40), (226, 200, 50), (225, 225, 220))
        return plain(colours[rng.integers(4)])
    ink = np.asarray(
        [(22, 22, 26), (30, 60, 170), (190, 40, 40), (214, 120, 30), (30, 130, 70)][rng.integers(5)]
    )
    if kind == 'classic':
        ink, spots, size = np.asarray((22, 22, 26)), _icosahedron() @ turn, 0.925
    else:
        spots = rng.normal(size=(6, 3))
        spots /= np.linalg.norm(spots, axis=1, keepdims=True)
        size = float(rng.uniform(0.8, 0.94))

    def skin(normals: Float64Array) -> Float64Array:
        if kind == 'patches':
            inked = np.prod(np.sign(normals @ turn[:, :2]), axis=1) > 0
        else:
            inked = (normals @ spots.T).max(1) > size
        return np.where(inked[:, None], ink, white)

    return skin


def _icosahedron() -> Float64Array:
    """(12, 3) unit vectors to the black pentagons of a ball."""
    g = (1 + math.sqrt(5)) / 2
    corners = [(0, a, b * g) for a in (-1, 1) for b in (-1, 1)]
    found = np.array([np.roll(corner, k) for corner in corners for k in range(3)])
    return np.asarray(found / math.hypot(1, g))


def _smeared(image: UInt8Array, length: float, angle: float) -> UInt8Array:
    """Motion blur over ``length`` pixels."""
    if length < 1:
        return image
    size = 2 * math.ceil(length / 2) + 1
    kernel = np.zeros((size, size), np.float32)
    middle, reach = size // 2, length / 2
    ends = [
        (
            round(16 * (middle + sign * reach * math.cos(angle))),
            round(16 * (middle + sign * reach * math.sin(angle))),
        )
        for sign in (-1, 1)
    ]
    cv2.line(kernel, ends[0], ends[1], 1.0, 1, cv2.LINE_8, 4)
    return np.asarray(cv2.filter2D(image, -1, kernel / kernel.sum()), np.uint8)
