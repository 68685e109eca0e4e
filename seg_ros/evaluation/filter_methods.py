"""Ways to sharpen the scores of a network, for comparison with the embedding filter.

Harley et al., arXiv 1511.04377, compare masks of learned embeddings with masks of colours, and with a dense
CRF. A method maps an image of the network's input size, scores (K, H, W) and embeddings (D, h, w) to scores.
"""

from collections.abc import Callable
from dataclasses import replace
from itertools import product

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from seg_ros.arrays import Float32Array, UInt8Array
from seg_ros.evaluation.dense_crf import DenseCRF
from seg_ros.inference.embedding_filter import EmbeddingFilter

FilterMethod = Callable[[UInt8Array, Tensor, Tensor], Tensor]
"""Image (H, W, 3) uint8 RGB, scores (K, H, W), embeddings (D, h, w) -> scores (K, h', w')."""

COLOUR_STRENGTHS = (2.0, 4.0, 8.0, 16.0, 32.0)
"""Values of the hardness that are tried for the filter by colour; see :func:`cell_colours`."""

CRF_SETTINGS = tuple(product((1.0, 3.0), (20.0, 50.0), (5.0, 10.0)))
"""Values of weight, reach and colour that are tried for the dense CRF."""


def unchanged(_image: UInt8Array, scores: Tensor, _embeddings: Tensor) -> Tensor:
    """The scores of the network."""
    return scores


def by_embeddings(settings: EmbeddingFilter) -> FilterMethod:
    """The embedding filter at the size of the embeddings, as the node runs it."""
    return lambda _image, scores, embeddings: torch.as_tensor(settings(scores, embeddings))


def at_every_pixel(settings: EmbeddingFilter) -> FilterMethod:
    """The embedding filter at every pixel, as published; the embeddings are interpolated."""

    def run(image: UInt8Array, scores: Tensor, embeddings: Tensor) -> Tensor:
        size = image.shape[:2]
        scores, embeddings = (F.interpolate(x[None], size, mode='bilinear')[0] for x in (scores, embeddings))
        return torch.as_tensor(settings(scores, embeddings))

    return run


def by_colour(settings: EmbeddingFilter) -> FilterMethod:
    """The same filter with the colours of the image instead of embeddings: the photometric mask."""

    def run(image: UInt8Array, scores: Tensor, embeddings: Tensor) -> Tensor:
        colours = cell_colours(image, (embeddings.shape[-2], embeddings.shape[-1]))
        return torch.as_tensor(settings(scores, torch.from_numpy(colours)))

    return run


def by_crf(crf: DenseCRF) -> FilterMethod:
    """The dense CRF at the size of the image."""
    return lambda image, scores, _embeddings: crf(image, scores)


def after(first: FilterMethod, second: FilterMethod) -> FilterMethod:
    """One method on the result of another."""
    return lambda image, scores, embeddings: second(image, first(image, scores, embeddings), embeddings)


def cell_colours(image: UInt8Array, size: tuple[int, int]) -> Float32Array:
    """Mean colour of the cell of each embedding.

    Args:
        image: (H, W, 3) uint8 RGB.
        size: (h, w) of the embeddings.

    Returns:
        (3, h, w) float32: CIELAB with 8 bits, divided by 255.
    """
    small = cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA)
    lab = cv2.cvtColor(small, cv2.COLOR_RGB2LAB).astype(np.float32) / 255
    return np.ascontiguousarray(lab.transpose(2, 0, 1))


def usual_methods(own: EmbeddingFilter) -> dict[str, FilterMethod]:
    """Methods that need no tuning: no filter, the filter of a model, and the published form of it."""
    other = replace(own, averages='scores' if own.averages == 'probabilities' else 'probabilities')
    published = replace(own, window=9, iterations=7)
    return {
        'no filter': unchanged,
        'embeddings': by_embeddings(own),
        f'embeddings, of {other.averages}': by_embeddings(other),
        'embeddings, 7 times': by_embeddings(replace(own, iterations=7)),
        'embeddings, every pixel, 9x9, 7 times': at_every_pixel(published),
        'the same, of scores, as published': at_every_pixel(replace(published, averages='scores')),
    }


def colour_methods(own: EmbeddingFilter) -> dict[str, FilterMethod]:
    """Filters by colour of several strengths, in the window and the iterations of a model's filter."""
    return {
        f'colour, hardness {strength:g}': by_colour(replace(own, hardness=strength))
        for strength in COLOUR_STRENGTHS
    }


def crf_settings() -> dict[str, DenseCRF]:
    """Dense CRFs of several strengths."""
    return {
        f'dense CRF, weight {weight:g}, {reach:g} px, colour {colour:g}': DenseCRF(weight, reach, colour)
        for weight, reach, colour in CRF_SETTINGS
    }


def sweep_methods(
    own: EmbeddingFilter, windows: list[int], iterations: list[int]
) -> dict[tuple[int, int], FilterMethod]:
    """(window, iterations) -> the filter of a model with these values."""
    return {
        (window, n): by_embeddings(replace(own, window=window, iterations=n))
        for window in windows
        for n in iterations
    }
