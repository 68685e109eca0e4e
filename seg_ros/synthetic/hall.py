"""Surroundings of a soccer field for robots: a hall or the open air, with boards, tables and people."""

import math

import numpy as np

from seg_ros.arrays import Float64Array, UInt8Array
from seg_ros.synthetic.canvas import Canvas, Texture
from seg_ros.synthetic.figures import GREENS, Person, bare_tree, leafy_tree
from seg_ros.synthetic.soccer_field import BACKGROUND, FLOORS, PERSON, Field
from seg_ros.synthetic.solids import Light, Solid, box, paint_all
from seg_ros.synthetic.style import Colour
from seg_ros.synthetic.textures import FASCIAS, RENDERS, Rng, facade, fence, hedge, masonry, noise, sky

Panel = tuple[Float64Array, Texture]
"""An upright rectangle: (4, 3) world points from the top left on, and its texture."""


class Surroundings:
    """Everything around a field.

    Args:
        rng: Random numbers.
        field: Dimensions of the field.
        indoors: Whether the field is in a hall.

    Attributes:
        floor: Colour of the ground around the field.
        haze: Colour of the far distance.
    """

    def __init__(self, rng: Rng, field: Field, indoors: bool) -> None:
        self._rng, self._field, self._indoors = rng, field, indoors
        floor = np.asarray(FLOORS[rng.integers(len(FLOORS))]) * rng.uniform(0.7, 1.3)
        self.floor: Colour = tuple(np.clip(floor, 0, 255).tolist())
        grey = rng.uniform(60, 210)
        self.haze: Colour = (grey, grey, grey) if indoors else (225.0, 232.0, 238.0)
        self._room_m = field.border + (rng.uniform(2.0, 9.0) if indoors else rng.uniform(5.0, 14.0))
        self._height_m = rng.uniform(3.0, 8.0)
        self._walls = self._hall() if indoors else self._yard()
        self._sky = None if indoors else _wide_sky(rng)
        self._boards = self._board_panels()
        self.people = [Person(rng, sideways=bool(rng.random() < 0.4)) for _ in range(2)]
        self._standing = self._people()
        self._clutter = self._tables()

    def paint(self, canvas: Canvas, light: Light) -> None:
        """Paint everything beyond the carpet, farthest first, over the ground."""
        for corners, texture in self._walls:
            canvas.quad(corners, texture, BACKGROUND)
        if self._indoors:
            self._ceiling(canvas)
        eye = canvas.camera.position
        standing: list[Solid | Standing] = [*self._clutter, *self._standing]
        paint_all(standing, canvas, light)
        for corners, texture in sorted(self._boards, key=lambda p: -_distance(p[0], eye)):
            canvas.quad(corners, texture, BACKGROUND)

    def paint_behind(self, canvas: Canvas) -> None:
        """Paint the background above the horizon."""
        if self._sky is None:
            canvas.image[:] = np.asarray(self.haze, np.uint8)
        else:
            canvas.backdrop(self._sky)

    def _sides(self, apart: float) -> list[tuple[Float64Array, Float64Array]]:
        """Start and end of four sides ``apart`` metres from the lines, left to right seen from inside."""
        x, z = self._field.length / 2 + apart, self._field.width / 2 + apart
        corners = [np.array(c, np.float64) for c in ((-x, 0, -z), (-x, 0, z), (x, 0, z), (x, 0, -z))]
        return [(corners[k], corners[(k + 1) % 4]) for k in range(4)]

    def _hall(self) -> list[Panel]:
        """Walls: plain, with windows, or curtains."""
        rng, found = self._rng, list[Panel]()
        kinds = rng.choice(['plain', 'windows', 'curtain', 'brick'], size=4, p=(0.4, 0.25, 0.2, 0.15))
        for (start, end), kind in zip(self._sides(self._room_m), kinds, strict=True):
            n = max(int(np.linalg.norm(end - start) / 5), 1)
            texture = self._wall(str(kind)).lit(rng.uniform(0.55, 1.1))
            for k in range(n):
                found.append(_upright(start, end, k / n, (k + 1) / n, self._height_m, texture))
        return found

    def _wall(self, kind: str) -> Texture:
        rng = self._rng
        if kind == 'windows':
            return facade(rng, 5.0, self._height_m, 'render' if rng.random() < 0.5 else 'modern', shop=False)
        if kind == 'curtain':
            return Texture(_curtain(rng))
        return Texture(masonry(rng, 5.0, self._height_m, 'brick' if kind == 'brick' else 'render'))

    def _yard(self) -> list[Panel]:
        """Hedges, fences and houses."""
        rng, found = self._rng, list[Panel]()
        for start, end in self._sides(self._room_m):
            n = max(int(np.linalg.norm(end - start) / 4), 1)
            kind = rng.random()
            for k in range(n):
                if kind < 0.35:
                    texture, height = hedge(rng, GREENS[rng.integers(len(GREENS))]), rng.uniform(1.2, 2.5)
                elif kind < 0.7:
                    texture, height = fence(rng, str(rng.choice(['boards', 'wall', 'pickets'])))
                else:
                    texture, height = facade(rng, 4.0, 6.0, 'brick', shop=False), 6.0
                found.append(_upright(start, end, k / n, (k + 1) / n, height, texture))
        return found

    def _ceiling(self, canvas: Canvas) -> None:
        """A ceiling with rows of lamps."""
        x, z = (side / 2 + self._room_m for side in (self._field.length, self._field.width))
        y, (r, g, b) = self._height_m, self.haze
        canvas.polygon(
            [(-x, y, -z), (x, y, -z), (x, y, z), (-x, y, z)], (0.7 * r, 0.7 * g, 0.7 * b), BACKGROUND
        )
        for row in np.arange(-x + 1, x, 2.5):
            for column in np.arange(-z + 1, z, 2.0):
                lamp = [
                    (row, y, column),
                    (row + 0.2, y, column),
                    (row + 0.2, y, column + 1.2),
                    (row, y, column + 1.2),
                ]
                canvas.polygon(lamp, (255, 255, 250), BACKGROUND)

    def _board_panels(self) -> list[Panel]:
        """Boards around some sides of the carpet."""
        rng, found = self._rng, list[Panel]()
        height, apart = rng.uniform(0.25, 1.0), self._field.border + rng.uniform(0, 0.8)
        for start, end in self._sides(apart):
            if rng.random() < 0.45:
                continue
            n = max(int(np.linalg.norm(end - start) / 2.5), 1)
            texture = Texture(_advertisement(rng))
            for k in range(n):
                if rng.random() < 0.35:
                    texture = Texture(_advertisement(rng))
                found.append(_upright(start, end, k / n, (k + 1) / n, height, texture))
        return found

    def _around(self) -> tuple[float, float]:
        """A random place behind the boards."""
        rng = self._rng
        start, end = self._sides(self._field.border + rng.uniform(1.1, 2.2))[rng.integers(4)]
        x, _, z = (start + rng.random() * (end - start)).tolist()
        return x, z

    def _people(self) -> list['Standing']:
        """Spectators, and trees if outdoors."""
        rng, found = self._rng, list['Standing']()
        for _ in range(int(rng.integers(0, 9))):
            x, z = self._around()
            found.append(spectator(rng, self.people[int(rng.integers(2))], x, z))
        if not self._indoors:
            trees = [
                leafy_tree(rng, evergreen=False) if rng.random() < 0.7 else bare_tree(rng) for _ in range(2)
            ]
            for _ in range(int(rng.integers(2, 9))):
                angle, far = (
                    rng.uniform(0, 2 * np.pi),
                    rng.uniform(1.0, 1.8) * self._room_m + self._field.length / 2,
                )
                place = np.array([far * math.cos(angle), 0.0, far * math.sin(angle)])
                size = rng.uniform(4, 9)
                found.append(Standing(place, size, size, trees[int(rng.integers(2))], BACKGROUND))
        return found

    def _tables(self) -> list[Solid]:
        """Tables, boxes and bags beyond the boards."""
        rng, found = self._rng, list[Solid]()
        for _ in range(int(rng.integers(0, 8))):
            x, z = self._around()
            half = np.array([rng.uniform(0.15, 0.8), rng.uniform(0.15, 0.4), rng.uniform(0.15, 0.4)])
            angle = rng.choice((0.0, np.pi / 2)) + rng.normal(0, 0.1)
            axes = np.array(
                [(math.cos(angle), 0, -math.sin(angle)), (0, 1, 0), (math.sin(angle), 0, math.cos(angle))]
            )
            palette = (*FASCIAS, *RENDERS)
            colour = palette[rng.integers(len(palette))]
            found.append(box(np.array([x, half[1], z]), axes, half, colour, BACKGROUND))
        return found


class Standing:
    """A flat figure that faces the camera, as a :class:`Solid`; a negative width mirrors it."""

    def __init__(self, foot: Float64Array, width: float, height: float, texture: Texture, label: int) -> None:
        self.centre = foot
        self._size, self._texture, self._label = (width, height), texture, label

    def paint(self, canvas: Canvas, light: Light) -> None:
        """One upright quad."""
        canvas.stand(self.centre, *self._size, self._texture, self._label)


def spectator(rng: Rng, person: Person, x: float, z: float) -> Standing:
    """A standing person."""
    texture = person.phases[int(rng.integers(4))].lit(rng.uniform(0.8, 1.3))
    height = 1.75 * person.scale
    width = height * texture.shape[1] / texture.shape[0] * rng.choice((-1, 1))
    return Standing(np.array([x, 0.0, z]), float(width), height, texture, PERSON)


def _distance(corners: Float64Array, eye: Float64Array) -> float:
    return float(np.linalg.norm(corners.mean(0) - eye))


def _upright(
    start: Float64Array, end: Float64Array, first: float, last: float, height: float, texture: Texture
) -> Panel:
    """The part from ``first`` to ``last``, 0..1, of an upright rectangle above a line on the ground."""
    foot = [start + fraction * (end - start) for fraction in (first, last)]
    up = np.array([0.0, height, 0.0])
    return np.stack([foot[0] + up, foot[1] + up, foot[1], foot[0]]), texture


def _wide_sky(rng: Rng) -> UInt8Array:
    """A sky for all directions."""
    grey = rng.uniform(0.75, 1.0)
    blue = rng.random() < 0.5
    top: Colour = (120 * grey, 165 * grey, 225 * grey) if blue else (225 * grey, 232 * grey, 238 * grey)
    image = sky(rng, top, (240 * grey, 244 * grey, 248 * grey), float(rng.uniform(0, 0.8)))
    return np.concatenate([image[:, ::-1], image, image[:, ::-1]], 1)


def _curtain(rng: Rng) -> UInt8Array:
    """(64, 160, 3) uint8: folds of cloth."""
    palette = (*FASCIAS, (34, 34, 38), (190, 186, 176), (40, 90, 60))
    folds = 1 + 0.2 * noise(rng, 1, 160, (3, 9)) + 0.03 * noise(rng, 64, 160, (8, 30))
    colour = np.asarray(palette[rng.integers(len(palette))])
    return np.asarray(np.clip(colour * folds[..., None], 0, 255), np.uint8)


def _advertisement(rng: Rng) -> UInt8Array:
    """(40, 160, 3) uint8: a board with or without lettering."""
    palette: tuple[Colour, ...] = (
        *FASCIAS,
        (230, 230, 226),
        (228, 228, 224),
        (20, 20, 22),
        (200, 40, 40),
        (60, 140, 70),
    )
    ground, ink = (np.asarray(palette[i]) for i in rng.integers(len(palette), size=2))
    board = np.tile(ground, (40, 160, 1))
    x = int(rng.integers(4, 30))
    while rng.random() < 0.93 and x < 145:
        wide, high = int(rng.integers(3, 14)), int(rng.integers(8, 26))
        top = int(rng.integers(4, 36 - high + 1))
        board[top : top + high, x : x + wide] = ink
        x += wide + int(rng.integers(2, 8))
    return np.asarray(np.clip(board * (1 + 0.03 * noise(rng, 40, 160, (4, 20))[..., None]), 0, 255), np.uint8)
