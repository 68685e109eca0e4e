from pathlib import Path

import cv2
import numpy as np
import pytest

from seg_ros.datasets.msrc import MSRC
from seg_ros.errors import DatasetError

IDS = np.array([[0, 1, 12], [13, 22, 23]], np.uint8)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ('images', 'classes'):
        (tmp_path / name).mkdir()
    for stem in ('1_1_s', '1_2_s'):
        cv2.imwrite(str(tmp_path / 'images' / f'{stem}.png'), np.full((2, 3, 3), (1, 2, 3), np.uint8))
        cv2.imwrite(str(tmp_path / 'classes' / f'{stem}.png'), IDS)
    (tmp_path / 'train.txt').write_text('1_2_s\n')
    return tmp_path


def test_numbers_become_classes(root: Path) -> None:
    dataset = MSRC(root, 'train')
    assert dataset.names == ['1_2_s']
    image, labels = dataset[0]
    assert image[0, 0].tolist() == [3, 2, 1]
    names = [['void' if v == 255 else dataset.classes.names[v] for v in row] for row in labels]
    assert names == [['void', 'building', 'car'], ['bicycle', 'body', 'boat']]


def test_labels_that_do_not_fit_are_told(root: Path) -> None:
    cv2.imwrite(str(root / 'classes' / '1_2_s.png'), np.full((2, 3), 24, np.uint8))
    with pytest.raises(DatasetError, match=r'1_2_s\.png holds 24; expected 0 \(void\) to 23'):
        MSRC(root, 'train')[0]
    cv2.imwrite(str(root / 'classes' / '1_2_s.png'), IDS.T)
    with pytest.raises(DatasetError, match=r'is \(2, 3\) but .* is \(3, 2\)'):
        MSRC(root, 'train')[0]
