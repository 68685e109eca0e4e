"""Cut-out figures that face the camera: trees, people, cyclists, signs and traffic lights."""

import math

import cv2
import numpy as np
import numpy.typing as npt

from seg_ros.arrays import UInt8Array
from seg_ros.synthetic.canvas import Texture
from seg_ros.synthetic.style import Colour
from seg_ros.synthetic.textures import Rng, noise

CLOTHES: tuple[Colour, ...] = (
    (16, 16, 20), (24, 27, 36), (36, 33, 31), (46, 48, 54), (70, 22, 26), (28, 38, 68), (84, 76, 62),
    (20, 42, 30), (22, 20, 24), (130, 124, 118),
    (150, 46, 38), (176, 170, 50), (180, 180, 180), (64, 86, 120),
)  # fmt: skip
SKINS: tuple[Colour, ...] = ((166, 130, 110), (142, 104, 84), (92, 62, 46), (180, 146, 128))
GREENS: tuple[Colour, ...] = (
    (74, 84, 44),
    (58, 74, 40),
    (92, 96, 52),
    (44, 60, 40),
    (106, 100, 56),
    (38, 50, 36),
)


def _blank(height: int, width: int) -> UInt8Array:
    return np.zeros((height, width, 4), np.uint8)


def _opaque(colour: Colour, gain: float = 1.0) -> tuple[float, float, float, float]:
    r, g, b = (min(255.0, c * gain) for c in colour)
    return r, g, b, 255.0


def _textured(rng: Rng, image: UInt8Array, strength: float, scales: tuple[int, ...]) -> UInt8Array:
    """Break up flat colours of an RGBA image by noise."""
    gain = 1 + strength * noise(rng, image.shape[0], image.shape[1], scales)
    for k in range(3):
        image[..., k] = cv2.multiply(image[..., k], gain, dtype=cv2.CV_8U)
    return image


def _ruffled(rng: Rng, image: UInt8Array, foot: float) -> UInt8Array:
    """Fray the part of an image above row ``foot`` by moving each pixel a little."""
    size = image.shape[:2]
    y, x = np.indices(size).astype(np.float32)
    push = [5 * noise(rng, size[0], size[1], (3, 7, 20)) * (y < foot) for _ in range(2)]
    return np.asarray(cv2.remap(image, x + push[0], y + push[1], cv2.INTER_NEAREST), np.uint8)


def _closed(alpha: npt.ArrayLike, gap: int) -> UInt8Array:
    """Close gaps of up to ``gap`` pixels in a mask."""
    around = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (gap, gap))
    return np.asarray(cv2.morphologyEx(np.ascontiguousarray(alpha), cv2.MORPH_CLOSE, around), np.uint8)


def bare_tree(rng: Rng) -> Texture:
    """A tree in winter with forking branches; its label covers small gaps, as annotations do."""
    size = 320
    image = _blank(size, size)
    bark = np.array([(66, 58, 52), (84, 76, 66), (52, 48, 44)][rng.integers(3)])
    shades = [_opaque(tuple(bark), gain) for gain in (0.8, 0.95, 1.1, 1.25)]
    spread, upright = rng.uniform(0.45, 0.8), rng.uniform(0.75, 0.95)

    def grow(x: float, y: float, angle: float, length: float, width: float) -> None:
        dx, dy = length * math.sin(angle), -length * math.cos(angle)
        ends = (round(x), round(y)), (round(x + dx), round(y + dy))
        cv2.line(image, *ends, shades[rng.integers(4)], max(round(width), 1))
        if length < 13:
            return
        n_twigs = int(rng.integers(4, 7))
        for k in range(n_twigs):
            t = 0.42 + 0.58 * k / (n_twigs - 1)
            turn = (-1) ** k * spread * rng.uniform(0.5, 1.2) * (1.25 - 0.6 * t)
            grow(
                x + t * dx, y + t * dy, upright * angle + turn, length * rng.uniform(0.42, 0.66), width * 0.52
            )

    grow(size / 2, size, rng.normal(0, 0.04), size * rng.uniform(0.4, 0.52), size * rng.uniform(0.028, 0.05))
    alpha = np.ascontiguousarray(image[..., 3])
    cover = _closed(cv2.dilate(alpha, np.ones((2, 2), np.uint8)), 11)
    image[..., :3][alpha == 0] = bark
    return Texture(image, cover)


def leafy_tree(rng: Rng, evergreen: bool) -> Texture:
    """A tree in leaf: a trunk, and a crown of many clumps that is light above and dark below."""
    size = 320
    image = _blank(size, size)
    green = np.array(GREENS[rng.integers(len(GREENS))]) * (0.7 if evergreen else rng.uniform(0.85, 1.25))
    foot, top = size * rng.uniform(0.6, 0.75), size * 0.02
    cv2.line(
        image,
        (size // 2, size),
        (size // 2, int(size * 0.4)),
        (62, 54, 46, 255),
        int(size * rng.uniform(0.03, 0.06)),
    )
    cone = evergreen and rng.random() < 0.6
    foot = size * 0.93 if cone else foot
    aspect = rng.uniform(0.55, 1.0) * (0.5 if cone else 1.0)
    n_clumps = 260
    heights = np.sort(rng.beta(1.4, 1.4, n_clumps))
    for t in heights:
        y = foot + (top - foot) * t
        half = (
            size
            * 0.46
            * aspect
            * ((1 - t) * 0.9 + 0.08 if cone else np.sqrt(max(1 - (2 * t - 1) ** 2, 0.02)))
        )
        x = size / 2 + np.clip(rng.normal(0, 0.55), -1, 1) * half
        lit = 0.5 + 0.75 * t + 0.3 * rng.normal() - 0.1 * (x - size / 2) / size
        radius = size * rng.uniform(0.018, 0.06)
        colour = _opaque(tuple(green), float(np.clip(lit, 0.2, 2.2)))
        axes = (round(radius * 1.2), round(radius))
        cv2.ellipse(image, (round(x), round(y)), axes, rng.uniform(0, 180), 0, 360, colour, -1)
    image = _ruffled(rng, _textured(rng, image, 0.32, (1, 3, 5, 10)), foot)
    gaps = rng.uniform(-1.3, -0.7)
    ragged = (noise(rng, size, size, (2, 5, 12)) > gaps) | (np.arange(size)[:, None] > foot)
    image[..., 3] *= ragged
    image[..., :3][image[..., 3] == 0] = np.clip(green * 0.7, 0, 255)
    return Texture(image, _closed(image[..., 3], 7))


class Person:
    """A walker: four phases of a step, seen from the side or from behind."""

    height_m = 1.75

    def __init__(self, rng: Rng, sideways: bool) -> None:
        self.coat, self.legs = (CLOTHES[i] for i in rng.integers(len(CLOTHES), size=2))
        if rng.random() < 0.7:
            self.legs = CLOTHES[rng.integers(4)]
        self.skin = SKINS[rng.integers(len(SKINS))]
        self.hair = [(30, 26, 24), (70, 50, 34), (130, 104, 70), (110, 108, 106)][rng.integers(4)]
        self.long_coat, self.bag = rng.random() < 0.35, rng.random() < 0.4
        self.scale = float(np.clip(rng.normal(0.97, 0.07), 0.75, 1.1))
        self.sideways = sideways
        bulk = rng.uniform(0.85, 1.2)
        self.phases = [self._draw(rng, np.pi * k / 2, bulk) for k in range(4)]

    def _draw(self, rng: Rng, phase: float, bulk: float) -> Texture:
        image = _blank(160, 80)
        swing = np.sin(phase) * (13 if self.sideways else 4)
        hip, shoulder = 84, 34
        half = int((9 if self.sideways else 13) * bulk)
        for sign, gain in ((-1, 0.8), (1, 1.0)):
            foot = 40 + sign * swing + (0 if self.sideways else sign * 6)
            knee = (40 + foot) / 2 + (2 if self.sideways else 0)
            points = np.array(
                [(40 + (0 if self.sideways else sign * 5), hip), (knee, 118), (foot, 150)]
            ).astype(np.int32)
            cv2.polylines(image, [points], False, _opaque(self.legs, gain), int(10 * bulk))
            cv2.ellipse(
                image,
                (int(foot + (3 if self.sideways else 0)), 153),
                (7, 4),
                0,
                0,
                360,
                (20, 18, 18, 255),
                -1,
            )
        bottom = 108 if self.long_coat else 90
        flank = np.array([(half - 3, shoulder - 4), (half, 50), (half - 1, bottom)])
        body = np.concatenate([flank, flank[::-1] * (-1, 1)]) + np.array((40, 0))
        cv2.fillPoly(image, [body.astype(np.int32)], _opaque(self.coat))
        for sign in (-1, 1):
            shoulder_x = 40 + (0 if self.sideways else sign * (half - 1))
            hand = (int(shoulder_x - sign * swing * 0.9 + (0 if self.sideways else sign * 3)), 86)
            cv2.line(
                image,
                (shoulder_x, shoulder + 2),
                hand,
                _opaque(self.coat, 0.8 if sign < 0 else 1.15),
                int(6 * bulk),
            )
            cv2.circle(image, hand, 3, _opaque(self.skin, 0.9), -1)
        if self.bag:
            cv2.rectangle(
                image, (40 - half - 4, 60), (40 - 2, 88), _opaque(CLOTHES[int(self.scale * 100) % 9]), -1
            )
        cv2.ellipse(image, (40, 19), (8, 11), 0, 0, 360, _opaque(self.skin), -1)
        cv2.ellipse(image, (39, 15), (9, 9), 0, 150 if self.sideways else 120, 400, _opaque(self.hair), -1)
        return Texture(_textured(rng, image, 0.12, (2, 6, 20)))


class Cyclist:
    """A rider on a bicycle, seen from the side or from behind, in four phases of the pedals."""

    height_m = 1.8

    def __init__(self, rng: Rng, sideways: bool) -> None:
        self.sideways = sideways
        self.coat, self.legs = CLOTHES[rng.integers(len(CLOTHES))], CLOTHES[rng.integers(4)]
        self.skin = SKINS[rng.integers(len(SKINS))]
        self.frame = [(40, 40, 44), (120, 30, 30), (30, 60, 120), (150, 150, 150)][rng.integers(4)]
        self.helmet: Colour = [(30, 26, 24), (210, 210, 210), (60, 44, 34), (170, 40, 40)][rng.integers(4)]
        draw = self._draw_side if sideways else self._draw_back
        self.phases = [Texture(_textured(rng, draw(np.pi * k / 2), 0.12, (2, 6, 20))) for k in range(4)]

    def _draw_back(self, phase: float) -> UInt8Array:
        image = _blank(160, 80)
        cv2.ellipse(image, (40, 128), (3, 30), 0, 0, 360, (22, 22, 24, 255), -1)
        cv2.line(image, (20, 88), (60, 88), _opaque(self.frame), 3)
        for sign in (-1, 1):
            foot = (40 + sign * 9, int(128 + sign * 9 * np.sin(phase)))
            knee = (40 + sign * 13, int(104 + sign * 8 * np.sin(phase)))
            cv2.polylines(image, [np.array([(40 + sign * 6, 84), knee, foot])], False, _opaque(self.legs), 9)
            cv2.line(image, (40 + sign * 12, 40), (40 + sign * 19, 84), _opaque(self.coat, 0.85), 7)
        cv2.fillPoly(image, [np.array([(27, 38), (53, 38), (52, 84), (29, 84)])], _opaque(self.coat))
        cv2.ellipse(image, (40, 22), (8, 11), 0, 0, 360, _opaque(self.skin), -1)
        cv2.ellipse(image, (40, 19), (9, 10), 0, 130, 410, _opaque(self.helmet), -1)
        return image

    def _draw_side(self, phase: float) -> UInt8Array:
        image = _blank(160, 160)
        for x in (38, 122):
            cv2.circle(image, (x, 128), 29, (24, 24, 26, 255), 4)
            for spoke in np.linspace(0, np.pi, 4)[:-1] + phase / 2:
                end = (int(27 * np.cos(spoke)), int(27 * np.sin(spoke)))
                cv2.line(
                    image, (x - end[0], 128 - end[1]), (x + end[0], 128 + end[1]), (110, 110, 112, 255), 1
                )
        pedal = np.array([76, 128])
        saddle, head = (62, 84), (112, 84)
        back, front, bars = (38, 128), (122, 128), (108, 72)
        tubes = [(saddle, (76, 128), head, saddle), (saddle, back, (76, 128)), (front, head, bars)]
        for tube in tubes:
            cv2.polylines(image, [np.array(tube)], False, _opaque(self.frame), 4)
        for sign, gain in ((-1, 0.75), (1, 1.0)):
            shoe = pedal + (sign * 10 * np.array([np.cos(phase), np.sin(phase)])).astype(int)
            knee = ((62 + shoe[0]) // 2 + 16, (80 + shoe[1]) // 2 - 4)
            cv2.polylines(
                image, [np.array([(62, 80), knee, tuple(shoe)])], False, _opaque(self.legs, gain), 10
            )
        cv2.line(image, (62, 78), (88, 40), _opaque(self.coat), 20)
        cv2.polylines(image, [np.array([(88, 42), (96, 64), (110, 72)])], False, _opaque(self.coat, 0.85), 7)
        cv2.ellipse(image, (95, 21), (9, 11), 0, 0, 360, _opaque(self.skin), -1)
        cv2.ellipse(image, (94, 17), (10, 10), 0, 150, 380, _opaque(self.helmet), -1)
        return image


def sign_plate(rng: Rng) -> tuple[Texture, float, float]:
    """A traffic sign or board with its width and height in metres."""
    kind = rng.choice(
        ['disc', 'ring', 'triangle', 'board', 'back', 'poster'], p=(0.13, 0.17, 0.14, 0.2, 0.26, 0.1)
    )
    image = _blank(64, 64)
    white, red, blue = (196, 196, 192, 255), (148, 24, 30, 255), (24, 50, 118, 255)
    if kind in ('disc', 'ring', 'back'):
        cv2.circle(image, (32, 32), 30, {'disc': blue, 'ring': red, 'back': (104, 106, 108, 255)}[kind], -1)
        if kind == 'ring':
            cv2.circle(image, (32, 32), 22, white, -1)
        if kind != 'back':
            ink = white if kind == 'disc' else (24, 24, 26, 255)
            cv2.line(image, (22 + int(rng.integers(10)), 44), (40, 20), ink, 6)
        width = height = rng.uniform(0.5, 0.8)
    elif kind == 'triangle':
        cv2.fillPoly(image, [np.array([(32, 3), (62, 58), (2, 58)])], red)
        cv2.fillPoly(image, [np.array([(32, 18), (50, 51), (14, 51)])], white)
        cv2.line(image, (32, 30), (32, 46), (24, 24, 26, 255), 5)
        width = height = rng.uniform(0.6, 0.9)
    else:
        ground = [white, blue, (24, 84, 56, 255), (196, 176, 60, 255)][rng.integers(4)]
        image[:] = ground
        ink = (30, 30, 34, 255) if sum(ground[:3]) > 400 else white
        for row in range(10, 56, 13):
            cv2.line(image, (8, row), (int(rng.integers(30, 58)), row), ink, 4)
        width, height = (rng.uniform(0.6, 1.6), rng.uniform(0.4, 1.0)) if kind == 'board' else (1.2, 1.8)
    return Texture(_textured(rng, image, 0.06, (4, 16))), float(width), float(height)


def traffic_light(state: int, back: bool) -> Texture:
    """Head of a traffic light, 0.45 m by 1.1 m; state 0 = red, 1 = amber, 2 = green; dark from behind."""
    image = _blank(96, 40)
    image[4:92, 5:35] = (20, 20, 22, 255)
    cv2.rectangle(image, (1, 1), (38, 94), (36, 36, 38, 255), 3)
    lamps: tuple[Colour, ...] = ((240, 50, 40), (240, 170, 50), (60, 230, 150))
    for k, lamp in enumerate(lamps):
        if not back:
            cv2.circle(image, (20, 20 + 28 * k), 10, _opaque(lamp, 1.0 if k == state else 0.2), -1)
    return Texture(image)
