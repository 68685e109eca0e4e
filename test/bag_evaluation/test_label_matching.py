"""Labels are given to the frames that they were made for, or to none."""

from pathlib import Path

import numpy as np
import pytest

from seg_ros.bag_evaluation.frames import index_frames
from seg_ros.bag_evaluation.label_matching import match_times, match_topic
from seg_ros.bag_evaluation.truth import LabelSource
from seg_ros.bags.writer import BagWriter
from seg_ros.classes import ClassSet
from seg_ros.resources import resource

START = 1_700_000_000_000_000_000
STEP = 100_000_000
CLASSES = ClassSet.from_yaml(Path(resource('config/labels/camvid11.yaml')))


def write(path: Path, stamps: list[int], labelled: list[int], delay_ns: int = 0) -> Path:
    """A bag whose image number k, and its labels, have the value k."""
    with BagWriter(path) as bag:
        for k, stamp in enumerate(stamps):
            received = START + k * STEP
            bag.write_image('/camera', np.full((4, 6, 3), k, np.uint8), stamp, received_ns=received)
            if k in labelled:
                values = np.full((4, 6), k, np.uint8)
                bag.write_image('/labels', values, stamp, received_ns=received + delay_ns)
    return path


def labels_in(path: Path, start: int = 0) -> dict[int, int | None]:
    """Value of each image -> value of its labels."""
    frames = index_frames(path, '/camera')
    truth = LabelSource('/labels').matched(frames).open(frames, CLASSES)
    assert truth is not None
    found = {}
    for frame in frames.frames(start):
        assert frame.image is not None
        labels = truth.labels(frame)
        found[int(frame.image[0, 0, 0])] = None if labels is None else int(labels[0, 0])
    return found


@pytest.mark.parametrize('stamp', [0, -5_000_000_000, 7_000_000_000])
def test_without_usable_stamps_the_time_of_recording_counts(tmp_path: Path, stamp: int) -> None:
    """Stamps that are zero, negative, or all the same."""
    path = write(tmp_path / 'bag.mcap', [stamp] * 6, [0, 2, 4])
    assert labels_in(path) == {k: k if k in (0, 2, 4) else None for k in range(6)}
    assert labels_in(path, 3) == {k: k if k == 4 else None for k in range(3, 6)}


def test_labels_that_belong_to_no_frame_are_told(tmp_path: Path) -> None:
    path = write(tmp_path / 'bag.mcap', [0] * 6, [0, 2, 4], delay_ns=1000)
    assert set(labels_in(path).values()) == {None}
    problem = match_topic(path, '/labels', index_frames(path, '/camera')).problem
    assert problem is not None
    assert problem.n_messages == 3
    assert 'stamps are zero or repeated' in problem.reason


def test_stamps_count_before_the_time_of_recording(tmp_path: Path) -> None:
    """Each label was recorded with the frame after its own."""
    stamps = [START + k * STEP for k in range(6)]
    path = write(tmp_path / 'bag.mcap', stamps, [1, 2, 5], delay_ns=STEP)
    assert labels_in(path) == {k: k if k in (1, 2, 5) else None for k in range(6)}
    assert match_topic(path, '/labels', index_frames(path, '/camera')).problem is None


def test_a_bag_recorded_from_a_loop_has_each_stamp_twice() -> None:
    stamps, times = [5, 6, 7, 5, 6, 7], [50, 60, 70, 150, 160, 170]
    assert match_times(stamps, times, [5, 7, 5, 7], [55, 75, 155, 175]) == {0: 0, 3: 2, 2: 1, 5: 3}
    # the label of one turn is missing: nobody knows of which, unless times tell
    assert match_times(stamps, times, [5, 7, 7], [155, 75, 175]) == {2: 1, 5: 2}
    assert match_times(stamps, times, [5, 7, 7], [150, 75, 175]) == {3: 0, 2: 1, 5: 2}


def test_only_one_topic_has_stamps() -> None:
    assert match_times([0, 0, 0], [1, 2, 3], [91, 92], [1, 3]) == {0: 0, 2: 1}
    assert match_times([91, 92, 93], [1, 2, 3], [0, 0], [1, 3]) == {0: 0, 2: 1}
    assert match_times([91, 92], [1, 2], [95, 92], [1, 1]) == {1: 1}
    assert match_times([0, 0], [1, 2], [0, 0], [2, 2]) == {}


def test_labels_in_any_order_are_found(tmp_path: Path) -> None:
    """All labels come after all frames, in reverse, so that more wait than are kept."""
    path, n_frames = tmp_path / 'bag.mcap', 200
    order = [*range(1, n_frames, 2), *range(n_frames - 2, -1, -2)]
    with BagWriter(path) as bag:
        for k in range(n_frames):
            bag.write_image('/camera', np.full((4, 6, 3), k, np.uint8), START + k * STEP)
        for number, k in enumerate(order):
            values = np.full((4, 6), k % 11, np.uint8)
            received = START + (n_frames + number) * STEP
            bag.write_image('/labels', values, START + k * STEP, received_ns=received)
    assert labels_in(path) == {k: k % 11 for k in range(n_frames)}


def test_grey_frames_of_a_topic_in_colours(tmp_path: Path) -> None:
    """A black frame is void beside colours, and class 0 beside ids with equal channels."""
    ids = np.arange(24, dtype=np.uint8).reshape(4, 6) % 11
    frames_of = {
        'colours': (CLASSES.palette[ids], [255, 0, 0]),
        'ids': (np.repeat(ids[..., None], 3, axis=2), [0, 0, 0]),
    }
    black = np.zeros((4, 6, 3), np.uint8)
    for name, (clear, expected) in frames_of.items():
        path = tmp_path / f'{name}.mcap'
        with BagWriter(path) as bag:
            for k, labels in enumerate((black, clear, clear)):
                bag.write_image('/camera', np.full((4, 6, 3), k, np.uint8), START + k * STEP)
                bag.write_image('/labels', labels, START + k * STEP)
        assert list(labels_in(path).values()) == expected
