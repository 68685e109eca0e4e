"""The command line of the node: ROS arguments, ``--help``, and errors of rclpy in words.

Nothing here imports rclpy or torch.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from seg_ros.errors import ParameterError
from seg_ros.ros.parameter_files import Given, read_parameter_file

DEFAULT_NAME = 'seg_ros'

_LAST_DOMAIN = 232  # the ports of DDS end here

_WITH_VALUE = ('-p', '--param', '-r', '--remap', '--params-file')
_EXPECTED = {
    'log level': 'debug, info, warn, error, fatal or NODE:=LEVEL',
    'remap rule': '-r FROM:=TO with valid names, e.g. -r image:=/camera/image_raw, -r __ns:=/front',
    'parameter override rule': '-p NAME:=VALUE, e.g. -p max_rate_hz:=10.0',
}


@dataclass
class Arguments:
    """The words of a command line.

    Attributes:
        name: Name that the node gets.
        namespace: Namespace that the node gets, with a leading slash.
        parameter_files: Paths of the parameter files, in order.
        given: All parameters in files and arguments, in order; see :meth:`read_files`.
        unknown: Words outside of ``--ros-args``.
        wants_help: Whether ``--help`` is there.
    """

    name: str = DEFAULT_NAME
    namespace: str = '/'
    parameter_files: list[str] = field(default_factory=list)
    given: list[Given] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    wants_help: bool = False

    @property
    def full_name(self) -> str:
        """Name with namespace, e.g. '/front/seg_ros'."""
        return f'/{self.namespace.strip("/")}/{self.name}'.replace('//', '/')


def parse_arguments(words: Sequence[str]) -> Arguments:
    """Read the command line, as far as rclpy does not.

    Args:
        words: Words behind the name of the program.

    Returns:
        The arguments.

    Raises:
        ParameterError: A parameter file cannot be read or is not YAML.
    """
    parsed = Arguments()
    rules: list[tuple[str, str]] = []
    for option, value in _options(words):
        if option in ('-h', '--help'):
            parsed.wants_help = True
        elif option == '':
            parsed.unknown.append(value)
        else:
            rules.append((option, value))
    if not parsed.wants_help:
        _take_remaps(parsed, rules)
        _take_parameters(parsed, rules)
    return parsed


def refuse_unknown(unknown: list[str]) -> str:
    """Message about words that are not ROS arguments."""
    return (
        f"unknown argument '{unknown[0]}'; parameters are given as --ros-args -p NAME:=VALUE, "
        'topics as --ros-args -r FROM:=TO; see --help'
    )


def check_domain(text: str) -> None:
    """Check the environment variable ROS_DOMAIN_ID; DDS would end the process without a reason.

    Raises:
        ParameterError: It is not a number from 0 to 232.
    """
    if text and not (text.isascii() and text.isdigit() and int(text[:9]) <= _LAST_DOMAIN):
        raise ParameterError(f"ROS_DOMAIN_ID is '{text[:80]}'; expected a number from 0 to {_LAST_DOMAIN}")


def refused_by_ros(text: str) -> ParameterError | None:
    """The refusal of a parameter that rclpy declares, like use_sim_time; None if the text is another."""
    found = re.search(
        r"Trying to set parameter '(.*?)' to '(.*?)' of type '\w+', expecting type '(\w+)'", text
    )
    return ParameterError(f'{found[1]} is {found[2]}; expected {found[3].lower()}') if found else None


def explain_ros_error(text: str) -> str:
    """One line for the text of an rclpy exception about the command line or the node's name."""
    text = re.sub(r',? at (line \d+)', r' at \1', ' '.join(text.split()))
    text = re.sub(r', at \S+\.(?:c|cpp|h|hpp):\d+', '', text)  # places in the source code of ROS
    text = re.sub(r'^(failed to )?initialize \w+: ', '', text)
    text = re.sub(r'^failed to initialize rcl: ', '', text)
    in_file = re.search(r"params file: '(?:--params-file )?(.*?)'\. Error: (.*)", text)
    if in_file:
        line = re.search(r' at line(?:_num)? (\d+)', in_file[2])
        problem = re.sub(r' at line(?:_num)? \d+', '', in_file[2])
        return f"parameter file '{in_file[1]}'{f', line {line[1]}' if line else ''}: {problem}"
    if re.search(r'log(ging)? directory', text):
        return f'{text}; set ROS_LOG_DIR to a folder that can be written'
    rule = re.search(r"Couldn't parse ([\w ]+): '(.*)'\. Error", text)
    if rule:
        expected = _EXPECTED.get(rule[1])
        return f"{rule[1]} '{rule[2]}' cannot be read" + (f'; expected {expected}' if expected else '')
    return text


def _options(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Options with their values; words outside of --ros-args have the option ''."""
    in_ros, at = False, 0
    while at < len(words):
        word, at = words[at], at + 1
        if word in ('-h', '--help'):
            yield word, ''
        elif word == '--ros-args':
            in_ros = True
        elif word == '--':
            in_ros = False
        elif not in_ros:
            yield '', word
        elif word in _WITH_VALUE and at < len(words):
            yield word, words[at]
            at += 1


def _take_remaps(parsed: Arguments, rules: list[tuple[str, str]]) -> None:
    """Take name and namespace; the first rule of each kind holds, as in ROS."""
    for option, rule in reversed(rules):
        source, _, target = rule.partition(':=')
        if option not in ('-r', '--remap') or not target:
            continue
        of_node, _, kind = source.rpartition(':')
        if of_node not in ('', DEFAULT_NAME):
            continue
        if kind in ('__node', '__name'):
            parsed.name = target
        elif kind == '__ns':
            parsed.namespace = target


def _take_parameters(parsed: Arguments, rules: list[tuple[str, str]]) -> None:
    for option, value in rules:
        if option == '--params-file':
            parsed.parameter_files.append(value)
            parsed.given += read_parameter_file(value)
        elif option in ('-p', '--param'):
            source, _, _ = value.partition(':=')
            of_node, _, name = source.rpartition(':')
            nodes = f'/**/{of_node.strip("/")}' if of_node else '/**'
            parsed.given.append(Given(name, nodes, f'argument {option} {value}'))
