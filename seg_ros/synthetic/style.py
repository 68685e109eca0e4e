"""Appearance of a rendered drive: camera, light, weather and flaws of the sensor."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Exposure:
    """Effects of lens and sensor.

    Attributes:
        light: Gain of r, g, b over the whole scene: brightness and colour of the light.
        gamma: Exponent of values in 0..1; above 1 darkens the mid-tones.
        lift: Offset added to all values in 0..255 at the end (flare, milky glass).
        saturation: Saturation, 0 (grey) .. 1 (as painted) and above.
        noise: Standard deviation of the sensor noise in grey values.
        blur: Standard deviation of the lens blur in pixels of the output.
        vignette: Fraction of the light that the corners lose.
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
    """Appearance of a drive, apart from the street itself.

    Attributes:
        camera_height: Height of the camera above the road in metres.
        pitch: Rotation of the camera upwards, in radians.
        focal: Focal length as a fraction of the width of the image.
        mirrored: Whether traffic keeps to the right instead of the left.
        sun_side: Side of the sun, -1 = left, 1 = right.
        sun_strength: Fraction of directed light, 0 (overcast) .. 1 (hard shadows).
        haze_m: Distance in metres at which two thirds of a colour are lost in haze.
        sky_top: Colour r, g, b in 0..255 at the zenith.
        sky_low: Colour r, g, b in 0..255 at the horizon.
        clouds: Structure of the clouds, 0 (clear or white) .. 1 (dark).
        leafiness: Fraction of trees in leaf, 0..1.
        asphalt: Grey value of the road, 0..255, before light.
        sheen: Additional brightness of the road far ahead, where it mirrors the sky.
        bonnet: Whether the camera's own car is visible at the lower edge, unlabelled.
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
        """A random style, widely spread around an English winter day; it depends only on the seed."""
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
    """Colours of zenith and horizon: overexposed, pale blue, deep blue or grey."""
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
