from pathlib import Path

import numpy as np
import pytest

from seg_ros.classes import ClassInfo, ClassSet
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
        ([*rows(0), {'id': 1, 'name': 'class 0', 'colour': [0, 0, 0]}], "'class 0'.*expected each name once"),
        (
            [{'id': 0, 'name': 'a', 'colour': [0, 0, 256]}],
            r'classes\[0\].colour\[2\] is 256; expected 0 \.\. 255',
        ),
        ([{'id': 0, 'name': 'a'}], r'classes\[0\].colour is missing'),
        ([{'id': 'x', 'name': 'a', 'colour': [0, 0, 0]}], r"classes\[0\].id is 'x'; expected int"),
        ([{'id': 0, 'name': 'a', 'color': [0, 0, 0]}], 'color .*did you mean colour'),
        ([{'id': 0, 'name': 'a', 'colour': [0, 0]}], 'colour .*length 3'),
        (['sky'], r"classes\[0\] is 'sky'"),
        (3, 'classes is 3'),
    ],
)
def test_what_is_no_class_set_is_refused(content: object, complaint: str) -> None:
    with pytest.raises(DatasetError, match=complaint):
        ClassSet.from_json(content)


def test_a_file_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / 'a.yaml').write_text('colours: []')
    with pytest.raises(DatasetError, match=r'a\.yaml: colours is not a known key; known: classes'):
        ClassSet.from_yaml(tmp_path / 'a.yaml')
    (tmp_path / 'b.yaml').write_text('')
    with pytest.raises(DatasetError, match=r'b\.yaml is empty'):
        ClassSet.from_yaml(tmp_path / 'b.yaml')
    with pytest.raises(DatasetError, match=r'missing\.yaml'):
        ClassSet.from_yaml(tmp_path / 'missing.yaml')


def test_a_colour_out_of_range_is_refused() -> None:
    with pytest.raises(DatasetError, match=r'colour\[2\] is 300'):
        ClassInfo(0, 'sky', (0, 0, 300))


@pytest.mark.parametrize('name', ['no', 'on', 'null', '1e3', '12:30', 'Straße'])
@pytest.mark.parametrize('encoding', ['utf-8-sig', 'utf-16', 'latin-1'])
def test_names_are_read_as_written(tmp_path: Path, name: str, encoding: str) -> None:
    text = f'classes:\r\n  - {{id: 0, name: {name}, colour: [1, 2, 3]}}\r\n'
    (tmp_path / 'c.yaml').write_bytes(text.encode(encoding))
    assert ClassSet.from_yaml(tmp_path / 'c.yaml').names == [name]


@pytest.mark.parametrize(
    ('row', 'complaint'),
    [
        ({'name': 'a\nERROR forged'}, 'control'),
        ({'name': '\u202egnp'}, 'control'),
        ({'name': ' '}, 'control'),
        ({'name': ''}, r'1 \.\. 100 characters'),
        ({'name': 'x' * 100_000}, r'1 \.\. 100 characters'),
        ({'name': False}, 'False; expected str'),
        ({'id': 0.9}, '0.9; expected int'),
        ({'id': True}, 'True; expected int'),
        ({'id': 10**5000}, r'expected 0 \.\. 255'),
        ({'colour': [0.5, 0.5, 0.5]}, '0.5; expected int'),
        ({'colour': [70.0, 70, 70]}, '70.0; expected int'),
        ({'colour': '#ff0000'}, 'expected a list'),
        ({16**5000: 1}, 'not a known key'),
    ],
)
def test_values_of_another_type_are_refused(row: dict[object, object], complaint: str) -> None:
    with pytest.raises(DatasetError, match=complaint) as caught:
        ClassSet.from_json([{'id': 0, 'name': 'a', 'colour': [1, 2, 3], **row}])
    assert len(str(caught.value)) < 400
