"""The filter driven by learned embeddings, at run time: Numba on a CPU, torch elsewhere."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any, cast, get_args

import numpy as np
import torch
from torch import Tensor

from seg_ros._numba import import_kernels, n_cores, run_in_parts
from seg_ros.arrays import Float32Array
from seg_ros.errors import ParameterError, UnavailableError
from seg_ros.images.interpolation import neighbours_1d
from seg_ros.inference.argmax import dense, is_by_pixel
from seg_ros.inference.settings import Settings
from seg_ros.modelfile.file import Model, load_model
from seg_ros.modelfile.find import shipped_models
from seg_ros.networks.masked_average import (
    LEAST_PROBABILITY,
    Averaged,
    check_window,
    filter_scores,
    is_finer,
    resize_scores,
)

_PAIRS_PER_THREAD = 50_000
"""Number of pairs of pixels below which another thread costs more than it saves."""

_VALUES_PER_THREAD = 200_000
"""Number of scores below which another thread costs more than it saves."""

_KERNELS = (
    'seg_ros.inference.filter_kernels',
    'the embedding filter runs in torch, which takes many times longer',
)


@dataclass(frozen=True)
class EmbeddingFilter:
    """Averages probabilities or scores over pixels with similar embeddings; see ``filter_scores``.

    Attributes:
        window: Width and height of the window in pixels of the embeddings, odd.
        iterations: Number of iterations, 0 or more.
        hardness: Decay of a pixel's weight with the distance of two embeddings, above 0.
        averages: Values that are averaged: 'probabilities' or 'scores'.

    Raises:
        ParameterError: A value is out of range.
    """

    window: int = 5
    iterations: int = 2
    hardness: float = 2.0
    averages: Averaged = 'probabilities'

    def __post_init__(self) -> None:
        for name, value, is_right, expected in (
            ('window', self.window, self.window >= 1 and self.window % 2 == 1, 'an odd number of pixels'),
            ('iterations', self.iterations, self.iterations >= 0, '0 or more'),
            ('hardness', self.hardness, 0 < self.hardness < 1e6, 'above 0, below a million'),
            ('averages', self.averages, self.averages in get_args(Averaged), ' or '.join(get_args(Averaged))),
        ):
            if not is_right:
                raise ParameterError(f'embedding filter: {name} is {value}; expected {expected}')

    def __call__(
        self,
        scores: Tensor,
        embeddings: Tensor,
        n_threads: int = 0,
        *,
        iterations: int | None = None,
        hardness: float | None = None,
    ) -> Tensor:
        """Filtered scores of one image.

        Args:
            scores: (K, H, W) float32, on any device.
            embeddings: (D, h, w) float32, on the same device.
            n_threads: Maximum number of threads, on the CPU only; 0 = one per core.
            iterations: Number of iterations for this image; None = the filter's own.
            hardness: Hardness for this image; None = the filter's own.

        Returns:
            (K, max(H, h), max(W, w)) float32.

        Raises:
            ParameterError: The window is larger than the embeddings, or the sizes do not fit.
        """
        check_window(self.window, tuple(embeddings.shape[-2:]))
        n_iterations = self.iterations if iterations is None else iterations
        hardness = self.hardness if hardness is None else hardness
        kernels = import_kernels(*_KERNELS) if scores.device.type == 'cpu' else None
        if kernels is None:
            decay = torch.tensor(hardness, device=scores.device)
            return filter_scores(
                scores[None], embeddings[None], decay, self.window, n_iterations, self.averages
            )[0]
        size = tuple(embeddings.shape[-2:])
        n_threads = n_threads or n_cores()
        scores = dense(scores.detach().float())
        finer = is_finer(tuple(scores.shape[-2:]), size)
        if n_iterations == 0:
            return scores if finer else resize_scores(scores[None], size)[0]
        if not finer:
            scores = resize_scores(scores[None], size)[0]
        before = _means(kernels, scores, size, n_threads)
        has_probabilities = self.averages == 'probabilities'
        before = _probabilities(before) if has_probabilities else before
        after = _average(kernels, before, embeddings, n_threads, self.window, n_iterations, hardness)
        if has_probabilities:
            change = np.log(np.divide(after, before, out=after) if finer else after, out=after)
        else:
            change = np.subtract(after, before, out=after) if finer else after
        return _add(kernels, scores, change, n_threads) if finer else torch.from_numpy(change)


def load_filter(model: Model, size: tuple[int, int], settings: Settings | None = None) -> EmbeddingFilter:
    """The embedding filter of a model file, unless the settings say otherwise.

    Args:
        model: Model with embeddings.
        size: (height, width) of the network's input in pixels.
        settings: Values of the parameters ``embedding_filter.*``; None = those in the model file.

    Raises:
        ParameterError: The size is not a multiple of the embeddings' stride, or the window does not fit.
        UnavailableError: The model has no embeddings; the message lists the shipped models with embeddings.
    """
    own, settings = model.metadata.embeddings, settings or Settings()
    if own is None or model.embeddings is None:
        raise UnavailableError(
            f'model {model.path} has no embeddings, which the filter needs; shipped models that have: '
            f"{', '.join(_shipped_with_embeddings()) or 'none'}; 'embeddings' in a training recipe adds them"
        )
    if size[0] % own.stride or size[1] % own.stride:
        raise ParameterError(
            f'network input is {size[0]}x{size[1]} pixels; the embedding filter of model {model.path} '
            f'expects multiples of {own.stride}: set input_height and input_width so'
        )
    averages = settings.embedding_filter_averages
    chosen = EmbeddingFilter(
        window=settings.embedding_filter_window or own.window,
        iterations=settings.embedding_filter_iterations or own.iterations,
        hardness=settings.embedding_filter_hardness or float(model.embeddings.hardness.detach()),
        averages=own.averages if averages == 'auto' else cast('Averaged', averages),
    )
    check_window(chosen.window, (size[0] // own.stride, size[1] // own.stride))
    return chosen


def _shipped_with_embeddings() -> list[str]:
    return [path.stem for path in shipped_models() if load_model(path).embeddings is not None]


def _average(
    kernels: ModuleType,
    values: Float32Array,
    embeddings: Tensor,
    n_threads: int,
    window: int,
    n_iterations: int,
    hardness: float,
) -> Float32Array:
    """(K, h, w) values after all iterations of the masked average."""
    radius = window // 2
    n_pairs = n_iterations * window**2 * values[0].size
    places = _with_margins(embeddings.detach().float().numpy(), radius, np.inf)
    source = np.ascontiguousarray(_with_margins(values, radius, 0).swapaxes(0, 1))
    averaged = np.empty(values.shape, np.float32)
    arguments = (source, places, np.float32(hardness), radius, n_iterations)
    run = partial(_call, kernels.average_rows, arguments, averaged)
    run_in_parts(run, values.shape[1], min(n_threads, 1 + n_pairs // _PAIRS_PER_THREAD))
    return averaged


def _probabilities(scores: Float32Array) -> Float32Array:
    """Softmax of (K, h, w) scores, in place; LEAST_PROBABILITY at least."""
    scores -= scores.max(0)
    np.exp(scores, out=scores)
    scores /= scores.sum(0)
    return np.maximum(scores, LEAST_PROBABILITY, out=scores)


def _with_margins(maps: Float32Array, radius: int, value: float) -> Float32Array:
    """(K, h, w) maps with ``radius`` columns of one value on the left and on the right."""
    height, width = maps.shape[1:]
    wide = np.full((len(maps), height, width + 2 * radius), value, np.float32)
    wide[:, :, radius : radius + width] = maps
    return wide


def _means(kernels: ModuleType, scores: Tensor, size: tuple[int, ...], n_threads: int) -> Float32Array:
    """(K, h, w) means over cells of (K, H, W) scores."""
    means = np.empty((scores.shape[0], *size), np.float32)
    if is_by_pixel(scores):
        run = partial(_call, kernels.mean_pixels, (_by_pixel(scores),), means)
    else:
        run = partial(_call, kernels.mean_rows, (*_in_memory(scores), tuple(scores.shape)), means)
    run_in_parts(run, size[0], min(n_threads, 1 + scores.numel() // _VALUES_PER_THREAD))
    return means


def _add(kernels: ModuleType, scores: Tensor, change: Float32Array, n_threads: int) -> Tensor:
    """(K, H, W) scores plus a (K, h, w) change, interpolated; in the scores' order in memory."""
    _, h, w = change.shape
    rows, columns = neighbours_1d(h, scores.shape[1]), neighbours_1d(w, scores.shape[2])
    changed = torch.empty_like(scores)
    if is_by_pixel(scores):
        change = np.ascontiguousarray(change.transpose(1, 2, 0))
        arguments = (_by_pixel(scores), change, rows, columns)
        run = partial(_call, kernels.add_pixels, arguments, _by_pixel(changed))
    else:
        run = partial(_call, kernels.add_rows, (*_in_memory(scores), change, rows, columns), changed.numpy())
    run_in_parts(run, scores.shape[1], min(n_threads, 1 + scores.numel() // _VALUES_PER_THREAD))
    return changed


def _by_pixel(scores: Tensor) -> Float32Array:
    """(K, H, W) scores that lie so, as (H, W * K)."""
    pixels: Float32Array = scores.permute(1, 2, 0).flatten(1).numpy()
    return pixels


def _in_memory(scores: Tensor) -> tuple[Float32Array, tuple[int, ...]]:
    """Contiguous scores as they lie in memory, and their strides."""
    return scores.as_strided((scores.numel(),), (1,)).numpy(), scores.stride()


def _call(
    kernel: Callable[..., None], arguments: tuple[Any, ...], result: Float32Array, start: int, stop: int
) -> None:
    """Let a kernel write the rows from ``start`` to ``stop`` of its result."""
    kernel(*arguments, start, stop, result)
