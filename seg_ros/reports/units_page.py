"""Page and sheets of the units of a layer."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from seg_ros.arrays import UInt8Array
from seg_ros.drawing.overlay import contact_sheet
from seg_ros.images.files import write_image
from seg_ros.reports.html import Picture, embed, text_table, write_html
from seg_ros.reports.unit_portraits import Portrait

_COLUMNS = 3
_GRID_WIDTH = 420


@dataclass(frozen=True)
class PortraitCard:
    """A unit of one model as the page shows it.

    Attributes:
        model: Name of the model.
        facts: Measurements of the unit, a line each; empty if the model no longer has the unit.
        pictures: Patches and projections.
    """

    model: str
    facts: list[str]
    pictures: list[Picture]


def write_page(
    path: Path,
    title: str,
    facts: Mapping[str, str],
    models: Sequence[Mapping[str, str]],
    units: Mapping[int, Sequence[Portrait]],
) -> None:
    """Write the page as one HTML file that needs no other file.

    Args:
        path: Path of the file.
        title: Title of the page.
        facts: Layer and data, name to value.
        models: Row of each model, all with the same keys.
        units: Portraits of each unit, that of the first model first.
    """
    cards = {unit: [_card(unit, portrait) for portrait in portraits] for unit, portraits in units.items()}
    write_html(path, 'units.html.j2', title, facts, models=text_table(models), units=cards)


def write_sheet(path: Path, portraits: Sequence[Portrait]) -> None:
    """Draw patches and projections of one unit in every model that has it, as one picture.

    Args:
        path: Path of the image file.
        portraits: Portraits of the unit; at least one with patches.

    Raises:
        ImageError: The file cannot be written.
    """
    present = [portrait for portrait in portraits if portrait.patches]
    grids = [_grid(part) for portrait in present for part in portrait.pictures.values()]
    titles = [f'{portrait.model}: {name}' for portrait in present for name in portrait.pictures]
    write_image(path, contact_sheet([grids], titles, _GRID_WIDTH * len(grids)))


def _card(unit: int, portrait: Portrait) -> PortraitCard:
    pictures = [embed(_grid(part), name) for name, part in portrait.pictures.items()]
    return PortraitCard(portrait.model, _facts(unit, portrait), pictures)


def _facts(unit: int, portrait: Portrait) -> list[str]:
    """Measurements of a unit as lines of text."""
    if portrait.unit is None:
        return []
    facts = [] if portrait.unit == unit else [f'unit {portrait.unit} of this model']
    change = '' if portrait.change is None else f' ({portrait.change:+.2f} σ)'
    facts.append(f'mean {portrait.mean:.3g}{change}')
    facts.append(f'zero or negative: {portrait.sparsity:.0%} of activations')
    if portrait.correlation is not None:
        facts.append(f'correlation {portrait.correlation:.2f}')
    if portrait.peaks:
        facts.append(f'peaks {portrait.peaks[0].value:.3g} … {portrait.peaks[-1].value:.3g}')
    if portrait.classes:
        facts.append('on ' + ', '.join(f'{name} {n}×' for name, n in Counter(portrait.classes).most_common()))
    return facts


def _grid(pictures: Sequence[UInt8Array]) -> UInt8Array:
    """Put pictures into rows of three: (H, W, 3) uint8 RGB."""
    rows = [pictures[k : k + _COLUMNS] for k in range(0, len(pictures), _COLUMNS)]
    return contact_sheet(rows, [''] * _COLUMNS, _GRID_WIDTH)
