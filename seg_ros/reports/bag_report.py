"""Report on an evaluation of bags: one HTML file of bounded size that needs no other file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from seg_ros.bag_evaluation.gallery import GalleryFrame
from seg_ros.classes import ClassSet
from seg_ros.reports import bag_facts as facts
from seg_ros.reports import bag_tables as tables
from seg_ros.reports.bag_cards import frame_groups, scrubber_frames
from seg_ros.reports.bag_pictures import (
    DIFFERS,
    MOST_FRAMES,
    NOT_COMPARED,
    FramePictures,
    fit_pictures,
)
from seg_ros.reports.bag_plots import missing_plots, plot_groups
from seg_ros.reports.bag_tables import BagTable
from seg_ros.reports.bag_values import (
    MISSING,
    as_number,
    clean,
    clean_text,
    estimate,
    look_up,
    milliseconds,
    percent,
    percent_interval,
    system_name,
)
from seg_ros.reports.html import Swatch, write_html

LARGEST_PAGE = 12_000_000
"""Maximum size of a report in bytes, whatever the bags."""
_TEXT_OF_FRAME = 2000
"""Maximum size of the texts of a frame in bytes, apart from its pictures."""
_MOST_SYSTEMS = 24
_DIFFERENCES = [
    Swatch(DIFFERS, 'labels differ'),
    Swatch(NOT_COMPARED, 'nothing to compare with'),
]


@dataclass(frozen=True)
class KeyFigure:
    """A number at the top of the report.

    Attributes:
        name: Measure.
        text: Value.
        detail: Interval or explanation.
    """

    name: str
    text: str
    detail: str


@dataclass(frozen=True)
class StatusNote:
    """A short text on the state of the evaluation, below the verdict.

    Attributes:
        text: The text.
        mark: 'better', 'worse' or 'muted'.
    """

    text: str
    mark: str


def write_bag_report(
    path: Path,
    results: Mapping[str, Any],
    gallery: Sequence[GalleryFrame],
    classes: ClassSet,
    drawn: str = '',
) -> None:
    """Write the report.

    Args:
        path: Path of the file; missing folders are made.
        results: Content of ``results.json``. Values that are missing, null or not finite are left out.
        gallery: Frames to show, in any order.
        classes: Classes of the labels.
        drawn: Name of the system whose labels the gallery has; '' = the first system.
    """
    values = _values_without_pictures(results, classes)
    values['drawn'] = clean_text(drawn) or values['first_name']
    frames = [_cleaned(frame) for frame in gallery]
    # The first page has no pictures; it tells how much room is left for them.
    _write(path, [], values)
    room = LARGEST_PAGE - path.stat().st_size - _TEXT_OF_FRAME * len(frames[:MOST_FRAMES])
    _write(path, fit_pictures(frames, classes, room), values)


def _write(path: Path, pictures: Sequence[FramePictures], values: Mapping[str, Any]) -> None:
    groups = frame_groups(pictures)
    write_html(
        path,
        'bag_report.html.j2',
        facts={},
        groups=groups,
        has_differences=any(picture.difference for picture in pictures),
        scrubber=scrubber_frames(pictures, groups),
        first_frame=pictures[0] if pictures else None,
        **values,
    )


def _values_without_pictures(results: Mapping[str, Any], classes: ClassSet) -> dict[str, Any]:
    """Values of the template, except those of single frames."""
    data = clean({key: value for key, value in results.items() if key != 'systems'})
    systems = [_shown_system(system) for system in (results.get('systems') or [])[:_MOST_SYSTEMS]]
    bags = [bag for bag in data.get('bags') or [] if isinstance(bag, dict)]
    names = [clean_text(name) for name in classes.names]
    colours = dict(zip(names, (row.colour for row in classes.classes), strict=True))
    return {
        'title': _title(bags),
        'evaluated': facts.evaluated_text(bags),
        'verdict': clean_text(str(results.get('verdict') or 'The results contain no verdict.')),
        'notes': _status_notes(data, bags, len(results.get('systems') or []) - len(systems)),
        'figures': _key_figures(systems),
        'first_name': system_name(systems[0]) if systems else '',
        'swatches': [(k, system_name(system)) for k, system in enumerate(systems)],
        **_all_tables(data, systems, bags, names),
        'baseline_path': str(look_up(data, 'baseline', 'path') or ''),
        'plots': plot_groups(systems, names, colours),
        'missing': missing_plots(systems, len(names)),
        'difference_legend': _DIFFERENCES,
        'run_facts': facts.run_facts(data),
        'methods': facts.methods(any(look_up(system, 'live') for system in systems)),
        'legend': [Swatch(colour, name) for name, colour in colours.items()],
    }


def _all_tables(
    data: Mapping[str, Any],
    systems: Sequence[Mapping[str, Any]],
    bags: Sequence[Mapping[str, Any]],
    names: Sequence[str],
) -> dict[str, BagTable]:
    """Tables of the page by their names in the template."""
    return {
        'thresholds': tables.thresholds_table(data.get('thresholds')),
        'failures': tables.failures_table(data.get('failures')),
        'losses': tables.losses_table(bags),
        'systems': tables.systems_table(systems),
        'more': tables.more_table(systems),
        'comparisons': tables.comparisons_table(data.get('comparisons'), is_baseline=False),
        'baseline': tables.comparisons_table(look_up(data, 'baseline', 'comparisons'), is_baseline=True),
        'class_values': tables.classes_table(systems, names),
        'stages': tables.stages_table(systems),
        'live': tables.live_table(systems),
        'bags': facts.bags_table(bags),
        'models': facts.models_table(systems),
    }


def _shown_system(system: Mapping[str, Any]) -> dict[str, Any]:
    """A system without the counts of its runs, and without the agreement of the reference with itself."""
    cleaned: dict[str, Any] = clean({key: value for key, value in system.items() if key != 'runs'})
    cleaned['is_reference'] = look_up(cleaned, 'agreement', 'reference') == cleaned.get('name')
    if cleaned['is_reference']:
        cleaned['agreement'] = None
        cleaned['series'] = {**(cleaned.get('series') or {}), 'agreement': None}
    return cleaned


def _cleaned(frame: GalleryFrame) -> GalleryFrame:
    return replace(frame, bag=clean_text(frame.bag))


def _title(bags: Sequence[Mapping[str, Any]]) -> str:
    if len(bags) == 1:
        return str(bags[0].get('name') or 'Bag')
    return f'{len(bags)} bags'


def _status_notes(
    data: Mapping[str, Any], bags: Sequence[Mapping[str, Any]], n_hidden: int
) -> list[StatusNote]:
    """Counts of thresholds, failures and losses."""
    thresholds = [item for item in data.get('thresholds') or [] if isinstance(item, dict)]
    n_passed = sum(bool(item.get('passed')) for item in thresholds)
    n_failures = len(data.get('failures') or [])
    lost = [as_number(look_up(loss, 'n_messages')) or 0 for bag in bags for loss in bag.get('losses') or []]
    counts = [
        (n_passed, 'threshold passed', 'thresholds passed', 'better'),
        (len(thresholds) - n_passed, 'threshold failed', 'thresholds failed', 'worse'),
        (n_failures, 'failure', 'failures', 'worse'),
        (round(sum(lost)), 'message not evaluated', 'messages not evaluated', 'worse'),
        (n_hidden, 'more system in results.json', 'more systems in results.json', 'muted'),
    ]
    notes = [StatusNote(f'{n:,} {one if n == 1 else many}', mark) for n, one, many, mark in counts if n > 0]
    if not n_failures and not lost:
        notes.append(StatusNote('no failures, nothing lost', 'muted'))
    return notes


def _key_figures(systems: Sequence[Mapping[str, Any]]) -> list[KeyFigure]:
    """The main numbers of the first system; measures without a value are left out."""
    if not systems:
        return []
    system = systems[0]
    figures = [
        _fraction_figure('mean IoU', look_up(system, 'accuracy', 'mean_iou')),
        _fraction_figure('agreement with the reference', look_up(system, 'agreement', 'pixels')),
        _fraction_figure('flicker, motion compensated', look_up(system, 'stability', 'flicker_compensated')),
        KeyFigure(
            'latency, median',
            milliseconds(as_number(look_up(system, 'latency_ms', 'total', 'p50'))),
            f'p99: {milliseconds(as_number(look_up(system, "latency_ms", "total", "p99")))}',
        ),
        KeyFigure(
            'frames out of distribution',
            percent(as_number(look_up(system, 'novelty', 'out_of_distribution'))),
            'unlike the training images',
        ),
    ]
    return [figure for figure in figures if figure.text != MISSING]


def _fraction_figure(name: str, data: Any) -> KeyFigure:
    value, low, high = estimate(data)
    return KeyFigure(name, percent(value), percent_interval(low, high))
