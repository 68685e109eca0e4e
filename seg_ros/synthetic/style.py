"""How a rendered drive looks: camera, light, weather and the faults of the sensor."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Exposure:
    """What happens to light on its way through lens and sensor.

    Attributes:
        light: gain of r, g, b over the whole scene: brightness and colour of the light.
        gamma: exponent applied to values in 0..1; above 1 darkens the mid-tones.
        lift: added to every value in 0..255 at the end (flare, milky glass).
        saturation: 0 (grey) .. 1 (as painted) and above.
        noise: standard deviation of the sensor's noise in grey values.
        blur: standard deviation of the lens' blur in pixels of the output.
        vignette: share of the light that the corners lose.
    """

    light: Colour = (1.1, 1.12, 1.15)
    gamma: float = 1.3
    lift: float = 4.0
    saturation: float = 0.7
    noise: float = 3.0
    blur: float = 0.4
    vignette: float = 0.15


@dataclass(frozen=True)
class Style(Exposure):
    """Everything about the looks of a drive that is not the street itself, its :class:`Exposure` included.

    Attributes:
        camera_height: metres above the road.
        pitch: radians, positive looks up.
        focal: focal length as a fraction of the image's width.
        mirrored: traffic keeps to the right instead of the left.
        sun_side: -1 = the sun stands on the left, 1 = on the right.
        sun_strength: 0 (overcast) .. 1 (hard shadows).
        haze_m: distance in metres at which two thirds of a colour are lost.
        sky_top, sky_low: r, g, b in 0..255 at the zenith and at the horizon.
        clouds: 0 (clear or white) .. 1 (dark structure).
        leafiness: 0 (bare trees) .. 1 (all in leaf).
        asphalt: grey value of the road in 0..255 before light.
        sheen: how much brighter the road is far ahead, where it mirrors the sky.
        bonnet: whether the camera's own car shows at the lower edge (unlabelled there).
    """

    camera_height: float = 1.3
    pitch: float = 0.0
    focal: float = 1.05
    mirrored: bool = False
    sun_side: int = 1
    sun_strength: float = 0.5
    haze_m: float = 600.0
    sky_top: Colour = (225.0, 238.0, 250.0)
    sky_low: Colour = (250.0, 252.0, 253.0)
    clouds: float = 0.2
    leafiness: float = 0.4
    asphalt: float = 92.0
    sheen: float = 0.2
    bonnet: bool = False

    @classmethod
    def random(cls, seed: int) -> 'Style':
        """A style drawn wide around an English winter day; the same seed gives the same style."""
        rng = np.random.default_rng([seed, 1])
        dusk = rng.random() < 0.13
        brightness = rng.uniform(0.5, 0.8) if dusk else rng.uniform(0.95, 1.55)
        warmth = rng.normal(0, 0.05)
        sky_top, sky_low = _sky(rng, dusk)
        return cls(
            camera_height=float(rng.uniform(1.15, 1.6)),
            pitch=float(rng.normal(0.0, 0.022)),
            focal=float(rng.uniform(0.85, 1.25)),
            mirrored=bool(rng.random() < 0.12),
            sun_side=int(rng.choice((-1, 1))),
            sun_strength=0.0 if dusk or rng.random() < 0.35 else float(rng.uniform(0.25, 1)),
            light=(brightness * (1 + warmth), brightness, brightness * (1.03 - warmth)),
            gamma=float(rng.uniform(1.05, 1.5)),
            lift=float(rng.uniform(0, 14)),
            haze_m=float(rng.uniform(120, 300) if rng.random() < 0.2 else rng.uniform(350, 1500)),
            sky_top=sky_top,
            sky_low=sky_low,
            clouds=float(rng.uniform(0.3, 1) if dusk else rng.uniform(0, 1) ** 2),
            leafiness=float(np.clip(rng.normal(0.22, 0.35), 0, 1)),
            asphalt=float(rng.uniform(72, 112)),
            sheen=float(rng.uniform(-0.1, 0.5)),
            saturation=float(rng.uniform(0.35, 1.0)),
            noise=float(rng.uniform(0.5, 6)),
            blur=float(rng.uniform(0, 0.75)),
            vignette=float(rng.uniform(0, 0.3)),
            bonnet=bool(rng.random() < 0.08),
        )


def _sky(rng: np.random.Generator, dusk: bool) -> tuple[Colour, Colour]:
    """Colours of the zenith and of the horizon: burnt out, pale blue, deep blue or grey."""
    if dusk:
        grey = rng.uniform(200, 250)
        return (grey * 0.85, grey * 0.93, grey), (grey * 1.1, grey * 1.12, grey * 1.13)
    kind = rng.choice(4, p=(0.55, 0.27, 0.08, 0.1))
    top = [(246, 250, 252), (196, 222, 248), (120, 165, 225), (190, 196, 202)][kind]
    low = [(252, 253, 254), (242, 248, 252), (205, 225, 245), (222, 225, 228)][kind]
    shift = rng.normal(0, 5, 3)
    return _clipped(top + shift), _clipped(low + shift / 2)


def _clipped(values: npt.NDArray[np.float64]) -> Colour:
    """(3,) values as a colour in 0..255."""
    r, g, b = np.clip(values, 0, 255)
    return float(r), float(g), float(b)
