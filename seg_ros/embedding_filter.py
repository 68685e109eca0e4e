"""The filter that learned embeddings drive, at run time: Numba on a CPU, torch elsewhere."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from seg_ros.compiling import import_kernels, n_cores, run_in_parts
from seg_ros.errors import ParameterError
from seg_ros.models.masked_average import add_change, at_size_of, check_window, sharpen

_PAIRS_PER_THREAD = 50_000
"""Pairs of pixels below which another thread costs more than it saves."""

_KERNELS = ('seg_ros.filter_kernels', 'the embedding filter runs in torch, which takes many times longer')


@dataclass(frozen=True)
class EmbeddingFilter:
    """Averages scores over what the embeddings hold for the same thing; see ``sharpen``.

    Attributes:
        window: width and height of the window in pixels of the embeddings, odd.
        iterations: how often, 0 or more.
        hardness: above 0, how fast the mask falls with the distance of two embeddings.

    Raises:
        ParameterError: a value is out of range.
    """

    window: int = 9
    iterations: int = 2
    hardness: float = 2.0

    def __post_init__(self) -> None:
        if self.window < 1 or self.window % 2 == 0 or self.iterations < 0 or not 0 < self.hardness < 1e6:
            raise ParameterError(
                f'embedding filter: window {self.window}, iterations {self.iterations}, hardness '
                f'{self.hardness}; expected an odd number, 0 or more, and above 0'
            )

    def __call__(self, scores: Tensor, embeddings: Tensor, n_threads: int = 0) -> Tensor:
        """The sharpened scores of one image.

        Args:
            scores: (K, H, W) float32, on any device.
            embeddings: (D, h, w) float32, on the same.
            n_threads: at most that many threads; 0 = one for every core. On the CPU only.

        Returns:
            (K, max(H, h), max(W, w)) float32.

        Raises:
            ParameterError: the window is larger than the embeddings, or the sizes do not fit.
        """
        check_window(self.window, tuple(embeddings.shape[-2:]))
        kernels = import_kernels(*_KERNELS) if scores.device.type == 'cpu' else None
        if kernels is None:
            hardness = torch.tensor(self.hardness, device=scores.device)
            return sharpen(scores[None], embeddings[None], hardness, self.window, self.iterations)[0]
        coarse = at_size_of(scores[None], tuple(embeddings.shape[-2:]))
        values, places = coarse[0].contiguous().numpy(), embeddings.contiguous().numpy()
        radius, hardness32 = self.window // 2, np.float32(self.hardness)

        n_pairs = self.window**2 * values.shape[1] * values.shape[2]
        n_parts = min(n_threads or n_cores(), 1 + n_pairs // _PAIRS_PER_THREAD)
        for _ in range(self.iterations):
            averaged = np.empty_like(values)
            source = values

            def run(start: int, stop: int, source: object = source, averaged: object = averaged) -> None:
                kernels.average_rows(source, places, hardness32, radius, start, stop, averaged)

            run_in_parts(run, values.shape[1], n_parts)
            values = averaged
        return add_change(scores[None], coarse, torch.from_numpy(values)[None])[0]
