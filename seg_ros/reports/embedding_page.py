"""A page, and sheets, of what a model's embeddings tell apart and what their filter does to labels."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from seg_ros.classes import ClassSet
from seg_ros.drawing.overlay import contact_sheet
from seg_ros.reports.compare_page import BOTH_WRONG, LOST, WON
from seg_ros.reports.embedding_plates import MASK, NOT_JUDGED, Plate
from seg_ros.reports.html import figure, legend, swatch, text, write_html, write_png

_COLUMNS, _CLOSE_UPS = 3, 6
_SHEET_WIDTH = 1500
_STYLE = f"""
.plate, .close-ups {{ display: grid; gap: 12px; grid-template-columns: repeat({_COLUMNS}, 1fr) }}
.close-ups {{ grid-template-columns: repeat({_CLOSE_UPS}, 1fr); margin-top: 14px }}
section img {{ width: 100% }} section h3 {{ margin-bottom: 0 }} section p {{ margin: 2px 0 8px; color: #555 }}
li .swatch:first-of-type {{ margin-left: 6px }}
.legend {{ margin: 4px 0 }}
"""
_READING = f"""<ul>
<li><b>Embeddings</b>: the few numbers that each place got, as a colour. Red, green and blue are their three
main components over all images on this page, so a colour means the same in each of them; each component is
stretched by itself. The filter averages what has one colour, and stops where colours change.</li>
<li><b>Masks</b>: how much each neighbour counts when the scores at the pixel under the cross are averaged,
within the square of the filter's window. A good mask fills what the pixel belongs to and ends at its edge. It
is that of one pass; each further pass reaches as far again. The last row shows the same places enlarged.
{swatch(MASK, 'counts fully')}{swatch((70, 70, 70), 'does not count')}</li>
<li><b>Changed</b>: what has another label with the filter than without.
{swatch(WON, 'became right')}{swatch(LOST, 'became wrong')}{swatch(BOTH_WRONG, 'wrong in another way')}
{swatch(NOT_JUDGED, 'the true label is not known')}</li>
</ul>"""


def write_page(
    path: Path, title: str, facts: Mapping[str, str], classes: ClassSet, plates: Sequence[Plate]
) -> None:
    """One HTML file that needs no other.

    Args:
        path: of the file.
        title: of the page.
        facts: about model, filter and data, a row each.
        classes: of the labels.
        plates: of each image.
    """
    parts = {
        'How to read this': _READING,
        'Images': f'<p class="legend">{legend(classes)}</p>{"".join(map(_section, plates))}',
    }
    write_html(path, title, facts, parts, _STYLE)


def write_sheet(path: Path, plate: Plate) -> None:
    """All pictures of an image as a PNG.

    Raises:
        ImageError: it cannot be written.
    """
    sheets = []
    for part, n in ((plate.pictures, _COLUMNS), (plate.close_ups, _CLOSE_UPS)):
        pictures, titles = list(part.values()), list(part)
        for start in range(0, len(part), n):
            row = slice(start, start + n)
            padded = [*titles[row], *[''] * (n - len(titles[row]))]
            sheets.append(contact_sheet([pictures[row]], padded, _SHEET_WIDTH))
    write_png(path, np.concatenate(sheets))


def _section(plate: Plate) -> str:
    pictures, close_ups = (
        ''.join(figure(picture, title) for title, picture in part.items())
        for part in (plate.pictures, plate.close_ups)
    )
    return (
        f'<section><h3>{text(plate.name)}</h3><p>Labels changed: {text(plate.change.as_text())}</p>'
        f'<div class="plate">{pictures}</div><div class="close-ups">{close_ups}</div></section>'
    )
