from pathlib import Path

import numpy as np
import pytest

from seg_ros.classes import ClassSet
from seg_ros.errors import DatasetError
from seg_ros.resources import resource


def rows(*ids: int) -> list[dict[str, object]]:
    return [{'id': i, 'name': f'class {i}', 'colour': [i, 0, 255 - i]} for i in ids]


@pytest.mark.parametrize('path', sorted(resource('config/labels').glob('*.yaml')), ids=lambda p: p.stem)
def test_shipped_class_sets_load_and_survive_json(path: Path) -> None:
    classes = ClassSet.from_yaml(path)
    assert ClassSet.from_json(classes.as_json()) == classes
    assert len({c.colour for c in classes.classes}) == len(classes)


def test_palette_has_a_colour_for_every_byte() -> None:
    palette = ClassSet.from_json(rows(0, 1, 2)).palette
    assert palette.shape == (256, 3)
    np.testing.assert_array_equal(palette[[0, 2, 3, 255]], [[0, 0, 255], [2, 0, 253], [0, 0, 0], [0, 0, 0]])


@pytest.mark.parametrize(
    ('content', 'complaint'),
    [
        (rows(1, 2), 'class ids are'),
        (rows(0, 2), 'class ids are'),
        (rows(*range(256)), 'at most 255'),
        ([*rows(0), {'id': 1, 'name': 'class 0', 'colour': [0, 0, 0]}], 'each must be there once'),
        ([{'id': 0, 'name': 'a', 'colour': [0, 0, 256]}], r'expected r, g, b in 0\.\.255'),
        ([{'id': 0, 'name': 'a'}], 'keys id, name, colour'),
        ([{'id': 'x', 'name': 'a', 'colour': [0, 0, 0]}], 'keys id, name, colour'),
        (['sky'], 'keys id, name, colour'),
    ],
)
def test_what_is_no_class_set_is_refused(content: list[dict[str, object]], complaint: str) -> None:
    with pytest.raises(DatasetError, match=complaint):
        ClassSet.from_json(content)


def test_a_file_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / 'a.yaml').write_text('colours: []')
    with pytest.raises(DatasetError, match=r'a\.yaml.*expected a key'):
        ClassSet.from_yaml(tmp_path / 'a.yaml')
    with pytest.raises(DatasetError, match=r'missing\.yaml'):
        ClassSet.from_yaml(tmp_path / 'missing.yaml')
