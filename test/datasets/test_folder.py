from pathlib import Path

import cv2
import numpy as np
import pytest

from seg_ros.datasets.folder import FolderDataset, UnlabelledFolder
from seg_ros.errors import DatasetError, ImageError


def write_pairs(images: Path, labels: Path, stems: list[str]) -> None:
    images.mkdir(parents=True)
    labels.mkdir(parents=True)
    for k, stem in enumerate(stems):
        cv2.imwrite(str(images / f'{stem}.png'), np.full((8, 8, 3), 10 * k, np.uint8))
        cv2.imwrite(str(labels / f'{stem}.png'), np.full((8, 8), k % 2, np.uint8))


def open_split(root: Path, split: str) -> FolderDataset:
    return FolderDataset(root, split, classes='squares')


def test_splits_below_the_pair(tmp_path: Path) -> None:
    write_pairs(tmp_path / 'images' / 'train', tmp_path / 'labels' / 'train', ['a', 'b'])
    write_pairs(tmp_path / 'images' / 'val', tmp_path / 'labels' / 'val', ['c'])
    assert open_split(tmp_path, 'train').names == ['a', 'b']
    assert open_split(tmp_path, 'val').names == ['c']


def test_the_pair_below_splits(tmp_path: Path) -> None:
    write_pairs(tmp_path / 'train' / 'images', tmp_path / 'train' / 'labels', ['a', 'b'])
    assert open_split(tmp_path, 'train').names == ['a', 'b']
    image, labels = open_split(tmp_path, 'train')[1]
    assert (image[0, 0].tolist(), labels[0, 0]) == ([10, 10, 10], 1)


def test_a_list_of_stems(tmp_path: Path) -> None:
    write_pairs(tmp_path / 'images', tmp_path / 'labels', ['a', 'b', 'c'])
    (tmp_path / 'val.txt').write_text('c\na\n')
    assert open_split(tmp_path, 'val').names == ['a', 'c']
    (tmp_path / 'val.txt').write_text('d\n')
    with pytest.raises(DatasetError, match='names d'):
        open_split(tmp_path, 'val')
    (tmp_path / 'val.txt').write_text('')
    with pytest.raises(DatasetError, match='is empty'):
        open_split(tmp_path, 'val')


def test_classes_from_a_file_and_another_void(tmp_path: Path) -> None:
    write_pairs(tmp_path / 'images', tmp_path / 'labels', ['a', 'b'])
    (tmp_path / 'mine.yaml').write_text('classes: [{id: 0, name: thing, colour: [1, 2, 3]}]\n')
    dataset = FolderDataset(tmp_path, 'all', classes='mine.yaml', void_id=1)
    assert dataset.classes.names == ['thing']
    assert set(np.unique(dataset[1][1])) == {255}
    with pytest.raises(DatasetError, match='class ids'):
        FolderDataset(tmp_path, 'all', classes='mine.yaml')[1]


def test_what_cannot_be_paired_is_refused(tmp_path: Path) -> None:
    write_pairs(tmp_path / 'images', tmp_path / 'labels', ['a'])
    cv2.imwrite(str(tmp_path / 'images' / 'a.bmp'), np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(DatasetError, match='share a stem'):
        open_split(tmp_path, 'all')
    (tmp_path / 'images' / 'a.png').unlink()
    (tmp_path / 'labels' / 'a.png').unlink()
    with pytest.raises(DatasetError, match='labels has no image'):
        open_split(tmp_path, 'all')
    with pytest.raises(DatasetError, match='--data'):
        FolderDataset(None, 'all', classes='squares')


def test_images_without_labels(tmp_path: Path) -> None:
    write_pairs(tmp_path / 'images', tmp_path / 'elsewhere', ['a', 'b', 'c'])
    assert UnlabelledFolder(tmp_path / 'images', 'val').names == ['a', 'b', 'c']
    assert UnlabelledFolder(tmp_path, 'val').names == ['a', 'b', 'c']
    (tmp_path / 'val.txt').write_text('c b\n')
    assert UnlabelledFolder(tmp_path, 'val').names == ['b', 'c']
    (tmp_path / 'images/val').mkdir()
    (tmp_path / 'images/b.png').rename(tmp_path / 'images/val/b.png')
    for root in (tmp_path, tmp_path / 'images'):
        images = UnlabelledFolder(root, 'val')
        assert images.names == ['b']
        image, labels = images[0]
        assert (image == 10).all()
        assert labels.shape == (8, 8)
        assert (labels == 255).all()
    with pytest.raises(DatasetError, match='--data'):
        UnlabelledFolder(None, 'val')


@pytest.mark.parametrize('split', ['test', 'vall', 'Train'])
def test_a_split_without_a_list_is_refused_where_others_have_one(tmp_path: Path, split: str) -> None:
    write_pairs(tmp_path / 'images', tmp_path / 'labels', ['a', 'b', 'c'])
    (tmp_path / 'README.txt').write_text('Images of\na\nfield, taken in\nspring.\n')
    (tmp_path / 'classes.txt').write_text('background\nsquare\n')
    assert open_split(tmp_path, split).names == ['a', 'b', 'c']
    (tmp_path / 'train.txt').write_text('a\nimages/b.png\nmissing\n')
    (tmp_path / 'val.txt').write_text('images/c.png labels/c.png\n')
    with pytest.raises(DatasetError, match=rf"no split '{split}'; splits there: train, val$"):
        open_split(tmp_path, split)
    assert open_split(tmp_path, 'val').names == ['c']


def test_a_split_without_a_folder_is_refused_where_others_have_one(tmp_path: Path) -> None:
    write_pairs(tmp_path / 'images' / 'train', tmp_path / 'labels' / 'train', ['a', 'b'])
    write_pairs(tmp_path / 'val' / 'images', tmp_path / 'val' / 'labels', ['c'])
    cv2.imwrite(str(tmp_path / 'images/stray.png'), np.zeros((8, 8, 3), np.uint8))
    cv2.imwrite(str(tmp_path / 'labels/stray.png'), np.zeros((8, 8), np.uint8))
    with pytest.raises(DatasetError, match=r'splits there: train, val$'):
        open_split(tmp_path, 'test')
    with pytest.raises(DatasetError, match=r'splits there: train, val$'):
        UnlabelledFolder(tmp_path, 'vall')


@pytest.mark.parametrize('name', ['训练_1', 'тест_1', '_1é訓', '\u2019_1'])
def test_letters_that_latin_1_lacks_are_not_left_out_of_names(tmp_path: Path, name: str) -> None:
    write_pairs(tmp_path / 'images', tmp_path / 'labels', ['_1', '_1é'])
    cv2.imwrite(str(tmp_path / f'images/{name}.png'), np.zeros((8, 8, 3), np.uint8))
    dataset = open_split(tmp_path, 'train')
    with pytest.raises(DatasetError, match='no label image'):
        dataset[dataset.names.index(name)]
    (tmp_path / f'images/{name}.png').unlink()
    (tmp_path / 'val.txt').write_text(f'_1\n{name}\n')
    dataset = open_split(tmp_path, 'val')
    with pytest.raises(ImageError, match='does not exist'):
        dataset[dataset.names.index(name)]


@pytest.mark.parametrize('start', [b'P2\n8 8\n200\n', b'P2\n8 8\n20\n'])
def test_label_images_may_be_pgm(tmp_path: Path, start: bytes) -> None:
    write_pairs(tmp_path / 'images', tmp_path / 'labels', ['a'])
    (tmp_path / 'labels/a.png').unlink()
    (tmp_path / 'labels/a.pgm').write_bytes(start + b'4 5 ' * 32)
    labels = FolderDataset(tmp_path, 'train', classes='camvid11')[0][1]
    assert labels.tolist() == [[4, 5] * 4] * 8
