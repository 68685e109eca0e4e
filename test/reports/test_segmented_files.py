from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from seg_ros.classes import ClassSet
from seg_ros.errors import DatasetError, ImageError
from seg_ros.inference.prediction import Prediction
from seg_ros.reports.segmented_files import FileSegmenter, find_files
from seg_ros.resources import resource


def found(folder: Path, output: Path) -> list[tuple[str, str]]:
    """Files below a folder and their targets below the output, as text."""
    return [
        (str(file.relative_to(folder)), str(target.relative_to(output)))
        for file, target in find_files([folder], output)
    ]


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('')


def test_folders_and_linked_folders_are_searched_once(tmp_path: Path) -> None:
    images, elsewhere = tmp_path / 'images', tmp_path / 'elsewhere'
    touch(images / 'b.png', images / 'z/y/c.JPG', images / 'notes.txt', images / 'out/old.png')
    touch(images / '.hidden/d.png', images / '._b.png', elsewhere / 'sub/e.mp4', images / 'dir.png/f.webp')
    (images / 'link').symlink_to(elsewhere)
    (images / 'again').symlink_to(images / 'z')
    (elsewhere / 'loop').symlink_to(images)
    (images / 'self').symlink_to('self')
    (images / 'linked.png').symlink_to(images / 'b.png')
    files = ['b.png', 'dir.png/f.webp', 'link/sub/e.mp4', 'linked.png', 'z/y/c.JPG']
    targets = ['b', 'dir.png/f', 'link/sub/e', 'linked', 'z/y/c']
    assert found(images, images / 'out') == list(zip(files, targets, strict=True))


def test_a_folder_whose_name_is_that_of_an_image_is_none(tmp_path: Path) -> None:
    (tmp_path / 'images/dir.png').mkdir(parents=True)
    with pytest.raises(DatasetError, match='no image and no video'):
        list(find_files([tmp_path / 'images'], tmp_path / 'out'))


class OneClass:
    """Segmenter for tests: every pixel has class 0."""

    classes = ClassSet.from_yaml(resource('config/labels/squares.yaml'))

    def __call__(self, image: Any, *, confidence: bool) -> Prediction:
        return Prediction(np.zeros(image.shape[:2], np.uint8))


def test_the_frames_of_a_cut_video_are_segmented_before_it_is_refused(tmp_path: Path) -> None:
    video = cv2.VideoWriter(str(tmp_path / 'a.avi'), cv2.VideoWriter.fourcc(*'MJPG'), 25, (64, 48))
    for frame in np.random.default_rng(0).integers(0, 256, (20, 48, 64, 3), np.uint8):
        video.write(frame)
    video.release()
    content = (tmp_path / 'a.avi').read_bytes()
    (tmp_path / 'a.avi').write_bytes(content[: len(content) // 2])
    segmenter = FileSegmenter(OneClass(), ['labels'], 0.5)  # type: ignore[arg-type]
    with pytest.raises(ImageError, match=r'a\.avi: \d+ of 20 frames cannot be read') as caught:
        segmenter.segment(tmp_path / 'a.avi', tmp_path / 'out/a')
    n_missing = int(str(caught.value).partition(': ')[2].split()[0])
    assert len(list((tmp_path / 'out/a_labels').iterdir())) == 20 - n_missing
