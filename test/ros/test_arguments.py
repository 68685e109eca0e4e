"""The command line and its parameter files, without ROS."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seg_ros.errors import ParameterError
from seg_ros.ros.arguments import (
    check_domain,
    explain_ros_error,
    parse_arguments,
    refused_by_ros,
)
from seg_ros.ros.parameter_files import Given, name_origin, read_parameter_file, warning_if_useless


def test_words_outside_of_ros_args_are_unknown() -> None:
    parsed = parse_arguments(
        ['a', '--ros-args', '-p', 'x:=1', '-r', 'image:=/c', '--', 'b', '--ros-args', 'c']
    )
    assert parsed.unknown == ['a', 'b']


@pytest.mark.parametrize('word', ['-h', '--help'])
@pytest.mark.parametrize('before', [[], ['--ros-args'], ['x', '--ros-args', '-p', 'a:=1']])
def test_help_is_seen_anywhere(before: list[str], word: str) -> None:
    assert parse_arguments([*before, word]).wants_help


@pytest.mark.parametrize(
    ('rules', 'name'),
    [
        ([], '/seg_ros'),
        (['__node:=eyes'], '/eyes'),
        (['__name:=eyes', '__ns:=/front'], '/front/eyes'),
        (['seg_ros:__node:=eyes', 'other:__ns:=/back'], '/eyes'),
        (['__node:=first', '__node:=second'], '/first'),  # as in rcl
        (['__ns:=/'], '/seg_ros'),
        (['image:=/cam', '__ns:=/a/b'], '/a/b/seg_ros'),
    ],
)
def test_name_of_the_node(rules: list[str], name: str) -> None:
    words = ['--ros-args', *(word for rule in rules for word in ('-r', rule))]
    assert parse_arguments(words).full_name == name


# As rclpy itself decided for a node with these names.
@pytest.mark.parametrize(
    ('nodes', 'in_root', 'in_front'),
    [
        ('/**', True, True),
        ('/**/seg_ros', True, True),
        ('/*/seg_ros', False, True),
        ('/*', True, False),
        ('/seg_ros', True, False),
        ('/front/seg_ros', False, True),
        ('/front/*', False, True),
        ('/front/**', False, True),
        ('/**/front/seg_ros', False, True),
        ('/**/**', True, True),
        ('/*/*', False, True),
    ],
)
def test_wildcards_in_names(nodes: str, in_root: bool, in_front: bool) -> None:
    entry = Given('x', nodes, '')
    assert (entry.is_for('/seg_ros'), entry.is_for('/front/seg_ros')) == (in_root, in_front)


def test_parameters_are_found_with_their_lines(tmp_path: Path) -> None:
    path = tmp_path / 'robot.yaml'
    path.write_text(
        '# a comment\n'
        '/**:\n  ros__parameters:\n    segments:\n      region_size: 4\n    segments.merge: alike\n'
        'front:\n  seg_ros:\n    ros__parameters: {model: x,\n      backend: y}\n'
    )
    found = [(g.name, g.nodes, g.origin.rpartition(' ')[2]) for g in read_parameter_file(str(path))]
    assert found == [
        ('segments.region_size', '/**', '5'),
        ('segments.merge', '/**', '6'),
        ('model', '/front/seg_ros', '9'),
        ('backend', '/front/seg_ros', '10'),
    ]


def test_origin_is_the_place_that_holds() -> None:
    entries = [Given('a', '/seg_ros', 'exact'), Given('a', '/**', 'first'), Given('a', '/**', 'last')]
    assert str(name_origin(ParameterError('a is 1'), entries, '/seg_ros')).startswith('exact: a is 1')
    assert str(name_origin(ParameterError('a is 1'), entries, '/other')).startswith('last: ')
    assert str(name_origin(ParameterError('b is 1'), entries, '/seg_ros')) == 'b is 1'


@pytest.mark.parametrize(
    ('content', 'line', 'reason'),
    [
        (b'a: [1, b\n', 2, 'expected'),
        (b'/**:\n  ros__parameters:\n\tx: 1\n', 3, r'\t'),
        (b'a: &b\n  c: 1\nd: *b\n', 3, 'aliases'),
        (b'a: 1\nb: "\n\n', 4, 'end of stream'),
        (b'a: 1\nb: \xff\xfe\n', 2, 'not a text'),
        (b'a: 1\n\n\x00', 3, 'not a text'),
        (b'a: "\\UFFFFFFFF"\n', None, 'beyond Unicode'),
        (b'a: "\\U00110000"\n', None, 'beyond Unicode'),
        (b'{' * 100_000, None, 'nested too deeply'),
        (b' ' * (1 << 21), None, 'bytes'),
    ],
)
def test_files_that_are_not_yaml(tmp_path: Path, content: bytes, line: int | None, reason: str) -> None:
    path = tmp_path / 'bad.yaml'
    path.write_bytes(content)
    with pytest.raises(ParameterError, match=r'bad\.yaml') as caught:
        read_parameter_file(str(path))
    assert reason in str(caught.value)
    assert line is None or f'line {line}:' in str(caught.value)
    assert '\n' not in str(caught.value)


def test_paths_that_are_not_files(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match='does not exist'):
        read_parameter_file(str(tmp_path / 'none.yaml'))
    with pytest.raises(ParameterError, match='is not a file'):
        read_parameter_file(str(tmp_path))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.one_of(
        st.binary(max_size=60),
        st.text(alphabet='ab:- \n[]{}&*!#"\'|>%@,?\t/_', max_size=60).map(str.encode),
    )
)
def test_any_content_is_read_or_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / 'any.yaml'
    path.write_bytes(content)
    refusal = ''
    try:
        warning_if_useless(str(path), read_parameter_file(str(path)), '/seg_ros')
    except ParameterError as err:
        refusal = str(err)
    assert len(refusal.splitlines()) <= 1
    assert not refusal or str(path) in refusal


@pytest.mark.parametrize('name', ['a\\nERROR forged', '\\ud800', '\\e[31m', 'x' * 1000])
def test_names_of_nodes_cannot_forge_lines_of_a_log(tmp_path: Path, name: str) -> None:
    path = tmp_path / 'names.yaml'
    path.write_text(f'"{name}": {{ros__parameters: {{x: 1}}}}')
    warning = warning_if_useless(str(path), read_parameter_file(str(path)), '/seg_ros')
    assert warning.isprintable()
    assert len(warning) < 2000


def test_a_file_that_gives_nothing_is_told() -> None:
    assert warning_if_useless('f', [Given('a', '/**', '')], '/x') == ''
    warning = warning_if_useless('f', [Given('a', '/y', ''), Given('b', '/y', '')], '/n/x')
    assert all(word in warning for word in ("'f'", '/n/x', '/y'))
    assert 'no parameters' in warning_if_useless('f', [], '/x')


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        (
            "failed to initialize rcl: Couldn't parse params file: '--params-file a b.yaml'. Error: No value "
            'at line 3, at /p/src/parse.c:258, at /p/src/rcl/arguments.c:415',
            "parameter file 'a b.yaml', line 3: No value",
        ),
        (
            "failed to initialize rcl: Couldn't parse log level: '--log-level x'. Error: Argument does not "
            'use a valid severity level, at /p/arguments.c:1860, at /p/arguments.c:441',
            "log level '--log-level x' cannot be read; expected debug",
        ),
        (
            "failed to initialize rcl: Couldn't parse remap rule: '-r a b'. Error: Expected lexeme type (19) "
            'not found, search ended at index 1, at /p/lexer_lookahead.c:238, at /p/arguments.c:380',
            "remap rule '-r a b' cannot be read; expected -r FROM:=TO",
        ),
        ('Something else', 'Something else'),
    ],
)
def test_errors_of_ros_in_words(text: str, words: str) -> None:
    assert explain_ros_error(text).startswith(words)
    assert '.c:' not in explain_ros_error(text)


def test_refusals_by_rclpy_name_the_parameter() -> None:
    text = (
        "Trying to set parameter 'use_sim_time' to '3' of type 'INTEGER', expecting type 'BOOL': use_sim_time"
    )
    assert str(refused_by_ros(text)) == 'use_sim_time is 3; expected bool'
    assert refused_by_ros('else') is None


@pytest.mark.parametrize('text', ['-1', '233', 'abc', '1.5', ' ', '٣', '9' * 5000])
def test_a_domain_that_dds_does_not_have(text: str) -> None:
    with pytest.raises(ParameterError, match='ROS_DOMAIN_ID'):
        check_domain(text)


@pytest.mark.parametrize('text', ['', '0', '42', '232'])
def test_domains(text: str) -> None:
    check_domain(text)
