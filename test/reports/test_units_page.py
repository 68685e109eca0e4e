import re
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from seg_ros.evaluation.units import Peak
from seg_ros.reports.unit_portraits import Portrait
from seg_ros.reports.units_page import write_page, write_sheet

PICTURES = [np.full((30, 30, 3), 40 * k, np.uint8) for k in range(4)]


@pytest.fixture
def portraits() -> list[Portrait]:
    return [
        Portrait('<one>', 3, 0.5, 0.25, None, None, [Peak(2, 0, 1, 1)], PICTURES, PICTURES, {'car': 3}),
        Portrait('whole', 1, 0.4, 0.5, 0.9, -0.2, [Peak(2, 0, 1, 1)], PICTURES),  # no projections
        Portrait('gone', None),
    ]


def test_page_and_sheet(portraits: list[Portrait], tmp_path: Path) -> None:
    write_page(tmp_path / 'p.html', 'A & B', {'layer': 'x'}, [{'model': '<one>'}], {3: portraits})
    page = (tmp_path / 'p.html').read_text()
    for words in (
        'A &amp; B',
        '&lt;one&gt;',
        'unit 1 of this model',
        '(-0.20 σ)',
        'correlation 0.90',
        'on car 3×',
    ):
        assert words in page
    assert '<one>' not in page
    assert len(re.findall('<img src="data:', page)) == 3
    assert page.count('removed') == 1
    write_sheet(tmp_path / 'p.png', portraits)
    assert cv2.imread(str(tmp_path / 'p.png')).shape[1] == 3 * 420


def test_the_page_fits_phone_and_desktop(
    portraits: list[Portrait], tmp_path: Path, check_in_chromium: Callable[[Path, int], None]
) -> None:
    removed = ', '.join(map(str, range(100)))
    models = [{'model': name, 'units': '128', 'removed': removed} for name in ('one', 'a' * 80)]
    write_page(tmp_path / 'p.html', 'Units', {'layer': 'encoder.' * 30}, models, {3: portraits, 4: portraits})
    check_in_chromium(tmp_path / 'p.html', 6)
