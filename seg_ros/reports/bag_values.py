"""Values of an evaluation made safe for a page, and their texts.

JSON knows no NaN, and a page should show none. Names of bags are file names, which may hold bytes that are
not text. So everything passes through :func:`clean` first; the texts below then get finite numbers or None.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

MISSING = '–'
"""Text of a value that was not measured."""

_LONGEST = 400
"""Maximum length of a text inside structured data, in characters."""
_GAP = '\u00a0'
"""A space that does not break a line."""
_KNOWN_METRICS = {
    'mean_iou': 'mean IoU',
    'boundary_iou': 'boundary IoU',
    'pixel_accuracy': 'pixel accuracy',
    'ece': 'calibration error (ECE)',
    'flicker_compensated': 'flicker, motion compensated',
    'code_flicker': 'flicker of codes',
    'track_flicker': 'flicker of track ids',
    'total_ms': 'latency',
}


def clean(value: Any) -> Any:
    """Copy structured data in a form that a page can show.

    Args:
        value: Mappings, sequences, arrays, texts, numbers, None.

    Returns:
        Dictionaries, lists, texts, finite numbers, booleans and None. A number that is not finite becomes
        None. Control characters and halves of characters become U+FFFD, and long texts are cut.
    """
    if value is None or isinstance(value, bool | np.bool_):
        return None if value is None else bool(value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {clean_text(str(key)): clean(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return clean(value.tolist())
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [clean(item) for item in value]
    return clean_text(str(value), _LONGEST)


def clean_text(text: str, longest: int = 1000) -> str:
    """Replace characters that a page cannot hold, and cut texts with more than ``longest`` characters."""
    text = shorten(text, longest)
    if text.isprintable():
        return text
    return ''.join(c if c.isprintable() or c == ' ' else '\ufffd' for c in text)


def look_up(data: Any, *keys: str) -> Any:
    """Follow keys through nested mappings; None where one is missing."""
    for key in keys:
        data = data.get(key) if isinstance(data, Mapping) else None
    return data


def as_number(value: Any) -> float | None:
    """A finite number, or None for everything else."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and math.isfinite(value) else None


def estimate(data: Any) -> tuple[float | None, float | None, float | None]:
    """Value, low and high end of an estimate; None for each that is missing."""
    value, low, high = (as_number(look_up(data, key)) for key in ('value', 'low', 'high'))
    return value, low, high


def system_name(system: Mapping[str, Any]) -> str:
    """Name of a system with its level of quantization."""
    name, level = (str(look_up(system, key) or '') for key in ('name', 'quantization'))
    return name if level in name else f'{name} {level}'


def percent(value: float | None) -> str:
    """Text of a fraction in percent."""
    return MISSING if value is None else f'{percent_number(value)} %'


def percent_number(value: float) -> str:
    """Text of a fraction in percent without the sign: one digit after the point, two below 10 %."""
    digits = 2 if abs(value) < 0.0995 and value != 0 else 1
    return f'{100 * value:.{digits}f}'


def percent_interval(low: float | None, high: float | None) -> str:
    """Text of an interval of fractions in percent; empty if it is missing."""
    if low is None or high is None:
        return ''
    digits = 2 if max(abs(low), abs(high)) < 0.0995 else 1
    return f'{100 * low:.{digits}f} to {100 * high:.{digits}f}'


def milliseconds(value: float | None) -> str:
    """Text of a time in ms."""
    if value is None:
        return MISSING
    digits = 2 if abs(value) < 10 else 1 if abs(value) < 100 else 0
    return f'{value:.{digits}f} ms'


def file_size(n_bytes: float | None) -> str:
    """Text of a size, in units of 1000."""
    if n_bytes is None:
        return MISSING
    for unit in ('B', 'KB', 'MB'):
        if abs(n_bytes) < 999.5:
            return f'{n_bytes:.3g} {unit}'
        n_bytes /= 1000
    return f'{n_bytes:.4g} GB'


def seconds(value: float | None) -> str:
    """Text of a length of time in seconds, minutes or hours."""
    if value is None:
        return MISSING
    if value < 120:
        return f'{value:.1f} s'
    minutes = value / 60
    return f'{minutes:.1f} min' if minutes < 120 else f'{minutes / 60:.1f} h'


def plain_number(value: float | None) -> str:
    """Text of a number without a unit, four significant digits."""
    return MISSING if value is None else f'{value:.4g}'


def image_size(size: Any) -> str:
    """Text of a size [height, width] in pixels; empty if it is unknown."""
    sides = [as_number(side) for side in size] if isinstance(size, list) else []
    if len(sides) != 2 or sides[0] is None or sides[1] is None:
        return ''
    return f'{sides[1]:.0f}×{sides[0]:.0f}'


def count(value: float | None) -> str:
    """Text of a number of things, with thin gaps between thousands."""
    return MISSING if value is None else f'{round(value):,}'.replace(',', '\u202f')


def metric_name(metric: str) -> str:
    """Metric in words."""
    return _KNOWN_METRICS.get(metric, metric.replace('_', ' '))


def difference_text(metric: str, value: float | None) -> str:
    """Text of a difference with its sign: points for a fraction, else the unit of the metric."""
    if value is None:
        return MISSING
    if metric.endswith('_ms') or 'latency' in metric:
        return f'{value:+.2f}{_GAP}ms'
    if metric.endswith('_mb'):
        return f'{value:+.1f}{_GAP}MB'
    return f'{100 * value:+.2f}{_GAP}points'


def difference_interval(metric: str, low: float | None, high: float | None) -> str:
    """Text of the interval of a difference, without its unit; empty if it is missing."""
    if low is None or high is None:
        return ''
    return f'{_GAP}to{_GAP}'.join(difference_text(metric, end).split()[0] for end in (low, high))


def shorten(text: str, length: int) -> str:
    """Cut a text to ``length`` characters."""
    return text if len(text) <= length else text[: length - 1] + '…'
