import math

import numpy as np
import pytest
import torch

from seg_ros.datasets.squares import SquaresDataset
from seg_ros.errors import RecipeError
from seg_ros.training.losses import (
    SegmentationLoss,
    class_counts,
    class_weights,
    distillation_loss,
    soft_jaccard_loss,
)


def batch(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    scores = torch.from_numpy(rng.normal(0, 2, (2, 3, 4, 5)).astype(np.float32))
    labels = torch.from_numpy(rng.choice([0, 1, 2, 255], (2, 4, 5)).astype(np.uint8))
    return scores, labels


def softmax(scores: torch.Tensor) -> np.ndarray:
    powers = np.exp(scores.numpy().astype(np.float64))
    return powers / powers.sum(1, keepdims=True)


def test_cross_entropy_is_the_weighted_mean_over_labelled_pixels() -> None:
    scores, labels = batch()
    weights = [0.5, 1.0, 3.0]
    terms = [
        -weights[c] * math.log(softmax(scores)[b, c, y, x])
        for (b, y, x), c in np.ndenumerate(labels.numpy())
        if c != 255
    ]
    loss = SegmentationLoss(torch.tensor(weights))(scores, labels)
    assert float(loss) == pytest.approx(sum(terms) / len(terms), rel=1e-5)


def test_adjusted_scores_cost_what_scores_with_the_weights_cost() -> None:
    scores, labels = batch()
    weights = torch.tensor([0.5, 1.0, 3.0])
    moved = scores + 0.5 * weights.log().view(1, 3, 1, 1)
    adjusted = SegmentationLoss(weights, adjust=0.5)(scores, labels)
    torch.testing.assert_close(adjusted, SegmentationLoss(weights)(moved, labels))
    with_jaccard = SegmentationLoss(weights, adjust=0.5, jaccard=1.0)(scores, labels)
    torch.testing.assert_close(with_jaccard - adjusted, soft_jaccard_loss(scores, labels.long()))
    assert SegmentationLoss(torch.tensor([0.0, 1.0, 3.0]), adjust=1.0)(scores, labels).isfinite()


def test_jaccard_is_that_of_probabilities() -> None:
    scores, labels = batch(1)
    probs, truth = softmax(scores), labels.numpy()
    losses = []
    for c in range(3):
        p = np.where(truth == 255, 0, probs[:, c])
        t = (truth == c).astype(float)
        losses.append(1 - (p * t).sum() / (p.sum() + t.sum() - (p * t).sum()))
    assert float(soft_jaccard_loss(scores, labels.long())) == pytest.approx(np.mean(losses), rel=1e-5)


def test_jaccard_is_zero_for_certain_truth_and_skips_absent_classes() -> None:
    labels = torch.tensor([[[0, 1], [1, 255]]])
    scores = torch.full((1, 3, 2, 2), -50.0)
    scores[0, 0, 0, 0] = scores[0, 1, 0, 1] = scores[0, 1, 1, 0] = 50.0
    assert float(soft_jaccard_loss(scores, labels)) == pytest.approx(0, abs=1e-6)


def test_a_batch_without_labels_costs_nothing_and_keeps_gradients_finite() -> None:
    scores = torch.randn(1, 3, 4, 4, requires_grad=True)
    loss = SegmentationLoss(torch.ones(3), jaccard=0.5)(scores, torch.full((1, 4, 4), 255, dtype=torch.uint8))
    loss.backward()
    assert loss.item() == 0
    assert scores.grad is not None
    assert scores.grad.isfinite().all()


def test_distillation_is_the_divergence_of_probabilities() -> None:
    student, teacher = batch(2)[0], batch(3)[0]
    p, q = softmax(teacher / 2), softmax(student / 2)
    slow = 4 * np.mean((p * np.log(p / q)).sum(1))
    probs = (teacher / 2).softmax(1)
    assert float(distillation_loss(student, probs, 2.0)) == pytest.approx(slow, rel=1e-4)
    own = (student / 2).softmax(1)
    assert float(distillation_loss(student, own, 2.0)) == pytest.approx(0, abs=1e-6)


def test_class_counts_match_the_geometry_of_squares() -> None:
    dataset = SquaresDataset(None, 'train', n_images=5)
    sides = [math.isqrt(int((dataset[i][1] == 1).sum())) for i in range(5)]
    inside = sum(side**2 for side in sides)
    assert class_counts(dataset).tolist() == [5 * 240 * 320 - inside, inside]


def test_class_weights_are_those_of_the_papers() -> None:
    counts = np.array([700, 250, 50, 0])
    share = counts / 1000
    enet = [1 / math.log(1.02 + s) for s in share]
    average = sum(w * s for w, s in zip(enet, share, strict=True))
    np.testing.assert_allclose(class_weights(counts, 'enet', 1.02), np.array(enet) / average, rtol=1e-5)
    # Median 0.25 of the classes that occur: 0.25 / share, times share, sums to 0.75.
    median = np.array([0.25 / 0.7, 1, 5, 0]) / 0.75
    np.testing.assert_allclose(class_weights(counts, 'median', 1.02), median, rtol=1e-5)
    np.testing.assert_allclose(class_weights(counts, 'none', 1.02), 1)


def test_class_weights_refuse_what_cannot_be_balanced() -> None:
    with pytest.raises(RecipeError, match='not one pixel'):
        class_weights(np.zeros(3, np.int64), 'enet', 1.02)
    with pytest.raises(RecipeError, match='known: none, enet'):
        class_weights(np.ones(3, np.int64), 'fair', 1.02)


def test_a_pixel_of_a_group_costs_the_sum_of_the_probabilities_of_its_classes() -> None:
    scores, labels = batch(7)
    n_classes = scores.shape[1]
    labels = labels.clone()
    labels[:, 0] = n_classes  # class 0 or 2
    labels[:, 1] = 255
    groups = [(0, 2)]
    weights = torch.arange(1.0, n_classes + 1)
    loss = SegmentationLoss(weights, groups=groups)(scores, labels)

    probs, total, count = softmax(scores), 0.0, 0
    for (b, y, x), label in np.ndenumerate(labels.numpy()):
        if label == 255:
            continue
        members = [0, 2] if label == n_classes else [int(label)]
        weight = float(np.mean([weights[k] for k in members]))
        total -= weight * math.log(sum(probs[b, k, y, x] for k in members))
        count += 1
    assert float(loss) == pytest.approx(total / count, rel=1e-4)
    with_jaccard = SegmentationLoss(weights, groups=groups, jaccard=1.0)(scores, labels)
    without = soft_jaccard_loss(scores, labels.where(labels < n_classes, 255).long())
    assert float(with_jaccard - loss) == pytest.approx(float(without), rel=1e-4)
