from pathlib import Path

import cv2
import numpy as np
import pytest

from seg_ros.datasets.camvid import CamVid
from seg_ros.errors import DatasetError, ImageError

STEMS = ['0001TP_000010', '0001TP_000020', '0006R0_f00930', '0016E5_00901']


def picture(k: int) -> np.ndarray:
    return np.random.default_rng(k).integers(0, 256, (24, 32, 3), np.uint8)


def annotation(k: int) -> np.ndarray:
    return np.random.default_rng(100 + k).integers(0, 12, (24, 32), np.uint8)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The layout as cut for SegNet, images as lossless WebP."""
    (tmp_path / 'train').mkdir()
    (tmp_path / 'trainannot').mkdir()
    for k, stem in enumerate(STEMS):
        bgr = np.ascontiguousarray(picture(k)[..., ::-1])
        cv2.imwrite(str(tmp_path / 'train' / f'{stem}.webp'), bgr, [cv2.IMWRITE_WEBP_QUALITY, 101])
        cv2.imwrite(str(tmp_path / 'trainannot' / f'{stem}.png'), annotation(k))
    return tmp_path


def list_pairs(root: Path, stems: list[str]) -> None:
    lines = [f'/SegNet/CamVid/train/{s}.png /SegNet/CamVid/trainannot/{s}.png' for s in stems]
    (root / 'train.txt').write_text('\n'.join(lines) + '\n\n')


def test_pairs_without_a_listing(root: Path) -> None:
    dataset = CamVid(root, 'train')
    assert dataset.names == STEMS
    for k in range(len(STEMS)):
        image, labels = dataset[k]
        np.testing.assert_array_equal(image, picture(k))
        np.testing.assert_array_equal(labels, np.where(annotation(k) == 11, 255, annotation(k)))


def test_a_listing_with_foreign_paths_and_suffixes(root: Path) -> None:
    list_pairs(root, [STEMS[2], STEMS[0]])
    dataset = CamVid(root, 'train')
    assert dataset.names == [STEMS[2], STEMS[0]]
    np.testing.assert_array_equal(dataset[0][0], picture(2))


def test_drives_can_be_left_out(root: Path) -> None:
    assert CamVid(root, 'train', include=['0006R0_*']).names == [STEMS[2]]
    assert CamVid(root, 'train', exclude=['0006R0_*', '0016*']).names == STEMS[:2]
    with pytest.raises(DatasetError, match='is empty'):
        CamVid(root, 'train', exclude=['*'])
    with pytest.raises(DatasetError, match='lists of patterns'):
        CamVid(root, 'train', exclude='0006R0_*')


def test_what_is_missing_is_named(root: Path) -> None:
    list_pairs(root, ['0001TP_999999'])
    with pytest.raises(DatasetError, match='0001TP_999999'):
        CamVid(root, 'train')
    (root / 'train.txt').write_text('train/a.png\n')
    with pytest.raises(DatasetError, match=r'train\.txt:1'):
        CamVid(root, 'train')
    (root / 'train.txt').unlink()
    (root / 'trainannot' / f'{STEMS[1]}.png').unlink()
    with pytest.raises(DatasetError, match=rf'{STEMS[1]}\.webp has no label image'):
        CamVid(root, 'train')[1]
    with pytest.raises(DatasetError, match='testannot is not a folder'):
        CamVid(root, 'test')
    with pytest.raises(DatasetError, match='--data'):
        CamVid(None, 'train')
    with pytest.raises(DatasetError, match='is not a folder'):
        CamVid(root / 'absent', 'train')


@pytest.mark.parametrize(
    ('labels', 'message'),
    [
        (np.full((24, 32), 12, np.uint8), r'values \[12\]'),
        (np.full((24, 32, 3), (1, 2, 3), np.uint8), 'holds colours'),
        (np.full((24, 32), 300, np.uint16), 'values up to 300'),
        (np.zeros((12, 16), np.uint8), r'\(12, 16\)'),
    ],
)
def test_wrong_labels_are_refused(root: Path, labels: np.ndarray, message: str) -> None:
    cv2.imwrite(str(root / 'trainannot' / f'{STEMS[0]}.png'), labels)
    with pytest.raises(DatasetError, match=message):
        CamVid(root, 'train')[0]


def test_a_damaged_image_is_refused(root: Path) -> None:
    path = root / 'train' / f'{STEMS[0]}.webp'
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(ImageError, match=STEMS[0]):
        CamVid(root, 'train')[0]


def test_the_real_data(data_folder: Path) -> None:
    train, val = (CamVid(data_folder / 'camvid', split) for split in ('train', 'val'))
    assert (len(train), len(val)) == (367, 101)
    assert not set(train.names) & set(val.names)
    image, labels = val[0]
    assert (image.shape, labels.shape) == ((360, 480, 3), (360, 480))
    assert set(np.unique(labels)) <= {*range(11), 255}
    # Sky above, road below.
    assert np.bincount(labels[-60:].ravel()).argmax() == 3
    drive = CamVid(data_folder / 'camvid', 'train', include=['0006R0_*'])
    assert len(drive) == 101
