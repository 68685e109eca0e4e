"""Both sides of a street: shops, terraces, villas, offices, parks and yards, with their boundaries."""

import numpy as np

from seg_ros.synthetic.canvas import FENCE, PAVEMENT, ROAD, SIGN, TREE, Texture
from seg_ros.synthetic.figures import GREENS
from seg_ros.synthetic.ground import Patch
from seg_ros.synthetic.items import Building, Figure, Item, Panel, Vehicle
from seg_ros.synthetic.stock import Stock
from seg_ros.synthetic.style import Colour
from seg_ros.synthetic.textures import Rng, facade, fence, hedge, masonry, roof

CHARACTERS = (
    (0.5, 0.24, 0.03, 0.16, 0.04, 0.03),
    (0.1, 0.5, 0.17, 0.06, 0.12, 0.05),
    (0.05, 0.16, 0.28, 0.12, 0.29, 0.1),
)
"""Fractions of shops, terraces, villas, offices, parks and yards: town centre, terraced suburb, leafy
road.
"""

WHITE: Colour = (196, 196, 190)


class Frontages:
    """Builds both sides of a street.

    Args:
        rng: Random numbers.
        stock: Textures of the street.
        half: Half the width of the road in metres.
        pavements: Width of the left and of the right pavement in metres.
        end: Length of the street in metres.

    Attributes:
        items: Everything that stands there.
        patches: The ground under it, and the side roads.
        shadows: Start, end, d and height of each thing with a shadow; start and end of a tree are equal.
        gaps: Side, start and end of each side road.
    """

    def __init__(
        self, rng: Rng, stock: Stock, half: float, pavements: tuple[float, float], end: float
    ) -> None:
        self.rng, self.stock, self._half, self._end = rng, stock, half, end
        self._pavements = pavements
        self._character = CHARACTERS[rng.choice(3, p=(0.48, 0.32, 0.2))]
        self._shadow_m = rng.uniform(-4, 9)
        self.items: list[Item] = []
        self.patches: list[Patch] = []
        self.shadows: list[tuple[float, float, float, float]] = []
        self.gaps: list[tuple[int, float, float]] = []
        for side in (-1, 1):
            self._side(side)

    def _side(self, side: int) -> None:
        """Frontages, one after the other, with side roads between some of them."""
        rng = self.rng
        build = {
            'shops': self._shops,
            'terrace': self._terrace,
            'villas': self._villas,
            'offices': self._offices,
            'park': self._park,
            'yard': self._yard,
        }
        s = -12.0
        edge = self._half + self._pavements[0 if side < 0 else 1]
        while s < self._end:
            if rng.random() < 0.22 and s > 0:
                s = self._side_road(side, s, edge)
            kind = rng.choice(list(build), p=self._character)
            length = rng.uniform(18, 50)
            build[kind](side, s, s + length, edge)
            s += length

    def _side_road(self, side: int, s: float, edge: float) -> float:
        """A street that leads away at s; returns its end along s."""
        rng = self.rng
        wide, walk = rng.uniform(5, 9), 1.8
        s0, s1 = s + walk, s + walk + wide
        grey = self.stock.style.asphalt
        road: Colour = (grey - 2, grey, grey + 3)
        self.patches.append(Patch(s0, s1, side * (self._half - 0.05), side * 60, road, ROAD))
        for k in range(int(wide / 1.1)):
            d = side * (self._half + 0.2)
            self.patches.append(Patch(s0 + 1.1 * k, s0 + 1.1 * k + 0.6, d, d + side * 0.2, WHITE, ROAD))
        if rng.random() < 0.6:
            walls = [self._wall(side, 'brick', 26.0, 7.0, across=True)]
            self._block(side, s1 + 18, 26, edge + 26, 7.0, facade(rng, 26, 7, 'brick', False), walls[0])
        self.gaps.append((side, s0, s1))
        return s1 + walk

    def _verge(
        self, side: int, s0: float, s1: float, d0: float, grass: bool, label: int | None = None
    ) -> None:
        rng = self.rng
        grey = self.stock.style.asphalt * rng.uniform(0.9, 1.2)
        colour: Colour = (grey * 0.82, grey * 0.95, grey * 0.5) if grass else (grey, grey, grey)
        if label is None:
            label = TREE if grass else PAVEMENT
        self.patches.append(Patch(s0, s1, side * d0, side * 70, colour, label, 0.1))

    def _wall(self, side: int, kind: str, depth: float, height: float, across: bool = True) -> Texture:
        return self.stock.lit(
            Texture(masonry(self.rng, min(depth, 10), height, kind)),
            self.stock.facing if across else self.stock.light(side),
        )

    def _front(self, side: int, texture: Texture, height: float) -> Texture:
        """A front in the light of its side; its lower part is in the shadow of the opposite houses."""
        image = self.stock.lit(texture, self.stock.light(side)).level(1)[0]
        strength = self.stock.style.sun_strength
        if side != self.stock.style.sun_side and strength > 0 and self._shadow_m > 0:
            y = np.linspace(height, 0, len(image))
            shaded = 1 / (1 + np.exp((y - self._shadow_m) * 12))
            image = (image * (1 - 0.5 * strength * shaded)[:, None, None]).astype(np.uint8)
        return Texture(image)

    def _block(
        self, side: int, s1: float, length: float, d: float, height: float, front: Texture, gable: Texture,
        tiles: Texture | None = None, rise: float = 0.0, depth: float = 9.0,
    ) -> None:  # fmt: skip
        chimney = (120.0, 84.0, 64.0) if tiles is not None and self.rng.random() < 0.6 else None
        self.items.append(Building(s1, length, side * d, depth, height, front, gable, tiles, rise, chimney))
        self.shadows.append((s1 - length, s1, side * d, height))

    def _row(
        self, side: int, s0: float, s1: float, d: float, shop: bool, kind: str, floors: int, width: float
    ) -> None:
        """A row of attached houses of a few designs."""
        rng = self.rng
        height = floors * rng.uniform(2.8, 3.4) + (0.6 if shop else 0)
        light = self.stock.light(side)
        same = rng.random() < (0.25 if shop else 0.75)
        tiles = self.stock.lit(roof(rng), light) if rng.random() < 0.85 else None
        designs: list[tuple[Texture, Texture, float]] = []
        s = s0
        while s < s1:
            if not designs or (not same and len(designs) < 4):
                tall = height if same else height + rng.choice((-2.8, 0.0, 0.0, 1.2, 2.8))
                stuff = (
                    kind
                    if same
                    else rng.choice(['brick', 'render', 'stone', 'modern'], p=(0.5, 0.3, 0.12, 0.08))
                )
                tall = max(tall, 5.0)
                front = self._front(side, facade(rng, width, tall, stuff, shop), tall)
                designs.append((front, self._wall(side, stuff, 9, tall), tall))
            front, gable, tall = designs[int(rng.integers(len(designs)))]
            rise = rng.uniform(1.8, 3.0) if tiles is not None else 0.0
            self._block(side, s + width, width, d, tall, front, gable, tiles, rise)
            s += width

    def _shops(self, side: int, s0: float, s1: float, edge: float) -> None:
        rng = self.rng
        kind = rng.choice(['brick', 'render', 'stone'])
        self._row(
            side,
            s0,
            s1,
            edge,
            True,
            kind,
            int(rng.choice((2, 3, 4, 5), p=(0.2, 0.42, 0.28, 0.1))),
            rng.uniform(5, 9),
        )
        for s in np.arange(s0 + 3, s1, 9):
            if rng.random() < 0.7:
                texture, _, _ = self.stock.signs[int(rng.integers(6))]
                size = rng.uniform(0.6, 1.3)
                self.items.append(
                    Figure(s, side * (edge - 0.6), size, size, texture, SIGN, rng.uniform(2.7, 4.0))
                )

    def _terrace(self, side: int, s0: float, s1: float, edge: float) -> None:
        rng = self.rng
        setback = rng.choice((0.0, 1.5, 3.0), p=(0.5, 0.3, 0.2))
        kind = rng.choice(['brick', 'render', 'stone'], p=(0.65, 0.25, 0.1))
        self._verge(side, s0, s1, edge, False)
        self._row(
            side,
            s0,
            s1,
            edge + setback,
            False,
            kind,
            int(rng.choice((2, 3, 4), p=(0.5, 0.4, 0.1))),
            rng.uniform(4.5, 6.5),
        )
        if setback:
            self._boundary(side, s0, s1, edge, 0.8)

    def _villas(self, side: int, s0: float, s1: float, edge: float) -> None:
        """Detached houses in their gardens."""
        rng = self.rng
        self._verge(side, s0, s1, edge, True)
        setback = rng.uniform(3, 8)
        s = s0
        while s < s1:
            width = rng.uniform(7, 11)
            height = rng.uniform(4.8, 6.4)
            kind = rng.choice(['brick', 'render'])
            front = self._front(side, facade(rng, width, height, kind, False), height)
            tiles = self.stock.lit(roof(rng), self.stock.light(side))
            self._block(
                side,
                s + width,
                width,
                edge + setback,
                height,
                front,
                self._wall(side, kind, 9, height),
                tiles,
                2.6,
            )
            s += width + rng.uniform(1.5, 5)
            if rng.random() < 0.6:
                self.tree(s - rng.uniform(0, 4), side * (edge + rng.uniform(0.8, setback)), rng.uniform(3, 8))
        self._boundary(side, s0, s1, edge, 1.0)

    def _offices(self, side: int, s0: float, s1: float, edge: float) -> None:
        rng = self.rng
        height, setback = rng.uniform(9, 20), rng.choice((0.0, 2.0, 5.0))
        kind = rng.choice(['modern', 'brick', 'stone'], p=(0.6, 0.2, 0.2))
        self._verge(side, s0, s1, edge, setback > 3)
        width = (s1 - s0) / max(round((s1 - s0) / 16), 1)
        front = self._front(side, facade(rng, width, height, kind, False, 3.4), height)
        wall = self._wall(side, kind, 10, height)
        for s in np.arange(s0, s1 - 1, width):
            self._block(side, s + width, width, edge + setback, height, front, wall, depth=16.0)

    def _park(self, side: int, s0: float, s1: float, edge: float) -> None:
        """Grass and trees behind a fence, houses far behind."""
        rng = self.rng
        self._verge(side, s0, s1, edge, True)
        self._boundary(side, s0, s1, edge, 0.85)
        for _ in range(int((s1 - s0) / rng.uniform(2.5, 5.5))):
            self.tree(rng.uniform(s0, s1), side * (edge + 1 + rng.exponential(7)), rng.uniform(5, 14))
        self._far_row(side, s0, s1, edge + rng.uniform(25, 45))

    def _yard(self, side: int, s0: float, s1: float, edge: float) -> None:
        """A car park or forecourt."""
        rng = self.rng
        self._verge(side, s0, s1, edge, False, ROAD)
        self._boundary(side, s0, s1, edge, 0.4)
        for row in range(int(rng.integers(1, 4))):
            for s in np.arange(s0 + 2, s1 - 2, 2.7):
                if rng.random() < 0.7:
                    model, colour = self.stock.car(small=True)
                    heading = side * rng.choice((-1, 1)) * np.pi / 2 + rng.normal(0, 0.04)
                    d = side * (edge + 4 + 8 * row)
                    self.items.append(Vehicle(s, d, 0.0, heading, model, colour, self.stock.car_light))
        self._far_row(side, s0, s1, edge + 30)
        for _ in range(int(rng.integers(0, 5))):
            self.tree(rng.uniform(s0, s1), side * (edge + rng.uniform(2, 28)), rng.uniform(5, 11))

    def _far_row(self, side: int, s0: float, s1: float, d: float) -> None:
        """Trees and a row of houses behind open ground."""
        rng = self.rng
        if rng.random() < 0.7:
            self._row(side, s0 - 10, s1 + 15, d, False, 'brick', 2, 9.0)
        for s in np.arange(s0, s1 + 10, 5):
            if rng.random() < 0.6:
                self.tree(s, side * (d - 3 + rng.uniform(0, 2)), rng.uniform(6, 12))

    def _boundary(self, side: int, s0: float, s1: float, edge: float, probability: float) -> None:
        """Fences, walls and hedges along the pavement, with gateways."""
        rng = self.rng
        kind = rng.choice(
            ['boards', 'railings', 'wall', 'mesh', 'pickets', 'hedge'], p=(0.22, 0.2, 0.18, 0.08, 0.1, 0.22)
        )
        if rng.random() > probability:
            return
        light = self.stock.light(side)
        if kind == 'hedge':
            green = GREENS[rng.integers(len(GREENS))]
            texture, height, label = (
                hedge(rng, (green[0] * light, green[1] * light, green[2] * light)),
                rng.uniform(0.8, 2.2),
                TREE,
            )
        else:
            texture, height = fence(rng, kind)
            texture, label = self.stock.lit(texture, light), FENCE
        for s in np.arange(s0, s1 - 3.9, 4.0):
            if rng.random() < 0.9:
                self.items.append(Panel(s + 4, 4.0, side * edge, height, texture, label))

    def tree(self, s: float, d: float, height: float) -> None:
        texture = self.stock.trees[int(self.rng.integers(len(self.stock.trees)))]
        width = height * self.rng.uniform(0.75, 1.15) * self.rng.choice((-1, 1))
        self.items.append(Figure(s, d, width, height, texture, TREE))
        self.shadows.append((s, s, d, height))
