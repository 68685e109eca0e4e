import json
from pathlib import Path

import numpy as np
import pytest

from seg_ros.classes import ClassInfo, ClassSet
from seg_ros.evaluation.figures import (
    LabelCounter,
    format_milliseconds,
    format_percent,
    format_table,
    percentiles,
    write_json,
)


def test_shares_add_up_over_images_of_any_size() -> None:
    classes = ClassSet((ClassInfo(0, 'sky', (0, 0, 0)), ClassInfo(1, 'road', (1, 1, 1))))
    counter = LabelCounter(classes)
    assert counter.fractions() == {'sky': 0, 'road': 0}
    counter.add(np.array([[0, 0, 1]], np.uint8))
    assert counter.fractions() == pytest.approx({'sky': 2 / 3, 'road': 1 / 3})
    counter.add(np.array([[255], [255], [1]], np.uint8))
    assert counter.fractions() == pytest.approx({'sky': 2 / 6, 'road': 2 / 6, 'unlabelled': 2 / 6})


def test_figures_in_words() -> None:
    assert format_percent({'sky': 0.25, 'road': 0.7496, 'car': 0.0004}) == 'road 75.0 %, sky 25.0 %'
    assert format_milliseconds(percentiles(range(101))) == 'p50 50.0, p90 90.0, p99 99.0, max 100.0 ms'
    assert percentiles([]) is None
    assert format_milliseconds(None) == ''
    assert format_table({'frames': '3', 'latency': '', 'bag': 'x'}) == 'frames         3\nbag            x'


def test_json_is_written_where_asked(tmp_path: Path) -> None:
    write_json(None, {})
    write_json(tmp_path / 'new/figures.json', {'mean_iou': 0.5})
    assert json.loads((tmp_path / 'new/figures.json').read_text()) == {'mean_iou': 0.5}
