import math
from pathlib import Path
from typing import Any

import pytest
from rcl_interfaces.srv import DescribeParameters, SetParametersAtomically
from rclpy.parameter import Parameter

from seg_ros.errors import ParameterError
from seg_ros.inference.parameter import Mutability
from seg_ros.inference.settings import PARAMETERS
from seg_ros.ros.parameters import unknown_overrides


def test_everything_is_declared_and_described(robot: Any) -> None:
    robot.start()
    request = DescribeParameters.Request(names=[p.name for p in PARAMETERS])
    described = robot.call(DescribeParameters, '/seg_ros/describe_parameters', request).descriptors
    for parameter, descriptor in zip(PARAMETERS, described, strict=True):
        assert descriptor.name == parameter.name
        assert parameter.doc in descriptor.description
        assert parameter.unit in descriptor.description
        assert parameter.change.value in descriptor.description
        assert descriptor.read_only == (parameter.change is Mutability.NEVER)
        assert all(choice in descriptor.additional_constraints for choice in parameter.choices or ())
        ranges = [*descriptor.floating_point_range, *descriptor.integer_range]
        least = 0 if parameter.zero_too else parameter.minimum
        expected = [] if least is None else [(least, parameter.maximum)]
        assert [(r.from_value, r.to_value) for r in ranges] == expected
        assert type(robot.get(parameter.name)) is type(parameter.default)


@pytest.mark.parametrize(
    ('name', 'value', 'reason'),
    [
        ('confidence_threshold', 1.5, 'out of range'),
        ('max_age_ms', math.nan, 'finite'),
        ('overlay_opacity', 'strong', 'expected float'),
        ('overlay_legend', 1, 'expected bool'),
        ('n_threads', 1.5, 'expected int'),
        ('backend', 'abacus', 'expected one of auto, torch'),
        ('autostart', True, 'read-only'),
    ],
)
def test_refusals_give_a_reason(robot: Any, name: str, value: Any, reason: str) -> None:
    robot.start()
    before = robot.get(name)
    assert reason in robot.set(name, value)
    assert robot.get(name) == before


@pytest.mark.parametrize(
    ('name', 'value', 'kept'),
    [('confidence_threshold', 1, 1.0), ('max_rate_hz', 5, 5.0), ('n_threads', 2.0, 2)],
)
def test_numbers_of_the_other_type_are_taken(robot: Any, name: str, value: Any, kept: float) -> None:
    robot.start()
    assert robot.set(name, value) == ''
    assert robot.get(name) == kept
    assert type(robot.get(name)) is type(kept)


def test_models_of_other_folders_are_refused_alike(robot: Any, model_file: Path) -> None:
    """Nobody on the network can ask by the parameter which files exist."""
    robot.start()
    (robot.folder / 'below').mkdir()
    link = robot.folder / 'link.safetensors'
    link.symlink_to('/etc/passwd')
    outside = [
        '/etc/shadow',
        '/etc/nothing',
        str(link),
        f'{robot.folder}/../../etc/passwd',
        '~/x.safetensors',
    ]
    outside += [f'{robot.folder}/below/x.safetensors', '/proc/self/mem']
    for path in outside:
        reason = robot.set('model', path)
        assert 'model_folders' in reason
        assert 'exist' not in reason
    assert 'home' in robot.set('model', '~nobody-of-this-name/x.safetensors')
    assert robot.set('model', f'{robot.folder}/any.safetensors') == ''
    assert robot.set('model', 'lite_camvid_int8') == ''
    assert robot.set('model', str(model_file)) == '', 'beside the model given at start'


def test_what_concerns_configuring_changes_only_while_unconfigured(robot: Any) -> None:
    robot.start()
    assert robot.set('segments.history', 10) == ''
    assert robot.change_state('configure')
    assert 'clean up first' in robot.set('segments.history', 20)
    assert robot.set('segments.history', 10) == '', 'the value that it has'
    assert robot.set('max_rate_hz', 5.0) == ''
    assert robot.change_state('cleanup')
    assert robot.set('segments.history', 20) == ''


def test_values_set_together_are_taken_together(robot: Any) -> None:
    node = robot.start()
    values = [Parameter('max_rate_hz', value=5.0), Parameter('backend', value='abacus')]
    request = SetParametersAtomically.Request(parameters=[v.to_parameter_msg() for v in values])
    answer = robot.call(SetParametersAtomically, '/seg_ros/set_parameters_atomically', request)
    assert not answer.result.successful
    assert robot.get('max_rate_hz') == 0.0
    assert node._live.settings.max_rate_hz == 0.0


def test_values_given_at_start(robot: Any) -> None:
    node = robot.start(max_age_ms=50, overlay_legend=False)
    assert robot.get('max_age_ms') == 50.0, 'a whole number serves as a float'
    assert not node._live.settings.overlay_legend


@pytest.mark.parametrize(
    ('name', 'value'), [('max_rate_hz', -1.0), ('image_transport', 'pigeon'), ('model', 3)]
)
def test_a_value_refused_at_start_is_told(robot: Any, name: str, value: Any) -> None:
    with pytest.raises(ParameterError, match=f'{name} is .*expected'):
        robot.start(**{name: value})


def test_misspelt_parameters_are_found(robot: Any, capfd: pytest.CaptureFixture[str]) -> None:
    given = {'max_age': 5.0, 'xyz': 1, 'qos_overrides./image.subscription.depth': 2, 'use_sim_time': True}
    node = robot.start(**given)
    assert unknown_overrides(node) == {'max_age': 'max_age_ms', 'xyz': ''}
    assert "parameter 'max_age' does not exist, its value is ignored; did you mean 'max_age_ms'?" in (
        capfd.readouterr().err
    )
