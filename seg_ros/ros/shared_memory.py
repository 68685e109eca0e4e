"""Whether this process still hears what others send through the shared memory of Fast DDS.

A process receives through a port, a file in shared memory. Each sender checks that somebody reads there; if
nobody does for a second (``healthy_check_timeout_ms`` in ``config/fastdds_large_images.xml`` is longer), it
takes the port for an abandoned one, removes the file and makes a new one. A reader that was only stopped, by
a debugger, a full computer or a suspended virtual machine, goes on reading the removed file: it receives
nothing any more, for good, neither images nor requests, while everything that it sends arrives.
"""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from seg_ros.errors import TransportError
from seg_ros.ros.dds import FIRST_PORT

_READER = 'dds.shm.'
"""Start of the names of the threads that read; the number of the port follows."""
_PREFIXES = 'fastdds_port', 'fastrtps_port'
"""Start of the names of ports, by the versions of Fast DDS."""
_REMOVED = ' (deleted)'


def check_hearing(process: Path = Path('/proc/self')) -> None:
    """Refuse to go on in a process that no longer hears the others on its computer.

    Args:
        process: Folder of the process under /proc.

    Raises:
        TransportError: A port of this process was removed. Other middlewares have no such ports.
    """
    for port in set(_ports(process)) & set(_removed(process)):
        raise TransportError(
            f'another process took the shared memory port {port} of Fast DDS for abandoned and replaced it, '
            'since this process did not run for a while; nothing can reach it any more. Start it again'
        )


def _ports(process: Path) -> Iterator[int]:
    """Ports that only this process reads; those below FIRST_PORT are for all."""
    for thread in (process / 'task').glob('*/comm'):
        with suppress(OSError):  # the thread has ended
            name = thread.read_text().strip()
            if name.startswith(_READER) and name.removeprefix(_READER).isdecimal():
                port = int(name.removeprefix(_READER))
                if port >= FIRST_PORT:
                    yield port


def _removed(process: Path) -> Iterator[int]:
    """Ports in the memory of this process whose files are removed."""
    with suppress(OSError), (process / 'maps').open(errors='replace') as lines:
        for line in lines:
            name = line.rstrip('\n').rpartition('/')[2]
            for prefix in _PREFIXES:
                number = name.removeprefix(prefix).removesuffix(_REMOVED)
                if name.startswith(prefix) and name.endswith(_REMOVED) and number.isdecimal():
                    yield int(number)
