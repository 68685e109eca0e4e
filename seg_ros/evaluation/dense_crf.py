"""Dense CRF: labels that agree with the scores and with pixels of similar colour anywhere near.

P. Kraehenbuehl and V. Koltun, "Efficient inference in fully connected CRFs with Gaussian edge potentials",
NIPS 2011. Mean field (algorithm 1) with the two kernels of equation 3, appearance and smoothness, and the
Potts model. Decision 0014 says why it is written here.

Deliberate differences: each kernel is normalised by the square roots of the sums of its weights at both
pixels, so that strengths do not depend on the size of the image; the sum over pixels has the pixel itself.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from seg_ros.arrays import Float32Array, UInt8Array
from seg_ros.errors import ParameterError
from seg_ros.evaluation.permutohedral import PermutohedralLattice

Filter = Callable[[Float32Array], Float32Array]
"""Function that gives (N, K) values, weighted sums over all pixels, for (N, K) values."""


@dataclass(frozen=True)
class DenseCRF:
    """Mean-field inference; see the module.

    Attributes:
        weight: Strength of the appearance kernel, 0 or more.
        reach: Standard deviation of its distances, in pixels, above 0.
        colour: Standard deviation of its differences of colour, in 0..255, above 0.
        smooth_weight: Strength of the smoothness kernel, 0 or more.
        smooth_reach: Standard deviation of its distances, in pixels, above 0.
        iterations: Number of iterations, 0 or more.

    Raises:
        ParameterError: A value is out of range.
    """

    weight: float = 3.0
    reach: float = 50.0
    colour: float = 10.0
    smooth_weight: float = 1.0
    smooth_reach: float = 3.0
    iterations: int = 5

    def __post_init__(self) -> None:
        deviations = (self.reach, self.colour, self.smooth_reach)
        if min(deviations) <= 0 or min(self.weight, self.smooth_weight, self.iterations) < 0:
            raise ParameterError(f'{self}; expected deviations above 0, weights and iterations of 0 or more')

    def __call__(self, image: UInt8Array, scores: Tensor) -> Tensor:
        """Logarithms of the marginal probabilities.

        Args:
            image: (H, W, 3) uint8 RGB.
            scores: (K, h, w) float32; other sizes than the image's are interpolated.

        Returns:
            (K, H, W) float32.
        """
        height, width = image.shape[:2]
        if scores.shape[-2:] != (height, width):
            scores = F.interpolate(scores[None], (height, width), mode='bilinear')[0]
        energies = scores.log_softmax(0).flatten(1).T.contiguous().numpy()
        marginals = self.infer(energies, self.kernels(image))
        return torch.from_numpy(np.log(np.maximum(marginals, 1e-12)).T.reshape(-1, height, width).copy())

    def kernels(self, image: UInt8Array) -> list[tuple[float, Filter]]:
        """Strength and filter of both kernels, by the permutohedral lattice."""
        points = (self.appearance_points(image), self.smoothness_points(image))
        weights = (self.weight, self.smooth_weight)
        return [
            (weight, PermutohedralLattice.of(p).filter)
            for weight, p in zip(weights, points, strict=True)
            if weight
        ]

    def infer(self, log_probs: Float32Array, kernels: list[tuple[float, Filter]]) -> Float32Array:
        """Marginals (N, K) float32 from log probabilities (N, K) of the unary term (algorithm 1)."""
        scales = [
            1 / np.sqrt(np.maximum(run(np.ones((len(log_probs), 1), np.float32)), 1e-20))
            for _, run in kernels
        ]
        marginals = _softmax(log_probs)
        for _ in range(self.iterations):
            energies = log_probs.copy()
            for (weight, run), scale in zip(kernels, scales, strict=True):
                energies += np.float32(weight) * scale * run(np.asarray(marginals * scale, np.float32))
            marginals = _softmax(energies)
        return marginals

    def appearance_points(self, image: UInt8Array) -> Float32Array:
        """(N, 5) float32: places over ``reach`` and colours over ``colour``."""
        colours = image.reshape(-1, 3) / np.float32(self.colour)
        return np.concatenate([_places(image) / np.float32(self.reach), colours], axis=1, dtype=np.float32)

    def smoothness_points(self, image: UInt8Array) -> Float32Array:
        """(N, 2) float32: places over ``smooth_reach``."""
        return np.asarray(_places(image) / np.float32(self.smooth_reach), np.float32)


def exact_filter(points: Float32Array) -> Filter:
    """The filter of a Gaussian kernel without approximation, for a few thousand points (N, D) at most."""
    squares = ((points[:, None].astype(np.float64) - points) ** 2).sum(2)
    kernel = np.exp(-squares / 2)
    return lambda values: np.asarray(kernel @ values, np.float32)


def _places(image: UInt8Array) -> Float32Array:
    rows, columns = np.indices(image.shape[:2], np.float32)
    return np.stack([rows.ravel(), columns.ravel()], axis=1)


def _softmax(energies: Float32Array) -> Float32Array:
    powers = np.exp(energies - energies.max(1, keepdims=True))
    return np.asarray(powers / powers.sum(1, keepdims=True), np.float32)
