"""Every legal combination of the parameters of segments takes bounded memory, on images of pure noise.

Frames are processed in a child process, as the node does it: segments, numbers over time, history, message.
"""

import itertools
import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seg_ros.inference.settings import BY_NAME
from seg_ros.segments.rules import MAX_SUPERPIXELS, SegmentRules

NAMES = ('superpixels', 'region_size', 'merge', 'merge_limit')
ROOM_MB = 700

CHILD = f"""
import json, resource, sys, time
import numpy as np
import torch
from seg_ros.segments.code_pooling import CodePooling
from seg_ros.segments.history import CodeHistory
from seg_ros.segments.rules import SegmentRules
from seg_ros.segments.segments import find_segments
from seg_ros.segments.tracking import Tracker

torch.set_num_threads(1)
rng = np.random.default_rng(0)
pooling = CodePooling(64, rng.standard_normal((9, 64)).astype(np.float32))


def frames(height, width):
    shape = height // 8, width // 8
    logits = torch.from_numpy(rng.standard_normal((*shape, 64)).astype(np.float32))
    scores = torch.from_numpy(rng.standard_normal((11, *shape)).astype(np.float32))
    return [(rng.integers(0, 256, (height, width, 3), np.uint8), logits, scores) for _ in range(2)]


def process(images, rules, max_count, capacity):
    tracker, history = Tracker(), CodeHistory('book', 64, capacity)
    begin = time.perf_counter()
    for stamp, (image, logits, scores) in enumerate(images):
        segments = find_segments(image, logits, scores, pooling, rules, 2)
        segments.refine(scores, 0.5)
        numbers = tracker(segments.regions, segments.codes)
        history.add(stamp, segments.codes[:max_count], numbers[:max_count])
        history.search(segments.codes[0], 'book', radius=64, count=max_count)
    return segments.n, (time.perf_counter() - begin) / len(images)


pictures = {{size: frames(*size) for size in ((480, 640), (720, 1280))}}
process(frames(64, 64), SegmentRules(region_size=8), 500, 500)
with open('/proc/self/statm') as file:
    used = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + {ROOM_MB} * 2**20,) * 2)
for line in sys.stdin:
    size, rules, max_count, capacity = json.loads(line)
    found = process(pictures[tuple(size)], SegmentRules(**rules), max_count, capacity)
    print(json.dumps(found), flush=True)
"""


class Child:
    """A process with little memory that processes frames."""

    def __init__(self) -> None:
        command = [sys.executable, '-c', CHILD]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __call__(self, size: tuple[int, int], rules: dict[str, Any], max_count: int, capacity: int) -> Any:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps([size, rules, max_count, capacity]) + '\n')
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, f'the process has died of {rules} at {size}'
        return json.loads(answer)

    def close(self) -> None:
        self._process.communicate()


@pytest.fixture(scope='module')
def child() -> Any:
    made = Child()
    yield made
    made.close()


def legal(name: str) -> list[Any]:
    """Every choice of a parameter, or the ends of its range."""
    parameter = BY_NAME[f'segments.{name}']
    if parameter.choices:
        return [choice for choice in parameter.choices if choice != 'auto']
    low = 0.0 if name == 'merge_limit' else parameter.minimum  # -1 stands for the model's own
    return [low, parameter.maximum]


@pytest.mark.skipif(sys.platform != 'linux', reason='limits memory as Linux does')
@pytest.mark.parametrize('values', list(itertools.product(*map(legal, NAMES))), ids=str)
def test_all_ends_of_ranges(child: Child, values: tuple[Any, ...]) -> None:
    rules = dict(zip(NAMES, values, strict=True))
    n, _ = child((480, 640), rules, 65535, 10_000_000)
    assert 1 <= n <= 640 * 480


@pytest.mark.skipif(sys.platform != 'linux', reason='limits memory as Linux does')
@pytest.mark.parametrize('superpixels', ['slic', 'blocks'])
def test_the_most_segments_of_a_large_image(child: Child, superpixels: str) -> None:
    rules = {'superpixels': superpixels, 'region_size': 2, 'merge': 'components', 'merge_limit': 0.0}
    n, _ = child((720, 1280), rules, 65535, 10_000_000)
    assert n > 3000, 'the test has lost its point'


@pytest.mark.skipif(sys.platform != 'linux', reason='limits memory as Linux does')
@settings(
    deadline=None, max_examples=8, derandomize=True, suppress_health_check=list(HealthCheck), database=None
)
@given(
    size=st.sampled_from([(480, 640), (720, 1280)]),
    superpixels=st.sampled_from(legal('superpixels')),
    region_size=st.integers(2, 256),
    merge=st.sampled_from(legal('merge')),
    merge_limit=st.floats(0, 1),
    max_count=st.integers(1, 65535),
    capacity=st.integers(1, 10_000_000),
)
def test_any_combination(
    child: Child, size: tuple[int, int], max_count: int, capacity: int, **rules: Any
) -> None:
    n, _ = child(size, rules, max_count, capacity)
    assert n >= 1


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(2, 256))
def test_region_size_is_the_one_asked_for_unless_there_would_be_too_many(
    height: int, width: int, region_size: int
) -> None:
    used = SegmentRules(region_size=region_size).bounded(height, width).region_size
    n_before = max(round(height / region_size), 1) * max(round(width / region_size), 1)
    assert max(round(height / used), 1) * max(round(width / used), 1) <= MAX_SUPERPIXELS
    assert used >= region_size
    assert n_before > MAX_SUPERPIXELS or used == region_size
