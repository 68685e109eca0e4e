"""Whole evaluations of small bags, compared with measures made by hand."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from seg_ros.bag_evaluation.judge import judge
from seg_ros.bag_evaluation.measures import PartMeasures
from seg_ros.bag_evaluation.parts import PartResult
from seg_ros.bag_evaluation.results import json_schema, read_results, write_results
from seg_ros.bag_evaluation.run import HERE, PartTask, Request, evaluate, part_path, run_here
from seg_ros.bag_evaluation.systems import System
from seg_ros.errors import BagError, SegRosError
from seg_ros.inference.segmenter import Segmenter
from seg_ros.metrics.labels import confusion_matrix, mean_iou
from seg_ros.synthetic import RenderedDrive

DRIVE = RenderedDrive(4, 24, 90, 120)
MakeRequest = Callable[..., Request]
Compare = Callable[[PartMeasures, PartMeasures], None]


def test_counts_are_those_of_the_frames(
    street_bag: Path,
    systems: tuple[System, ...],
    request_of: MakeRequest,
    assert_equal: Compare,
    tmp_path: Path,
) -> None:
    outcome = evaluate(request_of(street_bag, systems, tmp_path))
    measures = outcome.bags[0].measures[systems[0].key]
    segmenter = Segmenter.load(systems[0].settings)
    k = len(segmenter.classes)
    expected = np.zeros((k, k + 1), np.int64)
    for index in range(0, 24, 2):
        image, truth = DRIVE[index]
        expected += confusion_matrix(truth, segmenter(image).labels, k)
    np.testing.assert_array_equal(measures.runs['confusion'].sum(axis=0), expected)
    assert measures.frames['index'].tolist() == [index for index in range(24) if index != 7]
    assert measures.runs['n_labelled'].sum() == 12
    assert len(measures.runs['n_frames']) == 6
    assert 'frame 7' in outcome.bags[0].losses[0].reason
    last = Segmenter.load(systems[0].settings)(DRIVE[23][0]).labels
    before = Segmenter.load(systems[0].settings)(DRIVE[22][0]).labels
    assert measures.frames['flicker'][-1] == pytest.approx((last != before).mean())
    # neither the first frame, nor the one that cannot be read, nor the one after it has a frame before it
    assert np.flatnonzero(np.isnan(measures.frames['flicker'])).tolist() == [0, 7]
    # the float model is its own reference; bfloat16 differs at the borders
    assert (measures.frames['agreement'] == 1).all()
    assert 0.9 < outcome.bags[0].measures[systems[1].key].frames['agreement'].mean() < 1


def test_resuming_gives_the_same_digits(
    street_bag: Path,
    systems: tuple[System, ...],
    request_of: MakeRequest,
    assert_equal: Compare,
    tmp_path: Path,
) -> None:
    whole = evaluate(request_of(street_bag, systems, tmp_path / 'whole'))
    request = request_of(street_bag, systems, tmp_path / 'parts')

    def interrupted(
        tasks: Sequence[PartTask], report: Callable[[int], object]
    ) -> Iterator[tuple[PartTask, PartResult | SegRosError]]:
        for number, item in enumerate(run_here(tasks, report)):
            if number == 1:
                raise KeyboardInterrupt
            yield item

    with pytest.raises(KeyboardInterrupt):
        evaluate(request, dataclasses.replace(HERE, run=interrupted))
    n_left = []

    def watched(
        tasks: Sequence[PartTask], report: Callable[[int], object]
    ) -> Iterator[tuple[PartTask, PartResult | SegRosError]]:
        n_left.append(sum(task.n_frames for task in tasks))
        # a damaged file is computed anew
        yield from run_here(tasks, report)

    damaged = part_path(request.folder, whole.bags[0].job, systems[0].key, 0)
    assert damaged.exists()
    resumed = evaluate(request, dataclasses.replace(HERE, run=watched))
    assert n_left == [16]
    damaged.write_bytes(damaged.read_bytes()[:-100])
    again = evaluate(request, dataclasses.replace(HERE, run=watched))
    assert n_left == [16, 8]
    for outcome in (resumed, again):
        for system in systems:
            assert_equal(outcome.bags[0].measures[system.key], whole.bags[0].measures[system.key])
        assert outcome.bags[0].losses == whole.bags[0].losses


def test_results_are_written_and_read(
    street_bag: Path,
    systems: tuple[System, ...],
    request_of: MakeRequest,
    assert_equal: Compare,
    tmp_path: Path,
) -> None:
    jsonschema = pytest.importorskip('jsonschema')
    request = request_of(street_bag, systems, tmp_path)
    results = judge(request, evaluate(request), ['seg_ros', 'evaluate-bag'])
    write_results(tmp_path / 'results.json', results)
    assert read_results(tmp_path / 'results.json') == results
    jsonschema.Draft202012Validator(json_schema()).validate(results.as_json())
    first = results.systems[0]
    assert first.accuracy is not None
    confusion = np.array(first.accuracy.confusion_matrix)
    assert first.accuracy.mean_iou.value == pytest.approx(mean_iou(confusion))
    assert first.accuracy.mean_iou.low is not None
    assert first.accuracy.mean_iou.low <= mean_iou(confusion) <= (first.accuracy.mean_iou.high or 0)
    assert len(first.series.time_s) == 23
    assert results.bags[0].n_labelled == 12
    assert results.bags[0].frame_rate_hz == pytest.approx(10)
    assert {c.metric for c in results.comparisons} >= {'mean_iou', 'flicker_compensated'}
    assert first.name in results.verdict


def test_a_bag_that_cannot_be_read_stops_no_other(
    street_bag: Path,
    systems: tuple[System, ...],
    request_of: MakeRequest,
    assert_equal: Compare,
    tmp_path: Path,
) -> None:
    bad = tmp_path / 'bad.mcap'
    bad.write_bytes(b'nothing')
    cut = tmp_path / 'cut.mcap'
    content = street_bag.read_bytes()
    cut.write_bytes(content[: len(content) // 2])
    request = request_of(street_bag, systems[:1], tmp_path / 'parts', bags=(bad, cut, street_bag))
    outcome = evaluate(request)
    assert [failure.bag for failure in outcome.failures] == ['bad']
    assert [bag.name for bag in outcome.bags] == ['cut', 'street']
    assert 0 < outcome.bags[0].measures[systems[0].key].n_frames < 23
    assert outcome.bags[0].losses
    with pytest.raises(BagError, match='bad'):
        evaluate(dataclasses.replace(request, bags=(bad,)))
