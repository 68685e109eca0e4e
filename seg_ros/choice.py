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
from torch import nn

from seg_ros import __version__
from seg_ros.checkpoint import Model
from seg_ros.compress.quantize import fold_batch_norms, quantize
from seg_ros.description import ModelDescription
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
    possible = [name for name in QUANTIZATIONS if _is_derivable(model, name)]
    if level not in possible:
        lacks = ' without a calibration record' if stored in wanted.derivable_from else ''
        raise UnavailableError(
            f'quantization {level} cannot be derived from {model.path}, which holds {stored}{lacks}; '
            f'possible: auto, {", ".join(possible)}'
        )
    return level


def _is_derivable(model: Model, level: str) -> bool:
    """Whether a file gives a level."""
    about = model.description
    has_ranges = QUANTIZATIONS[level].dtype != torch.int8 or about.calibration is not None
    return has_ranges and about.quantization in QUANTIZATIONS[level].derivable_from


def frame_network(model: Model, level: str, *, with_embeddings: bool = False) -> FrameNetwork:
    """A copy of a model's network, and of what reads its maps, that computes at a level.

    Args:
        model: not changed.
        level: one that :func:`choose_quantization` gave.
        with_embeddings: whether it shall give embeddings, of a model that has them.

    Returns:
        In evaluation mode, on the CPU.

    Raises:
        CalibrationError: the record of activations lacks a layer.
    """
    about = model.description
    frames = FrameNetwork(
        network_at(model.network, about, level),
        has_scores=len(about.classes) > 0,
        codes=copy.deepcopy(model.codes),
        taps=list(about.codes.taps) if about.codes else [],
        embeddings=copy.deepcopy(model.embeddings) if with_embeddings else None,
        embedding_taps=list(about.embeddings.taps) if about.embeddings and with_embeddings else [],
    )
    return frames.eval()


def network_at(network: nn.Module, description: ModelDescription, level: str) -> ImageNetwork:
    """A network that computes at a level, on the CPU.

    Normalisations are folded into the convolutions that they follow. At int8 the network has its reference
    form: float operations that give what integers would, which backends replace.

    Args:
        network: float; not changed.
        description: gives normalisation and calibration.
        level: name in seg_ros.registry.QUANTIZATIONS.

    Raises:
        CalibrationError: the record of activations lacks a layer.
    """
    dtype, example = QUANTIZATIONS[level].dtype, example_input()
    if dtype == torch.int8:
        ranges = (description.calibration or {}).get('ranges', {})
        return ImageNetwork(quantize(network, ranges, example), description.normalisation).eval()
    # Inductor folds normalisations too, but into transposed convolutions along the wrong axis (torch 2.13).
    network = fold_batch_norms(copy.deepcopy(network).eval().float(), example)
    return ImageNetwork(network, description.normalisation, dtype).eval()


def example_input() -> torch.Tensor:
    """(1, 3, 64, 64) float zeros: what is passed through a network to see how it is made."""
    return torch.zeros(1, 3, 64, 64)


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
    """The backend of that name, or for 'auto' the fastest of those that this computer has.

    Measuring takes a compilation, so its result is remembered on disk until the model, the settings or the
    software change. ``with_embeddings`` is as for :func:`frame_network`.

    Raises:
        UnavailableError: it is not available; says why, and lists those that are.
        UnknownNameError: there is no such backend.
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
    memory = _memory_file(model.digest, level, size, str(device), n_threads, available)
    remembered = _recall(memory)
    if remembered in available:
        return remembered, build(remembered)
    best, backend = _fastest(dict.fromkeys(available, build), size)
    _remember(memory, best)
    return best, backend


def _no_backend(model: Model, level: str, device: torch.device, obstacles: dict[str, str | None]) -> str:
    """Why a level cannot be had on a device, and which can."""
    others = [
        other
        for other in QUANTIZATIONS
        if other != level
        and _is_derivable(model, other)
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
