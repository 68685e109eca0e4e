"""Textures of a street in the light of its day, drawn once and used often."""

from functools import cached_property

import numpy as np

from seg_ros.synthetic.canvas import Texture
from seg_ros.synthetic.figures import Cyclist, Person, bare_tree, leafy_tree, sign_plate
from seg_ros.synthetic.style import Colour, Style
from seg_ros.synthetic.textures import Rng
from seg_ros.synthetic.vehicles import (
    BUS,
    BUS_PAINTS,
    DOUBLE_DECKER,
    FREQUENCIES,
    LORRY,
    MODELS,
    PAINTS,
    VehicleModel,
)


class Stock:
    """Trees, people, signs and cars of one street, in the light of ``style``."""

    def __init__(self, rng: Rng, style: Style) -> None:
        self._rng, self.style = rng, style

    def light(self, side: int) -> float:
        """Brightness of surfaces on one side of the street that face the road."""
        strength = self.style.sun_strength
        return 0.92 - 0.5 * strength if side == self.style.sun_side else 0.92 + 0.2 * strength

    @property
    def facing(self) -> float:
        """Brightness of surfaces that face the camera."""
        return 0.92 - 0.3 * self.style.sun_strength

    # Trees, people and signs are drawn a few times and used often.

    @cached_property
    def trees(self) -> list[Texture]:
        rng = self._rng
        kinds = rng.random(4)
        leafy = self.style.leafiness
        return [self.lit(leafy_tree(rng, k > 0.8) if k > 0.8 or k < leafy else bare_tree(rng)) for k in kinds]

    @cached_property
    def walkers(self) -> list[Person]:
        return [Person(self._rng, sideways=k % 4 == 3) for k in range(6)]

    @cached_property
    def cyclists(self) -> list[Cyclist]:
        return [Cyclist(self._rng, sideways=k == 2) for k in range(3)]

    @cached_property
    def signs(self) -> list[tuple[Texture, float, float]]:
        return [sign_plate(self._rng) for _ in range(6)]

    def lit(self, texture: Texture, gain: float | None = None) -> Texture:
        """The texture under ``gain`` times the light; None = light of surfaces that face the camera."""
        return texture.lit(self.facing if gain is None else gain)

    @property
    def car_light(self) -> tuple[float, float]:
        """Brightness of the left and of the right flank of a car."""
        strength = 0.3 * self.style.sun_strength
        return (1 + strength, 1 - strength) if self.style.sun_side < 0 else (1 - strength, 1 + strength)

    def car(self, small: bool = False) -> tuple[VehicleModel, Colour]:
        """A random vehicle and its paint; small = without lorries and buses."""
        rng = self._rng
        model = MODELS[rng.choice(len(MODELS), p=FREQUENCIES)]
        if small and model in (LORRY, BUS, DOUBLE_DECKER):
            model = MODELS[0]
        paints = BUS_PAINTS if model in (BUS, DOUBLE_DECKER) else PAINTS
        r, g, b = np.asarray(paints[rng.integers(len(paints))]) * self.facing * rng.uniform(0.85, 1.1)
        return model, (float(r), float(g), float(b))
