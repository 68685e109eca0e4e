"""Goals of a soccer field, as parts that can be sorted by distance."""

from dataclasses import dataclass

import numpy as np

from seg_ros.arrays import Float64Array
from seg_ros.synthetic.canvas import Canvas
from seg_ros.synthetic.soccer_field import GOAL, Field
from seg_ros.synthetic.solids import Light, Solid
from seg_ros.synthetic.style import Colour


@dataclass(frozen=True)
class _Bar:
    """A piece of a goal's frame."""

    start: Float64Array
    end: Float64Array
    width: float
    colour: Colour

    @property
    def centre(self) -> Float64Array:
        return (self.start + self.end) / 2

    def paint(self, canvas: Canvas, light: Light) -> None:
        gain = float(light.gain(np.array([0.0, 0.3, 0.0])))
        r, g, b = (c * gain for c in self.colour)
        canvas.post(self.start, self.end, self.width, (r, g, b), GOAL)


@dataclass(frozen=True)
class _Net:
    """A piece of a net: (4, 3) corners, threads ``mesh`` metres apart."""

    corners: Float64Array
    mesh: float
    colour: Colour

    @property
    def centre(self) -> Float64Array:
        return np.asarray(self.corners.mean(0))

    def paint(self, canvas: Canvas, light: Light) -> None:
        a, b, c, d = self.corners
        ends = []
        for (p, q), (r, s) in (((a, b), (d, c)), ((a, d), (b, c))):
            fractions = np.linspace(0, 1, 2 + int(np.linalg.norm(q - p) / self.mesh))[:, None]
            ends.append(np.stack([p + fractions * (q - p), r + fractions * (s - r)], 1))
        canvas.threads(np.concatenate(ends), self.colour)


def goal(field: Field, end: int, colour: Colour, net: Colour, mesh: float | None) -> list[Solid]:
    """Build a goal: posts, a bar in four pieces, the frame behind them and the net.

    Args:
        field: Dimensions of the field.
        end: End of the field, -1 or 1.
        colour: Colour of posts and bar.
        net: Colour of the net.
        mesh: Distance of the threads of the net in metres; None = without net.
    """
    x, half, y = end * field.length / 2, field.goal_width / 2, field.goal_height
    back = x + end * field.goal_depth
    grey: Colour = (0.8 * colour[0], 0.8 * colour[1], 0.8 * colour[2])
    parts: list[Solid] = []

    def bar(
        start: tuple[float, float, float], stop: tuple[float, float, float], width: float, tint: Colour
    ) -> None:
        parts.append(_Bar(np.array(start), np.array(stop), width, tint))

    for k in range(4):
        bar((x, y, half * (k / 2 - 1)), (x, y, half * (k / 2 - 0.5)), field.post, colour)
    for side in (-half, half):
        bar((x, 0, side), (x, y + field.post / 2, side), field.post, colour)
        bar((x, 0.02, side), (back, 0.02, side), 0.4 * field.post, grey)
        bar((back, 0.02, side), (x, y, side), 0.3 * field.post, grey)
    bar((back, 0.02, -half), (back, 0.02, half), 0.4 * field.post, grey)
    if mesh is not None:
        sheets = [[(x, y, -half), (x, y, half), (back, 0, half), (back, 0, -half)]]
        sheets += [[(x, y, side), (x, y, side), (back, 0, side), (x, 0, side)] for side in (-half, half)]
        parts += [_Net(np.array(sheet, np.float64), mesh, net) for sheet in sheets]
    return parts
