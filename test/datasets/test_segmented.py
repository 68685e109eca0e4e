from pathlib import Path

import cv2
import numpy as np
import pytest

from seg_ros.datasets.segmented import BSDS500, VOID, KindsOfSegments, MSRCv2, SegmentFolder, VOCObjects
from seg_ros.errors import DatasetError


def write(folder: Path, name: str, values: np.ndarray) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(folder / name), values)


@pytest.fixture
def bsds(tmp_path: Path) -> Path:
    savemat = pytest.importorskip('scipy.io', reason='needs SciPy').savemat
    write(tmp_path / 'images/val', '7.jpg', np.full((4, 6, 3), 100, np.uint8))
    cells = np.empty((1, 2), object)
    for k in range(2):
        segmentation = np.ones((4, 6), np.uint16)
        segmentation[:, 2 + k :] = 5
        cells[0, k] = {'Segmentation': segmentation, 'Boundaries': np.zeros((4, 6), np.uint8)}
    (tmp_path / 'groundTruth/val').mkdir(parents=True)
    savemat(tmp_path / 'groundTruth/val/7.mat', {'groundTruth': cells})
    return tmp_path


def test_bsds_gives_every_annotation(bsds: Path) -> None:
    data = BSDS500(bsds, 'val')
    image, annotations = data[0]
    assert (len(data), data.names, image.shape) == (1, ['7'], (4, 6, 3))
    assert [a[0].tolist() for a in annotations] == [[0, 0, 1, 1, 1, 1], [0, 0, 0, 1, 1, 1]]
    assert annotations[0].dtype == np.int32


def test_damaged_annotations_are_told(bsds: Path) -> None:
    (bsds / 'groundTruth/val/7.mat').write_bytes(b'no mat file at all')
    with pytest.raises(DatasetError, match=r'7\.mat'):
        BSDS500(bsds, 'val')[0]
    (bsds / 'groundTruth/val/7.mat').unlink()
    with pytest.raises(DatasetError, match=r'7\.mat is missing'):
        BSDS500(bsds, 'val')[0]
    with pytest.raises(DatasetError, match='test is not a folder'):
        BSDS500(bsds, 'test')


def test_void_of_msrc_is_that_of_the_classes(tmp_path: Path) -> None:
    for stem in ('a', 'b'):
        write(tmp_path / 'images', f'{stem}.webp', np.full((4, 6, 3), 9, np.uint8))
        regions = np.full((4, 6), 3, np.uint8)
        regions[:, 3:] = 8
        classes = np.ones((4, 6), np.uint8)
        classes[0] = 0
        write(tmp_path / 'regions', f'{stem}.png', regions)
        write(tmp_path / 'classes', f'{stem}.png', classes)
    (tmp_path / 'train.txt').write_text('b\n')
    data = MSRCv2(tmp_path, 'train')
    assert data.names == ['b']
    (annotation,) = data[0][1]
    assert (annotation[0] == VOID).all()
    assert annotation[1].tolist() == [0, 0, 0, 1, 1, 1]
    (plain,) = SegmentFolder(tmp_path, 'train')[0][1]
    assert plain[0].tolist() == [0, 0, 0, 1, 1, 1]
    assert data.kinds(0) == [['stuff', 'stuff']]  # class 1 is building
    classes[:, 3:] = 4
    write(tmp_path / 'classes', 'b.png', classes)
    assert data.kinds(0) == [['stuff', 'things']]
    assert isinstance(data, KindsOfSegments)
    assert not isinstance(SegmentFolder(tmp_path, 'train'), KindsOfSegments)
    (tmp_path / 'val.txt').write_text('c\n')
    with pytest.raises(DatasetError, match='c, which'):
        MSRCv2(tmp_path, 'val')


def test_each_object_of_voc_is_a_segment(tmp_path: Path) -> None:
    image_module = pytest.importorskip('PIL.Image', reason='Pillow writes images with a palette')
    for name in ('JPEGImages', 'SegmentationObject', 'ImageSets/Segmentation'):
        (tmp_path / name).mkdir(parents=True)
    objects = np.zeros((4, 6), np.uint8)
    objects[:2], objects[2:, 4:], objects[3, 0] = 1, 2, 255
    image = image_module.fromarray(objects)
    image.putpalette([k % 256 for k in range(768)])
    image.save(tmp_path / 'SegmentationObject/2007_000032.png')
    write(tmp_path / 'JPEGImages', '2007_000032.jpg', np.full((4, 6, 3), 100, np.uint8))
    (tmp_path / 'ImageSets/Segmentation/train.txt').write_text('2007_000032\n')
    data = VOCObjects(tmp_path, 'train')
    _, (annotation,) = data[0]
    assert annotation.tolist() == [[1] * 6, [1] * 6, [0, 0, 0, 0, 2, 2], [VOID, 0, 0, 0, 2, 2]]
    assert data.image(0).shape == (4, 6, 3)


def test_real_sets(data_folder: Path) -> None:
    pytest.importorskip('scipy.io', reason='needs SciPy')
    berkeley, cambridge = BSDS500(data_folder / 'bsds500', 'val'), MSRCv2(data_folder / 'msrc_v2', 'val')
    assert (len(berkeley), len(cambridge)) == (100, 98)
    for data in (berkeley, cambridge):
        for image, annotations in (data[index] for index in range(0, len(data), 10)):
            for annotation in annotations:
                assert annotation.shape == image.shape[:2]
                segments = set(np.unique(annotation).tolist()) - {VOID}
                assert segments == set(range(len(segments))) != set()


def test_labels_serve_where_nobody_drew_regions(tmp_path: Path) -> None:
    labels = np.array([[0, 0, 4, 4], [0, 2, 4, 255]], np.uint8)
    for split in ('train', 'val'):
        write(tmp_path / 'images' / split, 'a.png', np.full((2, 4, 3), 9, np.uint8))
        write(tmp_path / 'labels' / split, 'a.png', labels)
    assert SegmentFolder(tmp_path, 'val')[0][1][0].tolist() == [[0, 0, 2, 2], [0, 1, 2, VOID]]
    write(tmp_path / 'regions' / 'val', 'a.png', labels)
    assert SegmentFolder(tmp_path, 'val')[0][1][0].tolist() == [[VOID, VOID, 1, 1], [VOID, 0, 1, 2]]
