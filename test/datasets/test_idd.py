import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from seg_ros.datasets.idd import IDDLite
from seg_ros.errors import DatasetError

DATA = os.environ.get('SEG_ROS_DATA')


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ('images', 'labels'):
        (tmp_path / name).mkdir()
    for drive in range(10):
        for frame in (1, 2):
            stem = f'{drive}_{frame}'
            cv2.imwrite(str(tmp_path / 'images' / f'{stem}.jpg'), np.full((2, 3, 3), 9, np.uint8))
            cv2.imwrite(
                str(tmp_path / 'labels' / f'{stem}.png'), np.array([[0, 1, 2], [5, 6, 255]], np.uint8)
            )
    return tmp_path


def test_a_drive_is_in_one_split(root: Path) -> None:
    splits = {split: IDDLite(root, split).names for split in ('train', 'val', 'all')}
    assert len(splits['all']) == 20
    assert sorted(splits['train'] + splits['val']) == sorted(splits['all'])
    assert {name[0] for name in splits['val']} == {'0', '5'}
    assert len(splits['val']) == 4


def test_labels_are_classes_and_void(root: Path) -> None:
    dataset = IDDLite(root, 'val')
    names = [['void' if v == 255 else dataset.classes.names[v] for v in row] for row in dataset[0][1]]
    assert names == [['drivable', 'non_drivable', 'living'], ['far_object', 'sky', 'void']]


def test_what_does_not_fit_is_told(root: Path) -> None:
    with pytest.raises(DatasetError, match=r"no split 'test'; expected train, val or all"):
        IDDLite(root, 'test')
    cv2.imwrite(str(root / 'labels' / '0_1.png'), np.full((2, 3), 7, np.uint8))
    with pytest.raises(DatasetError, match=r'0_1\.png holds 7; expected 0 to 6, or 255'):
        IDDLite(root, 'val')[0]


@pytest.mark.skipif(DATA is None, reason='needs real data: set SEG_ROS_DATA')
def test_the_real_data_are_read() -> None:
    folder = Path(DATA or '') / 'idd_lite'
    assert len(IDDLite(folder, 'all')) == 1403
    dataset = IDDLite(folder, 'val')
    image, labels = dataset[0]
    assert image.shape == (227, 320, 3)
    assert set(np.unique(labels)) <= {0, 1, 2, 3, 4, 5, 6, 255}
