"""Segments, their codes and the search for them, through DDS."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sensor_msgs.msg import Image

from seg_ros.drawing.overlay import draw_segments
from seg_ros.inference import loops_ahead
from seg_ros.inference.segmenter import Segmenter
from seg_ros.inference.settings import Settings
from seg_ros.msg import SegmentCodeArray
from seg_ros.ros.messages import segment_array, segment_ids
from seg_ros.srv import FindSimilar
from seg_ros.synthetic import RenderedDrive

DRIVE = RenderedDrive(7, 4, 90, 120)
IMAGES = [DRIVE[index][0] for index in range(4)]
SEGMENTS, IDS, PICTURE = '/seg_ros/segments', '/seg_ros/segment_ids', '/seg_ros/segments_overlay'
FIND = '/seg_ros/find_similar'
SECOND = 1_000_000_000


@pytest.fixture(scope='module')
def segmenter(coded_model_file: Path) -> Segmenter:
    return Segmenter.load(Settings(model=str(coded_model_file), backend='torch', device='cpu'))


def test_segments_are_those_of_the_pipeline(robot: Any, segmenter: Segmenter) -> None:
    robot.start_active(model=str(segmenter.model.path))
    arrays = robot.listen(SegmentCodeArray, SEGMENTS)
    ids, pictures = robot.listen(Image, IDS), robot.listen(Image, PICTURE)
    camera = robot.camera()
    message = robot.message(IMAGES[0], 3 * SECOND)
    camera.publish(message)
    robot.wait(lambda: arrays and ids and pictures)
    found = segmenter(IMAGES[0], segments=True, confidence=True)
    assert found.segments is not None
    segments, told = found.segments, arrays[0]
    assert told.header == ids[0].header == pictures[0].header == message.header
    assert (told.n_bits, told.codebook, told.n_omitted) == (32, segmenter.codebook, 0)
    assert len(told.segments) == segments.n > 3
    pixels = np.frombuffer(ids[0].data, np.uint16).reshape(90, 120)
    assert (ids[0].encoding, ids[0].step) == ('16UC1', 240)
    np.testing.assert_array_equal(pixels, segments.regions.ids + 1)
    areas = [s.area for s in told.segments]
    assert areas == sorted(areas, reverse=True)
    assert sum(areas) == 90 * 120
    for s in told.segments:
        mask = pixels == s.id
        y, x = np.nonzero(mask)
        assert s.area == mask.sum()
        box = s.box
        assert (box.x_offset, box.y_offset) == (x.min(), y.min())
        assert (box.width, box.height) == (np.ptp(x) + 1, np.ptp(y) + 1)
        np.testing.assert_allclose(s.centroid, [x.mean(), y.mean()], atol=1e-3)
        np.testing.assert_allclose(s.confidence, found.confidence[mask].mean() / 255, atol=0.01)
        bits = [s.code[k // 8] >> (k % 8) & 1 for k in range(32)]
        assert bits == (segments.means[s.id - 1] > 0).astype(int).tolist()
        assert s.track_id > 0
    drawn = np.frombuffer(pictures[0].data, np.uint8).reshape(90, 120, 3)
    np.testing.assert_array_equal(drawn, draw_segments(IMAGES[0], segments, opacity=0.5))


def test_the_same_thing_keeps_its_number_and_is_found_again(robot: Any, coded_model_file: Path) -> None:
    robot.start_active(model=str(coded_model_file))
    arrays, camera = robot.listen(SegmentCodeArray, SEGMENTS), robot.camera()
    for index in range(3):
        camera.publish(robot.message(IMAGES[0], (index + 1) * SECOND))
        robot.wait(lambda index=index: len(arrays) > index)
    numbers = [[s.track_id for s in told.segments] for told in arrays]
    assert numbers[0] == numbers[1] == numbers[2]
    request = FindSimilar.Request(segment_id=1, radius=0, max_count=50)
    answer = robot.call(FindSimilar, FIND, request)
    assert answer.success
    assert answer.codebook == arrays[0].codebook
    assert {s.distance for s in answer.sightings} == {0}
    own = [s for s in answer.sightings if s.track_id == numbers[0][0]]  # others may have the same code
    assert [(s.stamp.sec, s.id) for s in own] == [(3, 1), (2, 1), (1, 1)]
    by_code = FindSimilar.Request(
        code=arrays[0].segments[0].code, codebook=arrays[0].codebook, radius=0, max_count=50
    )
    assert robot.call(FindSimilar, FIND, by_code).sightings == answer.sightings


@pytest.mark.parametrize(
    ('request_', 'message'),
    [
        (FindSimilar.Request(segment_id=10_000, radius=1, max_count=1), 'id 10000'),
        (FindSimilar.Request(segment_id=1, radius=1, max_count=0), 'count 0'),
        (FindSimilar.Request(code=[1, 2, 3, 4], codebook='other', radius=1, max_count=1), 'codebook other'),
    ],
)
def test_a_search_that_means_nothing_is_refused(
    robot: Any, coded_model_file: Path, request_: Any, message: str
) -> None:
    robot.start_active(model=str(coded_model_file))
    arrays, camera = robot.listen(SegmentCodeArray, SEGMENTS), robot.camera()
    camera.publish(robot.message(IMAGES[0], SECOND))
    robot.wait(lambda: arrays)
    answer = robot.call(FindSimilar, FIND, request_)
    assert not answer.success
    assert message in answer.message


def test_hard_images_do_not_kill_the_node(robot: Any, coded_model_file: Path) -> None:
    """One colour, smaller than a superpixel, and thousands of segments, of which the largest are told."""
    robot.start_active(model=str(coded_model_file), **{'segments.max_count': 20, 'segments.merge_limit': 0.0})
    robot.set('segments.region_size', 2)
    arrays, camera = robot.listen(SegmentCodeArray, SEGMENTS), robot.camera()
    noise = np.random.default_rng(0).integers(0, 255, (240, 320, 3)).astype(np.uint8)
    images = [np.full((90, 120, 3), 77, np.uint8), np.zeros((3, 2, 3), np.uint8), noise]
    for index, image in enumerate(images):
        camera.publish(robot.message(image, (index + 1) * SECOND))
        robot.wait(lambda index=index: len(arrays) > index)
    assert sum(s.area for s in arrays[1].segments) + 0 <= 6
    crowded = arrays[2]
    assert len(crowded.segments) == 20
    assert crowded.n_omitted > 500
    assert min(s.area for s in crowded.segments) >= 1


def test_labels_can_be_refined(robot: Any, segmenter: Segmenter) -> None:
    robot.start_active(model=str(segmenter.model.path), **{'segments.refinement': 5.0})
    labels, camera = robot.listen(Image, '/seg_ros/labels'), robot.camera()
    camera.publish(robot.message(IMAGES[2], SECOND))
    robot.wait(lambda: labels)
    got = np.frombuffer(labels[0].data, np.uint8).reshape(90, 120)
    plain = segmenter(IMAGES[2]).labels
    refined = segmenter(IMAGES[2], refinement=5.0).labels
    assert (got == refined).mean() > 0.999
    assert (got != plain).any()


def test_a_model_without_codes_gives_labels_and_no_segments(robot: Any) -> None:
    robot.start_active()
    labels, arrays = robot.listen(Image, '/seg_ros/labels'), robot.listen(SegmentCodeArray, SEGMENTS)
    camera = robot.camera()
    camera.publish(robot.message(IMAGES[0]))
    robot.wait(lambda: labels)
    robot.spin_for(0.2)
    assert not arrays


def test_refining_needs_codes(robot: Any) -> None:
    robot.start(**{'segments.refinement': 0.5})
    assert not robot.change_state('configure')
    assert robot.state() == 'unconfigured'


def test_ids_that_do_not_fit_are_no_segment(segmenter: Segmenter) -> None:
    from seg_ros.segments.regions import Regions
    from seg_ros.segments.segments import Segments

    n = 70_000
    ids = np.arange(n, dtype=np.int32).reshape(250, 280)
    many = Segments(
        Regions(ids, n), np.zeros((n, 4), np.uint8), np.zeros((n, 32), np.float32), np.zeros(n, np.uint8)
    )
    pixels = segment_ids(many)
    assert (pixels.ravel()[:65535] == np.arange(1, 65536)).all()
    assert not pixels.ravel()[65535:].any()
    told = segment_array(
        many,
        confidence=np.zeros(ids.shape, np.uint8),
        track_ids=np.zeros(n, np.uint64),
        codebook='x',
        max_count=10,
        header=Image().header,
    )
    assert (len(told.segments), told.n_omitted) == (10, n - 10)


def test_labels_do_not_wait_for_segments(
    robot: Any, coded_model_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    robot.start_active(model=str(coded_model_file))
    labels, pictures = robot.listen(Image, '/seg_ros/labels'), robot.listen(Image, '/seg_ros/overlay')
    arrays, camera = robot.listen(SegmentCodeArray, SEGMENTS), robot.camera()
    complete, may_go_on = Segmenter.complete, threading.Event()

    def held(self: Segmenter, labelled: Any) -> Any:
        assert may_go_on.wait(60)
        return complete(self, labelled)

    monkeypatch.setattr(Segmenter, 'complete', held)
    camera.publish(robot.message(IMAGES[0], SECOND))
    robot.wait(lambda: labels and pictures)
    assert not arrays
    may_go_on.set()
    robot.wait(lambda: arrays)
    assert arrays[0].header == labels[0].header == pictures[0].header


def test_segments_wait_for_their_loops(
    robot: Any, coded_model_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loops_ahead, '_awaited', {'segments'})
    robot.start_active(model=str(coded_model_file))
    labels, arrays = robot.listen(Image, '/seg_ros/labels'), robot.listen(SegmentCodeArray, SEGMENTS)
    camera = robot.camera()
    camera.publish(robot.message(IMAGES[0], SECOND))
    robot.wait(lambda: labels and robot.says('segments wait'))
    loops_ahead._awaited.clear()
    camera.publish(robot.message(IMAGES[1], 2 * SECOND))
    robot.wait(lambda: arrays and not robot.says('segments wait'))
    assert [array.header.stamp.sec for array in arrays] == [2]
