import os
import unicodedata
from pathlib import Path

import cv2
import numpy as np
import pytest

from seg_ros.datasets.camvid import CamVid
from seg_ros.datasets.folder import FolderDataset, UnlabelledFolder
from seg_ros.datasets.open import open_dataset
from seg_ros.datasets.walk import walk
from seg_ros.errors import DatasetError
from seg_ros.training.loader import InMemory

NAMES = [b'plain', b'with two  blanks', b'caf\xe9', 'straße'.encode(), b'a\nb', b'dots.in.name', b'-x']


def write_pair(root: Path, name: bytes, value: int = 0) -> None:
    for folder, shape in (('images', (4, 6, 3)), ('labels', (4, 6))):
        (root / folder).mkdir(exist_ok=True)
        content = cv2.imencode('.png', np.full(shape, value, np.uint8))[1].tobytes()
        (root / folder / os.fsdecode(name + b'.png')).write_bytes(content)


def folder(root: Path, split: str = 'all') -> FolderDataset:
    return FolderDataset(root, split, classes='squares')


def test_files_of_any_name_are_read(tmp_path: Path) -> None:
    for name in NAMES:
        write_pair(tmp_path, name)
    dataset = folder(tmp_path)
    assert len(list(walk(dataset))) == len(NAMES)
    assert 'caf\\xe9' in dataset.names
    assert all(name.isprintable() for name in dataset.names)


def test_files_that_systems_leave_behind_are_no_images(tmp_path: Path) -> None:
    write_pair(tmp_path, b'a')
    for kind in ('images', 'labels'):
        for name in ('._a.png', '.hidden.png', 'Thumbs.db', '.DS_Store', 'desktop.ini'):
            (tmp_path / kind / name).write_bytes(b'junk')
    assert folder(tmp_path).names == ['a']
    assert UnlabelledFolder(tmp_path / 'images', 'all').names == ['a']


@pytest.mark.parametrize('end', ['\n', '\r\n', '\r'])
@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig', 'utf-16', 'latin-1'])
def test_lists_name_files_with_blanks_in_any_encoding(tmp_path: Path, encoding: str, end: str) -> None:
    for name in (*NAMES, b'other'):
        write_pair(tmp_path, name)
    lines = ['plain', 'with two  blanks.png', 'images/café.png', 'straße', 'dots.in.name', '', '-x  ']
    (tmp_path / 'val.txt').write_bytes(end.join(lines).encode(encoding))
    expected = sorted(['plain', 'with two  blanks', 'caf\\xe9', 'straße', 'dots.in.name', '-x'])
    assert sorted(folder(tmp_path, 'val').names) == expected


def test_accents_may_be_separate_characters(tmp_path: Path) -> None:
    write_pair(tmp_path, unicodedata.normalize('NFD', 'é').encode())
    (tmp_path / 'labels').joinpath(unicodedata.normalize('NFD', 'é') + '.png').rename(
        tmp_path / 'labels/é.png'
    )
    (tmp_path / 'val.txt').write_text('é\n')
    assert len(list(walk(folder(tmp_path, 'val')))) == 1


def test_lists_of_pairs_name_files_with_blanks(tmp_path: Path) -> None:
    write_pair(tmp_path, b'a b')
    write_pair(tmp_path, b'c')
    (tmp_path / 'images').rename(tmp_path / 'train')
    (tmp_path / 'labels').rename(tmp_path / 'trainannot')
    lines = [
        '/x y/train/a b.png /x y/trainannot/a b.png',
        'train/c.png\ttrainannot/c.png',
        'train/d.png trainannot/d.png',
    ]
    (tmp_path / 'train.txt').write_text('\r\n'.join(lines))
    dataset = CamVid(tmp_path, 'train')
    assert dataset.names == ['a b', 'c', 'd']
    assert [index for index, _ in walk(dataset)] == [0, 1]


def test_bad_files_are_named_left_out_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in 'abcdefgh':
        write_pair(tmp_path, name.encode())
    images, labels = tmp_path / 'images', tmp_path / 'labels'
    whole = (images / 'a.png').read_bytes()
    (images / 'b.png').write_bytes(b'')
    (images / 'c.png').write_bytes(whole[: len(whole) // 2])
    (labels / 'd.png').unlink()
    (images / 'e.png').unlink()
    (images / 'e.png').symlink_to('e.png')
    (images / 'f.png').unlink()
    (images / 'f.png').symlink_to('nowhere.png')
    (images / 'g.png').unlink()
    (images / 'g.png').mkdir()
    os.mkfifo(images / 'i.png')
    dataset = InMemory(folder(tmp_path))
    assert dataset.names == ['a', 'h']
    for name in 'bcdefgi':
        assert f'images/{name}.png' in caplog.text
    assert '7 of 9 images' in caplog.text


def test_nothing_to_read_is_an_error(tmp_path: Path) -> None:
    write_pair(tmp_path, b'a')
    (tmp_path / 'images/a.png').write_bytes(b'')
    with pytest.raises(DatasetError, match=r'not one of 1 images.*a\.png is empty'):
        InMemory(folder(tmp_path))


@pytest.mark.parametrize(
    ('name', 'options', 'named'),
    [
        ('folder', {'classes': 3}, 'classes'),
        ('folder', {'classes': 'squares', 'void_id': '3'}, 'void_id'),
        ('folder', {'classes': 'squares', 'values': [1]}, 'values'),
        ('folder', {'classes': 'squares', 'values': {300: 'square'}}, '300'),
        ('folder', {'classes': 'squares', 'values': {3: 'cube'}}, 'cube'),
        ('camvid', {'include': 3}, 'include'),
        ('camvid', {'exclude': [3]}, 'exclude'),
        ('squares', {'n_images': 'many'}, 'n_images'),
        ('squares', {'n_images': True}, 'n_images'),
        ('rendered', {'height': 1e9}, 'height'),
        ('rendered', {'height': 10**9}, 'height'),
        ('soccer', {'width': -5}, 'width'),
        ('squares', {'n_images': 10**12}, 'squares'),
        ('voc', {'labels': None}, 'labels'),
    ],
)
def test_options_of_another_type_are_refused(
    tmp_path: Path, name: str, options: dict[str, object], named: str
) -> None:
    write_pair(tmp_path, b'a')
    with pytest.raises(Exception, match=named) as caught:
        open_dataset(name, tmp_path, 'train', options)
    assert type(caught.value).__module__ == 'seg_ros.errors'


@pytest.mark.parametrize('split', ['a\0b', 'x' * 300, 'a/b', ''])
def test_any_text_may_be_a_split(tmp_path: Path, split: str) -> None:
    write_pair(tmp_path, b'a')
    assert folder(tmp_path, split).names == ['a']
    for name in ('camvid', 'msrc_v2', 'cityscapes', 'voc'):
        with pytest.raises(DatasetError):
            open_dataset(name, tmp_path / 'labels', split)
