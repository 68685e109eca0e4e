"""DDS settings of processes that exchange images: transport of large images, and domain.

Nothing here imports rclpy, so launch files, tests and commands load it cheaply. The functions return
variables to add to an environment. Only `added_to_environment` changes ``os.environ``, and it restores the
former values.

Ports are the defaults of the RTPS specification (DDSI-RTPS, "Default Port Numbers"): domain d has the 250 UDP
ports from 7400 + 250 d. Offsets 0 and 1 are multicast; participant p of a computer has 10 + 2 p and 11 + 2 p.
"""

import errno
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from random import SystemRandom

from seg_ros.errors import UnavailableError
from seg_ros.resources import resource

DOMAINS = range(11, 101)
"""Domains that `reserved_domain` chooses from.

People choose lower ones by hand. Ports of higher ones overlap with the ephemeral ports of Linux.
"""

FIRST_PORT, N_PORTS = 7400, 250
"""First port of domain 0, and number of ports of a domain."""

RESERVATION_OFFSET = 2
"""Offset of the port that marks a domain as reserved; DDS leaves offsets 2 to 9 unused."""

_FAST_DDS_2 = ('humble', 'iron', 'jazzy')
"""ROS releases that have Fast DDS 2; all later ones have Fast DDS 3."""


def profile_variable(environment: Mapping[str, str]) -> str:
    """Name of the variable by which Fast DDS finds its profile; version 3 warns of the name in version 2.

    Args:
        environment: Environment variables; without ``ROS_DISTRO``, Fast DDS 3 is assumed.
    """
    has_fast_dds_2 = environment.get('ROS_DISTRO') in _FAST_DDS_2
    return 'FASTRTPS_DEFAULT_PROFILES_FILE' if has_fast_dds_2 else 'FASTDDS_DEFAULT_PROFILES_FILE'


def large_image_transport(environment: Mapping[str, str]) -> dict[str, str]:
    """Variables that make Fast DDS move images through shared memory.

    The default shared memory is smaller than one camera image; see ``docs/transport.md``.

    Args:
        environment: Environment variables of the process.

    Returns:
        Variables to add before the first node is created; none if the user has chosen a transport.
    """
    of_the_user = (
        'FASTRTPS_DEFAULT_PROFILES_FILE',
        'FASTDDS_DEFAULT_PROFILES_FILE',
        'FASTDDS_BUILTIN_TRANSPORTS',
    )
    if any(name in environment for name in of_the_user):
        return {}
    return {profile_variable(environment): str(resource('config/fastdds_large_images.xml'))}


def local_domain(domain: int) -> dict[str, str]:
    """Variables that put a process into a domain where only this computer is discovered.

    Args:
        domain: Id of the domain, 0..232.
    """
    return {'ROS_DOMAIN_ID': str(domain), 'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST'}


@contextmanager
def reserved_domain() -> Iterator[int]:
    """Reserve a DDS domain that nobody else on this computer uses.

    Guaranteed: on entry, no UDP port of the domain is in use in this network namespace, so no participant
    with default ports runs there. Until the exit, no other caller of this function gets the same domain.

    Not guaranteed: another program may join the domain later, since DDS has no reservations. Participants
    without UDP over IPv4, or in another network namespace (a container), are not seen. Other computers are
    not seen either; `local_domain` keeps them out.

    Yields:
        Id of the domain, from `DOMAINS`.

    Raises:
        UnavailableError: Every domain is in use, or UDP ports cannot be opened.
    """
    for domain in SystemRandom().sample(DOMAINS, len(DOMAINS)):
        reservation = _reserve(domain)
        if reservation:
            with reservation:
                yield domain
            return
    raise UnavailableError(
        f'every DDS domain from {DOMAINS[0]} to {DOMAINS[-1]} is in use on this computer; '
        'end programs that use ROS, or choose a domain yourself (--domain, or ROS_DOMAIN_ID)'
    )


@contextmanager
def added_to_environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables of this process, for all its threads, and restore the former values.

    ROS reads its variables in ``rclpy.init``. Fast DDS reads its profile once per process, when the first
    node is created: a later change of the profile has no effect.
    """
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _reserve(domain: int) -> socket.socket | None:
    """Socket on the reservation port of a domain; None if any port of the domain is in use."""
    first = FIRST_PORT + N_PORTS * domain
    with ExitStack() as stack:
        try:
            reservation = stack.enter_context(_bound(first + RESERVATION_OFFSET))
            for port in range(first, first + N_PORTS):
                if port != first + RESERVATION_OFFSET:
                    _bound(port).close()
        except OSError as err:
            if err.errno == errno.EADDRINUSE:
                return None
            raise UnavailableError(
                f'cannot open UDP ports to find a free DDS domain ({err}); '
                'choose a domain yourself (--domain, or ROS_DOMAIN_ID)'
            ) from err
        stack.pop_all()
        return reservation


def _bound(port: int) -> socket.socket:
    """UDP socket that alone owns a port.

    Raises:
        OSError: The port is in use, or must not be opened.
    """
    opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        opened.bind(('', port))
    except OSError:
        opened.close()
        raise
    return opened
