import json
from pathlib import Path

import pytest

from seg_ros.errors import ParameterError
from seg_ros.evaluation.segment_accuracy import measure_methods, read_settings
from seg_ros.resources import resource


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('[]', r'is \[\]; expected keys and values'),
        (
            '{"slic": {"covering": {"region_size": "x"}}}',
            r"slic\.covering\.region_size is 'x'; expected int or float",
        ),
        ('{"slic": {"covering": {"region_size": NaN}}}', r'slic\.covering\.region_size is nan'),
    ],
)
def test_wrong_settings_are_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / 'settings.json').write_text(content)
    with pytest.raises(ParameterError, match=message):
        read_settings(tmp_path / 'settings.json', 'folder')


def test_a_method_without_settings_is_named() -> None:
    tuned = {'slic': {'covering': {'region_size': 30}}}
    with pytest.raises(ParameterError, match='no settings for slic'):
        measure_methods([], None, tuned, ['slic'])  # type: ignore[arg-type]


@pytest.mark.parametrize('path', sorted(resource('config/segments').glob('*.json')), ids=lambda p: p.stem)
def test_shipped_settings_are_read_as_they_are(path: Path) -> None:
    assert json.dumps(read_settings(None, path.stem)) == json.dumps(json.loads(path.read_text()))
