"""The verdict and the table say what matters."""

from collections.abc import Callable
from pathlib import Path

import cv2
import pytest
from msgspec.structs import replace

from seg_ros.bag_evaluation.annotation_messages import jpeg_cdr
from seg_ros.bag_evaluation.judge import judge, verdict
from seg_ros.bag_evaluation.results import NoveltyEntry, Results
from seg_ros.bag_evaluation.run import Request, evaluate
from seg_ros.bag_evaluation.systems import System
from seg_ros.bag_evaluation.tables import as_text
from seg_ros.bags.messages import COMPRESSED_IMAGE
from seg_ros.bags.writer import BagWriter
from seg_ros.synthetic import RenderedDrive

DRIVE = RenderedDrive(4, 10, 90, 120)
SECOND = 1_000_000_000
TOPIC, TRUTH = '/camera/image_raw', '/camera/labels'


@pytest.fixture
def judged(systems: tuple[System, ...], request_of: Callable[..., Request], tmp_path: Path) -> Results:
    """Ten frames; the labels of five are JPEG files, those of a sixth belong to no frame."""
    path = tmp_path / 'drive.mcap'
    with BagWriter(path) as bag:
        for index in range(len(DRIVE)):
            image, labels = DRIVE[index]
            stamp = SECOND + index * SECOND // 10
            bag.write_image(TOPIC, image, stamp)
            if index % 2 == 0:
                data = cv2.imencode('.jpg', labels)[1].tobytes()
                bag.write(TRUTH, COMPRESSED_IMAGE, jpeg_cdr(data, stamp, ''), stamp)
        bag.write(TRUTH, COMPRESSED_IMAGE, jpeg_cdr(data, 99 * SECOND, ''), stamp)
    request = request_of(path, systems[:1], tmp_path / 'parts', reference=None)
    return judge(request, evaluate(request), [])


def test_labels_that_cannot_be_used_are_counted(judged: Results) -> None:
    (bag,) = judged.bags
    assert (bag.n_labelled, bag.n_labels_lost) == (0, 6)
    assert 'accuracy unknown, since none of the 6 label images can be used' in judged.verdict
    assert 'drive: 6 labels cannot be used: labels of frame 0' in as_text(judged)
    reasons = [loss.reason for loss in bag.losses]
    assert sum('lossy JPEG' in reason for reason in reasons) == 5
    assert sum('belong to no frame' in reason for reason in reasons) == 1
    none = replace(bag, n_labels_lost=0)
    assert 'since no frame has labels' in verdict(judged.systems, [], [none])
    assert 'since no labels were given' in verdict(judged.systems, [], [replace(none, labels=None)])


@pytest.mark.parametrize(('share', 'words'), [(1.0, '100 %'), (0.3, '30 %'), (0.02, ''), (None, '')])
def test_many_frames_unlike_the_training_images_are_named(
    judged: Results, share: float | None, words: str
) -> None:
    novelty = NoveltyEntry(mean=0.5, threshold=0.4, out_of_distribution=share)
    text = verdict([replace(judged.systems[0], novelty=novelty)], [], judged.bags)
    assert ('unlike the training images' in text) == bool(words)
    assert not words or f'{words} of the frames are unlike the training images' in text


def test_flicker_has_the_name_of_its_figure(judged: Results) -> None:
    """The figure on the screen is ``flicker_compensated``, not ``flicker``."""
    found = judged.systems[0].stability.flicker_compensated
    assert found is not None
    assert found.value is not None
    assert f'compensated flicker {100 * found.value:.1f} %' in judged.verdict
    lines = as_text(judged).splitlines()
    at = next(k for k, line in enumerate(lines) if line.startswith('system'))
    title, row = lines[at : at + 2]
    assert 'compensated flicker %' in title
    assert f'{100 * found.value:.2f}' in row
