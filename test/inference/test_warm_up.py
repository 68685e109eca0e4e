"""A segmenter that has loaded compiles nothing any more, whatever a frame asks for."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from seg_ros.inference.segmenter import Segmenter
from seg_ros.inference.settings import Settings
from seg_ros.inference.warm_up import warm_up
from seg_ros.segments.regions import region_shapes
from seg_ros.segments.registry import MERGES, SUPERPIXELS
from seg_ros.segments.tracking import Tracker

event = pytest.importorskip('numba.core.event')
IMAGE = np.random.default_rng(1).integers(0, 256, (101, 153, 3), np.uint8)


@contextmanager
def nothing_compiles() -> Iterator[None]:
    """Fails if Numba compiles a function, or loads one from disk."""
    listener = event.RecordingListener()
    with event.install_listener('numba:compile', listener):
        yield
    started = [e.data['dispatcher'].py_func.__qualname__ for _, e in listener.buffer if e.is_start]
    assert not started


def test_a_first_frame_with_segments_compiles_nothing(coded_model_file: Path) -> None:
    segmenter = Segmenter.load(Settings(model=str(coded_model_file), backend='torch', device='cpu'))
    tracker = Tracker()
    with nothing_compiles():
        for superpixels, merge, refinement in product(SUPERPIXELS, MERGES, (0.0, 1.0)):
            prediction = segmenter(
                IMAGE,
                segments=True,
                confidence=True,
                superpixels=superpixels,
                merge=merge,
                refinement=refinement,
                region_size=9,
            )
            assert prediction.segments is not None
            tracker(prediction.segments.regions, prediction.segments.codes)
            region_shapes(prediction.segments.regions)


@pytest.mark.parametrize('window', [0, 3])
def test_a_first_frame_with_the_filter_compiles_nothing(embedded_model_file: Path, window: int) -> None:
    values = {'model': str(embedded_model_file), 'backend': 'torch', 'device': 'cpu'}
    on = {'embedding_filter.enabled': True, 'embedding_filter.window': window}
    segmenter = Segmenter.load(Settings.from_values({**values, **on}))
    with nothing_compiles():
        for iterations, threshold in product((0, 1, 3), (0.0, 0.5)):
            segmenter(IMAGE, filter_iterations=iterations, confidence_threshold=threshold)
            segmenter(IMAGE, confidence=True, filter=False)


def test_it_can_be_stopped_at_each_stage() -> None:
    class StoppedError(Exception):
        pass

    def report(stage: str) -> None:
        raise StoppedError(stage)

    with pytest.raises(StoppedError, match='labels'):
        warm_up(code_pooling=None, with_filter=False, report=report)
