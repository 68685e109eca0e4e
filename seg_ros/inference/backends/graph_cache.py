"""Graphs that backends made of networks, kept on disk: exports to ONNX, and what an engine made of those.

A key names everything that a graph depends on, so a kept graph is never out of date. Each file starts with
the SHA-256 of the rest: a file that was cut off or damaged is made anew.
"""

import hashlib
import logging
import os
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import seg_ros
from seg_ros._caches import cache_folder, is_kept

log = logging.getLogger(__name__)

_FOLDER = 'graphs'
_MOST_FILES = 64
_LARGEST_BYTES = 1 << 30
_N_DIGEST = hashlib.sha256().digest_size
_SOURCES = (
    *('networks', 'quantization', 'modelfile', 'inference/backends'),
    *('inference/served_model.py', 'segments/code_pooling.py'),
)
"""Folders and files of this package whose code decides about a graph."""


def graph_key(*parts: object) -> str:
    """Name of a graph in the cache: a digest of everything that it depends on, and of the code that makes it.

    Args:
        parts: Values whose text tells them apart.
    """
    return hashlib.sha256(repr((parts, _digest_of_sources())).encode()).hexdigest()[:32]


def recall_graph(key: str) -> bytes | None:
    """The kept graph of a key; None if there is none, or it is damaged."""
    path = _path(key)
    try:
        if path is None or path.stat().st_size > _LARGEST_BYTES:
            return None
        content = path.read_bytes()
        path.touch()
    except OSError:
        return None
    digest, graph = content[:_N_DIGEST], content[_N_DIGEST:]
    if hashlib.sha256(graph).digest() != digest:
        log.info('%s is damaged, and is made anew', path)
        return None
    return graph


def remember_graph(key: str, graph: bytes) -> None:
    """Keep a graph, and remove those that were not used for longest; nothing where nothing can be kept."""
    path = _path(key)
    if path is None:
        return
    temporary = ''
    try:
        # Written in full before it gets its name: another process may read it, and power may fail.
        number, temporary = tempfile.mkstemp(dir=path.parent)
        with os.fdopen(number, 'wb') as file:
            file.write(hashlib.sha256(graph).digest() + graph)
        Path(temporary).replace(path)
        _remove_oldest(path.parent)
    except OSError as err:
        log.warning('a graph is not kept, and will be made again: %s', err)
        if temporary:
            Path(temporary).unlink(missing_ok=True)


def forget_graphs() -> int:
    """Remove all kept graphs; returns their number."""
    folder = cache_folder(_FOLDER) if is_kept() else None
    paths = [] if folder is None else list(folder.glob('*.graph'))
    for path in paths:
        path.unlink(missing_ok=True)
    return len(paths)


def _path(key: str) -> Path | None:
    folder = cache_folder(_FOLDER) if is_kept() else None
    return None if folder is None else folder / f'{key}.graph'


def _remove_oldest(folder: Path) -> None:
    by_age = sorted(folder.glob('*.graph'), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in by_age[_MOST_FILES:]:
        path.unlink(missing_ok=True)


def _sources(root: Path) -> Iterator[Path]:
    for name in _SOURCES:
        yield from (root / name).rglob('*.py') if (root / name).is_dir() else [root / name]


@cache
def _digest_of_sources() -> str:
    """Digest of the code that makes graphs: a checkout changes without a new version."""
    root = Path(seg_ros.__file__).parent
    digest = hashlib.sha256(str(seg_ros.__version__).encode())
    for path in sorted(_sources(root)):
        digest.update(path.read_bytes())
    return digest.hexdigest()
