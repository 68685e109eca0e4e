from pathlib import Path

import numpy as np
import pytest
import yaml

from seg_ros.classes import ClassSet
from seg_ros.errors import DatasetError, UnknownNameError
from seg_ros.evaluation.class_translation import ClassTranslation
from seg_ros.resources import resource

CAMVID = ClassSet.from_yaml(resource('config/labels/camvid11.yaml'))
IDD = ClassSet.from_yaml(resource('config/labels/idd7.yaml'))


@pytest.mark.parametrize('path', sorted(resource('config/translations').glob('*.yaml')), ids=lambda p: p.stem)
def test_shipped_translations_fit_the_classes_in_their_names(path: Path) -> None:
    data, own = (ClassSet.from_yaml(resource(f'config/labels/{name}.yaml')) for name in path.stem.split('_'))
    right = {data_name: np.atleast_1d(names) for data_name, names in yaml.safe_load(path.read_text()).items()}
    assert list(right) == list(data.names)
    translation = ClassTranslation.between(data, own, path.stem)
    for d, names in enumerate(right.values()):
        for name in names:
            truth = np.full((1, 1), d, np.uint8)
            labels = np.full((1, 1), own.names.index(name), np.uint8)
            assert translation.is_right(truth, labels).all(), f'{name} is right on {data.names[d]}'
            assert translation.as_data(truth, labels)[0, 0] == d


def test_shipped_translation_pixel_by_pixel() -> None:
    translation = ClassTranslation.between(IDD, CAMVID, 'idd7_camvid11')
    right = {
        'drivable': {'road'},
        'non_drivable': {'pavement'},
        'living': {'pedestrian', 'bicyclist'},
        'vehicle': {'car', 'bicyclist'},
        'roadside_object': {'pole', 'sign_symbol', 'fence'},
        'far_object': {'building', 'tree'},
        'sky': {'sky'},
    }
    for d, data in enumerate(IDD.names):
        for k, own in enumerate(CAMVID.names):
            truth, labels = np.full((1, 1), d, np.uint8), np.full((1, 1), k, np.uint8)
            first = next(name for name in IDD.names if own in right[name])
            expected = data if own in right[data] else first
            assert IDD.names[translation.as_data(truth, labels)[0, 0]] == expected
            assert translation.is_right(truth, labels)[0, 0] == (own in right[data])


def test_void_unlabelled_and_classes_that_are_left_out() -> None:
    translation = ClassTranslation({'sky': 'sky', 'drivable': ('road', 'pavement')}, IDD, CAMVID)
    truth = np.array([[IDD.names.index('sky'), 255, IDD.names.index('living')]], np.uint8)
    np.testing.assert_array_equal(translation.true_labels(truth), [[IDD.names.index('sky'), 255, 255]])
    labels = np.array([[CAMVID.names.index('car'), CAMVID.names.index('road'), 255]], np.uint8)
    expected = [[255, IDD.names.index('drivable'), 255]]
    np.testing.assert_array_equal(translation.as_data(truth, labels), expected)


def test_without_a_file_classes_must_be_the_same() -> None:
    ids = np.arange(len(CAMVID), dtype=np.uint8)[None]
    same = ClassTranslation.between(CAMVID, CAMVID, None)
    np.testing.assert_array_equal(same.as_data(ids[:, ::-1], ids), ids)
    with pytest.raises(DatasetError, match='give --names'):
        ClassTranslation.between(IDD, CAMVID, None)


def test_wrong_files(tmp_path: Path) -> None:
    (tmp_path / 'unknown.yaml').write_text('sky: heaven\n')
    with pytest.raises(UnknownNameError, match='heaven'):
        ClassTranslation.between(IDD, CAMVID, tmp_path / 'unknown.yaml')
    (tmp_path / 'list.yaml').write_text('- sky\n')
    with pytest.raises(DatasetError, match=r'list\.yaml'):
        ClassTranslation.between(IDD, CAMVID, tmp_path / 'list.yaml')
    with pytest.raises(UnknownNameError, match='idd7_camvid11'):
        ClassTranslation.between(IDD, CAMVID, 'idd8')
