import base64
import re
from pathlib import Path

import cv2
import jinja2
import numpy as np
import pytest

from seg_ros.reports import html
from seg_ros.reports.html import Cell, Table, embed, text_table, write_html

TEMPLATES = Path(html.__file__).parent / 'templates'


def test_values_are_escaped(tmp_path: Path) -> None:
    table = text_table([{'<model>': '"a" & <b>', 'units': '3'}])
    write_html(tmp_path / 'new/p.html', 'units.html.j2', '<title>', {'<f>': '&'}, models=table, units={})
    page = (tmp_path / 'new/p.html').read_text()
    assert '<h1>&lt;title&gt;</h1>' in page
    assert '&lt;f&gt;</th><td>&amp;</td>' in page
    for raw in ('<model>', '<b>"', '"a"'):
        assert raw not in page
    assert '&#34;a&#34; &amp; &lt;b&gt;' in page


def test_a_missing_value_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(jinja2.UndefinedError, match='models'):
        write_html(tmp_path / 'p.html', 'units.html.j2', 'a', {}, units={})
    assert not (tmp_path / 'p.html').exists()


def test_pictures_keep_size_and_colours() -> None:
    picture = np.full((8, 12, 3), (200, 30, 60), np.uint8)
    shown = embed(picture, 'red')
    assert (shown.width, shown.height, shown.caption) == (12, 8, 'red')
    content = base64.b64decode(shown.uri.removeprefix('data:image/jpeg;base64,'))
    decoded = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert np.abs(decoded.astype(int) - picture).max() < 10


def test_tables_of_text() -> None:
    table = text_table([{'a': '1', 'b': '2'}, {'a': '3', 'b': '4'}])
    assert table == Table(['a', 'b'], [[Cell('1'), Cell('2')], [Cell('3'), Cell('4')]], 2)


@pytest.mark.parametrize('path', sorted(TEMPLATES.iterdir()), ids=lambda path: path.name)
def test_templates_load_nothing_from_elsewhere(path: Path) -> None:
    text = path.read_text()
    assert not re.search(r'https?:|url\(|@import|<script[^>]*\bsrc\b|<link|\|\s*safe', text)
    assert not re.search(r'\b(fetch|import|XMLHttpRequest|WebSocket|EventSource|sendBeacon)\b *\(', text)


def test_markup_is_in_templates_only() -> None:
    package = Path(html.__file__).parents[1]
    found = [
        str(path)
        for path in package.rglob('*.py')
        if re.search(r'<(t[dhr]|div|figure|html|style|img|span)\b', path.read_text())
    ]
    assert found == []
