"""A page, and pictures, of what units respond to."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from torch import Tensor

from seg_ros.arrays import UInt8Array
from seg_ros.drawing.overlay import contact_sheet
from seg_ros.evaluation.units import Peak
from seg_ros.reports.html import figure, text, write_html, write_png

_COLUMNS = 3
_GRID_WIDTH = 420
_RING, _OUTSIDE = (255, 210, 0), (22, 24, 28)
_SHOWN_ENERGY = 0.5
_LEGEND = """<ul>
<li><b>Patches</b>: where in the images the unit responds most, one place an image, the strongest first. A
ring marks the place; what is shown is all that the unit sees or, of units that see much, the part that 80 %
of a projection lies in.</li>
<li><b>Projections</b>: the same places, as the unit sees them. Its activation alone is led back to the pixels
through the transposed filters (Zeiler and Fergus, ECCV 2014). Grey is what it does not look at; shape and
colour are what makes it respond.</li>
<li>Nine patches that share something, and projections that show it, mean that the unit stands for it.</li>
<li>In other models a unit is the same one if it has the same number or, after pruning, if its activations
follow those of the first model best. <b>σ</b> is the standard deviation of the first model's activations;
<b>correlation</b> is over all places of all images, 1 = unchanged.</li>
</ul>"""
_STYLE = """
.row { display: flex; gap: 16px; align-items: flex-start; margin-top: 8px }
.facts { width: 210px; flex: none }
.facts p { margin: 2px 0; color: #555 } .facts .gone { color: #a33 }
.row img { width: 420px }
"""


@dataclass(frozen=True)
class Portrait:
    """A unit as one model has it.

    Attributes:
        model: name.
        unit: channel of the layer; None where the model has no such unit any more.
        mean: of its activations.
        sparsity: share of its activations that are 0 or less, 0..1.
        correlation: with the unit of the first model, -1..1; None for that itself.
        change: of the mean, in standard deviations of the first model's unit; None for that itself.
        peaks: where it responds most.
        patches: what lies there, (H, W, 3) uint8 RGB each.
        projections: what of that it responds to, the same; none where they cannot be had.
        classes: what is drawn there, and how often; empty without labels.
    """

    model: str
    unit: int | None
    mean: float = 0.0
    sparsity: float = 0.0
    correlation: float | None = None
    change: float | None = None
    peaks: Sequence[Peak] = ()
    patches: Sequence[UInt8Array] = ()
    projections: Sequence[UInt8Array] = ()
    classes: Mapping[str, int] = field(default_factory=dict)

    @property
    def pictures(self) -> dict[str, Sequence[UInt8Array]]:
        """Patches and projections by name, those that there are."""
        both = {'patches': self.patches, 'projections': self.projections}
        return {name: part for name, part in both.items() if part}


def as_picture(projection: Tensor) -> UInt8Array:
    """A projection, (H, W, 3) float, as (H, W, 3) uint8: grey is nothing, 0 and 255 are the strongest values.

    Half the energy of deep layers' projections lies in a few pixels, which would hide the others: those above
    the median of the energy are all shown as the strongest.
    """
    values = projection.double().cpu().numpy()
    strengths = np.sort(np.abs(values), axis=None)
    energy = np.cumsum(strengths**2)
    limit = strengths[np.searchsorted(energy, _SHOWN_ENERGY * energy[-1])] or 1.0
    return np.rint(127.5 + 127.5 * np.clip(values / limit, -1, 1)).astype(np.uint8)


def cut_out(picture: UInt8Array, rows: tuple[int, int], columns: tuple[int, int]) -> UInt8Array:
    """A window of a picture, (H, W, 3) uint8; dark where it lies outside."""
    (top, bottom), (left, right) = rows, columns
    window = np.full((bottom - top, right - left, 3), _OUTSIDE, np.uint8)
    inside = picture[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
    y, x = max(-top, 0), max(-left, 0)
    window[y : y + inside.shape[0], x : x + inside.shape[1]] = inside
    return window


def with_ring(picture: UInt8Array, row: int, column: int) -> UInt8Array:
    """A copy with a ring around a pixel, unless the picture is too small for one."""
    ringed, radius = picture.copy(), min(picture.shape[:2]) // 12
    if radius >= 4:
        cv2.circle(ringed, (column, row), radius, _RING, max(radius // 5, 1), cv2.LINE_AA)
    return ringed


def grid(pictures: Sequence[UInt8Array]) -> UInt8Array:
    """Pictures, three in a row: (H, W, 3) uint8 RGB."""
    rows = [pictures[k : k + _COLUMNS] for k in range(0, len(pictures), _COLUMNS)]
    return contact_sheet(rows, [''] * _COLUMNS, _GRID_WIDTH)


def write_sheet(path: Path, portraits: Sequence[Portrait]) -> None:
    """Patches and projections of one unit in all models that have it, as a PNG.

    Raises:
        ImageError: it cannot be written.
    """
    there = [p for p in portraits if p.patches]
    grids = [grid(part) for p in there for part in p.pictures.values()]
    titles = [f'{p.model}: {what}' for p in there for what in p.pictures]
    sheet = contact_sheet([grids], titles, _GRID_WIDTH * len(grids))
    write_png(path, sheet)


def write_page(
    path: Path,
    title: str,
    facts: Mapping[str, str],
    models: Sequence[Mapping[str, str]],
    units: Mapping[int, Sequence[Portrait]],
) -> None:
    """One HTML file that needs no other.

    Args:
        path: of the file.
        title: of the page.
        facts: about layer and data, a row each.
        models: a row each, all with the same keys.
        units: the portraits of each unit, the first model's first.
    """
    head = ''.join(f'<th>{text(key)}</th>' for key in models[0])
    body = ''.join(
        '<tr>' + ''.join(f'<td>{text(value)}</td>' for value in row.values()) + '</tr>' for row in models
    )
    parts = {
        'How to read this': _LEGEND,
        'Models': f'<table><tr>{head}</tr>{body}</table>',
        'Units': ''.join(_card(unit, portraits) for unit, portraits in units.items()),
    }
    write_html(path, title, facts, parts, _STYLE)


def _card(unit: int, portraits: Sequence[Portrait]) -> str:
    return f'<section><h3>Unit {unit}</h3>{"".join(_row(unit, p) for p in portraits)}</section>'


def _row(unit: int, portrait: Portrait) -> str:
    """One model's view: what it is called and measured, patches, projections."""
    name = f'<b>{text(portrait.model)}</b>'
    if portrait.unit is None:
        return f'<div class="row"><div class="facts">{name}<p class="gone">removed</p></div></div>'
    facts = [f'mean {portrait.mean:.3g}']
    if portrait.change is not None:
        facts[0] += f' ({portrait.change:+.2f} σ)'
    facts.append(f'at most 0: {portrait.sparsity:.0%} of the map')
    if portrait.correlation is not None:
        facts.append(f'correlation {portrait.correlation:.2f}')
    if portrait.unit != unit:
        facts.insert(0, f'its unit {portrait.unit}')
    if portrait.peaks:
        facts.append(f'peaks {portrait.peaks[0].value:.3g} … {portrait.peaks[-1].value:.3g}')
    if portrait.classes:
        facts.append('on ' + ', '.join(f'{name} {n}×' for name, n in Counter(portrait.classes).most_common()))
    listed = ''.join(f'<p>{text(fact)}</p>' for fact in facts)
    pictures = ''.join(figure(grid(part), name) for name, part in portrait.pictures.items())
    return f'<div class="row"><div class="facts">{name}{listed}</div>{pictures}</div>'
