from pathlib import Path

import cv2
import numpy as np
import pytest

from seg_ros.datasets.voc import PascalVOC
from seg_ros.errors import DatasetError

NAMES = ['2007_000032', '2007_000039', '2011_003271']


def labels(k: int) -> np.ndarray:
    """All 21 classes, and void."""
    ids = np.random.default_rng(k).integers(0, 22, (20, 30), np.uint8)
    return np.where(ids == 21, 255, ids).astype(np.uint8)


def palette() -> list[int]:
    """The devkit's colour map, from the bits of the index."""
    table = []
    for index in range(256):
        colour = [0, 0, 0]
        for bit in range(8):
            for channel in range(3):
                colour[channel] |= (index >> channel & 1) << (7 - bit)
            index >>= 3
        table += colour
    return table


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """VOCdevkit with palette PNGs, as published."""
    image_module = pytest.importorskip('PIL.Image', reason='Pillow writes images with a palette')
    folder = tmp_path / 'VOCdevkit' / 'VOC2012'
    for name in ('JPEGImages', 'SegmentationClass', 'ImageSets/Segmentation'):
        (folder / name).mkdir(parents=True)
    for k, name in enumerate(NAMES):
        picture = np.full((20, 30, 3), 10 * k, np.uint8)
        cv2.imwrite(str(folder / 'JPEGImages' / f'{name}.jpg'), picture)
        image = image_module.fromarray(labels(k), 'P')
        image.putpalette(palette())
        image.save(folder / 'SegmentationClass' / f'{name}.png')
    cv2.imwrite(str(folder / 'JPEGImages' / '2012_000001.jpg'), picture)  # most images have no labels
    (folder / 'ImageSets' / 'Segmentation' / 'train.txt').write_text('\n'.join(NAMES[:2]) + '\n')
    (folder / 'ImageSets' / 'Segmentation' / 'val.txt').write_text(NAMES[2] + '\n')
    return tmp_path


@pytest.mark.filterwarnings('ignore::DeprecationWarning')
@pytest.mark.parametrize('below', ['.', 'VOCdevkit', 'VOCdevkit/VOC2012'])
def test_palette_images_give_class_ids(root: Path, below: str) -> None:
    dataset = PascalVOC(root / below, 'train')
    assert dataset.names == NAMES[:2]
    assert len(dataset) == 2
    assert len(dataset.classes) == 21
    for k in range(2):
        image, got = dataset[k]
        assert image.shape == (20, 30, 3)
        np.testing.assert_array_equal(got, labels(k))


@pytest.mark.filterwarnings('ignore::DeprecationWarning')
def test_images_of_plain_ids_do_as_well(root: Path) -> None:
    folder = root / 'VOCdevkit' / 'VOC2012' / 'SegmentationClassAug'
    folder.mkdir()
    cv2.imwrite(str(folder / f'{NAMES[2]}.png'), labels(5))
    np.testing.assert_array_equal(PascalVOC(root, 'val', labels=folder.name)[0][1], labels(5))


@pytest.mark.filterwarnings('ignore::DeprecationWarning')
def test_what_is_wrong_is_told(root: Path) -> None:
    folder = root / 'VOCdevkit' / 'VOC2012'
    with pytest.raises(DatasetError, match=r'test\.txt is missing; splits there: train, val'):
        PascalVOC(root, 'test')
    with pytest.raises(DatasetError, match='expected PASCAL VOC 2012'):
        PascalVOC(folder / 'JPEGImages', 'train')
    (folder / 'ImageSets' / 'Segmentation' / 'own.txt').write_text('2012_000001\n')
    with pytest.raises(DatasetError, match='no label image of that name'):
        PascalVOC(root, 'own')
    wrong = np.full((20, 30, 3), 77, np.uint8)
    cv2.imwrite(str(folder / 'SegmentationClass' / f'{NAMES[0]}.png'), wrong)
    with pytest.raises(DatasetError, match=r'holds colours \[\(77, 77, 77\)\]'):
        PascalVOC(root, 'train')[0]
