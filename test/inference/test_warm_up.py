"""A segmenter that has loaded compiles nothing any more, whatever a frame asks for."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seg_ros.inference.segmenter import Segmenter
from seg_ros.inference.settings import Settings
from seg_ros.inference.warm_up import warm_up, warm_up_segments
from seg_ros.segments.code_pooling import CodePooling
from seg_ros.segments.regions import region_shapes
from seg_ros.segments.registry import MERGES, SUPERPIXELS
from seg_ros.segments.tracking import Tracker

pytest.importorskip('numba')
IMAGE = np.random.default_rng(1).integers(0, 256, (101, 153, 3), np.uint8)


def compiled() -> dict[str, list[Any]]:
    """Compiled functions of all modules, with the types of arguments that they have been compiled for."""
    return {
        f'{name}.{key}': list(value.signatures)
        for name, module in list(sys.modules.items())
        if name.startswith('seg_ros.')
        for key, value in vars(module).items()
        if hasattr(value, 'signatures') and hasattr(value, 'py_func')
    }


@contextmanager
def nothing_compiles() -> Iterator[None]:
    """Fails if Numba compiles a function, or loads one from disk."""
    before = compiled()
    assert before
    yield
    assert compiled() == before


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


def test_without_warming_up_a_frame_compiles(coded_model_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check above finds a function that was not called before."""
    from seg_ros.segments import kernels

    monkeypatch.setattr(kernels, 'sum_shapes', numba_copy(kernels.sum_shapes))
    segmenter = Segmenter.load(Settings(model=str(coded_model_file), backend='torch', device='cpu'))
    monkeypatch.setattr(kernels, 'sum_shapes', numba_copy(kernels.sum_shapes))
    with pytest.raises(AssertionError), nothing_compiles():
        region_shapes(segmenter(IMAGE, segments=True).segments.regions)


def numba_copy(function: Any) -> Any:
    """The same function, not compiled yet."""
    import numba

    return numba.njit(function.py_func)


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
        warm_up(with_filter=False, report=report)
    with pytest.raises(StoppedError, match='segments'):
        warm_up_segments(CodePooling(8, None), report)
