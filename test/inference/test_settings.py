import subprocess
import sys
from dataclasses import FrozenInstanceError, asdict, replace
from typing import Any

import pytest
import yaml

from seg_ros.cli.main import main
from seg_ros.cli.params import as_markdown, as_yaml
from seg_ros.errors import ParameterError
from seg_ros.inference.parameter import Parameter, field_of, name_of
from seg_ros.inference.settings import BY_NAME, PARAMETERS, Settings, check
from seg_ros.resources import resource


def test_settings_have_the_defaults_of_the_table() -> None:
    assert asdict(Settings()) == {field_of(p.name): p.default for p in PARAMETERS}


@pytest.mark.parametrize('name', BY_NAME)
def test_every_default_is_accepted(name: str) -> None:
    assert check(name, BY_NAME[name].default) == BY_NAME[name].default


@pytest.mark.parametrize(
    ('name', 'value', 'words'),
    [
        ('colour', 1, 'unknown parameter .*known: model'),
        ('n_thread', 1, "did you mean 'n_threads'"),
        ('model', 3, 'model is 3; expected str'),
        ('n_threads', 10**400, 'n_threads'),
        ('backend', 'abacus', 'expected one of auto, torch'),
        ('max_age_ms', -1.0, r'expected 0 \.\. 3\.6e\+06 ms'),
        ('max_age_ms', float('nan'), 'is nan'),
        ('n_threads', 1.5, 'expected int'),
        ('n_threads', True, 'expected int'),
        ('overlay_legend', 1, 'expected bool'),
        ('segments.region_size', 1, r'segments.region_size is 1; expected 0, 2 \.\. 256 px'),
        ('segments.region_size', -1, 'is -1'),
        ('segments.merge', 'none', 'expected one of alike, components'),
    ],
)
def test_refusals(name: str, value: object, words: str) -> None:
    with pytest.raises(ParameterError, match=words):
        check(name, value)


@pytest.mark.parametrize(
    ('values', 'words'),
    [
        ({'n_threads': 300}, r'n_threads is 300; expected 0 \.\. 256'),
        ({'segments_merge': 'no'}, r'segments\.merge'),
    ],
)
def test_settings_refuse_wrong_values(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ParameterError, match=words):
        Settings(**values)
    with pytest.raises(ParameterError, match=words):
        replace(Settings(), **values)


def test_settings_are_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        Settings().model = 'other'  # type: ignore[misc]


def test_names_are_unique_and_map_to_fields() -> None:
    assert len(BY_NAME) == len(PARAMETERS)
    assert all(field_of(p.name) == p.field and name_of(p.field) == p.name for p in PARAMETERS)
    assert BY_NAME['segments.merge_limit'].minimum == -1


@pytest.mark.parametrize('parameter', PARAMETERS, ids=lambda p: p.name)
def test_every_parameter_has_a_description(parameter: Parameter) -> None:
    assert parameter.doc.endswith('.')
    assert len(parameter.doc.split()) <= 25
    assert {type(parameter.minimum), type(parameter.maximum)} <= {type(None), type(parameter.default)}


def test_importing_the_settings_is_cheap() -> None:
    code = 'import sys, seg_ros.inference.settings; print({"torch", "numba", "rclpy"} & {*sys.modules})'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert done.stdout == 'set()\n'


def test_zero_may_mean_something_below_the_minimum() -> None:
    assert [check('segments.region_size', value) for value in (0, 2, 256)] == [0, 2, 256]


def test_an_int_becomes_a_float() -> None:
    value = check('max_age_ms', 50)
    assert (value, type(value)) == (50.0, float)


def test_parameter_file_is_generated() -> None:
    assert resource('config/seg_ros.param.yaml').read_text() == as_yaml()
    assert yaml.safe_load(as_yaml()) == {'/**': {'ros__parameters': {p.name: p.default for p in PARAMETERS}}}


def test_the_node_reference_has_the_table() -> None:
    page = resource('package.xml').with_name('docs') / 'node.md'
    if not page.exists():
        pytest.skip('an installed package has no pages')
    text = page.read_text()
    table = text.partition('<!-- parameters -->')[2].partition('<!-- /parameters -->')[0]
    assert table.strip() == as_markdown().strip()


def test_command_prints_both(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['params']) == 0
    assert capsys.readouterr().out == as_yaml()
    assert main(['params', '--format', 'markdown']) == 0
    assert capsys.readouterr().out == as_markdown()
