import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
import rclpy
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from seg_ros.errors import UnavailableError
from seg_ros.resources import resource
from seg_ros.ros import dds
from seg_ros.ros.dds import (
    added_to_environment,
    large_image_transport,
    local_domain,
    profile_variable,
    reserved_domain,
)

BEFORE, NOW = 'FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE'


@contextmanager
def participant(domain: int) -> Iterator[None]:
    """A real node of rclpy in a domain."""
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=domain, signal_handler_options=SignalHandlerOptions.NO)
    node = Node('somebody', context=context)
    yield
    node.destroy_node()
    context.try_shutdown()


@pytest.mark.parametrize(
    ('release', 'variable'),
    [
        ('humble', BEFORE),
        ('iron', BEFORE),
        ('jazzy', BEFORE),
        ('kilted', NOW),
        ('lyrical', NOW),
        ('rolling', NOW),
        (None, NOW),
    ],
)
def test_the_profile_is_named_as_the_release_expects(release: str | None, variable: str) -> None:
    environment = {'ROS_DISTRO': release} if release else {}
    assert profile_variable(environment) == variable
    profile = str(resource('config/fastdds_large_images.xml'))
    assert large_image_transport(environment) == {variable: profile}


@pytest.mark.parametrize('name', [BEFORE, NOW, 'FASTDDS_BUILTIN_TRANSPORTS'])
@pytest.mark.parametrize('release', ['jazzy', 'kilted'])
def test_a_transport_that_the_user_has_chosen_stays(name: str, release: str) -> None:
    assert large_image_transport({'ROS_DISTRO': release, name: 'mine'}) == {}


def test_it_is_cheap_to_import() -> None:
    code = 'import json, sys, seg_ros.ros.dds; print(json.dumps(sorted(sys.modules)))'
    loaded = json.loads(subprocess.check_output([sys.executable, '-c', code]))
    assert not {'rclpy', 'torch', 'numpy', 'cv2'} & set(loaded)


@pytest.fixture
def domains(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Two free domains, the only ones to choose from; replays of other tests never choose them."""
    monkeypatch.setattr(dds, 'DOMAINS', range(1, 11))
    with reserved_domain() as one, reserved_domain() as other:
        found = [one, other]
    monkeypatch.setattr(dds, 'DOMAINS', found)
    return found


@pytest.mark.parametrize('is_local', [False, True])
def test_a_domain_with_a_participant_is_skipped(domains: list[int], is_local: bool) -> None:
    taken, free = domains
    with added_to_environment(local_domain(taken) if is_local else {}), participant(taken):
        for _ in range(8):
            with reserved_domain() as domain:
                assert domain == free
        with (
            participant(free),
            pytest.raises(UnavailableError, match='--domain'),
            reserved_domain(),
        ):
            pass
    with reserved_domain() as one, reserved_domain() as other:
        assert {one, other} == {taken, free}


@pytest.mark.parametrize('offset', [0, 1, 10, 11, 10 + 2 * 7, 249])
@pytest.mark.parametrize('address', ['', '127.0.0.1'])
def test_a_domain_with_an_occupied_port_is_skipped(offset: int, address: str, domains: list[int]) -> None:
    taken, free = domains
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as occupied:
        occupied.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as Fast DDS does for multicast
        occupied.bind((address, 7400 + 250 * taken + offset))
        for _ in range(8):
            with reserved_domain() as domain:
                assert domain == free


def test_nobody_gets_a_domain_that_is_reserved(domains: list[int]) -> None:
    code = (
        'import json, sys, seg_ros.ros.dds as dds; dds.DOMAINS = json.loads(sys.argv[1])\n'
        'with dds.reserved_domain() as domain: print(domain)'
    )
    command = [sys.executable, '-c', code, json.dumps(domains)]
    with reserved_domain() as one:
        assert {one, int(subprocess.check_output(command))} == set(domains)
        with reserved_domain() as other:
            assert {one, other} == set(domains)
            process = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
            assert 'UnavailableError' in process.stderr
    assert int(subprocess.check_output(command)) in domains


def test_low_domains_and_ephemeral_ports_are_left_alone() -> None:
    with ExitStack() as stack:
        for _ in range(20):
            assert 10 < stack.enter_context(reserved_domain()) < 101


def test_forbidden_ports_are_told_apart_from_occupied_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(port: int) -> socket.socket:
        raise PermissionError(1, 'Operation not permitted')

    monkeypatch.setattr(dds, '_bound', refuse)
    with pytest.raises(UnavailableError, match=r'not permitted.*--domain'), reserved_domain():
        pass


def test_the_environment_is_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('ROS_DOMAIN_ID', '7')
    monkeypatch.delenv(NOW, raising=False)
    before = dict(os.environ)
    with added_to_environment({'ROS_DOMAIN_ID': '8', NOW: '/profile.xml'}):
        assert (os.environ['ROS_DOMAIN_ID'], os.environ[NOW]) == ('8', '/profile.xml')
    assert dict(os.environ) == before

    def fail() -> None:
        with added_to_environment({'ROS_DOMAIN_ID': '8', NOW: '/profile.xml'}):
            del os.environ[NOW]
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert dict(os.environ) == before
