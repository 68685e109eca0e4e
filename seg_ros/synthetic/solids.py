"""Convex bodies in any pose: boxes, prisms, tubes and spheres, painted in exact perspective."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt

from seg_ros.arrays import Float64Array
from seg_ros.synthetic.canvas import Canvas, Face
from seg_ros.synthetic.style import Colour

Skin = Callable[[Float64Array], Float64Array]
"""Function from (N, 3) outward unit normals of a sphere to colours r, g, b, (N, 3) in 0..255."""


@dataclass(frozen=True)
class Light:
    """Directed and ambient light.

    Attributes:
        direction: (3,) unit vector towards the lamp or the sun.
        strength: Gain of directed light on a surface that faces it.
        ambient: Gain of ambient light on a vertical surface.
    """

    direction: Float64Array
    strength: float = 0.4
    ambient: float = 0.65

    def gain(self, normals: Float64Array) -> Float64Array:
        """Brightness of surfaces with (..., 3) outward unit normals; upward surfaces are lighter."""
        facing = np.clip(normals @ self.direction, 0, None)
        return np.asarray(self.ambient + 0.2 * normals[..., 1] + self.strength * facing)


class Solid(Protocol):
    """A convex body; farther bodies are painted first."""

    @property
    def centre(self) -> Float64Array:
        """(3,) world point."""
        ...

    def paint(self, canvas: Canvas, light: Light) -> None:
        """Paint the surface that faces the camera."""
        ...


def paint_all(solids: list[Solid], canvas: Canvas, light: Light) -> None:
    """Paint many bodies, farthest first."""
    eye = canvas.camera.position
    distances = [-float(np.linalg.norm(solid.centre - eye)) for solid in solids]
    for k in np.argsort(distances, kind='stable'):
        solids[k].paint(canvas, light)


@dataclass(frozen=True)
class Hull:
    """A convex body with flat faces.

    Attributes:
        corners: (V, 3) world points.
        faces: Indices of the corners of each face, in order around it.
        colour: Colour of all faces.
        label: Label of all faces.
    """

    corners: Float64Array
    faces: tuple[tuple[int, ...], ...]
    colour: Colour
    label: int

    @property
    def centre(self) -> Float64Array:
        """Mean of the corners."""
        return np.asarray(self.corners.mean(0))

    def paint(self, canvas: Canvas, light: Light) -> None:
        """Paint the faces that face the camera; they do not overlap."""
        first, second, third = (self.corners[[face[k] for face in self.faces]] for k in range(3))
        normals = np.cross(second - first, third - first)
        normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
        normals *= np.where(((first - self.centre) * normals).sum(1) < 0, -1, 1)[:, None]
        is_seen = ((canvas.camera.position - first) * normals).sum(1) > 0
        gains = light.gain(normals)
        shown: list[Face] = [
            (self.corners[list(self.faces[k])], lit(self.colour, float(gains[k])), self.label)
            for k in np.flatnonzero(is_seen)
        ]
        canvas.polygons(shown)


_BOX = ((0, 1, 3, 2), (4, 5, 7, 6), (0, 1, 5, 4), (2, 3, 7, 6), (0, 2, 6, 4), (1, 3, 7, 5))
_SIGNS = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], np.float64)


def box(centre: Float64Array, axes: Float64Array, half: npt.ArrayLike, colour: Colour, label: int) -> Hull:
    """Make a box.

    Args:
        centre: (3,) world point.
        axes: (3, 3); its rows are the unit vectors along the edges.
        half: (3,) half the length of the edges in metres.
        colour: Colour r, g, b.
        label: Label of its pixels.
    """
    return Hull(centre + (_SIGNS * np.asarray(half)) @ axes, _BOX, colour, label)


def frustum(
    foot: Float64Array,
    height: float,
    radii: tuple[float, float],
    colour: Colour,
    label: int,
    n_sides: int = 12,
) -> Hull:
    """Make an upright truncated cone with ``radii`` at foot and top; a prism if it has few sides."""
    turn = np.linspace(0, 2 * np.pi, n_sides, endpoint=False)
    ring = np.stack([np.cos(turn), np.zeros(n_sides), np.sin(turn)], 1)
    up = np.array([0.0, height, 0.0])
    corners = np.concatenate([foot + radii[0] * ring, foot + up + radii[1] * ring])
    sides = tuple((k, (k + 1) % n_sides, n_sides + (k + 1) % n_sides, n_sides + k) for k in range(n_sides))
    ends = (tuple(range(n_sides)), tuple(range(n_sides, 2 * n_sides)))
    return Hull(corners, (*sides, *ends), colour, label)


@dataclass(frozen=True)
class Tube:
    """A round bar with round ends from ``start`` to ``end``, with ``radii`` there."""

    start: Float64Array
    end: Float64Array
    radii: tuple[float, float]
    colour: Colour
    label: int

    @property
    def centre(self) -> Float64Array:
        """Middle of the bar."""
        return (self.start + self.end) / 2

    def paint(self, canvas: Canvas, light: Light) -> None:
        """Paint the outline, and a lighter strip along it."""
        eye = canvas.camera.position
        along = self.end - self.start
        across = np.cross(along, eye - self.centre)
        across /= max(float(np.linalg.norm(across)), 1e-9)
        towards = (eye - self.centre) / max(float(np.linalg.norm(eye - self.centre)), 1e-9)
        for fraction, normal in ((1.0, 0.8 * across), (0.55, towards)):
            outline = _outline(
                canvas, self.start, self.end, (fraction * self.radii[0], fraction * self.radii[1])
            )
            if outline is not None:
                canvas.polygon(outline, lit(self.colour, float(light.gain(normal))), self.label)


def _outline(
    canvas: Canvas, start: Float64Array, end: Float64Array, radii: tuple[float, float]
) -> Float64Array | None:
    """World points of the visible outline of a tube; None = too near to the camera."""
    eye = canvas.camera.position
    rims = [rim(eye, point, radius) for point, radius in ((start, radii[0]), (end, radii[1]))]
    points = np.concatenate([found for found in rims if found is not None] or [np.zeros((0, 3))])
    seen = canvas.camera.view(points)
    if len(points) < 2 * _N_RIM or seen[:, 2].min() < 0.02:
        return None
    around = cv2.convexHull(canvas.camera.pixels(seen).astype(np.float32), returnPoints=False)
    return np.asarray(points[around[:, 0]])


_N_RIM = 16


def rim(eye: Float64Array, centre: Float64Array, radius: float, n: int = _N_RIM) -> Float64Array | None:
    """(n, 3) points of the outline of a sphere seen from ``eye``; None = ``eye`` is inside."""
    away = centre - eye
    distance = float(np.linalg.norm(away))
    if distance <= radius:
        return None
    away = away / distance
    first = np.cross(away, (0.0, 1.0, 0.0) if abs(away[1]) < 0.9 else (1.0, 0.0, 0.0))
    first /= np.linalg.norm(first)
    turn = np.linspace(0, 2 * np.pi, n, endpoint=False)[:, None]
    circle = np.cos(turn) * first + np.sin(turn) * np.cross(away, first)
    shrink = math.sqrt(1 - (radius / distance) ** 2)
    return np.asarray(centre - away * radius**2 / distance + radius * shrink * circle)


@dataclass(frozen=True)
class Sphere:
    """A ball or a head, with the colours of ``skin``."""

    centre: Float64Array
    radius: float
    skin: Skin
    label: int

    def paint(self, canvas: Canvas, light: Light) -> None:
        """Paint each pixel whose ray hits the sphere."""
        camera = canvas.camera
        outline = rim(camera.position, self.centre, self.radius)
        if outline is None or camera.view(outline)[:, 2].min() < 0.02:
            return
        pixels = camera.pixels(camera.view(outline))
        rows, columns = canvas.labels.shape
        (left, top), (right, bottom) = np.floor(pixels.min(0)).astype(int), np.ceil(pixels.max(0)).astype(int)
        left, top, right, bottom = (
            max(left - 1, 0),
            max(top - 1, 0),
            min(right + 1, columns),
            min(bottom + 1, rows),
        )
        if left >= right or top >= bottom:
            return
        x = (np.arange(left, right) + 0.5 - camera.centre[0]) / camera.focal
        y = (camera.centre[1] - np.arange(top, bottom) - 0.5) / camera.focal
        rays = np.stack([*np.broadcast_arrays(x[None], y[:, None]), np.ones((len(y), len(x)))], -1)
        middle = camera.view(self.centre[None])[0]
        along, length = rays @ middle, (rays**2).sum(-1)
        rest = along**2 - length * (middle @ middle - self.radius**2)
        hit = rest > 0
        near = (along - np.sqrt(np.maximum(rest, 0))) / length
        normals = (rays[hit] * near[hit][:, None] - middle) / self.radius @ camera.rotation
        colours = self.skin(normals) * light.gain(normals)[:, None]
        canvas.image[top:bottom, left:right][hit] = np.clip(colours, 0, 255)
        canvas.labels[top:bottom, left:right][hit] = self.label


def plain(colour: Colour) -> Skin:
    """A skin of one colour."""
    return lambda normals: np.broadcast_to(np.asarray(colour), normals.shape)


def lit(colour: Colour, gain: float) -> Colour:
    """A colour under ``gain`` times the light."""
    r, g, b = (min(255.0, c * gain) for c in colour)
    return r, g, b
