"""Layout of a random street: all things that stand or move on it, for all frames."""

import math

import cv2
import numpy as np
import numpy.typing as npt

from seg_ros.arrays import Float64Array
from seg_ros.synthetic.canvas import BICYCLIST, PEDESTRIAN, ROAD
from seg_ros.synthetic.figures import traffic_light
from seg_ros.synthetic.frontage import WHITE, Frontages
from seg_ros.synthetic.ground import SHADE_HALF_M, SHADE_PIXELS_PER_M, Ground, Patch
from seg_ros.synthetic.items import Curve, Item, Mast, Mover, Vehicle
from seg_ros.synthetic.stock import Stock
from seg_ros.synthetic.style import Colour, Style

AHEAD_M = 130.0
"""Length of the street ahead of the camera, in metres."""

YELLOW: Colour = (170, 146, 62)


class Street:
    """A street, from s = -10 to ``length`` + AHEAD_M.

    Args:
        seed: Seed of the street, 0 or more.
        style: Light and weather.
        length: Distance in metres that the camera will drive.
        speed: Speed of the camera in m/s.

    Attributes:
        curve: Middle line of the street.
        lane_d: Position d of the camera.
        ground: Ground to paint.
        items: Things to paint.
    """

    def __init__(self, seed: int, style: Style, length: float, speed: float) -> None:
        self._rng = rng = np.random.default_rng([seed, 2])
        self._style, self._speed = style, speed
        self._length, self._end = length, length + AHEAD_M
        self.curve = Curve(rng.uniform(0, 7) * rng.choice((-1, 1)), rng.uniform(28, 75), rng.uniform(0, 6.28))
        self._lane = rng.uniform(2.6, 3.5)
        self._parking = tuple(rng.random(2) < (0.24, 0.32))
        n_lanes = 2 if rng.random() < 0.08 else 1
        self._half = n_lanes * self._lane + (
            rng.uniform(1.2, 2.0) if any(self._parking) else rng.uniform(0, 0.5)
        )
        self.lane_d = -0.5 * self._lane
        self._pavements = (rng.uniform(1.6, 4.5), rng.uniform(1.6, 4.5))
        self._stock = Stock(rng, style)
        self._frontages = Frontages(rng, self._stock, self._half, self._pavements, self._end)
        self.items: list[Item] = self._frontages.items
        self._patches = self._frontages.patches
        self._markings()
        self._furniture()
        self._traffic()
        self._people()
        self.ground = Ground(
            rng, self.curve, self._half, self._pavements, self._patches, style.asphalt, style.sheen, self._end
        )
        self.ground.cast(self._shadow_map())

    def _markings(self) -> None:
        """Middle line, lane and edge lines, zebra crossings, arrows."""
        rng, half, end = self._rng, self._half, self._end
        wear = rng.uniform(0.7, 1.05)
        white: Colour = (WHITE[0] * wear, WHITE[1] * wear, WHITE[2] * wear)
        middle = self.lane_d + self._lane / 2
        dash, gap = [(2.0, 4.0), (4.0, 2.0), (3.0, 6.0), (1.0, 5.0)][rng.integers(4)]
        if rng.random() < 0.85:
            for s in np.arange(-5 + rng.uniform(0, 5), end, dash + gap):
                self._patches.append(Patch(s, s + dash, middle - 0.06, middle + 0.06, white, ROAD))
        for side in (-1, 1):
            kind = rng.random()
            for k in range(2 if kind < 0.25 else 1 if kind < 0.5 else 0):
                d = side * (half - 0.25 - 0.2 * k)
                self._patches.append(
                    Patch(-8, end, d - 0.045, d + 0.045, YELLOW if kind < 0.4 else white, ROAD)
                )
        if rng.random() < 0.35:
            s = rng.uniform(12, end - 40)
            for d in np.arange(-half + 0.3, half - 0.4, 1.1):
                self._patches.append(Patch(s, s + 2.8, d, d + 0.55, white, ROAD))
        if rng.random() < 0.3:
            s = rng.uniform(10, end - 60)
            self._patches.append(Patch(s, s + 0.3, -half, middle, white, ROAD))
            self._patches.append(Patch(s - 6, s - 2, self.lane_d - 0.07, self.lane_d + 0.07, white, ROAD))

    def _edge(self, side: int) -> float:
        """Distance of the outer edge of a pavement from the middle, in metres."""
        return self._half + self._pavements[0 if side < 0 else 1]

    def _clear(self, side: int, s: float, margin: float = 1.0) -> bool:
        """Whether s is outside all side roads."""
        return not any(g == side and a - margin < s < b + margin for g, a, b in self._frontages.gaps)

    def _furniture(self) -> None:
        """Lamp posts, signs, traffic lights, bollards and street trees on the pavements."""
        rng, stock = self._rng, self._stock
        grey = rng.uniform(50, 115)
        lamp: Colour = (grey, grey, grey) if rng.random() < 0.7 else (44, 58, 50)
        height, spacing = rng.uniform(5.5, 10), rng.uniform(24, 44)
        tree_gap = rng.choice((0.0, 8.0, 14.0), p=(0.58, 0.22, 0.2))
        for side in (-1, 1):
            inner = side * (self._half + 0.5)
            for s in np.arange(rng.uniform(0, 15), self._end, spacing):
                if self._clear(side, s):
                    arm = -side * rng.choice((0.0, 1.4), p=(0.15, 0.85))
                    self.items.append(Mast(s, inner, height, rng.uniform(0.08, 0.13), lamp, arm))
            for s in np.arange(rng.uniform(3, 12), self._end, rng.uniform(6, 16)):
                if rng.random() < 0.75 and self._clear(side, s):
                    self._sign_post(
                        s,
                        side
                        * (self._half + rng.choice((0.4, 0.6, self._pavements[0 if side < 0 else 1] - 0.3))),
                    )
            if tree_gap:
                for s in np.arange(rng.uniform(2, 9), self._end, tree_gap):
                    if self._clear(side, s, 2) and rng.random() < 0.8:
                        self._frontages.tree(s, side * (self._half + 0.9), rng.uniform(5, 9))
            if rng.random() < 0.3:
                s0 = rng.uniform(0, self._end - 60)
                colour: Colour = (40, 40, 44) if rng.random() < 0.6 else (200, 200, 196)
                for s in np.arange(s0, s0 + rng.uniform(8, 40), rng.uniform(1.5, 3)):
                    if self._clear(side, s):
                        self.items.append(Mast(s, inner, 1.0, 0.14, colour))
        for _ in range(int(rng.integers(0, 3))):
            s, state = rng.uniform(14, self._end - 20), int(rng.integers(3))
            for side in (-1, 1):
                for d, back in (
                    (side * (self._half + 0.5), rng.random() < 0.3),
                    (side * (self._half + 0.5), True),
                ):
                    head = (stock.lit(traffic_light(state, back)), 0.5, 1.15, 2.3)
                    self.items.append(Mast(s + (9 if back else 0), d, 3.4, 0.12, (60, 62, 62), 0.0, (head,)))

    def _sign_post(self, s: float, d: float) -> None:
        """A post with up to two plates."""
        rng, signs = self._rng, self._stock.signs
        low, plates = rng.uniform(2.0, 2.5), []
        for _ in range(int(rng.choice((0, 1, 2), p=(0.12, 0.58, 0.3)))):
            texture, width, height = signs[int(rng.integers(len(signs)))]
            plates.append((texture, width, height, low if height < 1.5 else 0.8))
            low += height + 0.05
        self.items.append(
            Mast(s, d, max(low, 2.6), rng.uniform(0.05, 0.08), (76, 78, 80), 0.0, tuple(plates))
        )

    def _traffic(self) -> None:
        """Parked cars, oncoming cars and cars ahead."""
        rng = self._rng
        for k, side in enumerate((-1, 1)):
            s = rng.uniform(4, 14)
            while self._parking[k] and s < self._end:
                tail = 2.3
                if self._clear(side, s, 5):
                    heading = 0.0 if (side < 0) == (rng.random() < 0.85) else math.pi
                    d = side * (self._half - 1.0)
                    tail = self._vehicle(s, d, 0.0, heading + rng.normal(0, 0.03), small=True)
                s += 2 * tail + 0.5 + rng.exponential(1.5 if rng.random() < 0.75 else 16)
        ahead = rng.uniform(5, 42)
        for _ in range(int(rng.integers(0, 4))):
            d, brakes, near = self.lane_d + rng.normal(0, 0.12), rng.random() < 0.3, ahead < 16
            tail = self._vehicle(ahead, d, self._speed, 0.0, brakes, small=near)
            ahead += 2 * tail + rng.uniform(3, 30)
        s, speed = rng.uniform(6, 50), -rng.uniform(3, 12)
        lane = min(-self.lane_d, self._half - 1.2)
        while s < self._end - speed * self._length / max(self._speed, 0.1):
            self._vehicle(s, lane + rng.normal(0, 0.15), speed, math.pi)
            s += rng.choice((8.0, 22.0, 60.0)) * rng.uniform(0.9, 1.6)

    def _vehicle(
        self, s: float, d: float, speed: float, heading: float, brakes: bool = False, small: bool = False
    ) -> float:
        """Add a vehicle whose rear is at s; returns half its length in metres."""
        model, colour = self._stock.car(small)
        light = self._stock.car_light
        light = light if abs(heading) < 1 else (light[1], light[0])
        half = model.profile[0][0] + 0.1
        self.items.append(Vehicle(s + half, d, speed, heading, model, colour, light, brakes))
        return half

    def _people(self) -> None:
        """Walkers on both pavements and across the road, cyclists along the kerbs."""
        rng, stock = self._rng, self._stock
        for side in (-1, 1):
            s, gap = rng.uniform(3, 15), rng.choice((4.0, 10.0, 25.0))
            while s < self._end:
                d = side * rng.uniform(self._half + 0.5, max(self._edge(side) - 0.3, self._half + 0.6))
                walker = stock.walkers[int(rng.integers(6))]
                self.items.append(Mover(s, d, rng.choice((-1, 1)) * rng.uniform(0, 1.5), walker, PEDESTRIAN))
                s += rng.exponential(gap) + 0.5
        for _ in range(int(rng.integers(0, 3))):
            d, drift = rng.uniform(-self._half, self._half), rng.choice((-1, 1)) * 1.2
            self.items.append(Mover(rng.uniform(14, self._end), d, 0.0, stock.walkers[3], PEDESTRIAN, drift))
        kerb = self._half - (2.3 if any(self._parking) else 0.6)
        for _ in range(int(rng.choice((0, 1, 2, 4), p=(0.3, 0.3, 0.25, 0.15)))):
            side = rng.choice((-1, 1))
            s, speed = rng.uniform(6, 60), rng.uniform(3, 6)
            rider = stock.cyclists[int(rng.integers(2))]
            self.items.append(Mover(s, side * kerb, -side * speed, rider, BICYCLIST))
        if rng.random() < 0.15:
            s = rng.uniform(15, 60)
            self.items.append(Mover(s, -self._half, 0.3, stock.cyclists[2], BICYCLIST, 1.5))

    def _shadow_map(self) -> Float64Array:
        """Gain of the light on the ground, 0..1, with blurred shadows of houses and trees."""
        columns = int(2 * SHADE_HALF_M * SHADE_PIXELS_PER_M)
        shadow = np.ones((int(self._end * SHADE_PIXELS_PER_M), columns), np.float32)
        sun, reach, slant = self._style.sun_side, self._rng.uniform(0.5, 2.2), self._rng.uniform(-1.2, 1.2)
        for s0, s1, d, height in self._frontages.shadows:
            tip = d - sun * reach * height
            if s0 == s1:
                self._tree_shadow(shadow, s0, d, height, (tip, s0 + slant * height))
            elif d * sun > 0:
                lean = slant * height
                corners = [(d, s0), (d, s1), (tip, s1 + lean), (tip, s0 + lean)]
                cv2.fillPoly(shadow, [self._on_map(corners)], 0.0)
        soft = cv2.GaussianBlur(shadow, (0, 0), 1.6)
        return np.asarray(1 - 0.55 * self._style.sun_strength * (1 - soft))

    def _tree_shadow(
        self, shadow: npt.NDArray[np.float32], s: float, d: float, height: float, tip: tuple[float, float]
    ) -> None:
        foot, top = self._on_map([(d, s), tip])
        cv2.line(shadow, foot.tolist(), top.tolist(), 0.0, 2)
        for _ in range(40):
            t = self._rng.uniform(0.35, 1.0)
            spot = foot + t * (top - foot) + self._rng.normal(0, 0.13 * height * SHADE_PIXELS_PER_M, 2)
            cv2.circle(shadow, spot.astype(int).tolist(), int(self._rng.integers(1, 6)), 0.25, -1)

    def _on_map(self, points: list[tuple[float, float]]) -> npt.NDArray[np.int32]:
        """(d, s) in metres -> pixels x, y of the shade map."""
        pixels = [((d + SHADE_HALF_M) * SHADE_PIXELS_PER_M, s * SHADE_PIXELS_PER_M) for d, s in points]
        return np.rint(pixels).astype(np.int32)
