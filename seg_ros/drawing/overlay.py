"""Class colours over an image with a legend, segments over an image, and contact sheets."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from seg_ros.arrays import UInt8Array
from seg_ros.classes import ClassSet
from seg_ros.errors import ImageError, ParameterError
from seg_ros.images.resize import resize_image
from seg_ros.segments.hamming import unpack
from seg_ros.segments.regions import boundary
from seg_ros.segments.segments import Segments

_DARK, _LIGHT = (22, 24, 28), (235, 237, 240)
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_COLOUR_SEED = 5
_LEAST_FRACTION = 0.001
"""Minimum fraction of the image for a class in the legend; specks would make the legend flicker."""


class Overlay:
    """Blends class colours over images.

    The legend names the visible classes, the largest first, as many as fit. Its letters grow with the image.

    Args:
        classes: Classes of the ids in label images.
    """

    def __init__(self, classes: ClassSet) -> None:
        self.classes = classes

    def __call__(
        self, image: UInt8Array, prediction_labels: UInt8Array, *, opacity: float, legend: bool
    ) -> UInt8Array:
        """Blend the class colours over an image.

        Args:
            image: (H, W, 3) uint8 RGB.
            prediction_labels: (H, W) uint8; pixels without a class keep the colour of the image.
            opacity: Opacity of the colours: 0 = only the image, 1 = only the colours.
            legend: Whether to draw a legend.

        Returns:
            (H, W, 3) uint8 RGB, a new array.

        Raises:
            ImageError: An array has another data type, or the sizes differ.
            ParameterError: ``opacity`` is outside 0..1.
        """
        _check(image, prediction_labels, opacity)
        image, labels = np.ascontiguousarray(image), np.ascontiguousarray(prediction_labels)
        blended = cv2.addWeighted(image, 1 - opacity, colourise(labels, self.classes), opacity, 0)
        cv2.copyTo(image, cv2.inRange(labels, len(self.classes), 255), blended)
        picture = blended.astype(np.uint8, copy=False)
        if legend and len(self.classes):
            self._draw_legend(picture, labels)
        return picture

    def _draw_legend(self, picture: UInt8Array, labels: UInt8Array) -> None:
        """Darken a panel at the upper left and draw the rows of the visible classes on it."""
        rows = _legend_rows(self.classes, _letter_height(*labels.shape))
        pitch, margin = rows.shape[1], rows.shape[1] // 2
        n_fitting = max(labels.shape[0] - 3 * margin, 0) // pitch
        shown = self._in_sight(labels)[:n_fitting]
        padding = np.full((margin // 2, rows.shape[2], 3), _DARK, np.uint8)
        panel = np.concatenate([padding, *rows[shown], padding])
        place = picture[margin : margin + len(panel), margin : margin + panel.shape[1]]
        if shown and place.size:
            place[:] = cv2.addWeighted(place, 0.15, panel[:, : place.shape[1]], 0.85, 0)

    def _in_sight(self, labels: UInt8Array) -> list[int]:
        """Ids of the classes that cover enough of the image, the largest first."""
        counts = cv2.calcHist([labels], [0], None, [256], [0, 256]).ravel()[: len(self.classes)]
        order = np.argsort(-counts, kind='stable')
        return [int(k) for k in order if counts[k] >= max(_LEAST_FRACTION * labels.size, 1)]


def draw_segments(image: UInt8Array, segments: Segments, *, opacity: float) -> UInt8Array:
    """Draw outlined segments over an image; segments with similar codes get similar colours.

    Args:
        image: (H, W, 3) uint8 RGB.
        segments: Segments of an image of this size.
        opacity: Opacity of the colours between the outlines: 0 = only the image, 1 = only the colours.

    Returns:
        (H, W, 3) uint8 RGB, a new array.
    """
    ids = segments.regions.ids
    picture = cv2.addWeighted(image, 1 - opacity, code_colours(segments.codes)[ids], opacity, 0)
    picture[boundary(ids)] = _LIGHT
    return picture.astype(np.uint8, copy=False)


def code_colours(codes: UInt8Array) -> UInt8Array:
    """Choose a colour for each code, (S, n_bits / 8) uint8; similar codes get similar colours.

    Returns:
        (S, 3) uint8 RGB.
    """
    signs = 2.0 * unpack(codes) - 1
    directions = np.random.default_rng(_COLOUR_SEED).standard_normal((signs.shape[1], 3))
    strength = 1.6 * signs @ directions / np.sqrt(signs.shape[1])
    return np.asarray(255 / (1 + np.exp(-strength)), np.uint8)


def colourise(labels: UInt8Array, classes: ClassSet) -> UInt8Array:
    """Draw every pixel in the colour of its class.

    Args:
        labels: (H, W) uint8.
        classes: Classes of the ids.

    Returns:
        (H, W, 3) uint8 RGB; pixels without a class are black.
    """
    colours = cv2.applyColorMap(np.ascontiguousarray(labels), classes.palette[:, None])
    return colours.astype(np.uint8, copy=False)


def contact_sheet(rows: Sequence[Sequence[UInt8Array]], titles: Sequence[str], width: int) -> UInt8Array:
    """Draw images in a grid on a dark background, with a title above every column.

    Args:
        rows: Images of each row, (H, W, 3) uint8 RGB or (H, W) uint8 grey, of any size. Cells have the aspect
            ratio of the first image; the others are fitted in.
        titles: Title of each column, cut off where it does not fit; '' = none. A row may have fewer images.
        width: Width of the picture in pixels.

    Returns:
        (height, width, 3) uint8 RGB.

    Raises:
        ImageError: There are no images, an image has another shape or data type, or a row has more images
            than titles.
        ParameterError: ``width`` is too small for the columns.
    """
    images = [image for row in rows for image in row]
    if not images or max(len(row) for row in rows) > len(titles):
        raise ImageError(
            f'a contact sheet of {len(images)} images in rows of {[len(row) for row in rows]} with '
            f'{len(titles)} titles cannot be drawn; expected at least one image and a title for each column'
        )
    for image in images:
        _check_picture(image)
    grid = _Grid.fit(images[0].shape[0] / images[0].shape[1], len(rows), titles, width)
    sheet = np.full((grid.height, width, 3), _DARK, np.uint8)
    for column, title in enumerate(titles):
        left, _ = grid.corner(0, column)
        bar = sheet[: grid.bar, left : left + grid.cell_width]
        _write(bar, title, grid.letter, grid.gap, (grid.bar + grid.letter) // 2)
    for index, row in enumerate(rows):
        for column, image in enumerate(row):
            left, top = grid.corner(index, column)
            _place(sheet[top : top + grid.cell_height, left : left + grid.cell_width], image)
    return sheet


@dataclass(frozen=True)
class _Grid:
    """Sizes of the parts of a contact sheet, all in pixels."""

    cell_height: int
    cell_width: int
    gap: int
    bar: int
    letter: int
    height: int

    @classmethod
    def fit(cls, aspect: float, n_rows: int, titles: Sequence[str], width: int) -> '_Grid':
        n_columns = len(titles)
        gap = max(width // 240, 2)
        cell_width = (width - gap * (n_columns + 1)) // n_columns
        if cell_width < 16:
            raise ParameterError(
                f'width is {width}; expected {24 * n_columns} or more for {n_columns} columns'
            )
        cell_height = max(round(aspect * cell_width), 1)
        letter = int(np.clip(cell_width // 32, 9, 40))
        bar = 3 * letter if any(titles) else gap
        return cls(cell_height, cell_width, gap, bar, letter, bar + n_rows * (cell_height + gap))

    def corner(self, row: int, column: int) -> tuple[int, int]:
        """Left and top of a cell in pixels."""
        left = self.gap + column * (self.cell_width + self.gap)
        return left, self.bar + row * (self.cell_height + self.gap)


def _place(cell: UInt8Array, image: UInt8Array) -> None:
    """Fit ``image`` into the middle of ``cell`` without changing its aspect ratio."""
    scale = min(cell.shape[0] / image.shape[0], cell.shape[1] / image.shape[1])
    height, width = (max(round(scale * side), 1) for side in image.shape[:2])
    top, left = (cell.shape[0] - height) // 2, (cell.shape[1] - width) // 2
    picture = image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2)
    cell[top : top + height, left : left + width] = resize_image(picture, height, width)


def _write(picture: UInt8Array, text: str, letter: int, left: int, base: int) -> None:
    """Write text with capitals ``letter`` pixels high; the rest is cut off at the border."""
    scale, thickness = _font(letter)
    canvas = np.ascontiguousarray(picture)
    cv2.putText(canvas, text, (left, base), _FONT, scale, _LIGHT, thickness, cv2.LINE_AA)
    picture[:] = canvas


def _font(letter: int) -> tuple[float, int]:
    """Scale and thickness of OpenCV's font for capitals ``letter`` pixels high."""
    return letter / 22, max(round(letter / 11), 1)


def _letter_height(height: int, width: int) -> int:
    """Height of capitals in the legend in pixels: proportional to the image, but always readable."""
    return max(round(min(height, 0.75 * width) / 50), 7)


@lru_cache(maxsize=8)
def _legend_rows(classes: ClassSet, letter: int) -> UInt8Array:
    """Draw the legend's row of each class, a patch and a name: (K, pitch, width, 3) uint8."""
    scale, thickness = _font(letter)
    pitch, patch = 2 * letter, round(1.3 * letter)
    texts = [name.replace('_', ' ') for name in classes.names]
    longest = max(cv2.getTextSize(text, _FONT, scale, thickness)[0][0] for text in texts)
    rows = np.full((len(classes), pitch, longest + patch + 3 * letter, 3), _DARK, np.uint8)
    top = (pitch - patch) // 2
    for row, text, colour in zip(rows, texts, classes.palette, strict=False):
        row[top : top + patch, letter : letter + patch] = _LIGHT
        inside = slice(top + thickness, top + patch - thickness)
        row[inside, letter + thickness : letter + patch - thickness] = colour
        _write(row, text, letter, 2 * letter + patch, (pitch + letter) // 2)
    return rows


def _check(image: UInt8Array, labels: UInt8Array, opacity: float) -> None:
    _check_picture(image)
    if labels.dtype != np.uint8 or image.shape != (*labels.shape, 3):
        raise ImageError(
            f'labels are {labels.shape} {labels.dtype} and the image is {image.shape}; '
            'expected (H, W) uint8 and (H, W, 3)'
        )
    if not 0 <= opacity <= 1:
        raise ParameterError(f'opacity is {opacity}; expected 0 (only the image) to 1 (only the colours)')


def _check_picture(image: UInt8Array) -> None:
    grey_or_rgb = image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)
    if image.dtype != np.uint8 or not grey_or_rgb or not image.size:
        raise ImageError(f'an image is {image.shape} {image.dtype}; expected (H, W, 3) uint8 RGB')
