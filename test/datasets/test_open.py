import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from seg_ros.datasets.open import open_dataset, open_images
from seg_ros.datasets.registry import DATASETS, SEGMENTED
from seg_ros.datasets.wrappers import Relabel
from seg_ros.errors import DatasetError, UnknownNameError


@pytest.mark.parametrize('table', [DATASETS, SEGMENTED])
def test_every_entry_can_be_imported(table: Any) -> None:
    assert all(callable(table[name]) for name in table)


def test_options_reach_the_data_set() -> None:
    assert len(open_dataset('squares', None, 'test', {'n_images': 3})) == 3
    assert len(open_dataset('squares', None, 'test')) == 100


def test_relabel_and_scale_change_the_data_set() -> None:
    relabel = Relabel('soccer', {'square': 'ball'})
    dataset = open_dataset('squares', None, 'test', {'n_images': 1}, relabel=relabel, scale=0.5)
    image, labels = dataset[0]
    assert image.shape == (120, 160, 3)
    assert 'ball' in dataset.classes.names
    assert set(np.unique(labels)) == {dataset.classes.names.index('ball'), 255}


@pytest.mark.parametrize(
    ('name', 'options', 'message'),
    [
        ('squares', {'colour': 'red'}, "'colour'.*known options: n_images"),
        ('camvid', {'classes': 'voc21'}, "'classes'.*known options: include, exclude"),
        ('folder', {}, "'classes'.*known options: classes, void_id.*--classes"),
    ],
)
def test_options_that_do_not_fit_are_refused(name: str, options: dict[str, str], message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        open_dataset(name, Path(), 'train', options)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(UnknownNameError, match='camvid, cityscapes, folder'):
        open_dataset('kitti', None, 'train')


def test_a_folder_may_have_images_alone(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / 'a.png'), np.zeros((4, 6, 3), np.uint8))
    dataset = open_images('folder', tmp_path, 'val')
    assert dataset.names == ['a']
    assert len(dataset.classes) == 0
    with pytest.raises(DatasetError, match='images'):
        open_images('folder', tmp_path, 'val', {'classes': 'voc21'})


def test_names_of_data_sets_load_no_renderer() -> None:
    code = 'import sys; from seg_ros.datasets.registry import DATASETS; assert "camvid" in DATASETS\n'
    code += 'assert not {"cv2", "numpy", "seg_ros.synthetic"} & set(sys.modules), sorted(sys.modules)'
    subprocess.run([sys.executable, '-c', code], check=True, capture_output=True)
