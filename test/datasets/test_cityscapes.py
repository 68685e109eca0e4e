from pathlib import Path

import cv2
import numpy as np
import pytest

from seg_ros.datasets.cityscapes import Cityscapes
from seg_ros.errors import DatasetError

# Of the data set's own table: id -> train id, 255 where it is not judged.
TRAIN_IDS = [255] * 7 + [0, 1, 255, 255, 2, 3, 4, 255, 255, 255, 5, 255, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]
TRAIN_IDS += [255, 255, 16, 17, 18]


def ids(k: int) -> np.ndarray:
    return np.random.default_rng(k).integers(0, 34, (16, 32), np.uint8)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two cities, one image each; fine and coarse labels."""
    for k, (city, number) in enumerate([('aachen', '000000_000019'), ('zurich', '000121_000019')]):
        for annotation in ('gtFine', 'gtCoarse'):
            folder = tmp_path / annotation / 'train' / city
            folder.mkdir(parents=True)
            shift = 10 if annotation == 'gtCoarse' else 0
            cv2.imwrite(str(folder / f'{city}_{number}_{annotation}_labelIds.png'), ids(k + shift))
        folder = tmp_path / 'leftImg8bit' / 'train' / city
        folder.mkdir(parents=True)
        cv2.imwrite(str(folder / f'{city}_{number}_leftImg8bit.png'), np.full((16, 32, 3), k, np.uint8))
    return tmp_path


@pytest.mark.parametrize(('annotation', 'shift'), [('gtFine', 0), ('gtCoarse', 10)])
def test_ids_become_train_ids(root: Path, annotation: str, shift: int) -> None:
    dataset = Cityscapes(root, 'train', annotation=annotation)
    assert dataset.names == ['aachen_000000_000019', 'zurich_000121_000019']
    assert len(dataset.classes) == 19
    for k in range(len(dataset)):
        image, labels = dataset[k]
        assert image.shape == (16, 32, 3)
        np.testing.assert_array_equal(labels, np.array(TRAIN_IDS)[ids(k + shift)])


def test_what_is_missing_is_told(root: Path) -> None:
    with pytest.raises(DatasetError, match='expected a split of Cityscapes'):
        Cityscapes(root, 'val')
    next((root / 'gtFine' / 'train' / 'zurich').iterdir()).unlink()
    with pytest.raises(DatasetError, match=r'has no label image; expected .*_gtFine_labelIds\.png'):
        [*Cityscapes(root, 'train')]
