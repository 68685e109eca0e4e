"""Imports of packages that would import more than is needed."""

import contextlib
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def hidden(*packages: str) -> Iterator[None]:
    """Let packages that are not loaded yet seem missing."""
    absent = [name for name in packages if name not in sys.modules]
    sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type] # None is what import takes for missing
    try:
        yield
    finally:
        for name in absent:
            sys.modules.pop(name, None)
