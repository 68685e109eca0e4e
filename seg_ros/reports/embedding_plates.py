"""Pictures of one image: embeddings, masks of the embedding filter, and the labels that it changes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from seg_ros.arrays import UNLABELLED, Float64Array, UInt8Array
from seg_ros.drawing.details import cut_out, enlarge
from seg_ros.drawing.difference import draw_difference
from seg_ros.drawing.overlay import Overlay
from seg_ros.evaluation.embedding_pictures import EmbeddingColours, Spot, mask_at, window_of
from seg_ros.evaluation.embedding_views import EmbeddedModel, LabelChanges, View
from seg_ros.evaluation.filter_methods import cell_colours

NOT_JUDGED = (60, 140, 255)
"""Colour of pixels whose label changed and whose true label is unknown."""
MASK = (255, 168, 24)
"""Colour of pixels with the full weight in the average of the filter."""

PHOTOMETRIC_HARDNESS = 16.0
"""Hardness of the masks by colour, usually the best of those that ``seg_ros evaluate-filter`` tries."""

_WIDTH, _WIDTH_WITH_NUMBERS, _WIDTH_OF_CLOSE_UPS = 480, 960, 240
_LINE, _SHADOW, _GAP = (235, 237, 240), (22, 24, 28), 4
_DIMMED, _TINT, _OPACITY = 0.55, 0.7, 0.7

Scalar = TypeVar('Scalar', bound=np.generic)


@dataclass(frozen=True)
class Plate:
    """Pictures of one image, (H, W, 3) uint8 RGB each.

    Attributes:
        name: Name of the image.
        change: Change of its labels.
        pictures: Pictures of the whole image, by title.
        close_ups: Surroundings of each pixel whose mask is shown, by title. Image, embeddings, mask, and mask
            by colour stand one below another.
    """

    name: str
    change: LabelChanges
    pictures: Mapping[str, UInt8Array]
    close_ups: Mapping[str, UInt8Array]


@dataclass(frozen=True)
class Painter:
    """Draws plates.

    Attributes:
        model: Model whose embeddings are shown.
        colours: Colours that were fitted on the embeddings of all images.
    """

    model: EmbeddedModel
    colours: EmbeddingColours

    def plate(self, view: View, spots: Sequence[Spot]) -> Plate:
        """Draw all pictures of an image, with the masks at some pixels."""
        embeddings = self._spread(self.colours.transform(view.embeddings))
        embedding_filter, is_judged = self.model.filter, (view.truth != UNLABELLED).any()
        masks = [
            self._spread(mask_at(view.embeddings, s, embedding_filter.hardness, embedding_filter.window))
            for s in spots
        ]
        colours = cell_colours(view.image, (view.embeddings.shape[1], view.embeddings.shape[2]))
        by_colour = [
            self._spread(mask_at(colours, s, PHOTOMETRIC_HARDNESS, embedding_filter.window)) for s in spots
        ]
        pictures = {
            'image': view.image,
            'embeddings': embeddings,
            'masks': self._numbered(with_mask(view.image, np.max(masks, axis=0)), spots),
            'labels without the filter': self._in_class_colours(view.image, view.plain),
            'labels with the filter': self._in_class_colours(view.image, view.filtered),
            'changed: green = now right, red = now wrong' if is_judged else 'changed': with_changes(view),
        }
        close_ups = {
            f'{number}: {self.describe(spot, view)}': self._close_up(
                [view.image, embeddings, with_mask(view.image, mask), with_mask(view.image, photometric)],
                spot,
            )
            for number, (spot, mask, photometric) in enumerate(zip(spots, masks, by_colour, strict=True), 1)
        }
        return Plate(view.name, view.change, {k: enlarge(p, _WIDTH) for k, p in pictures.items()}, close_ups)

    def describe(self, spot: Spot, view: View) -> str:
        """Class of a pixel without the filter and, if it differs, with the filter."""
        names = self.model.model.metadata.classes.names
        plain, filtered = (
            'unlabelled' if labels[spot.y, spot.x] == UNLABELLED else names[labels[spot.y, spot.x]]
            for labels in (view.plain, view.filtered)
        )
        return plain if plain == filtered else f'{plain}, now {filtered}'

    def _in_class_colours(self, image: UInt8Array, labels: UInt8Array) -> UInt8Array:
        overlay = Overlay(self.model.model.metadata.classes)
        return overlay(image, labels, opacity=_OPACITY, legend=False)

    def _spread(self, values: npt.NDArray[Scalar]) -> npt.NDArray[Scalar]:
        """Repeat (h, w, ...) values of embeddings for each pixel of the network's input."""
        rows, columns = (
            np.minimum(np.arange(n) // self.model.embedding_metadata.stride, m - 1)
            for n, m in zip(self.model.size, values.shape, strict=False)
        )
        spread: npt.NDArray[Scalar] = values[rows[:, None], columns]
        return spread

    def _numbered(self, picture: UInt8Array, spots: Sequence[Spot]) -> UInt8Array:
        """Enlarge a picture and mark pixels with window, cross and number."""
        large = enlarge(picture, _WIDTH_WITH_NUMBERS)
        zoom = len(large) // len(picture)
        for number, spot in enumerate(spots, 1):
            self._mark(large, spot, zoom, (0, 0), str(number))
        return large

    def _close_up(self, pictures: Sequence[UInt8Array], spot: Spot) -> UInt8Array:
        """Stack the surroundings of a pixel in several pictures, each twice as wide as the window."""
        stride, window = self.model.embedding_metadata.stride, self.model.filter.window
        rows, columns = ((stride * (k - window), stride * (k + window + 1)) for k in (spot.row, spot.column))
        parts = [enlarge(cut_out(picture, rows, columns), _WIDTH_OF_CLOSE_UPS) for picture in pictures]
        for part in parts:
            self._mark(part, spot, len(part) // (rows[1] - rows[0]), (rows[0], columns[0]))
        gap = np.full((_GAP, parts[0].shape[1], 3), _SHADOW, np.uint8)
        return np.concatenate([parts[0], *(np.concatenate([gap, part]) for part in parts[1:])])

    def _mark(
        self, picture: UInt8Array, spot: Spot, zoom: int, origin: tuple[int, int], number: str = ''
    ) -> None:
        """Draw the window of a pixel, a cross on the pixel, and its number into an enlarged picture.

        Args:
            picture: (H, W, 3) uint8, contiguous.
            spot: The pixel.
            zoom: Number of pixels of the picture per pixel of the network's input.
            origin: Row and column of the network's input at the upper left of the picture.
            number: Text at the upper left of the window; '' = none.
        """
        shape = tuple(n // self.model.embedding_metadata.stride for n in self.model.size)
        scale = zoom * self.model.embedding_metadata.stride
        top, left = (zoom * k for k in origin)
        rows, columns = window_of(spot, self.model.filter.window, shape)
        corner = scale * columns.start - left, scale * rows.start - top
        opposite = scale * columns.stop - left - 1, scale * rows.stop - top - 1
        centre = zoom * spot.x + zoom // 2 - left, zoom * spot.y + zoom // 2 - top
        size = max(picture.shape[1] // 60, 9)
        for colour, thickness in ((_SHADOW, 4), (_LINE, 2)):
            cv2.rectangle(picture, corner, opposite, colour, thickness - 1)
            cv2.drawMarker(picture, centre, colour, cv2.MARKER_CROSS, size, thickness)
            at = corner[0] + 2, corner[1] - 6 if corner[1] > 30 else corner[1] + 24
            cv2.putText(picture, number, at, cv2.FONT_HERSHEY_SIMPLEX, 0.8, colour, thickness, cv2.LINE_AA)


def with_mask(image: UInt8Array, mask: Float64Array) -> UInt8Array:
    """Draw a mask over a dark grey image.

    Args:
        image: (H, W, 3) uint8 RGB.
        mask: (H, W) float, 0 = grey to 1 = the colour MASK.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    dark = _DIMMED * image.mean(axis=2, keepdims=True)
    lit = (1 - _TINT) * image + _TINT * np.array(MASK)
    picture: UInt8Array = np.rint(dark + mask[..., None] * (lit - dark)).astype(np.uint8)
    return picture


def with_changes(view: View) -> UInt8Array:
    """Mark the labels that the filter changed over a dark grey image.

    Returns:
        (H, W, 3) uint8 RGB. Green = became right, red = became wrong, yellow = wrong in another way, blue =
        true label unknown.
    """
    picture = draw_difference(view.image, view.truth, view.plain, view.filtered)
    picture[(view.plain != view.filtered) & (view.truth == UNLABELLED)] = NOT_JUDGED
    return picture
