"""The node's program, with faults that a file switches on: errors in the network, and full memory.

    python node_with_faults.py CONTROL_FILE --ros-args ...

The file holds the name of a fault in FAULTS, or nothing.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def _raise_error() -> None:
    raise RuntimeError('a fault of the soak: the network failed')


def _raise_memory_error() -> None:
    raise MemoryError('a fault of the soak: 1 TB cannot be allocated')


FAULTS: dict[str, Callable[[], None]] = {'error': _raise_error, 'memory': _raise_memory_error}


def install(control: Path) -> None:
    """Let every frame look at the file, and fail as it says."""
    from seg_ros.inference.segmenter import Segmenter

    call = Segmenter.__call__

    def call_with_faults(self: Segmenter, *args: Any, **changes: Any) -> Any:
        name = control.read_text() if control.exists() else ''
        if name in FAULTS:
            FAULTS[name]()
        return call(self, *args, **changes)

    Segmenter.__call__ = call_with_faults  # type: ignore[method-assign]


if __name__ == '__main__':
    from seg_ros.ros.main import main

    install(Path(sys.argv[1]))
    sys.argv[1:] = sys.argv[2:]
    main()
