"""The dense CRF and its filter against sums over all pairs of pixels."""

import cv2
import numpy as np
import pytest
import torch

from seg_ros.errors import ParameterError
from seg_ros.evaluation.dense_crf import DenseCRF, exact_filter
from seg_ros.evaluation.permutohedral import PermutohedralLattice


def picture(height: int = 12, width: int = 14) -> np.ndarray:
    rng = np.random.default_rng(4)
    image = np.full((height, width, 3), 60, np.uint8)
    image[:, width // 2 :] = (180, 150, 90)
    return np.clip(image + rng.normal(0, 4, image.shape), 0, 255).astype(np.uint8)


def slow_mean_field(crf: DenseCRF, image: np.ndarray, log_probs: np.ndarray) -> np.ndarray:
    """Algorithm 1 of the paper, pixel by pixel, with the weights of equation 3 and normalised kernels."""
    height, width = image.shape[:2]
    pixels = [(y, x) for y in range(height) for x in range(width)]
    kernels = np.zeros((2, len(pixels), len(pixels)))
    for i, (y, x) in enumerate(pixels):
        for j, (v, u) in enumerate(pixels):
            place = (y - v) ** 2 + (x - u) ** 2
            colour = ((image[y, x].astype(float) - image[v, u]) ** 2).sum()
            kernels[0, i, j] = np.exp(-place / (2 * crf.reach**2) - colour / (2 * crf.colour**2))
            kernels[1, i, j] = np.exp(-place / (2 * crf.smooth_reach**2))
    sums = np.sqrt(kernels.sum(2))
    kernels /= sums[:, :, None] * sums[:, None, :]
    kernel = crf.weight * kernels[0] + crf.smooth_weight * kernels[1]
    q = np.exp(log_probs) / np.exp(log_probs).sum(1, keepdims=True)
    for _ in range(crf.iterations):
        energy = np.empty_like(q)
        for i in range(len(pixels)):
            for label in range(q.shape[1]):
                others = sum(kernel[i] @ q[:, k] for k in range(q.shape[1]) if k != label)  # Potts
                energy[i, label] = -log_probs[i, label] + others
        q = np.exp(-energy)
        q /= q.sum(1, keepdims=True)
    return q


def test_inference_is_the_paper_s_algorithm() -> None:
    image, crf = picture(6, 7), DenseCRF(weight=2.0, reach=4.0, colour=20.0, smooth_reach=1.5, iterations=4)
    log_probs = torch.randn(42, 3, generator=torch.Generator().manual_seed(0)).log_softmax(1).numpy()
    kernels = [
        (crf.weight, exact_filter(crf.appearance_points(image))),
        (crf.smooth_weight, exact_filter(crf.smoothness_points(image))),
    ]
    want = slow_mean_field(crf, image, log_probs.astype(np.float64))
    np.testing.assert_allclose(crf.infer(log_probs, kernels), want, atol=1e-5)


@pytest.mark.parametrize('dimension', [2, 5])
def test_the_lattice_averages_as_the_gaussian_does(dimension: int) -> None:
    pytest.importorskip('numba', reason='the loops take long in Python')
    rng = np.random.default_rng(dimension)
    points = rng.uniform(0, 4 if dimension == 2 else 2, (1500, dimension)).astype(np.float32)
    values = np.stack([np.sin(points[:, 0]), np.cos(points[:, 1])], axis=1).astype(np.float32)
    ones = np.ones((1500, 1), np.float32)
    lattice, exact = PermutohedralLattice.of(points), exact_filter(points)
    np.testing.assert_allclose(lattice.weights.sum(1), 1, atol=1e-4)
    assert lattice.weights.min() > -1e-4
    got, want = lattice.filter(values) / lattice.filter(ones), exact(values) / exact(ones)
    assert np.abs(got - want).mean() < 0.05 * values.std()


def test_labels_follow_colours() -> None:
    pytest.importorskip('numba', reason='the loops take long in Python')
    image = cv2.resize(picture(), (56, 48), interpolation=cv2.INTER_NEAREST)
    scores = torch.zeros(2, 48, 56)
    scores[1, :, 34:] = 1.5  # the border of the colours is at 28
    scores[0, :, :34] = 1.5
    noise = torch.randn(2, 48, 56, generator=torch.Generator().manual_seed(1))
    crf = DenseCRF(weight=4.0, reach=20.0, colour=15.0)
    labels = crf(image, scores + noise).argmax(0).numpy()
    truth = (np.arange(56) >= 28).astype(int)
    before = ((scores + noise).argmax(0).numpy() != truth).mean()
    assert (labels != truth).mean() < 0.25 * before
    probs = crf(image, scores).exp().sum(0)
    torch.testing.assert_close(probs, torch.ones(48, 56), atol=1e-4, rtol=0)


def test_values_out_of_range_are_refused() -> None:
    with pytest.raises(ParameterError, match='deviations above 0'):
        DenseCRF(colour=0)
