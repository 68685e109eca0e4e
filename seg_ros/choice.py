"""Which precision and which backend: what was asked for if it can be had, else the fastest, by measuring."""

import copy
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
from seg_ros.checkpoint import Model
from seg_ros.errors import UnavailableError
from seg_ros.image import FrameNetwork, ImageNetwork
from seg_ros.registry import BACKENDS, QUANTIZATIONS, look_up
from seg_ros.runtime.backend import Backend

log = logging.getLogger(__name__)

_TIMED_RUNS = 7


def choose_quantization(model: Model, level: str) -> str:
    """The level behind 'auto', or the one asked for.

    Raises:
        UnavailableError: it cannot be derived from what the file holds.
        UnknownNameError: there is no such level.
    """
    stored = model.description.quantization
    if level == 'auto':
        return stored
    wanted = look_up(QUANTIZATIONS, level, 'quantization level')
    if stored not in wanted.derivable_from:
        possible = [name for name, q in QUANTIZATIONS.items() if stored in q.derivable_from]
        raise UnavailableError(
            f'quantization {level} cannot be derived from {model.path}, which holds {stored}; '
            f'possible: auto, {", ".join(possible)}'
        )
    return level


def choose_backend(
    model: Model, name: str, level: str, size: tuple[int, int], device: torch.device, n_threads: int
) -> tuple[str, Backend]:
    """The backend of that name, or for 'auto' the fastest of those that this computer has.

    Measuring takes a compilation, so its result is remembered on disk until the model, the settings or the
    software change.

    Raises:
        UnavailableError: it is not available; says why, and lists those that are.
        UnknownNameError: there is no such backend.
    """
    dtype = QUANTIZATIONS[level].dtype
    obstacles = {key: kind.why_not(device, dtype) for key, kind in BACKENDS.items()}
    available = [key for key, obstacle in obstacles.items() if obstacle is None]

    def build(key: str) -> Backend:
        network = model.description.build()
        network.load_state_dict(model.network.state_dict())
        images = ImageNetwork(network, model.description.normalisation, dtype).eval()
        about = model.description.codes
        frames = FrameNetwork(
            images,
            has_scores=len(model.description.classes) > 0,
            codes=copy.deepcopy(model.codes),
            taps=list(about.taps) if about else [],
        )
        return BACKENDS[key](frames.eval(), size, device, n_threads)

    if name != 'auto':
        look_up(BACKENDS, name, 'backend')
        if obstacles[name]:
            raise UnavailableError(
                f"backend '{name}' with {level} on {device}: {obstacles[name]}; "
                f'available: auto, {", ".join(available)}'
            )
        return name, build(name)
    memory = _memory_file(model.digest, level, size, str(device), n_threads, available)
    remembered = _recall(memory)
    if remembered in available:
        return remembered, build(remembered)
    best, backend = _fastest(dict.fromkeys(available, build), size)
    _remember(memory, best)
    return best, backend


def _fastest(builders: dict[str, Callable[[str], Backend]], size: tuple[int, int]) -> tuple[str, Backend]:
    images = torch.zeros(1, *size, 3, dtype=torch.uint8)
    timed: dict[str, tuple[float, Backend]] = {}
    for key, build in builders.items():
        try:
            backend = build(key)
            # The shortest: whatever else the computer does only ever adds.
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


def _memory_file(*what: object) -> Path:
    """Where the result for this model, these settings and this computer is kept."""
    where = (__version__, torch.__version__, platform.processor(), platform.node(), os.cpu_count())
    key = hashlib.sha256(repr((what, where)).encode()).hexdigest()[:16]
    cache = Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache')
    return cache / 'seg_ros' / f'backend-{key}.json'


def _recall(memory: Path) -> str:
    try:
        return str(json.loads(memory.read_text())['fastest'])
    except (OSError, ValueError, KeyError, TypeError):
        return ''


def _remember(memory: Path, best: str) -> None:
    try:
        memory.parent.mkdir(parents=True, exist_ok=True)
        memory.write_text(json.dumps({'fastest': best}))
    except OSError as err:
        log.info('the choice of backend is not remembered: %s', err)
