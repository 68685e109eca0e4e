"""Limits for continuous integration: figures that must not fall below or rise above a value."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal
from xml.etree import ElementTree

import msgspec

from seg_ros.bag_evaluation.results import Results, SystemEntry, ThresholdEntry
from seg_ros.errors import ParameterError, SegRosError

Kind = Literal['below', 'above']

SHORT_NAMES = {
    'mean_iou': 'accuracy.mean_iou',
    'boundary_iou': 'accuracy.boundary_iou',
    'pixel_accuracy': 'accuracy.pixel_accuracy',
    'ece': 'accuracy.ece',
    'agreement': 'agreement.pixels',
    'flicker': 'stability.flicker',
    'flicker_compensated': 'stability.flicker_compensated',
    'code_flicker': 'stability.code_flicker',
    'track_flicker': 'stability.track_flicker',
    'confidence': 'confidence.mean',
    'out_of_distribution': 'novelty.out_of_distribution',
    'latency_p50_ms': 'latency_ms.total.p50',
    'latency_p90_ms': 'latency_ms.total.p90',
    'latency_p99_ms': 'latency_ms.total.p99',
    'latency_max_ms': 'latency_ms.total.max',
    'age_p50_ms': 'live.age_ms.p50',
    'age_p99_ms': 'live.age_ms.p99',
}
"""Short name of a figure -> its place in the entry of a system."""


def parse_limits(texts: Sequence[str], option: str) -> dict[str, float]:
    """Read limits such as ``mean_iou=0.6``.

    Raises:
        ParameterError: A text is not a name and a number.
    """
    limits = {}
    for text in texts:
        name, sign, number = text.partition('=')
        try:
            limits[name.strip()] = float(number)
        except ValueError:
            sign = ''
        if not sign or not math.isfinite(limits.get(name.strip(), math.nan)):
            raise ParameterError(f"{option} is '{text}'; expected FIGURE=NUMBER, such as mean_iou=0.6")
        if SHORT_NAMES.get(name.strip(), name.strip()).partition('.')[0] not in SystemEntry.__struct_fields__:
            raise ParameterError(
                f"{option}: '{name.strip()}' is not a figure; short names: {', '.join(SHORT_NAMES)}"
            )
    return limits


def check_limits(
    results: Results, below: Mapping[str, float], above: Mapping[str, float]
) -> list[ThresholdEntry]:
    """Compare the figures of all systems with limits; a figure that was not measured does not pass.

    Args:
        results: Results.
        below: Figure -> value that it must reach.
        above: Figure -> value that it must not exceed.

    Raises:
        ParameterError: A name is not that of a figure.
    """
    found = []
    kinds: list[tuple[Kind, Mapping[str, float]]] = [('below', below), ('above', above)]
    for kind, limits in kinds:
        for name, limit in limits.items():
            for system in results.systems:
                value = figure(system, name)
                passed = value is not None and (value >= limit if kind == 'below' else value <= limit)
                found.append(
                    ThresholdEntry(
                        metric=name, system=system.name, value=value, limit=limit, kind=kind, passed=passed
                    )
                )
    return found


def figure(system: SystemEntry, name: str) -> float | None:
    """A figure of a system by its short name, or by its place such as ``accuracy.class_iou.road``.

    Raises:
        ParameterError: A name is not that of a figure.
    """
    steps = SHORT_NAMES.get(name, name).split('.')
    value: Any = msgspec.to_builtins(system)
    for number, step in enumerate(steps):
        if value is None:
            return None
        if not isinstance(value, dict) or step not in value:
            known = ', '.join(value) if isinstance(value, dict) else 'nothing'
            at = '.'.join(steps[:number]) or 'a system'
            raise ParameterError(
                f"'{name}' is not a figure; {at} has {known}; short names: {', '.join(SHORT_NAMES)}"
            )
        value = value[step]
    if isinstance(value, dict) and 'value' in value:
        value = value['value']
    if value is None or (isinstance(value, (int, float)) and not isinstance(value, bool)):
        return None if value is None else float(value)
    raise ParameterError(f"'{name}' is not one number; short names of figures: {', '.join(SHORT_NAMES)}")


def write_junit(path: Path, results: Results) -> None:
    """Write the limits as JUnit XML; failures of bags and systems are errors.

    Raises:
        SegRosError: The file cannot be written.
    """
    cases = list(_cases(results))
    suite = ElementTree.Element(
        'testsuite',
        name='seg_ros evaluate-bag',
        tests=str(len(cases)),
        failures=str(sum(case.find('failure') is not None for case in cases)),
        errors=str(sum(case.find('error') is not None for case in cases)),
        timestamp=results.created,
    )
    suite.extend(cases)
    tree = ElementTree.ElementTree(suite)
    ElementTree.indent(tree)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        tree.write(path, encoding='utf-8', xml_declaration=True)
    except OSError as err:
        raise SegRosError(f'{path} cannot be written: {err}; choose another --junit') from err


def _cases(results: Results) -> Iterator[ElementTree.Element]:
    for entry in results.thresholds:
        case = ElementTree.Element('testcase', classname=_xml(entry.system), name=describe(entry))
        if not entry.passed:
            value = 'not measured' if entry.value is None else f'{entry.value:.6g}'
            ElementTree.SubElement(case, 'failure', message=f'{entry.metric} is {value}')
        yield case
    for failure in results.failures:
        name = ' on '.join(part for part in (failure.system, failure.bag) if part)
        case = ElementTree.Element('testcase', classname='evaluation', name=_xml(name))
        ElementTree.SubElement(case, 'error', message=_xml(failure.reason))
        yield case


def describe(entry: ThresholdEntry) -> str:
    """A limit in words."""
    sign = '>=' if entry.kind == 'below' else '<='
    return f'{entry.metric} {sign} {entry.limit:g}'


def _xml(text: str) -> str:
    """A text without characters that XML forbids."""
    return ''.join(c if c in '\t\n' or c >= ' ' else '?' for c in text)
