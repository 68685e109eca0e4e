"""HTML pages from templates; a page is one file that needs no other file.

Python prepares the plain values of this module. The Jinja2 templates in ``templates/`` arrange them and
escape every value.
"""

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from seg_ros.arrays import UInt8Array
from seg_ros.classes import ClassSet
from seg_ros.images.files import encode_jpeg

_JPEG_QUALITY = 88
_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / 'templates'),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


@dataclass(frozen=True)
class Picture:
    """A picture inside a page.

    Attributes:
        uri: Content of the image file as a data URI.
        width: Width in CSS pixels.
        height: Height in CSS pixels.
        caption: Text below the picture, and for people who cannot see it.
    """

    uri: str
    width: int
    height: int
    caption: str


@dataclass(frozen=True)
class Swatch:
    """An entry of a legend.

    Attributes:
        colour: (r, g, b) of the entry.
        meaning: Meaning of the colour.
    """

    colour: tuple[int, int, int]
    meaning: str


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes:
        text: Main text.
        change: Difference from the first model, shown below the text; '' = none.
        is_worse: Whether the difference is a loss.
        strength: Strength of the red background, 0..1; None = no background.
        is_plain: Whether the difference has no colour, because it is neither gain nor loss.
    """

    text: str
    change: str = ''
    is_worse: bool = False
    strength: float | None = None
    is_plain: bool = False


@dataclass(frozen=True)
class Table:
    """A table whose first column names the rows.

    Attributes:
        head: Title of each column.
        rows: Cells of each row.
        n_text_columns: Number of columns at the left that hold text; the others hold numbers.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    n_text_columns: int


def write_html(path: Path, template: str, title: str, facts: Mapping[str, str], **values: object) -> None:
    """Write a page.

    Args:
        path: Path of the file; missing folders are made.
        template: Name of the template.
        title: Title of the page.
        facts: Rows below the title, name to value.
        **values: Further values that the template takes.
    """
    page = _TEMPLATES.get_template(template).render(title=title, facts=facts, **values)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding='utf-8')


def plot_box(kind: str, *values: object) -> Markup:
    """Put a drawing into a box of ``plot_boxes.html.j2``.

    Args:
        kind: Name of the macro, 'chart' or 'region'.
        *values: Arguments of the macro.
    """
    return Markup(getattr(_TEMPLATES.get_template('plot_boxes.html.j2').module, kind)(*values))


def embed(picture: UInt8Array, caption: str) -> Picture:
    """Put a picture, (H, W, 3) uint8 RGB, into a page as a JPEG."""
    height, width = picture.shape[:2]
    return Picture(data_uri('image/jpeg', encode_jpeg(picture, _JPEG_QUALITY)), width, height, caption)


def data_uri(mime_type: str, content: bytes) -> str:
    """Put the content of a file into a URI."""
    return f'data:{mime_type};base64,{base64.b64encode(content).decode()}'


def legend(classes: ClassSet) -> list[Swatch]:
    """Colours and names of classes."""
    return [Swatch(row.colour, row.name) for row in classes.classes]


def text_table(rows: Sequence[Mapping[str, str]]) -> Table:
    """Table of texts.

    Args:
        rows: Text by title of the column; at least one row, all with the same titles.
    """
    return Table(list(rows[0]), [_cells(row.values()) for row in rows], len(rows[0]))


def _cells(texts: Iterable[str]) -> list[Cell]:
    return [Cell(text) for text in texts]
