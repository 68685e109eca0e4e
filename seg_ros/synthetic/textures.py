"""Textures of walls, roofs, fences, ground and sky, made of noise, lines and rectangles."""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from seg_ros.arrays import UInt8Array
from seg_ros.synthetic.canvas import Texture
from seg_ros.synthetic.style import Colour

Rng = np.random.Generator

PIXELS_PER_M = 32

BRICKS: tuple[Colour, ...] = (
    (122, 74, 56), (140, 92, 70), (100, 62, 50), (172, 152, 112), (188, 172, 134), (150, 128, 96),
    (96, 78, 66),
)  # fmt: skip
RENDERS: tuple[Colour, ...] = (
    (222, 218, 206), (206, 196, 172), (190, 188, 184), (214, 196, 160), (168, 164, 156), (226, 226, 222),
)  # fmt: skip
STONES: tuple[Colour, ...] = ((150, 138, 114), (120, 112, 98), (92, 86, 78), (168, 156, 130))
MODERN: tuple[Colour, ...] = ((130, 132, 134), (176, 176, 172), (88, 78, 74), (206, 204, 198), (110, 92, 80))
FASCIAS: tuple[Colour, ...] = (
    (24, 50, 40), (30, 36, 84), (110, 22, 28), (34, 34, 36), (216, 214, 206), (20, 84, 124),
    (180, 120, 30), (80, 30, 70),
)  # fmt: skip


def noise(
    rng: Rng, height: int, width: int, scales: tuple[int, ...] = (1, 4, 16, 64)
) -> npt.NDArray[np.float32]:
    """(height, width) float32 smooth noise, summed over sizes in pixels; mean near 0, deviation near 1."""
    total = np.zeros((height, width), np.float32)
    for scale in scales:
        rough = rng.standard_normal((height // scale + 2, width // scale + 2), np.float32)
        if scale > 1:
            total += cv2.resize(rough, (width, height), interpolation=cv2.INTER_LINEAR)
        else:
            total += rough[:height, :width]
    return total / np.float32(np.sqrt(len(scales)))


def _coloured(colour: Colour, gain: npt.NDArray[np.floating[Any]]) -> UInt8Array:
    """(H, W, 3) of one colour under an (H, W) gain."""
    return np.dstack([cv2.convertScaleAbs(np.maximum(gain, 0), alpha=c) for c in colour])


def _vary(rng: Rng, colour: Colour, by: float = 8.0) -> Colour:
    r, g, b = np.clip(np.asarray(colour) + rng.normal(0, by) + rng.normal(0, by / 5, 3), 0, 255)
    return float(r), float(g), float(b)


def _rectangle(image: UInt8Array, x: float, y: float, w: float, h: float, colour: Colour) -> None:
    """Fill a rectangle given in pixels."""
    cv2.rectangle(image, (round(x), round(y)), (round(x + w) - 1, round(y + h) - 1), colour, -1)


def masonry(rng: Rng, width_m: float, height_m: float, kind: str) -> UInt8Array:
    """A wall without openings at PIXELS_PER_M; kind is brick, stone, render or modern."""
    h, w = max(int(height_m * PIXELS_PER_M), 8), max(int(width_m * PIXELS_PER_M), 8)
    palette = {'brick': BRICKS, 'stone': STONES, 'render': RENDERS, 'modern': MODERN}[kind]
    colour = _vary(rng, palette[rng.integers(len(palette))], 14)
    strength = {'brick': 0.08, 'stone': 0.1, 'render': 0.03, 'modern': 0.03}[kind]
    gain = 1 + strength * noise(rng, h, w, (2, 8, 48)) + 0.03 * noise(rng, h, w, (64,))
    rows, columns = (3, 8) if kind == 'brick' else (11, 22)
    if kind in ('brick', 'stone'):
        gain[::rows] *= 0.86 if kind == 'brick' else 0.78
        for k, top in enumerate(range(0, h, rows)):
            gain[top : top + rows, (k % 2) * columns // 2 :: columns] *= 0.9
    gain *= np.linspace(1.05, 0.92, h)[:, None]
    gain[-PIXELS_PER_M // 3 :] *= 0.8
    return _coloured(colour, gain)


def facade(rng: Rng, width_m: float, height_m: float, kind: str, shop: bool, floor_m: float = 2.9) -> Texture:
    """The front of a building: masonry, rows of windows, and doors or a shop front at the bottom."""
    wall = masonry(rng, width_m, height_m, kind)
    h, w = wall.shape[:2]
    ppm = PIXELS_PER_M
    n_floors = max(int(height_m / floor_m), 1)
    if kind == 'modern' and rng.random() < 0.6:
        _window_bands(rng, wall, n_floors, h / n_floors)
    else:
        n_columns = max(int(width_m / rng.uniform(2.0, 3.2)), 1)
        size = (rng.uniform(0.8, 1.3) * ppm, rng.uniform(1.25, 1.75) * ppm)
        frame: Colour = (226, 226, 222) if rng.random() < 0.75 else (52, 48, 44)
        trim = _vary(rng, (196, 190, 176) if rng.random() < 0.6 else (110, 80, 64))
        for floor in range(1 if shop else 0, n_floors):
            middle = h - (floor + 0.52) * h / n_floors
            for column in range(n_columns):
                x = (column + 0.5) * w / n_columns
                if floor == 0 and (column == n_columns // 2 or rng.random() < 0.25):
                    _door(rng, wall, x, trim)
                else:
                    _window(rng, wall, x - size[0] / 2, middle - size[1] / 2, size, frame, trim)
    if shop:
        _shop_front(rng, wall)
    _rectangle(wall, 0, 0, w, 0.18 * ppm, _vary(rng, (180, 176, 166) if rng.random() < 0.5 else (60, 58, 56)))
    if rng.random() < 0.5:
        x = rng.uniform(0.02, 0.95) * w
        cv2.line(wall, (int(x), 4), (int(x), h), (50, 48, 48), 3)
    return Texture(wall)


def _glass(rng: Rng) -> Colour:
    """Colour of a window pane: mostly a dark room, rarely the sky or a blind."""
    grey = rng.choice((16.0, 30.0, 54.0, 120.0, 190.0), p=(0.45, 0.27, 0.13, 0.1, 0.05)) * rng.uniform(
        0.8, 1.2
    )
    return float(grey * 0.95), float(grey), float(min(grey * 1.06, 255))


def _window(
    rng: Rng, wall: UInt8Array, x: float, y: float, size: tuple[float, float], frame: Colour, trim: Colour
) -> None:
    """A sash window with lintel and sill; x, y, size in pixels."""
    w, h = size
    _rectangle(wall, x - 4, y - 7, w + 8, 7, trim)
    _rectangle(wall, x - 5, y + h, w + 10, 4, trim)
    _rectangle(wall, x, y, w, h, frame)
    _rectangle(wall, x + 3, y + 3, w - 6, h - 6, _glass(rng))
    if rng.random() < 0.5:
        _rectangle(wall, x + 3, y + 3, w - 6, h * rng.uniform(0.15, 0.45), _glass(rng))
    _rectangle(wall, x, y + h / 2 - 1, w, 3, frame)
    if w > 30 or rng.random() < 0.5:
        _rectangle(wall, x + w / 2 - 1, y, 2, h, frame)


def _door(rng: Rng, wall: UInt8Array, x: float, trim: Colour) -> None:
    h = wall.shape[0]
    tall, wide = 2.1 * PIXELS_PER_M, 0.95 * PIXELS_PER_M
    _rectangle(wall, x - wide / 2 - 5, h - tall - 12, wide + 10, tall + 12, trim)
    _rectangle(wall, x - wide / 2, h - tall, wide, tall, _vary(rng, FASCIAS[rng.integers(len(FASCIAS))], 14))
    _rectangle(wall, x - wide / 4, h - tall + 8, wide / 2, tall / 4, _glass(rng))


def _window_bands(rng: Rng, wall: UInt8Array, n_floors: int, floor: float) -> None:
    """Ribbons of glass, as offices have; floor is in pixels."""
    h, w = wall.shape[:2]
    pane = rng.uniform(0.8, 2.2) * PIXELS_PER_M
    for k in range(n_floors):
        top = h - (k + 0.85) * floor
        for x in np.arange(2, w - 2, pane):
            _rectangle(wall, x, top, pane - 3, floor * 0.6, _glass(rng))


def _shop_front(rng: Rng, wall: UInt8Array) -> None:
    """Fascia with lettering, large panes with goods and lights behind, stall riser, pilasters."""
    h, w = wall.shape[:2]
    ppm = PIXELS_PER_M
    top = h - rng.uniform(3.0, 3.6) * ppm
    fascia = _vary(rng, FASCIAS[rng.integers(len(FASCIAS))])
    _rectangle(wall, 0, top, w, h - top, fascia)
    ink: Colour = (230, 226, 210) if sum(fascia) < 380 else (30, 30, 40)
    x = 0.15 * w
    while x < 0.85 * w:
        letter = rng.uniform(4, 14)
        if rng.random() < 0.8:
            _rectangle(wall, x, top + 6 + rng.uniform(0, 4), letter, rng.uniform(7, 12), ink)
        x += letter + 3
    n_panes = max(int(w / (1.8 * ppm)), 1)
    for k in range(n_panes):
        left, wide = k * w / n_panes + 4, w / n_panes - 8
        is_door = rng.random() < 0.3
        bottom = h - 3 if is_door else h - 0.5 * ppm
        _rectangle(wall, left, top + 0.75 * ppm, wide, bottom - top - 0.75 * ppm, _glass(rng))
        for _ in range(rng.integers(2, 9)):
            spot = _vary(rng, (120, 110, 100), 50)
            x, y = left + rng.uniform(0, wide * 0.85), rng.uniform(top + 30, bottom - 12)
            _rectangle(wall, x, y, rng.uniform(2, wide * 0.3), rng.uniform(2, 22), spot)


def roof(rng: Rng) -> Texture:
    """A patch of slates or tiles to stretch over a roof."""
    colour = _vary(rng, [(74, 76, 82), (96, 64, 52), (84, 72, 64), (60, 58, 60)][rng.integers(4)])
    gain = 1 + 0.1 * noise(rng, 96, 192, (2, 8, 32))
    gain[::6] *= 0.8
    return Texture(_coloured(colour, gain))


def fence(rng: Rng, kind: str) -> tuple[Texture, float]:
    """A 4 m run of fence and its height in m; kind is boards, railings, wall, mesh or pickets."""
    height = {'boards': 1.8, 'railings': 1.3, 'wall': 1.1, 'mesh': 2.0, 'pickets': 1.0}[kind] * rng.uniform(
        0.8, 1.2
    )
    h, w = int(height * 40), 160
    if kind == 'wall':
        brick = masonry(rng, 5.0, height * 1.25, 'brick' if rng.random() < 0.8 else 'stone')
        brick[:5] = np.clip(brick[:5] * 1.2, 0, 255).astype(np.uint8)
        return Texture(brick), height
    colour = {
        'boards': (80, 66, 50),
        'railings': (26, 28, 30),
        'mesh': (60, 66, 64),
        'pickets': (176, 174, 168),
    }[kind]
    image = np.dstack(
        [_coloured(_vary(rng, colour), 1 + 0.1 * noise(rng, h, w, (1, 4, 16))), np.zeros((h, w), np.uint8)]
    )
    alpha = image[..., 3].copy()
    if kind == 'boards':
        alpha[:] = 255
        alpha[: int(rng.integers(0, 5)), ::12] = 0
        image[:, ::6, :3] //= 2
        image[:, ::80, :3] //= 3
    else:
        step, thick = {'railings': (6, 2), 'pickets': (8, 5), 'mesh': (4, 1)}[kind]
        for k in range(thick):
            alpha[:, k::step] = 255
        for row in (3, h - 7) if kind != 'mesh' else range(0, h, 4):
            alpha[row : row + (3 if kind != 'mesh' else 1)] = 255
        for k in range(4):
            alpha[:, k::80] = 255
    image[..., 3] = alpha
    return Texture(image, np.full((h, w), 255, np.uint8)), height


def hedge(rng: Rng, green: Colour) -> Texture:
    """A clipped hedge, 4 m by 1.5 m, ragged along the top."""
    h, w = 72, 192
    gain = 1 + 0.28 * noise(rng, h, w, (1, 3, 9, 30)) + np.linspace(0.25, -0.4, h)[:, None]
    alpha = np.where(np.arange(h)[:, None] > 4 + 3 * noise(rng, 1, w, (4, 12)), 255, 0)
    return Texture(np.dstack([_coloured(green, gain), alpha.astype(np.uint8)]))


def asphalt(rng: Rng) -> UInt8Array:
    """(512, 512) uint8 gain, 128 = 1, that tiles: the grain of the road at 64 pixels a metre."""
    grain = rng.normal(0, 1, (512, 512)).astype(np.float32)
    wide = cv2.copyMakeBorder(grain, 32, 32, 32, 32, cv2.BORDER_WRAP)
    total = grain * 4.5
    for sigma, strength in ((1.2, 5.0), (4.0, 2.5), (14.0, 0.7)):
        soft = cv2.GaussianBlur(wide, (0, 0), sigma)[32:-32, 32:-32]
        total += soft / soft.std() * strength
    return np.asarray(np.clip(128 + total, 0, 255), np.uint8)


def sky(rng: Rng, top: Colour, low: Colour, clouds: float) -> UInt8Array:
    """(128, 512, 3) uint8: zenith in the first row, horizon in the last, clouds drawn out towards it."""
    height, width = 128, 512
    t = np.linspace(0, 1, height)[:, None, None] ** 1.3
    image = np.asarray(top) * (1 - t) + np.asarray(low) * t
    cover = np.zeros((height, width), np.float32)
    for k, rows in enumerate((5, 12, 26, 60)):
        rough = rng.standard_normal((rows, rows), np.float32)
        cover += cv2.resize(rough, (width, height), interpolation=cv2.INTER_CUBIC) * 0.6**k
    cover = np.clip(0.5 + 0.45 * cover, 0, 1)[..., None]
    white = np.asarray(low) * (0.92 + 0.12 * cover)
    dark = np.asarray(top) * (0.62 + 0.3 * cover)
    amount = clouds * cover
    image = image * (1 - amount) + amount * (white * (1 - clouds * 0.5) + dark * clouds * 0.5)
    return np.asarray(np.clip(image, 0, 255), np.uint8)
