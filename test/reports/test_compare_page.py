import base64
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from seg_ros.datasets.squares import SquaresDataset
from seg_ros.evaluation.accuracy import Accuracy
from seg_ros.evaluation.candidates import Failure
from seg_ros.evaluation.compare import Comparison, Loss, Row
from seg_ros.evaluation.sensitivity import Effect, Sensitivity
from seg_ros.evaluation.timing import Timing
from seg_ros.networks.graph.cost import Cost
from seg_ros.reports.compare_page import write_page
from seg_ros.reports.compare_tables import COLUMNS, as_csv, as_markdown, as_text

DATASET = SquaresDataset(None, 'test', n_images=1)


def a_row(name: str, hits: int, latency_ms: float | None, worst: list[Loss]) -> Row:
    """Of 100 pixels each class has half."""
    facts = {
        'path': f'{name}.safetensors',
        'n_parameters': 1000,
        'n_bytes': 4000,
        'quantization': 'fp32',
        'backend': 'torch',
        'device': 'cpu',
    }
    matrix = np.array([[hits, 50 - hits, 0], [50 - hits, hits, 0]])
    accuracy = Accuracy(DATASET.classes, matrix, np.ones(1))
    timing = None if latency_ms is None else Timing(np.full((2, 2), latency_ms), 10**8)
    speedup = None if latency_ms is None else 10 / latency_ms
    cost = Cost(1000, 10**7, 4000, 100, 5.0)
    return Row(
        name, facts, (48, 64), False, False, accuracy, matrix[:, :2], 0.5, cost, worst, timing, speedup
    )


@pytest.fixture
def comparison() -> Comparison:
    truth = DATASET[0][1]
    loss = Loss(0.25, 0, truth, np.zeros_like(truth))
    rows = [a_row('<one>', 50, 10, []), a_row('two', 40, 5, [loss]), a_row('three', 45, None, [])]
    return Comparison(DATASET, rows, [Failure('four', 'int8', 'no <reason>')])


def test_a_page(comparison: Comparison, tmp_path: Path) -> None:
    pytest.importorskip('matplotlib')
    effects = [Effect('conv', 2, None, -0.2, 0.5), Effect('conv', None, 0.5, 0.01, -0.1)]
    bears = Sensitivity(3, 0.9, 0.1, effects)
    write_page(tmp_path / 'new/p.html', 'A & B', {'images': '1'}, comparison, bears)
    page = (tmp_path / 'new/p.html').read_text()
    assert '<one>' not in page
    for words in ('A &amp; B', '&lt;one&gt;', 'four at int8: no &lt;reason&gt;', 'test_000: -25.0 points'):
        assert words in page
    # 40 of 50 right: 40 / 60 instead of 50 / 50.
    assert '66.67<small class="worse">-33.33</small>' in page
    assert '5.00<small>-50 %</small>' in page
    assert ' heat" style="--strength: 1.00">-20.00<small class="worse">+0.500</small></td>' in page
    assert ' heat" style="--strength: 0.00">+1.00<small>-0.100</small></td>' in page
    assert not re.search(r'(src|href)="(?!data:)', page)
    legend, *plots = re.findall(r'data:image/svg\+xml;base64,([^"]+)"', page)
    assert [base64.b64decode(plot).count(b'id="axes_') for plot in (*plots, legend)] == [1, 1, 1, 1, 0]
    height = re.search(rb' height="([\d.]+)pt"', base64.b64decode(legend))
    assert height
    assert 3 * 10 < float(height[1]) < 3 * 25  # points, for three models
    pictures = re.findall('data:image/jpeg[^>]*alt="([^"]*)"', page)
    assert pictures == ['image', 'true labels', '&lt;one&gt; fp32', 'two fp32', 'differences']

    write_page(tmp_path / 'plain.html', 'A', {}, comparison)
    assert 'Sensitivity of each layer' in page
    assert 'Sensitivity of each layer' not in (tmp_path / 'plain.html').read_text()


def test_the_page_fits_phone_and_desktop(
    comparison: Comparison, tmp_path: Path, check_in_chromium: Callable[[Path, int], None]
) -> None:
    pytest.importorskip('matplotlib')
    facts = {'first model': '/a/very/long/path' * 12, 'computer': 'x86_64, 2 cores'}
    layers = [f'encoder.stages.{k}.0.depthwise' for k in range(4)]
    effects = [Effect(layer, n, None, -0.05 * k, 0.5) for k, layer in enumerate(layers) for n in range(2, 9)]
    write_page(tmp_path / 'p.html', 'Models', facts, comparison, Sensitivity(3, 0.9, 0.1, effects))
    check_in_chromium(tmp_path / 'p.html', 5 + 5)


def test_tables_leave_out_what_was_not_measured(comparison: Comparison) -> None:
    lines = as_text(comparison).splitlines()
    assert [line.split()[0] for line in lines] == ['model', '<one>', 'two', 'three', 'failed:']
    rows = lines[3], as_markdown(comparison).splitlines()[4]
    assert [row.count(' - ') for row in rows] == [3, 3]  # latency, times faster, memory
    head, _, two, three = (line.split(',') for line in as_csv(comparison).splitlines())
    assert float(two[head.index('latency_ms.p90')]) == 5
    assert three[head.index('latency_ms.p90')] == ''


def test_figures_on_learnt_images_are_no_gain(comparison: Comparison, tmp_path: Path) -> None:
    pytest.importorskip('matplotlib')
    first, second, third = comparison.rows
    known = replace(comparison, rows=[first, replace(second, learnt='has learnt this'), third])
    write_page(tmp_path / 'p.html', 'A', {}, known)
    page = (tmp_path / 'p.html').read_text()
    assert '<p class="worse">two has learnt this</p>' in page
    assert '66.67<small class="plain">-33.33</small>' in page
    assert '5.00<small>-50 %</small>' in page  # speed is measured all the same
    assert '<small class="worse">' in page  # the third model has not learnt them
    assert as_text(known).splitlines()[4] == 'two has learnt this'


def test_differences_have_a_direction(comparison: Comparison) -> None:
    first, second, third = comparison.rows
    by_title = {column.title: column for column in COLUMNS}
    for title, worse in (('mean IoU %', True), ('latency ms', False), ('times faster', False)):
        assert by_title[title].is_worse(second, first) == worse
    assert not by_title['file KB'].is_worse(second, first)
    assert (
        by_title['latency ms'].difference(third, first)
        == by_title['mean IoU %'].difference(first, first)
        == ''
    )
