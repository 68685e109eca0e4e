"""The plots of a report on bags, in groups, and the reasons for those that are missing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup

from seg_ros.reports import bag_class_plots as by_class
from seg_ros.reports import bag_system_plots as by_system
from seg_ros.reports.bag_time_plots import BagTimeline, novelty_over_time, over_time, shares_over_time
from seg_ros.reports.bag_values import look_up, system_name
from seg_ros.reports.html import Swatch

_MANY_CLASSES = 24
"""Number of classes from which a confusion matrix takes the whole width."""


@dataclass(frozen=True)
class BagPlot:
    """A plot with its texts.

    Attributes:
        title: Title.
        drawing: The plot as HTML; None if there is nothing to draw.
        note: Explanation below the title.
        legend: Colours of its areas.
        is_wide: Whether it takes the whole width of the page.
    """

    title: str
    drawing: Markup | None
    note: str = ''
    legend: list[Swatch] = field(default_factory=list)
    is_wide: bool = False


def plot_groups(
    systems: Sequence[Mapping[str, Any]], names: Sequence[str], colours: Mapping[str, Sequence[int]]
) -> dict[str, list[BagPlot]]:
    """Plots by the title of their group; plots and groups without data are left out.

    Args:
        systems: Systems of the results, cleaned.
        names: Names of the classes.
        colours: (r, g, b) by name of the class.
    """
    timeline = BagTimeline.of(systems)
    groups = {
        'Accuracy': _accuracy_plots(systems, names),
        'Speed': _speed_plots(systems, timeline),
        'Over time': _time_plots(systems, timeline, colours),
    }
    shown = {title: [plot for plot in plots if plot.drawing is not None] for title, plots in groups.items()}
    return {title: plots for title, plots in shown.items() if plots}


def _accuracy_plots(systems: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[BagPlot]:
    interval = 'Thin lines: 95 % interval.'
    first = system_name(systems[0]) if systems else ''
    reference = next((look_up(s, 'agreement', 'reference') for s in systems if s.get('agreement')), None)
    return [
        BagPlot('IoU of each class', by_class.class_bars(systems, 'accuracy', names), interval),
        BagPlot(
            'Agreement for each class',
            by_class.class_bars(systems, 'agreement', names),
            f'IoU with the labels of the reference {reference or ""}. {interval}',
        ),
        BagPlot(
            'Confusion matrix',
            by_class.confusion_plot(systems[0], names) if systems else None,
            f'{first}: percent of the pixels of each true class. Blue: right; brown: wrong.',
            is_wide=len(names) > _MANY_CLASSES,
        ),
        BagPlot(
            'Reliability',
            by_class.reliability_plot(systems),
            'Below the dashed line the model is more confident than it is right. '
            f'Grey bars: fraction of the pixels with this confidence, {first}.',
        ),
    ]


def _speed_plots(systems: Sequence[Mapping[str, Any]], timeline: BagTimeline) -> list[BagPlot]:
    pareto, measure = by_system.pareto_plot(systems)
    return [
        BagPlot(
            f'{measure[:1].upper()}{measure[1:]} against latency',
            pareto,
            'Better is up and to the left. Area of a disc: size of the model file. '
            'Grey line: no other system is both faster and better.',
        ),
        BagPlot('Latency, histogram', by_system.latency_histogram(systems)),
        BagPlot(
            'Latency over time',
            over_time(systems, timeline, 'total_ms', 'latency, ms', is_fraction=False),
            is_wide=True,
        ),
        BagPlot('Dropped frames by cause', by_system.drops_plot(systems), 'Live run at the rate of the bag.'),
    ]


def _time_plots(
    systems: Sequence[Mapping[str, Any]], timeline: BagTimeline, colours: Mapping[str, Sequence[int]]
) -> list[BagPlot]:
    shares, entries = shares_over_time(systems[0], timeline, colours) if systems else (None, [])
    first = system_name(systems[0]) if systems else ''
    swatches = [Swatch((c[0], c[1], c[2]), name) for name, c in reversed(entries)]
    compensated = 'Pixels that change their class although they show the same thing.'
    return [
        BagPlot('Mean IoU over time', over_time(systems, timeline, 'mean_iou', 'mean IoU of a frame, %')),
        BagPlot('Agreement over time', over_time(systems, timeline, 'agreement', 'agreement, % of pixels')),
        BagPlot(
            'Flicker over time',
            over_time(systems, timeline, 'flicker_compensated', 'changed, % of pixels'),
            compensated,
        ),
        BagPlot('Confidence over time', over_time(systems, timeline, 'confidence', 'mean confidence, %')),
        BagPlot(
            'Novelty over time',
            novelty_over_time(systems, timeline),
            'Framed dots: frames above the threshold, out of distribution.',
        ),
        BagPlot('Classes over time', shares, first, swatches),
    ]


def missing_plots(
    systems: Sequence[Mapping[str, Any]], n_classes: int
) -> dict[str, tuple[str, Sequence[str]]]:
    """Plots that the page does not have, with the reason and the options that would bring them."""
    missing: dict[str, tuple[str, Sequence[str]]] = {}
    if n_classes > by_class.MOST_CLASSES:
        missing['Plots of each class'] = f'there are {n_classes} classes', ()
    if not any(system.get('accuracy') for system in systems):
        missing['Accuracy, confusion, reliability'] = (
            'no true labels were given',
            ('--labels-topic', '--labels'),
        )
    if not any(system.get('agreement') for system in systems):
        missing['Agreement'] = 'no reference model was given', ('--reference',)
    if not _has_series(systems, 'flicker_compensated'):
        missing['Flicker'] = 'no two consecutive frames were evaluated', ()
    if not _has_series(systems, 'novelty'):
        missing['Novelty'] = 'it was not measured', ()
    if not _has_series(systems, 'total_ms'):
        missing['Latency over time'] = 'it was not measured', ()
    if not any(system.get('live') for system in systems):
        missing['Drops and ages'] = 'only a live run counts them', ('--live',)
    elif by_system.drops_plot(systems) is None:
        missing['Drops by cause'] = 'no frame was dropped', ()
    return missing


def _has_series(systems: Sequence[Mapping[str, Any]], key: str) -> bool:
    series = [look_up(system, 'series', key) for system in systems]
    return any(value is not None for values in series if isinstance(values, list) for value in values)
