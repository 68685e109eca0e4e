"""An SROS 2 policy that allows the node its own topics and services, and nothing else.

It is written from the tables in :mod:`seg_ros.ros.endpoints`, from which the node makes its endpoints.
Nothing here needs ROS. Source of the format: https://design.ros2.org/articles/ros2_access_control_policies.html,
version 0.2.0.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree as ET

from seg_ros.errors import ParameterError
from seg_ros.ros.endpoints import BOND, CAMERA, CLOCK, PUBLISHED, PUBLISHED_BY_RCLPY, SERVED, SERVED_BY_RCLPY
from seg_ros.schema import shown

VERSION = '0.2.0'
_NAME = re.compile(r'[A-Za-z_][A-Za-z0-9_]*')


@dataclass(frozen=True)
class Deployment:
    """A node as a robot runs it.

    Attributes:
        namespace: Namespace of the node, e.g. '/front'.
        name: Name of the node.
        image: Topic of the raw images, after remapping; compressed images come from below it.
        image_transport: 'raw' or 'compressed', as the parameter.
        use_sim_time: Whether the node takes its time from ``/clock``.
        bond: Whether nav2's lifecycle manager keeps a bond with the node.
        enclave: Enclave that the process runs in; '' = the full name of the node.

    Raises:
        ParameterError: A name is not one that ROS accepts.
    """

    namespace: str = '/'
    name: str = 'seg_ros'
    image: str = 'image'
    image_transport: str = 'raw'
    use_sim_time: bool = False
    bond: bool = False
    enclave: str = ''

    def __post_init__(self) -> None:
        _check_name('name', self.name, is_path=False)
        _check_name('namespace', self.namespace.strip('/') or 'x', is_path=True)
        _check_name('image', self.image.removeprefix('~').removeprefix('/'), is_path=True)
        _check_name('enclave', self.enclave.removeprefix('/') or 'x', is_path=True)

    @property
    def full_namespace(self) -> str:
        """Namespace with a slash in front."""
        return f'/{self.namespace.strip("/")}'

    @property
    def enclave_path(self) -> str:
        """Path of the enclave."""
        own = f'{self.full_namespace.rstrip("/")}/{self.name}'
        return f'/{(self.enclave or own).lstrip("/")}'

    @property
    def subscribed(self) -> tuple[str, ...]:
        """Topics that the node subscribes to."""
        below = CAMERA[self.image_transport].removeprefix(CAMERA['raw'])
        return (self.image + below, *((CLOCK,) if self.use_sim_time else ()), *((BOND,) if self.bond else ()))

    @property
    def published(self) -> tuple[str, ...]:
        """Topics that the node publishes."""
        return (*PUBLISHED, *PUBLISHED_BY_RCLPY, *((BOND,) if self.bond else ()))


def security_policy(deployment: Deployment) -> str:
    """Text of a policy with one enclave, for ``ros2 security create_permission``."""
    policy = ET.Element('policy', version=VERSION)
    enclave = ET.SubElement(ET.SubElement(policy, 'enclaves'), 'enclave', path=deployment.enclave_path)
    profiles = ET.SubElement(enclave, 'profiles')
    profile = ET.SubElement(profiles, 'profile', ns=deployment.full_namespace, node=deployment.name)
    _allow(profile, 'topic', 'subscribe', deployment.subscribed)
    _allow(profile, 'topic', 'publish', deployment.published)
    _allow(profile, 'service', 'reply', (*SERVED, *SERVED_BY_RCLPY))
    ET.indent(policy)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(policy, "unicode")}\n'


def _allow(profile: ET.Element, kind: str, action: str, names: Sequence[str]) -> None:
    """Add the rule that allows an action on topics or services."""
    rule = ET.SubElement(profile, f'{kind}s', {action: 'ALLOW'})
    for name in sorted(names):
        ET.SubElement(rule, kind).text = name


def _check_name(field: str, text: str, *, is_path: bool) -> None:
    parts = text.split('/') if is_path else [text]
    if not all(_NAME.fullmatch(part) for part in parts):
        raise ParameterError(f'{field} is {shown(text)}; expected letters, digits and _, as ROS has names')
