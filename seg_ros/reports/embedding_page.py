"""Page and sheets of the embeddings of a model and of the labels that their filter changes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from seg_ros.arrays import UInt8Array
from seg_ros.classes import ClassSet
from seg_ros.drawing.difference import BOTH_WRONG, LOST, WON
from seg_ros.drawing.overlay import contact_sheet
from seg_ros.images.files import write_image
from seg_ros.reports.embedding_plates import MASK, NOT_JUDGED, Plate
from seg_ros.reports.html import Picture, Swatch, embed, legend, write_html

_COLUMNS, _CLOSE_UPS = 3, 6
_SHEET_WIDTH = 1500
_MASK_LEGEND = [Swatch(MASK, 'full weight'), Swatch((70, 70, 70), 'no weight')]
_CHANGE_LEGEND = [
    Swatch(WON, 'became right'),
    Swatch(LOST, 'became wrong'),
    Swatch(BOTH_WRONG, 'wrong in another way'),
    Swatch(NOT_JUDGED, 'true label unknown'),
]


@dataclass(frozen=True)
class PlateCard:
    """An image as the page shows it.

    Attributes:
        name: Name of the image.
        change: Change of its labels in one line.
        pictures: Pictures of the whole image.
        close_ups: Surroundings of the pixels whose masks are shown.
    """

    name: str
    change: str
    pictures: list[Picture]
    close_ups: list[Picture]


def write_page(
    path: Path, title: str, facts: Mapping[str, str], classes: ClassSet, plates: Sequence[Plate]
) -> None:
    """Write the page as one HTML file that needs no other file.

    Args:
        path: Path of the file.
        title: Title of the page.
        facts: Model, filter and data, name to value.
        classes: Classes of the labels.
        plates: Pictures of each image.
    """
    write_html(
        path,
        'embeddings.html.j2',
        title,
        facts,
        images=[_card(plate) for plate in plates],
        legend=legend(classes),
        mask_legend=_MASK_LEGEND,
        change_legend=_CHANGE_LEGEND,
        columns=_COLUMNS,
        n_close_ups=_CLOSE_UPS,
    )


def write_sheet(path: Path, plate: Plate) -> None:
    """Write all pictures of an image as one picture.

    Raises:
        ImageError: The file cannot be written.
    """
    rows = [*_rows(plate.pictures, _COLUMNS), *_rows(plate.close_ups, _CLOSE_UPS)]
    write_image(path, np.concatenate(rows))


def _card(plate: Plate) -> PlateCard:
    pictures, close_ups = (
        [embed(picture, title) for title, picture in part.items()]
        for part in (plate.pictures, plate.close_ups)
    )
    return PlateCard(plate.name, plate.change.as_text(), pictures, close_ups)


def _rows(pictures: Mapping[str, UInt8Array], n_columns: int) -> list[UInt8Array]:
    """Draw rows of pictures below their titles, each (height, width, 3) uint8."""
    titles = list(pictures)
    rows = []
    for start in range(0, len(titles), n_columns):
        row = titles[start : start + n_columns]
        padded = [*row, *[''] * (n_columns - len(row))]
        rows.append(contact_sheet([[pictures[title] for title in row]], padded, _SHEET_WIDTH))
    return rows
