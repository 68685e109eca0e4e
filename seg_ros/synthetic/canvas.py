"""A pinhole camera, and a canvas that is painted from far to near, image and labels together.

World axes: x right, y up, z forward, in metres. View axes are those of the camera. The canvas is twice as
large as the picture: averaging its image is anti-aliasing, and its labels are chosen by vote.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from seg_ros.arrays import Float64Array, UInt8Array
from seg_ros.synthetic.style import Colour

SKY, BUILDING, POLE, ROAD, PAVEMENT, TREE, SIGN, FENCE, CAR, PEDESTRIAN, BICYCLIST = range(11)

NEAR_M = 0.4
"""Default minimum distance in metres from the camera's plane; nothing nearer is painted."""

_SUBPIXEL_BITS = 4

Face = tuple[npt.ArrayLike, Colour, int | None]
"""A flat polygon: (N, 3) world points, its colour, and its label; None = the labels stay unchanged."""


class Texture:
    """An image for a plane, with smaller copies for larger distances.

    Args:
        image: (h, w, 3) uint8 RGB, or (h, w, 4) uint8 RGBA.
        cover: (h, w) uint8, at least 128 where the label is painted; None = where the image is opaque.
    """

    def __init__(self, image: UInt8Array, cover: UInt8Array | None = None) -> None:
        self._levels: list[tuple[Any, Any]] = [(image, cover)]

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels of the largest copy."""
        height, width = self._levels[0][0].shape[:2]
        return height, width

    def level(self, shrink: float) -> tuple[UInt8Array, UInt8Array | None]:
        """Image and cover for a display ``shrink`` times smaller than the texture."""
        wanted = int(np.clip(round(math.log2(max(shrink, 1))), 0, 6))
        while len(self._levels) <= wanted and min(self._levels[-1][0].shape[:2]) > 7:
            image, cover = self._levels[-1]
            size = (-(-image.shape[1] // 2), -(-image.shape[0] // 2))
            self._levels.append((_shrink(image, size), None if cover is None else _shrink(cover, size)))
        image, cover = self._levels[min(wanted, len(self._levels) - 1)]
        return image, cover

    def lit(self, gain: float) -> 'Texture':
        """A copy under ``gain`` times the light."""
        image, cover = self._levels[0]
        lit = np.asarray(cv2.convertScaleAbs(image, alpha=gain), np.uint8)
        if image.shape[2] == 4:
            lit[..., 3] = image[..., 3]
        return Texture(lit, cover)


def _shrink(image: Any, size: tuple[int, int]) -> Any:
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


@dataclass
class PinholeCamera:
    """A pinhole camera.

    Attributes:
        position: (3,) world coordinates in metres.
        yaw: Rotation to the right, in radians.
        pitch: Rotation upwards, in radians.
        focal: Focal length in pixels of the canvas.
        centre: Principal point x, y in pixels of the canvas.
        roll: Rotation to the right around the view axis, in radians.
        aside: (3,) horizontal unit vector to the right of the view.
        rotation: (3, 3) rotation from world to view; its rows are the view axes right, up, forward.
    """

    position: Float64Array
    yaw: float
    pitch: float
    focal: float
    centre: tuple[float, float]
    roll: float = 0.0
    aside: Float64Array = field(init=False)
    rotation: Float64Array = field(init=False)

    def __post_init__(self) -> None:
        cy, sy, cp, sp = math.cos(self.yaw), math.sin(self.yaw), math.cos(self.pitch), math.sin(self.pitch)
        cr, sr = math.cos(self.roll), math.sin(self.roll)
        self.aside = np.array([cy, 0, -sy])
        turn = np.array([[cy, 0, -sy], [0, 1, 0], [sy, 0, cy]])
        nod = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
        lean = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
        self.rotation = lean @ (nod @ turn)

    def view(self, points: npt.ArrayLike) -> Float64Array:
        """(N, 3) world points -> (N, 3) view points."""
        seen: Float64Array = (np.asarray(points, np.float64) - self.position) @ self.rotation.T
        return seen

    def pixels(self, seen: Float64Array) -> Float64Array:
        """(N, 3) view points in front of the camera -> (N, 2) x, y in pixels of the canvas."""
        return seen[:, :2] * ((self.focal, -self.focal) / seen[:, 2:]) + self.centre

    def horizon(self) -> float:
        """Row of the horizon on the canvas, without roll."""
        return self.centre[1] + self.focal * math.tan(self.pitch)

    def ground(self, x: Any, y: Any) -> tuple[Float64Array, Float64Array, Any]:
        """Intersections of the rays through a grid of pixels with the ground; far away above the horizon.

        Args:
            x: (columns,) float32 columns in pixels of the canvas.
            y: (rows,) float32 rows in pixels of the canvas.

        Returns:
            World x and z (rows, columns) float64, and depth (rows, columns) float32, all in metres.
        """
        across, up = (x - self.centre[0]) / self.focal, (self.centre[1] - y) / self.focal
        r = self.rotation.astype(np.float32)
        aside, rise, ahead = (r[0, k] * across[None] + (r[1, k] * up + r[2, k])[:, None] for k in range(3))
        depth = np.asarray(-self.position[1] / np.minimum(rise, -1e-3), np.float32)
        return self.position[0] + depth * aside, self.position[2] + depth * ahead, depth


class Canvas:
    """Image and labels of one frame, at twice its size.

    Args:
        height: Height of the picture in pixels.
        width: Width of the picture in pixels.
        camera: Camera of the frame.
        haze: Colour of the haze.
        haze_m: Distance in metres at which two thirds of a colour are lost in haze.
        near_m: Minimum distance in metres from the camera's plane; nothing nearer is painted.
        thin: Labels of thin things: half of the votes are enough for them. Later labels win over earlier
            ones.
    """

    def __init__(
        self,
        height: int,
        width: int,
        camera: PinholeCamera,
        haze: Colour,
        haze_m: float,
        *,
        near_m: float = NEAR_M,
        thin: tuple[int, ...] = (SIGN, POLE),
    ) -> None:
        self.image = np.zeros((2 * height, 2 * width, 3), np.uint8)
        self.labels = np.zeros((2 * height, 2 * width), np.uint8)
        self.camera = camera
        self._haze = haze
        self._haze_m = haze_m
        self._near_m = near_m
        self._thin = thin

    def depth(self, point: npt.ArrayLike) -> float:
        """Distance of a world point from the camera's plane, in metres."""
        return float(self.camera.rotation[2] @ (np.asarray(point) - self.camera.position))

    def polygon(self, points: npt.ArrayLike, colour: Colour, label: int | None) -> None:
        """Fill a flat polygon of (N, 3) world points; label None = the labels stay unchanged."""
        self.polygons([(points, colour, label)])

    def polygons(self, faces: list[Face]) -> None:
        """Fill flat polygons in order; one projection for all is faster than one for each."""
        if not faces:
            return
        cuts = np.cumsum([len(face[0]) for face in faces])  # type: ignore[arg-type]
        seen = self.camera.view(np.concatenate([face[0] for face in faces]))
        near = bool(seen[:, 2].min() < self._near_m)
        corners = None if near else self._fixed(self.camera.pixels(seen))
        start = 0
        for (_, colour, label), stop in zip(faces, cuts.tolist(), strict=True):
            part = _in_front(seen[start:stop], self._near_m) if near else seen[start:stop]
            if len(part) > 2:
                outline = self._fixed(self.camera.pixels(part)) if corners is None else corners[start:stop]
                self._fill(outline, self.hazy(colour, float(part[0, 2])), label)
            start = stop

    @staticmethod
    def _fixed(pixels: Float64Array) -> npt.NDArray[np.int32]:
        """Pixels as fixed-point numbers of OpenCV, which are whole at the centres of pixels."""
        return np.rint((pixels - 0.5) * (1 << _SUBPIXEL_BITS)).astype(np.int32)

    def _fill(self, outline: npt.NDArray[np.int32], colour: Colour, label: int | None) -> None:
        cv2.fillPoly(self.image, [outline], colour, cv2.LINE_8, _SUBPIXEL_BITS)
        if label is not None:
            cv2.fillPoly(self.labels, [outline], label, cv2.LINE_8, _SUBPIXEL_BITS)

    def post(self, foot: Float64Array, top: Float64Array, width: float, colour: Colour, label: int) -> None:
        """Paint a round bar, ``width`` metres thick, at least one pixel of the picture."""
        seen = self.camera.view(np.stack([foot, top]))
        if seen[:, 2].min() < self._near_m:
            return
        ends = self.camera.pixels(seen)
        half = np.maximum(0.5 * width * self.camera.focal / seen[:, 2], 1.0)[:, None]
        along = ends[1] - ends[0]
        across = np.array([-along[1], along[0]]) / max(float(np.hypot(*along)), 1e-6)
        colour = self.hazy(colour, float(seen[0, 2]))
        for fraction, shade in ((1.0, 0.75), (0.45, 1.2)):
            outline = np.concatenate([ends + fraction * half * across, (ends - half * across)[::-1]])
            r, g, b = (min(255.0, c * shade) for c in colour)
            self._fill(self._fixed(outline), (r, g, b), label)

    def quad(self, corners: npt.ArrayLike, texture: Texture, label: int) -> None:
        """Paint a texture on (4, 3) world points: top left, top right, bottom right, bottom left."""
        seen = self.camera.view(corners)
        start, end = 0.0, 1.0
        if seen[:, 2].min() < self._near_m:
            depths = min(seen[0, 2], seen[3, 2]), min(seen[1, 2], seen[2, 2])
            start, end = _part_in_front(*depths, self._near_m)
            left, right = seen[[0, 3]], seen[[1, 2]]
            near, far = left + start * (right - left), left + end * (right - left)
            seen = np.stack([near[0], far[0], far[1], near[1]])
            if start >= end or seen[:, 2].min() < self._near_m / 2:
                return
        shown = self.camera.pixels(seen)
        rows, columns = self.labels.shape
        (x0, y0), (x1, y1) = shown.min(0).tolist(), shown.max(0).tolist()
        box = (
            max(math.floor(x0), 0),
            max(math.floor(y0), 0),
            min(math.ceil(x1), columns),
            min(math.ceil(y1), rows),
        )
        if box[0] < box[2] and box[1] < box[3]:
            self._lay(texture, (start, end), shown, box, float(seen[0, 2] + seen[1, 2]) / 2, label)

    def threads(self, ends: npt.ArrayLike, colour: Colour) -> None:
        """Draw the thinnest possible lines between (N, 2, 3) pairs of world points, only on the image."""
        pairs = np.asarray(ends, np.float64)
        seen = self.camera.view(pairs.reshape(-1, 3)).reshape(-1, 2, 3)
        seen = seen[seen[..., 2].min(1) >= self._near_m]
        if len(seen):
            lines = self._fixed(self.camera.pixels(seen.reshape(-1, 3))).reshape(-1, 2, 2)
            cv2.polylines(self.image, list(lines), False, colour, 1, cv2.LINE_AA, _SUBPIXEL_BITS)

    def backdrop(self, image: UInt8Array) -> None:
        """Paint an image of the far distance above the horizon.

        Args:
            image: (h, w, 3) uint8 RGB; last row at the horizon, 150 columns per radian, middle at yaw 0.
        """
        camera, (rows, columns) = self.camera, self.labels.shape
        horizon = camera.horizon()
        slant = columns / 2 * abs(math.tan(camera.roll))
        shown = math.ceil(min(max(horizon + slant + 1, 1), rows))
        height, width = image.shape[:2]
        step = 150 / camera.focal
        left = width / 2 + 150 * (camera.yaw - columns / 2 / camera.focal)
        turn = np.array([[step, 0, left], [0, height / max(horizon, 1), 0]], np.float32)
        how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        self.image[:shown] = cv2.warpAffine(
            image, turn, (columns, shown), flags=how, borderMode=cv2.BORDER_REPLICATE
        )

    def stand(self, foot: Float64Array, width: float, height: float, texture: Texture, label: int) -> None:
        """Paint an upright texture on ``foot`` that faces the camera; a negative width mirrors it."""
        right = self.camera.aside * width / 2
        up = np.array([0.0, height, 0.0])
        self.quad([foot - right + up, foot + right + up, foot + right, foot - right], texture, label)

    def _lay(
        self,
        texture: Texture,
        span: tuple[float, float],
        shown: Float64Array,
        box: tuple[int, int, int, int],
        depth: float,
        label: int,
    ) -> None:
        """Warp the part ``span`` of a texture, in fractions of its width, to four pixels within a box."""
        sides = np.hypot(*(shown - np.roll(shown, -1, 0)).T)
        shrink = texture.shape[0] / max(sides[1], sides[3], 1e-3)
        across = texture.shape[1] * (span[1] - span[0]) / max(sides[0], sides[2], 1e-3)
        image, cover = texture.level(max(shrink, 0.5 * across))
        height, width = image.shape[:2]
        x0, x1, y1 = span[0] * width - 0.5, span[1] * width - 0.5, height - 0.5
        source = np.array([(x0, -0.5), (x1, -0.5), (x1, y1), (x0, y1)], np.float32)
        target = shown - box[:2] - 0.5
        try:
            warp = cv2.getPerspectiveTransform(source, target.astype(np.float32))
        except cv2.error:  # a quad seen exactly edge-on has no area to paint
            return
        size = (box[2] - box[0], box[3] - box[1])
        within = np.s_[box[1] : box[3], box[0] : box[2]]
        loss = self._loss(depth)
        flat = image.shape[2] == 3
        border = cv2.BORDER_REPLICATE if flat else cv2.BORDER_CONSTANT
        painted = cv2.warpPerspective(image, warp, size, flags=cv2.INTER_LINEAR, borderMode=border)
        if flat:
            mask = np.zeros(painted.shape[:2], np.uint8)
            cv2.fillPoly(mask, [self._fixed(shown - box[:2])], 255, cv2.LINE_8, _SUBPIXEL_BITS)
        else:
            mask = cv2.threshold(cv2.extractChannel(painted, 3), 110, 255, cv2.THRESH_BINARY)[1]
            painted = cv2.cvtColor(painted, cv2.COLOR_RGBA2RGB)
        if loss > 0.02:
            painted = cv2.convertScaleAbs(painted, alpha=1 - loss, beta=loss * self._haze[1])
        cv2.copyTo(painted, mask, self.image[within])
        if cover is not None:
            spread = cv2.warpPerspective(cover, warp, size, flags=cv2.INTER_LINEAR)
            mask = cv2.threshold(spread, 110, 255, cv2.THRESH_BINARY)[1]
        cv2.copyTo(np.full(mask.shape, label, np.uint8), mask, self.labels[within])

    def hazy(self, colour: Colour, depth: float) -> Colour:
        """A colour seen through ``depth`` metres of haze."""
        loss = self._loss(depth)
        (r, g, b), (hr, hg, hb), keep = colour, self._haze, 1 - loss
        return r * keep + hr * loss, g * keep + hg * loss, b * keep + hb * loss

    def _loss(self, depth: float) -> float:
        return 1 - math.exp(-max(depth, 0) / self._haze_m)

    def picture(self) -> tuple[UInt8Array, UInt8Array]:
        """(H, W, 3) uint8 averaged image and (H, W) uint8 labels by vote; thin labels need half the votes."""
        height, width = self.labels.shape[0] // 2, self.labels.shape[1] // 2
        image = cv2.resize(self.image, (width, height), interpolation=cv2.INTER_AREA)
        a, b, c, d = (self.labels[i::2, j::2] for i in (0, 1) for j in (0, 1))
        labels = np.where((b == c) | (b == d), b, np.where(c == d, c, a))
        for thin in self._thin:
            votes = (a == thin).view(np.uint8) + (b == thin) + (c == thin) + (d == thin)
            labels[votes >= 2] = thin
        return np.asarray(image, np.uint8), labels


def _in_front(seen: Float64Array, near_m: float) -> Float64Array:
    """The part of a polygon of (N, 3) view points beyond the near plane."""
    inside = seen[:, 2] >= near_m
    if inside.all():
        return seen
    kept = []
    for i, point in enumerate(seen):
        before = seen[i - 1]
        if inside[i] != inside[i - 1]:
            kept.append(before + (near_m - before[2]) / (point[2] - before[2]) * (point - before))
        if inside[i]:
            kept.append(point)
    return np.array(kept).reshape(-1, 3)


def _part_in_front(first: float, second: float, near_m: float) -> tuple[float, float]:
    """Start and end, 0..1, of the part of a line between two depths that is beyond the near plane."""
    if max(first, second) < near_m:
        return 1.0, 0.0
    if min(first, second) >= near_m:
        return 0.0, 1.0
    cut = (near_m - first) / (second - first)
    return (0.0, cut) if first > second else (cut, 1.0)
