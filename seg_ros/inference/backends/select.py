"""Choice of the backend: the one asked for, or the fastest of those available, by measuring."""

import hashlib
import json
import logging
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

import torch

from seg_ros import __version__
from seg_ros.errors import UnavailableError, look_up
from seg_ros.inference.backends.backend import Backend
from seg_ros.inference.backends.registry import BACKENDS
from seg_ros.modelfile.file import Model
from seg_ros.modelfile.precision import frame_network, is_derivable
from seg_ros.quantization.levels import QUANTIZATIONS

log = logging.getLogger(__name__)

_TIMED_RUNS = 7


def choose_backend(
    model: Model,
    name: str,
    level: str,
    size: tuple[int, int],
    device: torch.device,
    n_threads: int,
    *,
    with_embeddings: bool = False,
) -> tuple[str, Backend]:
    """Build the backend of a name, or for 'auto' the fastest one available on this computer.

    Timing compiles each backend, so the result is cached on disk until model, settings or software change.

    Args:
        model: Model file in memory.
        name: Name in seg_ros.inference.backends.registry.BACKENDS, or 'auto'.
        level: Level that the network computes at.
        size: (height, width) of the network's input in pixels.
        device: Device to run on.
        n_threads: Number of CPU threads; 0 = one per core.
        with_embeddings: Whether the network returns embeddings.

    Returns:
        Name of the backend, and the backend.

    Raises:
        UnavailableError: The backend is not available; the message gives the reason and lists those that are.
        UnknownNameError: The backend does not exist.
    """
    dtype = QUANTIZATIONS[level].dtype
    obstacles = {key: kind.why_not(device, dtype) for key, kind in BACKENDS.items()}
    available = [key for key, obstacle in obstacles.items() if obstacle is None]

    def build(key: str) -> Backend:
        frames = frame_network(model, level, with_embeddings=with_embeddings)
        return BACKENDS[key](frames, size, device, n_threads)

    if name != 'auto':
        look_up(BACKENDS, name, 'backend')
        if obstacles[name]:
            raise UnavailableError(
                f"backend '{name}' with {level} on {device}: {obstacles[name]}; "
                f'available: auto, {", ".join(available)}'
            )
        return name, build(name)
    if not available:
        raise UnavailableError(_no_backend(model, level, device, obstacles))
    cache = _cache_file(model.digest, level, size, str(device), n_threads, available, with_embeddings)
    cached = _read_cache(cache)
    if cached in available:
        return cached, build(cached)
    best, backend = _fastest(dict.fromkeys(available, build), size)
    _write_cache(cache, best)
    return best, backend


def _no_backend(model: Model, level: str, device: torch.device, obstacles: dict[str, str | None]) -> str:
    """Message: the reasons why no backend runs a level on a device, and the levels that one runs."""
    others = [
        other
        for other in QUANTIZATIONS
        if other != level
        and is_derivable(model, other)
        and any(kind.why_not(device, QUANTIZATIONS[other].dtype) is None for kind in BACKENDS.values())
    ]
    reasons = '; '.join(f'{key} {obstacle}' for key, obstacle in obstacles.items())
    return f'no backend runs {level} on {device}: {reasons}. Possible here: {", ".join(others)}'


def _fastest(builders: dict[str, Callable[[str], Backend]], size: tuple[int, int]) -> tuple[str, Backend]:
    images = torch.zeros(1, *size, 3, dtype=torch.uint8)
    timed: dict[str, tuple[float, Backend]] = {}
    for key, build in builders.items():
        try:
            backend = build(key)
            # The shortest time: other load on the computer only adds to it.
            timed[key] = (min(_seconds(backend, images) for _ in range(_TIMED_RUNS)), backend)
        except Exception as err:  # noqa: BLE001 - one broken candidate must not stop the others
            log.warning('backend %s is left out: %s', key, err)
    if not timed:
        raise UnavailableError('no backend could run the model; the warnings before this say why')
    log.info('backends: %s', ', '.join(f'{key} {1e3 * s:.1f} ms' for key, (s, _) in timed.items()))
    best = min(timed, key=lambda key: timed[key][0])
    return best, timed[best][1]


def _seconds(backend: Backend, images: torch.Tensor) -> float:
    started = time.perf_counter()
    for answer in backend(images).values():
        answer.sum().item()  # waits for a GPU
    return time.perf_counter() - started


def _cache_file(*settings: object) -> Path:
    """Path of the cached result for this model, these settings and this computer."""
    computer = (__version__, torch.__version__, platform.processor(), platform.node(), os.cpu_count())
    key = hashlib.sha256(repr((settings, computer)).encode()).hexdigest()[:16]
    folder = Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache')
    return folder / 'seg_ros' / f'backend-{key}.json'


def _read_cache(path: Path) -> str:
    try:
        return str(json.loads(path.read_text())['fastest'])
    except (OSError, ValueError, KeyError, TypeError):
        return ''


def _write_cache(path: Path, best: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({'fastest': best}))
    except OSError as err:
        log.info('the choice of backend is not cached: %s', err)
