"""The filter driven by learned embeddings, at run time: Numba or NumPy on a CPU, torch elsewhere."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast, get_args

import cv2
import numpy as np

from seg_ros._numba import import_kernels, n_cores, run_in_parts
from seg_ros.arrays import Float32Array, Maps, in_memory
from seg_ros.errors import ParameterError, UnavailableError
from seg_ros.images.interpolation import neighbours_1d
from seg_ros.inference.argmax import flattened, is_by_pixel
from seg_ros.inference.settings import Settings
from seg_ros.modelfile.description import open_model
from seg_ros.modelfile.find import shipped_models
from seg_ros.networks.filter_rules import LEAST_PROBABILITY, Averaged, check_window, is_finer, window_pairs

if TYPE_CHECKING:
    from seg_ros.inference.served_model import ServedModel

_PAIRS_PER_THREAD = 50_000
"""Number of pairs of pixels below which another thread costs more than it saves."""

_VALUES_PER_THREAD = 200_000
"""Number of scores below which another thread costs more than it saves."""

KERNELS = (
    'seg_ros.inference.filter_kernels',
    'the embedding filter runs in NumPy, which takes many times longer',
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

    @np.errstate(invalid='ignore')
    def __call__(
        self,
        scores: Maps,
        embeddings: Maps,
        n_threads: int = 0,
        *,
        iterations: int | None = None,
        hardness: float | None = None,
    ) -> Maps:
        """Filtered scores of one image.

        Args:
            scores: (K, H, W) float32, on any device.
            embeddings: (D, h, w) float32, on the same device.
            n_threads: Maximum number of threads, on the CPU only; 0 = one per core.
            iterations: Number of iterations for this image; None = the filter's own.
            hardness: Hardness for this image; None = the filter's own.

        Returns:
            (K, max(H, h), max(W, w)) float32: an array, or a tensor if the scores are on a GPU.

        Raises:
            ParameterError: The window is larger than the embeddings, or the sizes do not fit.
        """
        size = (int(embeddings.shape[-2]), int(embeddings.shape[-1]))
        check_window(self.window, size)
        n_iterations = self.iterations if iterations is None else iterations
        hardness = self.hardness if hardness is None else hardness
        values, places = in_memory(scores), in_memory(embeddings)
        if values is None or places is None:
            return self._in_torch(scores, embeddings, n_iterations, hardness)
        finer = is_finer(values.shape[-2:], size)
        if n_iterations == 0 and finer:
            return values
        values = values if finer else _enlarged(values, size)
        if n_iterations == 0:
            return values
        kernels, n_threads = import_kernels(*KERNELS), n_threads or n_cores()
        before = _means(kernels, values, size, n_threads)
        has_probabilities = self.averages == 'probabilities'
        before = _probabilities(before) if has_probabilities else before
        after = _average(kernels, before, places, n_threads, self.window, n_iterations, hardness)
        if has_probabilities:
            change = np.log(np.divide(after, before, out=after) if finer else after, out=after)
        else:
            change = np.subtract(after, before, out=after) if finer else after
        return _add(kernels, values, change, n_threads) if finer else change

    def _in_torch(self, scores: Maps, embeddings: Maps, n_iterations: int, hardness: float) -> Maps:
        """The same for tensors on a GPU."""
        import torch

        from seg_ros.networks.masked_average import filter_scores

        assert isinstance(scores, torch.Tensor)
        assert isinstance(embeddings, torch.Tensor)
        decay = torch.full((), hardness, device=scores.device)
        both, window = (scores[None], embeddings[None]), self.window
        return filter_scores(*both, decay, window, n_iterations, self.averages)[0]


def load_filter(model: 'ServedModel', settings: Settings | None = None) -> EmbeddingFilter:
    """The embedding filter of a model file, unless the settings say otherwise.

    Args:
        model: Model with embeddings.
        settings: Values of the parameters ``embedding_filter.*``; None = those in the model file.

    Raises:
        ParameterError: The size is not a multiple of the embeddings' stride, or the window does not fit.
        UnavailableError: The model has no embeddings; the message lists the shipped models with embeddings.
    """
    own, settings, size = model.metadata.embeddings, settings or Settings(), model.input_size
    if own is None or model.hardness is None:
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
        hardness=settings.embedding_filter_hardness or model.hardness,
        averages=own.averages if averages == 'auto' else cast('Averaged', averages),
    )
    check_window(chosen.window, (size[0] // own.stride, size[1] // own.stride))
    return chosen


def _shipped_with_embeddings() -> list[str]:
    return [path.stem for path in shipped_models() if open_model(path).metadata.embeddings is not None]


def _average(
    kernels: ModuleType | None,
    values: Float32Array,
    embeddings: Float32Array,
    n_threads: int,
    window: int,
    n_iterations: int,
    hardness: float,
) -> Float32Array:
    """(K, h, w) values after all iterations of the masked average."""
    radius = window // 2
    if kernels is None:
        for _ in range(n_iterations):
            values = _averaged_once(values, embeddings, radius, np.float32(hardness))
        return values
    n_pairs = n_iterations * window**2 * values[0].size
    places = _with_margins(embeddings, radius, np.inf)
    source = np.ascontiguousarray(_with_margins(values, radius, 0).swapaxes(0, 1))
    averaged = np.empty(values.shape, np.float32)
    arguments = (source, places, np.float32(hardness), radius, n_iterations)
    run = partial(_call, kernels.average_rows, arguments, averaged)
    run_in_parts(run, values.shape[1], min(n_threads, 1 + n_pairs // _PAIRS_PER_THREAD))
    return averaged


def _averaged_once(
    values: Float32Array, embeddings: Float32Array, radius: int, hardness: np.float32
) -> Float32Array:
    """(K, h, w) weighted means over the window, pair by pair of places."""
    sums, total = values.copy(), np.ones(values.shape[1:], np.float32)
    for here, there in window_pairs(values.shape, radius):
        weights = np.exp(-hardness * np.abs(embeddings[here] - embeddings[there]).sum(0))
        sums[here] += weights * values[there]
        sums[there] += weights * values[here]
        total[here[1:]] += weights
        total[there[1:]] += weights
    return np.divide(sums, total, out=sums)


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


def _enlarged(maps: Float32Array, size: tuple[int, int]) -> Float32Array:
    """(K, h, w) maps at a larger or equal size (H, W), interpolated bilinearly."""
    if maps.shape[1:] == size:
        return maps
    return np.stack([cv2.resize(np.ascontiguousarray(plane), size[::-1]) for plane in maps])


def _means(
    kernels: ModuleType | None, scores: Float32Array, size: tuple[int, int], n_threads: int
) -> Float32Array:
    """(K, h, w) means over cells of (K, H, W) scores."""
    n_classes, height, width = scores.shape
    if kernels is None:
        cells = scores.reshape(n_classes, size[0], height // size[0], size[1], width // size[1])
        return np.ascontiguousarray(cells.mean((2, 4)))
    means = np.empty((n_classes, *size), np.float32)
    if is_by_pixel(scores):
        run = partial(_call, kernels.mean_pixels, (_by_pixel(scores),), means)
    else:
        run = partial(_call, kernels.mean_rows, (*flattened(scores), scores.shape), means)
    run_in_parts(run, size[0], min(n_threads, 1 + scores.size // _VALUES_PER_THREAD))
    return means


def _add(
    kernels: ModuleType | None, scores: Float32Array, change: Float32Array, n_threads: int
) -> Float32Array:
    """(K, H, W) scores plus a (K, h, w) change, interpolated; in the scores' order in memory."""
    n_classes, height, width = scores.shape
    if kernels is None:
        return scores + _enlarged(change, (height, width))
    rows, columns = neighbours_1d(change.shape[1], height), neighbours_1d(change.shape[2], width)
    n_threads = min(n_threads, 1 + scores.size // _VALUES_PER_THREAD)
    if is_by_pixel(scores):
        change = np.ascontiguousarray(change.transpose(1, 2, 0))
        pixels = np.empty((height, width * n_classes), np.float32)
        run = partial(_call, kernels.add_pixels, (_by_pixel(scores), change, rows, columns), pixels)
        run_in_parts(run, height, n_threads)
        return pixels.reshape(height, width, n_classes).transpose(2, 0, 1)
    changed = np.empty(scores.shape, np.float32)
    run = partial(_call, kernels.add_rows, (*flattened(scores), change, rows, columns), changed)
    run_in_parts(run, height, n_threads)
    return changed


def _by_pixel(scores: Float32Array) -> Float32Array:
    """(K, H, W) scores that lie so, as (H, W * K)."""
    return scores.transpose(1, 2, 0).reshape(scores.shape[1], -1)


def _call(
    kernel: Callable[..., None], arguments: tuple[Any, ...], result: Float32Array, start: int, stop: int
) -> None:
    """Let a kernel write the rows from ``start`` to ``stop`` of its result."""
    kernel(*arguments, start, stop, result)
