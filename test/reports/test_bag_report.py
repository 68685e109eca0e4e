import json
import math
import re
from collections.abc import Mapping
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seg_ros.bag_evaluation.gallery import GalleryFrame
from seg_ros.classes import ClassInfo, ClassSet
from seg_ros.reports.bag_report import LARGEST_PAGE, write_bag_report
from seg_ros.reports.bag_values import clean

NASTY = '</script><script>alert("x")</script>&\u202e'
VOID_TAGS = {'meta', 'img', 'input', 'br', 'link'}


def classes_of(n: int, name: str = 'class_{}') -> ClassSet:
    return ClassSet(tuple(ClassInfo(k, name.format(k), (37 * k % 256, 90, 255 - 4 * k)) for k in range(n)))


def an_estimate(value: float) -> dict[str, float]:
    return {'value': value, 'low': value - 0.01, 'high': value + 0.02}


def a_system(
    classes: ClassSet,
    name: str = 'lite fp32',
    n_points: int = 40,
    *,
    is_labelled: bool = True,
    merit: float = 0.5,
) -> dict[str, Any]:
    k, names = len(classes), classes.names
    matrix = [[90 if i == j else 10 if j == (i + 1) % k else 0 for j in range(k)] + [0] for i in range(k)]
    reliability = [{'confidence': (i + 0.5) / 15, 'accuracy': i / 15, 'fraction': 1 / 15} for i in range(15)]
    wave = [0.5 + 0.4 * math.sin(i) for i in range(n_points)]
    times = {'p50': 100 * merit, 'p90': 60.0, 'p99': 75.0, 'max': 80.5}
    accuracy = {
        'mean_iou': an_estimate(merit),
        'boundary_iou': an_estimate(0.3),
        'pixel_accuracy': an_estimate(0.8),
        'class_iou': {n: an_estimate(0.25) if i else None for i, n in enumerate(names)},
        'confusion_matrix': matrix,
        'ece': an_estimate(0.04),
        'reliability': reliability,
    }
    series = dict.fromkeys(('mean_iou', 'agreement', 'flicker_compensated', 'confidence', 'novelty'), wave)
    return {
        'name': name,
        'path': 'models/lite.safetensors',
        'digest': 'sha256:0123456789abcdef',
        'quantization': name.split()[-1],
        'backend': 'torch',
        'device': 'cpu',
        'n_parameters': 790000,
        'n_bytes': 3171112,
        'input_size': [360, 480],
        'n_frames': n_points,
        'accuracy': accuracy if is_labelled else None,
        'agreement': {
            'reference': 'large',
            'pixels': an_estimate(0.9),
            'class_iou': dict.fromkeys(names, an_estimate(0.6)),
        },
        'stability': {
            'flicker': an_estimate(0.05),
            'flicker_compensated': an_estimate(0.02),
            'code_flicker': None,
            'track_flicker': None,
        },
        'confidence': {'mean': an_estimate(0.9), 'histogram': [1 / 256] * 256},
        'class_shares': {**dict.fromkeys(names, 1 / k), 'unlabelled': 0.0},
        'novelty': {'mean': 0.5, 'threshold': 0.8, 'out_of_distribution': 0.125},
        'latency_ms': {'total': times, 'network': times, 'filter': None},
        'resources': {'cpu_cores': 1.5, 'peak_memory_mb': 512.0},
        'live': {'frames_in': 100, 'frames_out': 90, 'age_ms': times, 'drops': {'mailbox': 10}},
        'series': {
            'bag': ['street'] * n_points,
            'time_s': [i / 15 for i in range(n_points)],
            **series,
            'total_ms': [10 + 400 * value for value in wave],
            'shares': {n: [1 / k] * n_points for n in names},
        },
        'latency_histogram': {'edges_ms': [10.0, 20.0, 40.0, 80.0], 'counts': [1, 2, 1]},
        'runs': {'huge': [[1] * 1000] * 10},
    }


def some_results(systems: list[dict[str, Any]], **changes: Any) -> dict[str, Any]:
    bag = {
        'name': 'street',
        'path': '/bags/street.mcap',
        'topic': '/camera',
        'encoding': 'rgb8',
        'size': [48, 64],
        'n_frames': 42,
        'n_evaluated': 40,
        'duration_s': 2.7,
        'frame_rate_hz': 15.0,
        'losses': [{'reason': 'the chunk at byte 71 is damaged', 'n_messages': 2}],
        'labels': '/labels',
        'n_labelled': 40,
    }
    comparison = {'first': 'lite fp32', 'second': 'lite int8', 'metric': 'mean_iou'}
    results = {
        'schema': 1,
        'seg_ros': '0.1.0',
        'created': '2026-11-29T04:00:00Z',
        'command': ['seg_ros', 'evaluate-bag', 'a bag'],
        'machine': {'processor': 'a processor', 'cores': 2, 'os': 'Linux', 'python': '3.11'},
        'verdict': 'lite fp32 is good enough.',
        'bags': [bag],
        'classes': [],
        'systems': systems,
        'comparisons': [
            comparison | {'difference': an_estimate(-0.1), 'verdict': 'lite int8 is less accurate'}
        ],
        'baseline': {
            'path': 'old/results.json',
            'comparisons': [
                comparison
                | {'difference': an_estimate(0.1), 'verdict': 'lite int8 is better than lite fp32 in x'},
                comparison
                | {'difference': an_estimate(-0.1), 'verdict': 'lite fp32 is better than lite int8'},
                comparison | {'difference': an_estimate(0.0), 'verdict': 'No difference can be told'},
            ],
        },
        'thresholds': [
            {
                'metric': 'mean_iou',
                'system': 'lite fp32',
                'value': 0.5,
                'limit': 0.6,
                'kind': 'below',
                'passed': False,
            },
            {
                'metric': 'ece',
                'system': 'lite fp32',
                'value': 0.04,
                'limit': 0.1,
                'kind': 'above',
                'passed': True,
            },
        ],
        'failures': [{'system': 'lite int4', 'bag': '', 'reason': 'no backend'}],
    }
    return results | changes


def a_frame(index: int, reasons: tuple[str, ...] = (), size: tuple[int, int] = (48, 64)) -> GalleryFrame:
    random = np.random.default_rng(index)
    image = random.integers(0, 256, (*size, 3), np.uint8)
    labels = np.broadcast_to(np.arange(size[1]) * 2 // size[1], size).astype(np.uint8)
    difference = np.zeros(size, np.uint8)
    difference[:, :8], difference[:, 8:16] = 1, 255
    values = {'mean_iou': index / 100, 'flicker_compensated': math.nan, 'total_ms': 12.0}
    return GalleryFrame(
        'street', index, index / 15, index, reasons, values, image, labels, difference, 'labels'
    )


class PageReader(HTMLParser):
    """Reads a page strictly: open elements, ids, links, texts of elements."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.counts: dict[str, int] = {}
        self.attributes: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.counts[tag] = self.counts.get(tag, 0) + 1
        self.attributes.append((tag, found))
        self.ids += [found['id'] or ''] if 'id' in found else []
        self.links += [found[key] or '' for key in ('src', 'href', 'xlink:href') if key in found]
        if tag not in VOID_TAGS:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID_TAGS:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, (tag, self.open, self.getpos())

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append((self.open[-1] if self.open else '', data.strip()))

    def of(self, *tags: str) -> list[str]:
        return [text for tag, text in self.texts if tag in tags]


def written(
    folder: Path, results: Mapping[str, Any], gallery: list[GalleryFrame], classes: ClassSet
) -> PageReader:
    path = folder / 'new/report.html'
    write_bag_report(path, results, gallery, classes)
    assert path.stat().st_size <= LARGEST_PAGE
    return PageReader(path.read_text(encoding='utf-8'))


@pytest.fixture
def two_systems() -> list[dict[str, Any]]:
    return [a_system(classes_of(3)), a_system(classes_of(3), 'lite int8', merit=0.4)]


def test_the_page_has_every_part(tmp_path: Path, two_systems: list[dict[str, Any]]) -> None:
    gallery = [a_frame(0), a_frame(1, ('worst', 'unlike')), a_frame(2, ('best',)), a_frame(3)]
    page = written(tmp_path, some_results(two_systems), gallery, classes_of(3))
    assert page.of('h1') == ['street']
    headings = ['Thresholds', 'Failures', 'Losses', 'Systems', 'Plots', 'Frames', 'Through the bag']
    assert page.of('h2') == [*headings, 'Facts and methods']
    plots = [
        *('IoU of each class', 'Agreement for each class', 'Confusion matrix', 'Reliability'),
        *('Mean IoU against latency', 'Latency, histogram', 'Latency over time', 'Dropped frames by cause'),
        *('Mean IoU over time', 'Agreement over time', 'Flicker over time', 'Confidence over time'),
        *('Novelty over time', 'Classes over time'),
    ]
    assert [text for text in page.of('h4') if not text.startswith('frame')] == plots
    # The verdict comes before everything but the title; nothing is hidden.
    texts = [text for _, text in page.texts]
    assert texts.index('lite fp32 is good enough.') < texts.index('1 threshold passed')
    for words in ('1 threshold failed', '1 failure', '2 messages not evaluated', 'no backend'):
        assert words in texts
    assert 'the chunk at byte 71 is damaged' in texts
    assert "seg_ros evaluate-bag 'a bag'" in texts
    assert len(page.ids) == len(set(page.ids))
    assert all(link.startswith(('data:image/', '#')) for link in page.links)
    assert {link[1:] for link in page.links if link.startswith('#')} <= set(page.ids)
    assert page.counts['script'] == 2
    # Three pictures of two cards, and image and labels of the scrubber.
    assert page.counts['img'] == 2 * 3 + 2
    assert all(found.get('alt') is not None for tag, found in page.attributes if tag == 'img')
    (frames,) = [json.loads(text) for tag, text in page.texts if tag == 'script' and text.startswith('[{')]
    assert [frame['title'] for frame in frames] == [f'frame {k} at {k / 15:.2f} s' for k in range(4)]
    assert [frame.get('card') for frame in frames] == [None, 'frame-1', 'frame-2', None]
    assert frames[1]['reasons'] == ['worst', 'most unlike the training images']
    assert frames[2]['values'] == [['mean IoU', '2.00 %'], ['latency', '12.0 ms']]


def test_numbers_of_tables_and_plots(tmp_path: Path, two_systems: list[dict[str, Any]]) -> None:
    two_systems[1]['accuracy']['ece'] = an_estimate(0.02)
    results = some_results(two_systems)
    written(tmp_path, results, [], classes_of(3))
    text = (tmp_path / 'new/report.html').read_text()
    best = re.findall(r'<td class="number best">([^<]+)<', text)
    # Mean IoU of the first; ECE and median latency (100 * merit ms) of the second; the rest is equal.
    assert best == ['50.0 %', '2.00 %', '40.0 ms']
    words = re.findall(r'<td class="\w* (better|worse|muted)">([^<]+)</td>', text)
    assert words == [('better', '▲\u00a0better'), ('worse', '▼\u00a0worse'), ('muted', 'cannot be told')]
    assert '>+10.00 points<small>+9.00 to +12.00</small>' in text.replace('\u00a0', ' ')
    assert re.findall(r'class=" ?(\w+)">[✓✗] (\w+)', text) == [('worse', 'failed'), ('better', 'passed')]
    # 90 of 100 pixels of each class are right, 10 become the next class.
    assert text.count('class_0 → class_1: 10.0 % of 100 pixels') == 1 + 1  # cell and number
    assert text.count('class_2 → class_0: 10.0 % of 100 pixels') == 1 + 1
    assert len(re.findall('<rect class="heat right"', text)) == 3
    # An IoU of 0.25 is a bar over a quarter of the plot, with an interval from 0.24 to 0.27.
    bars = re.findall(r'<rect class="fill s0 of0" x="([\d.]+)%" y="[\d.]+%" width="([\d.]+)%"', text)
    assert bars[:2] == [('0.00', '25.00')] * 2
    assert re.search(r'<line class="whisker" x1="24.00%" x2="27.00%"', text)
    # Two thresholds of 0.8: the novelty is divided by it. 0.5 + 0.4 sin(i) is above 0.8 where sin(i) > 0.75.
    n_unlike = sum(math.sin(i) > 0.75 for i in range(40))
    assert text.count('class="dot unlike s0 of0"') == text.count('class="dot unlike s1 of1"') == n_unlike
    # The reference agrees with itself, which says nothing.
    two_systems[0]['agreement']['reference'] = 'lite fp32'
    written(tmp_path, results, [], classes_of(3))
    text = (tmp_path / 'new/report.html').read_text()
    assert '<td class="number muted">reference</td>' in text
    # 90 % of agreement of the other, and 90 % of confidence of both.
    assert text.count('90.0 %<small>89.0 to 92.0</small></td>') == 1 + 2
    # Missing measures: no column, no plot, and a reason.
    two_systems[0]['accuracy'] = two_systems[1]['accuracy'] = None
    page = written(tmp_path, results, [], classes_of(3))
    assert 'Confusion matrix' not in page.of('h4')
    assert 'ECE' not in page.of('th')
    assert any('no true labels were given' in text for text in page.of('li'))
    assert 'Agreement against latency' in page.of('h4')


def test_every_text_is_escaped(tmp_path: Path) -> None:
    names = '<b>&"', "</title><svg onload='x'>"
    classes = ClassSet(tuple(ClassInfo(k, name, (k, 2, 3)) for k, name in enumerate(names)))
    system = a_system(classes)
    nasty = {'name': NASTY, 'path': NASTY, 'digest': NASTY, 'backend': NASTY, 'device': NASTY}
    system |= nasty
    system['series']['bag'] = [NASTY] * 40
    system['agreement']['reference'] = NASTY
    results = some_results([system, system], verdict=NASTY, command=[NASTY, 'b'])
    results['bags'] = [
        results['bags'][0] | {'name': NASTY, 'topic': NASTY, 'labels': NASTY, 'encoding': NASTY}
    ]
    results['bags'][0]['losses'] = [{'reason': NASTY, 'n_messages': None}]
    results['machine']['processor'] = results['baseline']['path'] = NASTY
    for item in (*results['comparisons'], *results['baseline']['comparisons'], *results['failures']):
        item.update(
            dict.fromkeys(
                {'first', 'second', 'metric', 'verdict', 'system', 'bag', 'reason'} & set(item), NASTY
            )
        )
    results['thresholds'][0] |= {'metric': NASTY, 'system': NASTY}
    frames = [replace(a_frame(k, reasons), bag=NASTY) for k, reasons in enumerate([(), ('worst',)])]
    page = written(tmp_path, results, frames, classes)
    text = (tmp_path / 'new/report.html').read_text(encoding='utf-8')
    assert 'alert("x")' not in text
    assert '<svg onload' not in text
    assert page.counts['script'] == 2
    assert 'b' not in page.counts
    assert page.of('h1') == [clean(NASTY)]
    assert not any(name.startswith('on') for _, found in page.attributes for name in found)


def test_names_that_are_not_text(tmp_path: Path) -> None:
    # A file name with a byte that is not UTF-8, as Python reads it, and control characters.
    results = some_results([a_system(classes_of(2))])
    results['bags'][0]['name'] = 'a\udcffb\x00c\nd'
    page = written(tmp_path, results, [replace(a_frame(0), bag='\udc80')], classes_of(2))
    assert page.of('h1') == ['a\ufffdb\ufffdc\ufffdd']


def test_cleaning() -> None:
    values = {'a': [math.nan, math.inf, 1.5, True, None], 'b': np.array([1.0, np.nan]), 3: np.int64(4)}
    assert clean(values) == {'a': [None, None, 1.5, True, None], 'b': [1.0, None], '3': 4}
    assert len(clean('x' * 5000)) == 400


def test_no_number_is_nan(tmp_path: Path) -> None:
    system = a_system(classes_of(2))
    everywhere_nan = json.loads(
        json.dumps(system), parse_float=lambda _: math.nan, parse_int=lambda _: math.inf
    )
    everywhere_nan['series']['time_s'][0] = 0.0
    for systems in ([everywhere_nan], [everywhere_nan, system]):
        results = some_results(systems)
        results['bags'][0] |= {'duration_s': math.nan, 'frame_rate_hz': math.inf, 'n_labelled': None}
        frame = replace(
            a_frame(0, ('worst',)), values={'mean_iou': math.nan, 'novelty': math.inf}, time_s=math.nan
        )
        written(tmp_path, results, [frame], classes_of(2))
        text = re.sub(r'data:image/[^"]+', '', (tmp_path / 'new/report.html').read_text())
        text = re.sub(r'(?s)<style>.*?</style>|<script>.*?</script>|<meta[^>]*>|"none"', '', text)
        assert not re.search(r'.{30}\b(nan|inf|infinity|none|null)\b.{30}', text, re.IGNORECASE)


@pytest.mark.parametrize(
    ('n_classes', 'n_systems', 'n_points', 'n_frames'),
    [(1, 1, 1, 1), (60, 12, 150, 2), (2, 0, 0, 0), (0, 1, 5, 3)],
)
def test_few_and_many(tmp_path: Path, n_classes: int, n_systems: int, n_points: int, n_frames: int) -> None:
    classes = classes_of(n_classes)
    systems = (
        [
            a_system(classes, f'model_{k} fp32', n_points, is_labelled=k % 2 == 0, merit=0.3 + 0.05 * k)
            for k in range(n_systems)
        ]
        if n_classes
        else [a_system(classes_of(1), n_points=n_points)]
    )
    page = written(tmp_path, some_results(systems), [a_frame(k, ('best',)) for k in range(n_frames)], classes)
    assert page.counts.get('img', 0) == (3 * n_frames + 2 if n_frames else 0)
    assert ('Novelty over time' in page.of('h4')) == (n_systems > 0)


def test_several_bags_follow_each_other(tmp_path: Path, two_systems: list[dict[str, Any]]) -> None:
    for system in two_systems:
        system['series']['bag'] = ['one'] * 10 + ['two'] * 30
    results = some_results(two_systems)
    results['bags'] = [results['bags'][0] | {'name': name, 'losses': []} for name in ('one', 'two')]
    page = written(tmp_path, results | {'failures': []}, [], classes_of(3))
    assert page.of('h1') == ['2 bags']
    assert 'no failures, nothing lost' in page.of('li')
    assert 'time, bags one after another, s' in page.of('text')
    # The last point of a bag is not connected to the first of the next: two lines in one path.
    paths = [
        found['d'] or ''
        for tag, found in page.attributes
        if tag == 'path' and found['class'] == 'line s0 of0'
    ]
    assert [path.count('M') for path in paths[1:]] == [2] * len(paths[1:])


def test_a_page_is_never_larger_than_the_limit(tmp_path: Path) -> None:
    # Noise cannot be compressed; and there are many bags, systems and failures with long names.
    frames = [a_frame(k, ('worst',) if k % 25 == 3 else (), (200, 300)) for k in range(150)]
    noisy = [
        replace(f, labels=np.random.default_rng(f.index).integers(0, 60, (200, 300), np.uint8))
        for f in frames
    ]
    classes = classes_of(60)
    results = some_results([a_system(classes, f'm{k} fp32', 600) for k in range(8)])
    results['bags'] = [
        results['bags'][0] | {'name': 'x' * 5000, 'losses': results['bags'][0]['losses'] * 9}
    ] * 3000
    results['failures'] = [{'system': 's', 'bag': 'b' * 3000, 'reason': 'r' * 3000}] * 2000
    results['comparisons'] *= 3000
    page = written(tmp_path, results, noisy, classes)
    assert '2,000 failures' in page.of('li')
    assert '1800 more rows are in results.json.' in page.of('p')
    (rows,) = [json.loads(text) for tag, text in page.texts if tag == 'script' and text.startswith('[{')]
    assert len(rows) == 150
    assert all(96 <= row['size'][0] < 300 for row in rows)


@pytest.fixture
def a_page(tmp_path: Path, two_systems: list[dict[str, Any]]) -> Path:
    results = some_results(two_systems)
    results['bags'][0]['name'] = 'a_very_long_name_of_a_bag_' * 6
    results['failures'][0]['reason'] = 'a/very/long/path' * 12
    gallery = [a_frame(k, ('worst',) if k == 2 else ()) for k in range(5)]
    write_bag_report(tmp_path / 'report.html', results, gallery, classes_of(3))
    return tmp_path / 'report.html'


def test_the_page_in_chromium(a_page: Path, chromium_tab: Any) -> None:
    tab = chromium_tab
    grounds, bars = [], []
    for width, is_dark in ((390, True), (1400, False)):
        tab.open(a_page, width, is_dark=is_dark)
        assert tab.measurements() == {
            **dict.fromkeys(('overflow', 'unseen', 'wide', 'squeezed', 'distorted'), 0),
            'images': 3 + 2,
        }
        colours = 'getComputedStyle(document.body).{}.match(/[0-9.]+/g).slice(0, 3).map(Number)'
        ground, text = (np.mean(tab.value(colours.format(key))) for key in ('backgroundColor', 'color'))
        grounds.append(ground)
        bars.append(tab.value("getComputedStyle(document.querySelector('.chart .fill')).fill"))
        assert abs(ground - text) > 150
    assert grounds[0] < 50 < 200 < grounds[1]
    assert bars == ['rgb(90, 174, 234)', 'rgb(0, 114, 178)']  # blue, lighter on a dark ground

    # Keys move through the frames, whether or not the scrubber has the focus.
    title = "document.getElementById('stage-title').textContent"
    opacity = "Number(document.getElementById('stage-labels').style.opacity)"
    assert (tab.value(title), tab.value(opacity)) == ('frame 0 at 0.00 s', 0.55)
    tab.press('ArrowRight', 'ArrowRight')
    assert tab.value(title) == 'frame 2 at 0.13 s'
    assert tab.value("document.getElementById('stage-reasons').textContent") == 'worst'
    card, shown = "document.querySelector('#frame-2 img').src", "document.getElementById('stage-image').src"
    assert tab.value(card) == tab.value(shown)
    tab.press('o')
    assert tab.value(opacity) == 0
    tab.press('o', 'ArrowLeft')
    assert (tab.value(title), tab.value(opacity)) == ('frame 1 at 0.07 s', 0.55)
    tab.value("document.getElementById('stage').focus()")
    tab.press('End')
    assert tab.value(title) == 'frame 4 at 0.27 s'
    tab.press('ArrowRight', 'Home')
    assert tab.value(title) == 'frame 0 at 0.00 s'
    assert tab.value("document.getElementById('position').getAttribute('aria-valuetext')") == (
        'frame 0 at 0.00 s, 1 of 5'
    )
    tab.press(' ')
    assert tab.value("document.getElementById('play').textContent") == 'Pause'
    tab.value('new Promise(resolve => setTimeout(resolve, 600))')
    tab.press(' ')
    assert tab.value("document.getElementById('play').textContent") == 'Play'
    assert tab.value(title) != 'frame 0 at 0.00 s'

    tab.press('?')
    assert tab.value("document.getElementById('keys').open")
    tab.press('Escape')
    assert not tab.value("document.getElementById('keys').open")
    tab.value("document.querySelectorAll('.zoom')[1].focus()")
    assert tab.value('getComputedStyle(document.activeElement).outlineStyle') == 'solid'
    tab.press('Enter')
    large = "document.querySelector('#zoom img')?.alt"
    assert tab.value(large) == 'frame 2 at 0.13 s: labels over the image'
    tab.press('ArrowRight')
    assert tab.value(large) == 'frame 2 at 0.13 s: differences from the true labels'
    tab.press('Escape')
    tab.value('new Promise(resolve => setTimeout(resolve, 100))')
    assert tab.value(large) is None

    # A system is hidden in all plots.
    tab.value("document.querySelectorAll('.systems button')[1].click()")
    visible = (
        "[...document.querySelectorAll('.chart .of{}')].filter(part => part.getClientRects().length).length"
    )
    assert tab.value(visible.format(0)) > 10
    assert tab.value(visible.format(1)) == 0
    assert tab.faults == []
    assert set(tab.requests) == {a_page.as_uri()}
